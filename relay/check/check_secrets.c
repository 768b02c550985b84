/* Where secrets lie open: in files that everybody may read, and on the network without TLS. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "check/check.h"
#include "config/command_words.h"
#include "config/dsn.h"
#include "config/lists.h"
#include "config/slurp.h"

static void secrets_in_files(Check *check)
{
    const StringList *files = &check->load->secret_files;
    for (size_t i = 0; i < files->count; i++) {
        if (slurp_is_public(files->items[i])) {
            AUTO_TEXT remedy = x_format("chmod o-r '%s', and give it the group of the relay's user",
                                        files->items[i]);
            check_warning(check, files->items[i], remedy,
                          "every user of this machine can read this file, which contains a secret");
        }
    }
}

static void secrets_of_dsn(Check *check, const char *path, const char *text)
{
    Dsn dsn = {0};
    DsnProblem problem = {0};
    char host[256];
    if (*text == '\0' || dsn_read(NULL, text, &dsn, &problem) != OK) {
        dsn_problem_free(&problem);
        return;
    }
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
    const char *mode = dsn_get(&dsn, "sslmode") ? dsn_get(&dsn, "sslmode") : getenv("PGSSLMODE");
    bool off = mode != NULL && (strcmp(mode, "disable") == 0 || strcmp(mode, "allow") == 0);
    const char *remote = dsn_remote_host(&dsn, host, sizeof(host));
    if (off && remote != NULL) {
        check->clear_told = true;
        AUTO_TEXT remedy = x_format("set sslmode=verify-full and sslrootcert in %s; "
                                    "sslmode=require encrypts, but does not verify the server",
                                    path);
        check_warning(check, "database", remedy,
                      "TLS is off (sslmode=%s) for \"%s\", which is not on this machine: events "
                      "and sign-in travel in the clear",
                      mode, remote);
    }
    dsn_free(&dsn);
}

/* A program that prints a secret must be there, and only its owner may change it. */
static void secrets_of_command(Check *check, const char *path, const char *command)
{
    StringList words = {0};
    const char *reason = NULL;
    struct stat status;
    const char *place = load_origin(check->load, check->config, option_find(SCOPE_CONFIG, path));
    if (*command == '\0' || !command_words_split(command, &words, &reason)) {
        string_list_free(&words);
        return; /* there is none, or it was said */
    }
    const char *program = words.items[0];
    if (stat(program, &status) != 0 || !S_ISREG(status.st_mode) || access(program, X_OK) != 0) {
        bool there = access(program, F_OK) == 0;
        check_problem(check, EXIT_CONFIG, place != NULL ? place : path,
                      there ? "make it an executable file (chmod +x) that the relay's user may run"
                            : "correct the path, or install the program",
                      "the program of %s, \"%s\", %s", path, program,
                      there ? "cannot be run by this user" : "does not exist");
    } else if ((status.st_mode & S_IWOTH) != 0) {
        AUTO_TEXT remedy = x_format("chmod o-w '%s'", program);
        check_warning(check, program, remedy,
                      "every user of this machine can change this program, which gives the relay "
                      "its secret");
    }
    string_list_free(&words);
}

/* The value of the last property of that name, or NULL; borrowed. */
static const char *kafka_property(const Check *check, const char *name)
{
    const StringList *list = &check->config->kafka.properties;
    size_t length = strlen(name);
    for (size_t i = list->count; i > 0; i--) {
        if (strncmp(list->items[i - 1], name, length) == 0 && list->items[i - 1][length] == '=') {
            return list->items[i - 1] + length + 1;
        }
    }
    return NULL;
}

/* The first broker that is not on this machine; the caller frees it. */
static char *remote_broker(const char *brokers)
{
    AUTO_TEXT copy = x_strdup(brokers);
    for (char *rest = copy, *broker; (broker = strsep(&rest, ",")) != NULL;) {
        broker += strspn(broker, " \t");
        const char *scheme = strstr(broker, "://");
        broker += scheme != NULL ? scheme - broker + 3 : 0;
        char *end = *broker == '[' ? strchr(broker, ']') : strrchr(broker, ':');
        broker += *broker == '[' ? 1 : 0;
        if (end != NULL && end >= broker) {
            *end = '\0';
        }
        if (*broker != '\0' && !dsn_host_is_local(broker)) {
            return x_strdup(broker);
        }
    }
    return NULL;
}

static void secrets_of_kafka(Check *check)
{
    const char *protocol = kafka_property(check, "security.protocol");
    AUTO_TEXT remote = remote_broker(check->config->kafka.brokers);
    if (protocol != NULL && strcasecmp(protocol, "sasl_plaintext") == 0 && remote != NULL) {
        check->clear_told = true;
        check_warning(check, "kafka", "set security.protocol=sasl_ssl, and ssl.ca.location",
                      "TLS is off (security.protocol=%s) for \"%s\", which is not on this machine: "
                      "events and credentials are sent in clear text",
                      protocol, remote);
    }
}

void check_secrets(Check *check)
{
    secrets_in_files(check);
    secrets_of_dsn(check, "database.dsn", check->config->database.dsn);
    secrets_of_dsn(check, "database.replication_dsn", check->config->database.replication_dsn);
    secrets_of_kafka(check);
    secrets_of_command(check, "database.password_command",
                       check->config->database.password_command);
    secrets_of_command(check, "kafka.oauth_command", check->config->kafka.oauth_command);
}

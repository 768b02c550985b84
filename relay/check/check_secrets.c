/* Where secrets lie open: in files that everybody may read, and on the network without TLS. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "check/check.h"
#include "config/dsn.h"
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

static void secrets_of_database(Check *check)
{
    Dsn dsn = {0};
    DsnProblem problem = {0};
    char host[256];
    if (*check->config->database.dsn == '\0' ||
        dsn_read(NULL, check->config->database.dsn, &dsn, &problem) != OK) {
        dsn_problem_free(&problem);
        return;
    }
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
    const char *mode = dsn_get(&dsn, "sslmode") ? dsn_get(&dsn, "sslmode") : getenv("PGSSLMODE");
    bool off = mode != NULL && (strcmp(mode, "disable") == 0 || strcmp(mode, "allow") == 0);
    const char *remote = dsn_remote_host(&dsn, host, sizeof(host));
    if (off && remote != NULL) {
        check->clear_told = true;
        check_warning(check, "database",
                      "set sslmode=verify-full and sslrootcert in database.dsn; sslmode=require "
                      "encrypts, but does not verify the server",
                      "TLS is off (sslmode=%s) for \"%s\", which is not on this machine: events "
                      "and sign-in travel in the clear",
                      mode, remote);
    }
    dsn_free(&dsn);
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
    secrets_of_database(check);
    secrets_of_kafka(check);
}

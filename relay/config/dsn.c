#include "config/dsn.h"

#include <ctype.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/text.h"
#include "config/mask.h"
#include "config/nearest.h"

void dsn_free(Dsn *dsn)
{
    for (size_t i = 0; i < dsn->count; i++) {
        free(dsn->pairs[i].key);
        explicit_bzero(dsn->pairs[i].value, strlen(dsn->pairs[i].value));
        free(dsn->pairs[i].value);
    }
    free(dsn->pairs);
    *dsn = (Dsn){0};
}

void dsn_problem_free(DsnProblem *problem)
{
    free(problem->message);
    free(problem->remedy);
    *problem = (DsnProblem){0};
}

const char *dsn_get(const Dsn *dsn, const char *key)
{
    for (size_t i = 0; i < dsn->count; i++) {
        if (strcmp(dsn->pairs[i].key, key) == 0) {
            return dsn->pairs[i].value;
        }
    }
    return NULL;
}

void dsn_set(Dsn *dsn, const char *key, const char *value)
{
    for (size_t i = 0; i < dsn->count; i++) {
        if (strcmp(dsn->pairs[i].key, key) == 0) {
            free(dsn->pairs[i].value);
            dsn->pairs[i].value = x_strdup(value);
            return;
        }
    }
    dsn->pairs = x_realloc(dsn->pairs, (dsn->count + 1) * sizeof(*dsn->pairs));
    dsn->pairs[dsn->count++] = (DsnPair){.key = x_strdup(key), .value = x_strdup(value)};
}

static bool dsn_is_plain(const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\'' || *c == '\\' || isspace((unsigned char)*c)) {
            return false;
        }
    }
    return *value != '\0';
}

char *dsn_text(const Dsn *dsn)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    for (size_t i = 0; i < dsn->count; i++) {
        const DsnPair *pair = &dsn->pairs[i];
        text_printf(&text, "%s%s=", i > 0 ? " " : "", pair->key);
        if (dsn_is_plain(pair->value)) {
            text_add(&text, pair->value);
            continue;
        }
        text_add_char(&text, '\'');
        for (const char *c = pair->value; *c != '\0'; c++) {
            text_add(&text, *c == '\'' || *c == '\\' ? "\\" : "");
            text_add_char(&text, *c);
        }
        text_add_char(&text, '\'');
    }
    return x_strdup(text.length > 0 ? text.data : "postgresql://");
}

/* Masking knows nothing of references, and their paths hold characters that separate: a mark stands
 * for each while it works. */
char *dsn_shown(const char *text)
{
    enum { MARK = '\x01' };
    AUTO_BUFFER marked = TEXT_EMPTY;
    text_add(&marked, "");
    size_t count = 0;
    const char **references = NULL;
    for (const char *c = text; *c != '\0';) {
        bool escaped = c > text && c[-1] == '$';
        size_t length =
            interpolate_is_reference(c) && !escaped ? interpolate_reference_length(c) : 0;
        if (length == 0) {
            text_add_char(&marked, *c == MARK ? '?' : *c);
            c++;
            continue;
        }
        references = x_realloc(references, (count + 1) * sizeof(*references));
        references[count++] = c;
        text_printf(&marked, "%c%zu%c", MARK, count - 1, MARK);
        c += length;
    }
    bool all = count == 1 && marked.length == 3 && marked.data[0] == MARK;
    AUTO_TEXT masked = all ? x_strdup(marked.data) : mask_dsn(marked.data);
    AUTO_BUFFER shown = TEXT_EMPTY;
    text_add(&shown, "");
    for (const char *c = masked; *c != '\0'; c++) {
        if (*c != MARK) {
            text_add_char(&shown, *c);
            continue;
        }
        char *end;
        size_t index = strtoul(c + 1, &end, 10);
        if (index >= count) {
            break; /* never: the marks are ours */
        }
        text_append(&shown, references[index], interpolate_reference_length(references[index]));
        c = end;
    }
    free(references);
    return x_strdup(shown.data);
}

bool dsn_host_is_local(const char *host)
{
    return *host == '\0' || *host == '/' || *host == '@' || strcasecmp(host, "localhost") == 0 ||
           strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

const char *dsn_remote_host(const Dsn *dsn, char *buffer, size_t capacity)
{
    const char *hosts = dsn_get(dsn, "hostaddr");
    hosts = hosts != NULL && *hosts != '\0' ? hosts : dsn_get(dsn, "host");
    while (hosts != NULL && *hosts != '\0') {
        size_t length = strcspn(hosts, ",");
        (void)snprintf(buffer, capacity, "%.*s", (int)length, hosts);
        if (!dsn_host_is_local(buffer)) {
            return buffer;
        }
        hosts += length + (hosts[length] == ',' ? 1 : 0);
    }
    return NULL;
}

/* Takes the message. NOLINTNEXTLINE(readability-non-const-parameter) */
static Status dsn_fail(DsnProblem *problem, const char *remedy, char *message)
{
    *problem = (DsnProblem){.message = message, .remedy = remedy ? x_strdup(remedy) : NULL};
    return FAILED;
}

/* The keys that this libpq knows. An unknown one is not repeated: a password with a blank and a '='
 * looks like one. */
static Status dsn_check_keys(const Dsn *dsn, DsnProblem *ret_problem)
{
    PQconninfoOption *known = PQconninfoParse("", NULL);
    if (known == NULL) {
        return dsn_fail(ret_problem, NULL, x_strdup("out of memory"));
    }
    Status status = OK;
    for (size_t i = 0; i < dsn->count && status == OK; i++) {
        Nearest nearest = nearest_begin(dsn->pairs[i].key);
        const char *meant = NULL;
        bool found = false;
        for (const PQconninfoOption *o = known; o->keyword != NULL && !found; o++) {
            found = strcmp(o->keyword, dsn->pairs[i].key) == 0;
            meant = !found && nearest_offer(&nearest, o->keyword) ? o->keyword : meant;
        }
        if (!found) {
            status = dsn_fail(ret_problem, DSN_REMEDY,
                              x_format("libpq does not know parameter %zu%s%s%s", i + 1,
                                       meant ? "; did you mean \"" : "", meant ? meant : "",
                                       meant ? "\"?" : ""));
        }
    }
    PQconninfoFree(known);
    return status;
}

static size_t dsn_items(const char *list)
{
    size_t count = 1;
    for (; *list != '\0'; list++) {
        count += *list == ',' ? 1 : 0;
    }
    return count;
}

static Status dsn_check_port(const Dsn *dsn, DsnProblem *ret_problem)
{
    const char *port = dsn_get(dsn, "port");
    const char *host = dsn_get(dsn, "hostaddr") ? dsn_get(dsn, "hostaddr") : dsn_get(dsn, "host");
    for (const char *c = port; c != NULL; c = *c == ',' ? c + 1 : NULL) {
        size_t digits = strspn(c, "0123456789");
        long number = digits > 0 && digits <= 5 ? strtol(c, NULL, 10) : -1;
        bool number_is_port = number >= 1 && number <= 65535;
        if ((digits > 0 && !number_is_port) || (c[digits] != '\0' && c[digits] != ',')) {
            return dsn_fail(ret_problem,
                            "if this is a part of the password: in a URI write ':' as %3A, '/' as "
                            "%2F, '?' as %3F, '@' as %40 and '%' as %25, or give the password as "
                            "database.password_file",
                            x_strdup("the port is not a number from 1 to 65535"));
        }
        c += digits;
    }
    if (port != NULL && dsn_items(port) > 1 && dsn_items(port) != dsn_items(host ? host : "")) {
        return dsn_fail(ret_problem, "give one port, or one for each host",
                        x_format("it has %zu ports for %zu hosts", dsn_items(port),
                                 dsn_items(host ? host : "")));
    }
    return OK;
}

/* What else libpq refuses only when it connects, with the value in its message. */
static const struct {
    const char *key;
    const char *allowed; /* words; "0" stands for whole numbers */
} DSN_VALUES[] = {
    {"sslmode", "disable allow prefer require verify-ca verify-full"},
    {"gssencmode", "disable prefer require"},
    {"channel_binding", "disable prefer require"},
    {"target_session_attrs", "any read-write read-only primary standby prefer-standby"},
    {"connect_timeout", "0"},
    {"keepalives", "0"},
    {"keepalives_idle", "0"},
    {"keepalives_interval", "0"},
    {"keepalives_count", "0"},
    {"tcp_user_timeout", "0"},
};

static bool dsn_value_allowed(const char *value, const char *allowed)
{
    if (*allowed == '0') {
        value += *value == '-' || *value == '+' ? 1 : 0;
        size_t digits = strspn(value, "0123456789");
        return digits > 0 && digits <= 9 && value[digits] == '\0';
    }
    size_t length = strlen(value);
    for (const char *word = allowed; *word != '\0';) {
        size_t end = strcspn(word, " ");
        if (end == length && memcmp(word, value, length) == 0) {
            return true;
        }
        word += end + (word[end] == ' ' ? 1 : 0);
    }
    return false;
}

Status dsn_check(const Dsn *dsn, DsnProblem *ret_problem)
{
    if (dsn_check_keys(dsn, ret_problem) != OK || dsn_check_port(dsn, ret_problem) != OK) {
        return FAILED;
    }
    for (size_t i = 0; i < sizeof(DSN_VALUES) / sizeof(DSN_VALUES[0]); i++) {
        const char *value = dsn_get(dsn, DSN_VALUES[i].key);
        if (value != NULL && *value != '\0' && !dsn_value_allowed(value, DSN_VALUES[i].allowed)) {
            bool number = *DSN_VALUES[i].allowed == '0';
            AUTO_TEXT remedy = x_format("write one of: %s", DSN_VALUES[i].allowed);
            return dsn_fail(ret_problem, number ? "write a whole number in digits" : remedy,
                            x_format("libpq does not know the value of \"%s\"", DSN_VALUES[i].key));
        }
    }
    return OK;
}

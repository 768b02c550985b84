#include "pg/message.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "config/mask.h"

enum { HIDDEN_BYTES = 4 }; /* a shorter one is part of many a word: it is hidden as a value */

/* Where a value stands in libpq's texts: between quotes, or in a connection string. Elsewhere the
 * letters of a short password are those of somebody's words, and what is hidden tells them. */
static bool message_is_value(const char *text, const char *at, size_t length)
{
    bool begins = at > text && strchr("\"'=:", at[-1]) != NULL;
    return begins && (at[length] == '\0' || strchr("\"'@&,; \n", at[length]) != NULL);
}

/* A password that is also a name (postgres, in many a test) is no secret in a message that has to
 * name it. */
static bool message_hides(const PGconn *pg, const char *password)
{
    const char *const names[] = {PQuser(pg), PQdb(pg), PQhost(pg)};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i] != NULL && strcmp(names[i], password) == 0) {
            return false;
        }
    }
    return *password != '\0';
}

/* The length of one of the connection's names in double quotes, which begins there; 0: none does.
 * A password may be a part of it. */
static size_t message_name_length(const PGconn *pg, const char *at)
{
    const char *const names[] = {PQuser(pg), PQdb(pg), PQhost(pg)};
    for (size_t i = 0; *at == '"' && i < sizeof(names) / sizeof(names[0]); i++) {
        size_t length = names[i] != NULL ? strlen(names[i]) : 0;
        if (length > 0 && strncmp(at + 1, names[i], length) == 0 && at[length + 1] == '"') {
            return length + 2;
        }
    }
    return 0;
}

/* One line. What libpq guesses ("Is the server running on that host ...?") begins with a tab: our
 * remedies say it better. Of several servers each has a line of its own. */
static char *message_fold(const char *text)
{
    AUTO_BUFFER line = TEXT_EMPTY;
    text_add(&line, "");
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\n' && c[1] == '\t') {
            c += strcspn(c + 1, "\n");
        } else if (*c == '\n' && c[1] >= 'a' && c[1] <= 'z') {
            text_add(&line, "; ");
        } else {
            text_add_char(&line, *c);
        }
    }
    return text_fold(x_strdup(line.data));
}

void pg_message_check(const char *text)
{
    bool of_server = strstr(text, "ERROR:") != NULL || strstr(text, "FATAL:") != NULL;
    if (!of_server && (strstr(text, "out of memory") != NULL ||
                       strstr(text, "memory for input buffer") != NULL)) {
        memory_refused();
    }
}

char *pg_message(const PGconn *pg)
{
    const char *text = PQerrorMessage(pg);
    pg_message_check(text);
    const char *password = pg != NULL ? PQpass(pg) : NULL;
    if (password == NULL || !message_hides(pg, password)) {
        return message_fold(text);
    }
    AUTO_BUFFER masked = TEXT_EMPTY;
    text_add(&masked, "");
    size_t length = strlen(password);
    for (const char *c = text; *c != '\0';) {
        size_t name = message_name_length(pg, c);
        if (name > 0) {
            text_append(&masked, c, name);
            c += name;
        } else if (strncmp(c, password, length) == 0 &&
                   (length >= HIDDEN_BYTES || message_is_value(text, c, length))) {
            text_add(&masked, MASK);
            c += length;
        } else {
            text_add_char(&masked, *c++);
        }
    }
    return message_fold(masked.data);
}

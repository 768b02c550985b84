#include "pg/message.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "config/mask.h"

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

/* Lines, tabs and runs of blanks are one blank. */
static char *message_line(const char *text)
{
    AUTO_BUFFER line = TEXT_EMPTY;
    text_add(&line, "");
    for (const char *c = text; *c != '\0'; c++) {
        if (*c != '\n' && *c != '\t' && *c != '\r' && *c != ' ') {
            text_add_char(&line, *c);
        } else if (line.length > 0 && line.data[line.length - 1] != ' ') {
            text_add_char(&line, ' ');
        }
    }
    if (line.length > 0 && line.data[line.length - 1] == ' ') {
        line.data[--line.length] = '\0';
    }
    return x_strdup(line.data);
}

char *pg_message(const PGconn *pg)
{
    const char *text = PQerrorMessage(pg);
    const char *password = pg != NULL ? PQpass(pg) : NULL;
    if (password == NULL || !message_hides(pg, password)) {
        return message_line(text);
    }
    AUTO_BUFFER masked = TEXT_EMPTY;
    text_add(&masked, "");
    size_t length = strlen(password);
    while (*text != '\0') {
        if (strncmp(text, password, length) == 0) {
            text_add(&masked, MASK);
            text += length;
        } else {
            text_add_char(&masked, *text++);
        }
    }
    return message_line(masked.data);
}

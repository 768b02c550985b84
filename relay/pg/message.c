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

char *pg_message(const PGconn *pg)
{
    const char *text = PQerrorMessage(pg);
    const char *password = pg != NULL ? PQpass(pg) : NULL;
    if (password == NULL || !message_hides(pg, password)) {
        return text_fold(x_strdup(text));
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
    return text_fold(x_strdup(masked.data));
}

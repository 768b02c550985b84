#include "pg/ident.h"

#include <ctype.h>

#include "base/memory.h"
#include "base/text.h"

enum { IDENT_MAX = 63 }; /* NAMEDATALEN - 1 */

static char *quote_with(const char *text, char quote)
{
    Text out = TEXT_EMPTY;
    text_add_char(&out, quote);
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == quote) {
            text_add_char(&out, quote);
        }
        text_add_char(&out, *c);
    }
    text_add_char(&out, quote);
    return out.data;
}

char *ident_quote(const char *name)
{
    return quote_with(name, '"');
}

char *ident_literal(const char *text)
{
    return quote_with(text, '\'');
}

/* Reads one part at *at into part; false when there is none. */
static bool ident_part(const char **at, Text *part)
{
    const char *c = *at;
    if (*c == '"') {
        for (c++; *c != '\0'; c++) {
            if (*c == '"' && c[1] != '"') {
                *at = c + 1;
                return part->length > 0;
            }
            c += *c == '"';
            text_add_char(part, *c);
        }
        return false;
    }
    for (; *c != '\0' && *c != '.' && *c != '"'; c++) {
        text_add_char(part, (char)tolower((unsigned char)*c));
    }
    *at = c;
    return part->length > 0;
}

Status ident_quote_table(const char *name, char **ret_quoted, Error *err)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    const char *at = name;
    for (int parts = 0; parts < 2; parts++) {
        AUTO_BUFFER part = TEXT_EMPTY;
        if (!ident_part(&at, &part) || part.length > IDENT_MAX) {
            break;
        }
        AUTO_TEXT quoted = ident_quote(part.data);
        text_add(&out, quoted);
        if (*at == '\0') {
            *ret_quoted = x_strdup(out.data);
            return OK;
        }
        if (*at != '.') {
            break;
        }
        text_add_char(&out, '.');
        at++;
    }
    return error_set(err, CODE_TABLE_NAME_INVALID,
                     "'%s' is not a table name; write it as schema.table", name);
}

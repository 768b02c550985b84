#include "cdc/copy_text.h"

#include <stdbool.h>
#include <string.h>

/* The character that stands behind a backslash; false: none does. */
static bool unescape(char escape, char *ret)
{
    static const char FROM[] = "bfnrtv\\";
    static const char TO[] = "\b\f\n\r\t\v\\";
    const char *at = escape != '\0' ? strchr(FROM, escape) : NULL;
    if (at != NULL) {
        *ret = TO[at - FROM];
    }
    return at != NULL;
}

static Status refuse(const char *why, Error *err)
{
    return error_set(err, CODE_PG_PROTOCOL, "the server sent a row of COPY that %s", why);
}

/* The value from `at` to `end`. */
static Status read_value(char *at, const char *end, Slice *ret, Error *err)
{
    if (end - at == 2 && at[0] == '\\' && at[1] == 'N') {
        *ret = SLICE_NULL;
        return OK;
    }
    char *first = memchr(at, '\\', (size_t)(end - at));
    char *to = first != NULL ? first : at + (end - at);
    for (const char *from = to; from < end; from++, to++) {
        if (*from != '\\') {
            *to = *from;
        } else if (from + 1 == end || !unescape(from[1], to)) {
            return refuse("has an escape that PostgreSQL does not write", err);
        } else {
            from++;
        }
    }
    *ret = (Slice){.data = at, .length = (size_t)(to - at)};
    return OK;
}

Status copy_text_read(char *bytes, size_t length, Slice *row, size_t count, Error *err)
{
    if (length == 0 || bytes[length - 1] != '\n') {
        return refuse("does not end", err);
    }
    char *at = bytes;
    char *end = bytes + length - 1;
    if (memchr(bytes, '\n', length - 1) != NULL) {
        return refuse("ends in its middle", err);
    }
    bool escaped = memchr(bytes, '\\', length) != NULL; /* NULL is an escape, too */
    for (size_t i = 0; i < count; i++) {
        char *tab = memchr(at, '\t', (size_t)(end - at));
        bool last = i + 1 == count;
        if ((tab == NULL) != last) {
            return refuse("has another number of values than was asked for", err);
        }
        char *stop = last ? end : tab;
        if (!escaped) {
            row[i] = (Slice){.data = at, .length = (size_t)(stop - at)};
        } else if (read_value(at, stop, &row[i], err) != OK) {
            return FAILED;
        }
        at = last ? end : tab + 1;
    }
    return at == end ? OK : refuse("has another number of values than was asked for", err);
}

/* libpq reads a connection string as a URI when it begins with postgresql:// or postgres://, else
 * as key = 'value' pairs with \ as the escape (PostgreSQL manual, 34.1.1). In a URI the password
 * stands between the first ':' and '@' of the authority, or in the query. */
#include "config/mask.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/text.h"

/* Where the user's name and password end: the '@' of a URI's authority, or NULL when it has none.
 * An unescaped '/' or '?' in a password is an error to libpq, but no reason to show it. */
static const char *mask_uri_at(const char *authority)
{
    const char *first = strchr(authority, '@');
    if (first == NULL) {
        return NULL;
    }
    const char *query = strchr(authority, '?');
    const char *slash = strchr(authority, '/');
    bool proper = slash == NULL || first < slash;
    if (!proper && query != NULL && query < first) {
        return NULL; /* it belongs to the query */
    }
    const char *stop = query != NULL && query > first ? query : authority + strlen(authority);
    const char *last = first;
    for (const char *c = first; c < stop; c++) {
        last = *c == '@' ? c : last;
    }
    return last;
}

static void mask_query(Text *text, const char *query)
{
    while (*query != '\0') {
        size_t length = strcspn(query, "&");
        size_t key = strcspn(query, "=&");
        if (key < length && mask_is_secret((Slice){.data = query, .length = key})) {
            text_append(text, query, key + 1);
            text_add(text, MASK);
        } else {
            text_append(text, query, length);
        }
        query += length;
        if (*query == '&') {
            text_add_char(text, *query++);
        }
    }
}

/* Bytes of the authority host:port,[host]:port that are what they should be: up to the first port
 * that is no number, which may well be a password whose '@' is missing. */
static size_t mask_sound_hosts(const char *authority, size_t length)
{
    size_t i = 0;
    while (i < length) {
        if (authority[i] == '[') {
            const char *end = memchr(authority + i, ']', length - i);
            i = end != NULL ? (size_t)(end - authority) : length;
        } else if (authority[i] == ':') {
            size_t digits = strspn(authority + i + 1, "0123456789");
            char next = authority[i + 1 + digits];
            if (i + 1 + digits < length && next != ',') {
                return i + 1;
            }
            i += digits;
        }
        i++;
    }
    return length;
}

static void mask_uri(Text *text, const char *uri)
{
    const char *authority = strstr(uri, "://") + 3;
    text_append(text, uri, (size_t)(authority - uri));
    const char *at = mask_uri_at(authority);
    const char *rest;
    if (at != NULL) {
        const char *colon = memchr(authority, ':', (size_t)(at - authority));
        text_append(text, authority, (size_t)((colon != NULL ? colon : at) - authority));
        text_add(text, colon != NULL ? ":" MASK : "");
        rest = at;
    } else {
        size_t hosts = strcspn(authority, "/?");
        size_t sound = mask_sound_hosts(authority, hosts);
        text_append(text, authority, sound);
        text_add(text, sound < hosts ? MASK : "");
        rest = authority + hosts;
    }
    const char *query = strchr(rest, '?');
    size_t length = query != NULL ? (size_t)(query - rest) + 1 : strlen(rest);
    text_append(text, rest, length);
    mask_query(text, rest + length);
}

/* The end of a value: behind the closing quote, or at the white space. */
static const char *mask_value_end(const char *c)
{
    bool quoted = *c == '\'';
    c += quoted ? 1 : 0;
    while (*c != '\0' && (quoted ? *c != '\'' : !isspace((unsigned char)*c))) {
        c += c[0] == '\\' && c[1] != '\0' ? 2 : 1;
    }
    return quoted && *c == '\'' ? c + 1 : c;
}

static void mask_pairs(Text *text, const char *c)
{
    while (*c != '\0') {
        const char *start = c;
        c += strspn(c, " \t\r\n\f\v");
        const char *key = c;
        c += strcspn(c, "= \t\r\n\f\v");
        Slice name = {.data = key, .length = (size_t)(c - key)};
        c += strspn(c, " \t\r\n\f\v");
        if (*c != '=') { /* no pair: libpq will refuse it, and it may be part of a secret */
            text_append(text, start, (size_t)(key - start));
            text_add(text, *key != '\0' ? MASK : "");
            return;
        }
        c++;
        c += strspn(c, " \t\r\n\f\v");
        const char *value = c;
        c = mask_value_end(c);
        bool hidden = mask_is_secret(name) && c > value;
        text_append(text, start, (size_t)((hidden ? value : c) - start));
        text_add(text, hidden ? MASK : "");
    }
}

char *mask_dsn(const char *dsn)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    text_add(&text, "");
    if (strncmp(dsn, "postgresql://", 13) == 0 || strncmp(dsn, "postgres://", 11) == 0) {
        mask_uri(&text, dsn);
    } else {
        mask_pairs(&text, dsn);
    }
    char *masked = text.data;
    text = TEXT_EMPTY;
    return masked;
}

char *mask_property(const char *property)
{
    const char *equals = strchr(property, '=');
    if (equals == NULL) {
        return x_strdup(MASK);
    }
    Slice key = {.data = property, .length = (size_t)(equals - property)};
    return mask_is_secret(key) ? x_format("%.*s=" MASK, SLICE_ARG(key)) : x_strdup(property);
}

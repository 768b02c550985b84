/* libpq reads a connection string as a URI when it begins with postgresql:// or postgres://, else
 * as key = 'value' pairs with \ as the escape (PostgreSQL manual, 34.1.1). In a URI the password
 * stands between the first ':' and '@' of the authority, or in the query.
 *
 * A password with a character that should have been escaped makes something else of what follows
 * it: a host, a database, a key. So a URI is shown when all of it is what it should be, else only
 * as far as the user; and behind a secret nothing is shown but the pairs of keys that are known. */
#include "config/mask.h"

#include <ctype.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

/* A key may be misspelt, and is shown. What does not look like one may be part of a secret. */
static bool mask_is_name(Slice key)
{
    for (size_t i = 0; i < key.length; i++) {
        char c = key.data[i];
        bool letter = c == '%' && i + 2 < key.length && strchr("67", key.data[i + 1]) != NULL &&
                      isxdigit((unsigned char)key.data[i + 2]) != 0;
        if (letter) {
            i += 2; /* encoded */
        } else if (!(c >= 'a' && c <= 'z') && strchr("._-", c) == NULL) {
            return false;
        }
    }
    return key.length > 0;
}

/* key=value of a query; false: it is none, or its value belongs to something else: an '@' may be
 * the one of the authority. */
static bool mask_is_parameter(const char *parameter, size_t length, Slice key)
{
    bool known = !mask_is_secret(key) || slice_equal(key, SLICE_LITERAL("password")) ||
                 slice_equal(key, SLICE_LITERAL("sslpassword"));
    return key.length < length &&
           (known || (mask_is_name(key) && memchr(parameter, '@', length) == NULL));
}

/* False: it is none. */
static bool mask_query(Text *text, const char *query)
{
    bool hidden = false;
    while (*query != '\0') {
        size_t length = strcspn(query, "&");
        Slice key = {.data = query, .length = strcspn(query, "=&")};
        bool secret = mask_is_secret(key);
        if (!mask_is_parameter(query, length, key) || (hidden && secret)) {
            text_add(text, MASK);
            return hidden && strchr(query, '@') == NULL;
        }
        text_append(text, query, secret ? key.length + 1 : length);
        text_add(text, secret ? MASK : "");
        hidden = hidden || secret;
        query += length;
        if (*query == '&') {
            text_add_char(text, *query++);
        }
    }
    return true;
}

/* host:port,[host]:port. A port that is no number may well be a password whose '@' is missing. (A
 * reference is a number between two \x01: dsn.c.) */
static bool mask_are_hosts(const char *hosts, size_t length)
{
    size_t i = 0;
    while (i < length) {
        if (hosts[i] == '[') {
            const char *end = memchr(hosts + i, ']', length - i);
            i = end != NULL ? (size_t)(end - hosts) : length;
        } else if (hosts[i] == ':') {
            size_t digits = strspn(hosts + i + 1, "0123456789\x01");
            if (i + 1 + digits < length && hosts[i + 1 + digits] != ',') {
                return false;
            }
            i += digits;
        }
        i++;
    }
    return memchr(hosts, '@', length) == NULL;
}

/* What follows "postgresql://"; false: it is not what it should be. */
static bool mask_authority(Text *text, const char *authority)
{
    size_t length = strcspn(authority, "/?");
    const char *at = memchr(authority, '@', length);
    const char *hosts = authority;
    if (at != NULL) {
        const char *colon = memchr(authority, ':', (size_t)(at - authority));
        text_append(text, authority, (size_t)((colon != NULL ? colon : at) - authority));
        text_add(text, colon != NULL ? ":" MASK "@" : "@");
        hosts = at + 1;
    }
    const char *path = authority + length;
    const char *query = path + strcspn(path, "?");
    if (!mask_are_hosts(hosts, (size_t)(path - hosts)) ||
        memchr(path, '@', (size_t)(query - path)) != NULL) {
        return false;
    }
    text_append(text, hosts, (size_t)(query - hosts) + (*query == '?' ? 1 : 0));
    return *query == '\0' || mask_query(text, query + 1);
}

static void mask_uri(Text *text, const char *uri)
{
    AUTO_BUFFER masked = TEXT_EMPTY;
    const char *authority = strstr(uri, "://") + 3;
    text_append(text, uri, (size_t)(authority - uri));
    if (mask_authority(&masked, authority)) {
        text_add(text, text_string(&masked));
        return;
    }
    size_t user = strcspn(authority, ":/?@");
    text_append(text, authority, user + (authority[user] != '\0' ? 1 : 0));
    text_add(text, MASK);
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
    bool hidden = false;
    while (*c != '\0') {
        const char *start = c;
        c += strspn(c, " \t\r\n\f\v");
        const char *key = c;
        c += strcspn(c, "= \t\r\n\f\v");
        Slice name = {.data = key, .length = (size_t)(c - key)};
        bool secret = mask_is_secret(name);
        c += strspn(c, " \t\r\n\f\v");
        /* No pair: libpq will refuse it, and it may be part of a secret. */
        if (*c != '=' || (secret && (hidden || !mask_is_name(name)))) {
            text_append(text, start, (size_t)(key - start));
            text_add(text, *key != '\0' && !(hidden && key == start) ? MASK : "");
            return;
        }
        c++;
        c += strspn(c, " \t\r\n\f\v");
        const char *value = c;
        c = mask_value_end(c);
        secret = secret && c > value;
        text_append(text, start, (size_t)((secret ? value : c) - start));
        text_add(text, secret ? MASK : "");
        hidden = hidden || secret;
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
    if (!mask_is_secret(key)) {
        return x_strdup(property);
    }
    return mask_is_name(key) ? x_format("%.*s=" MASK, SLICE_ARG(key)) : x_strdup(MASK);
}

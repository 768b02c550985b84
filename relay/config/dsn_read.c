/* Follows conninfo_parse() and conninfo_uri_parse_options() of libpq's fe-connect.c. References are
 * replaced first, quoted so that the reader below takes each for a piece of one value. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "config/dsn.h"

typedef struct DsnReader {
    Dsn *dsn;
    DsnProblem *problem;
} DsnReader;

static const char ENCODE[] =
    "in a URI write '%' as %25, '@' as %40, ':' as %3A, '/' as %2F, '?' as %3F, '#' as %23, '&' as "
    "%26, '=' as %3D and a space as %20, or give the password as database.password_file";

/* Takes the message. NOLINTNEXTLINE(readability-non-const-parameter) */
static Status reader_fail(DsnReader *reader, const char *remedy, char *message)
{
    *reader->problem = (DsnProblem){.message = message, .remedy = x_strdup(remedy)};
    return FAILED;
}

static size_t dsn_uri_prefix(const char *text)
{
    return strncmp(text, "postgresql://", 13) == 0 ? 13
           : strncmp(text, "postgres://", 11) == 0 ? 11
                                                   : 0;
}

/* Quoting of references. One without content leaves a mark: else the next word would be the value.
 */

enum { NOTHING = '\x02' };

static void quote_pair(Text *result, const char *content, const char *rest)
{
    (void)rest;
    if (*content == '\0') {
        text_add_char(result, NOTHING);
        return;
    }
    for (const char *c = content; *c != '\0'; c++) {
        bool special =
            *c == NOTHING || *c == '\'' || *c == '\\' || *c == '=' || isspace((unsigned char)*c);
        text_add(result, special ? "\\" : "");
        text_add_char(result, *c);
    }
}

static void quote_encode(Text *result, const char *content, const char *keep)
{
    for (const char *c = content; *c != '\0'; c++) {
        bool plain = isalnum((unsigned char)*c) || strchr(keep, *c) != NULL;
        if (plain && (unsigned char)*c < 0x80) {
            text_add_char(result, *c);
        } else {
            text_printf(result, "%%%02X", (unsigned char)*c);
        }
    }
}

/* Does a literal `wanted` come before any of `stop`, in text that may hold references? */
static bool quote_ahead(const char *text, char wanted, const char *stop)
{
    while (*text != '\0' && strchr(stop, *text) == NULL) {
        if (*text == wanted) {
            return true;
        }
        size_t length = interpolate_is_reference(text) ? interpolate_reference_length(text) : 0;
        text += length > 0 ? length : 1;
    }
    return false;
}

static void quote_uri(Text *result, const char *content, const char *rest)
{
    const char *written = text_string(result) + dsn_uri_prefix(text_string(result));
    bool hosts = strpbrk(written, "/?") == NULL && !quote_ahead(rest, '@', "/");
    quote_encode(result, content, hosts ? "-._~:,[]" : "-._~");
}

/* key=value pairs. */

static const char *skip_space(const char *c)
{
    while (isspace((unsigned char)*c)) {
        c++;
    }
    return c;
}

/* The value at c, and where it ends; NULL when its quote does not end. */
static const char *pairs_value(const char *c, Text *value)
{
    bool quoted = *c == '\'';
    c += quoted ? 1 : 0;
    text_add(value, "");
    while (*c != '\0' && (quoted ? *c != '\'' : !isspace((unsigned char)*c))) {
        if (*c == '\\') {
            c++;
            if (*c == '\0') {
                break;
            }
        } else if (*c == NOTHING) {
            c++;
            continue;
        }
        text_add_char(value, *c++);
    }
    if (quoted) {
        return *c == '\'' ? c + 1 : NULL;
    }
    return c;
}

static Status pairs_read(DsnReader *reader, const char *text)
{
    size_t number = 0;
    for (const char *c = skip_space(text); *c != '\0'; c = skip_space(c)) {
        const char *name = c;
        number++;
        while (*c != '\0' && *c != '=' && !isspace((unsigned char)*c)) {
            c++;
        }
        AUTO_TEXT key = x_strndup(name, (size_t)(c - name));
        c = skip_space(c);
        if (*c != '=' || *key == '\0' || strpbrk(key, "\\\x02") != NULL) {
            return reader_fail(
                reader, DSN_REMEDY,
                x_format(
                    "word %zu is not a key=value pair (put a value with a space in single quotes)",
                    number));
        }
        AUTO_BUFFER value = TEXT_EMPTY;
        c = pairs_value(skip_space(c + 1), &value);
        if (c == NULL) {
            return reader_fail(reader, DSN_REMEDY,
                               x_format("the value of parameter %zu has no closing quote", number));
        }
        dsn_set(reader->dsn, key, value.data);
        explicit_bzero(value.data, value.length);
    }
    return OK;
}

/* URIs. */

static int hex_digit(char c)
{
    return isdigit((unsigned char)c)    ? c - '0'
           : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10
                                        : -1;
}

/* part names what it is, for the message. */
static Status uri_decode(DsnReader *reader, const char *part, Slice text, Text *value)
{
    text_add(value, "");
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] != '%') {
            text_add_char(value, text.data[i]);
            continue;
        }
        int high = i + 1 < text.length ? hex_digit(text.data[i + 1]) : -1;
        int low = i + 2 < text.length ? hex_digit(text.data[i + 2]) : -1;
        if (high < 0 || low < 0) {
            return reader_fail(
                reader, ENCODE,
                x_format("a '%%' in the %s is not followed by two hex digits", part));
        }
        if (high == 0 && low == 0) {
            return reader_fail(reader, ENCODE, x_format("the %s holds %%00", part));
        }
        text_add_char(value, (char)(high * 16 + low));
        i += 2;
    }
    return OK;
}

/* Sets the key unless the text is empty. */
static Status uri_set(DsnReader *reader, const char *key, const char *part, Slice text)
{
    AUTO_BUFFER value = TEXT_EMPTY;
    if (uri_decode(reader, part, text, &value) != OK) {
        return FAILED;
    }
    if (value.length > 0) {
        dsn_set(reader->dsn, key, value.data);
    }
    return OK;
}

static Slice slice_between(const char *from, const char *to)
{
    return (Slice){.data = from, .length = (size_t)(to - from)};
}

/* "user:password@" at *c, if it is there. */
static Status uri_user(DsnReader *reader, const char **c)
{
    const char *start = *c;
    const char *at = start + strcspn(start, "@/");
    if (*at != '@') {
        return OK;
    }
    const char *colon = memchr(start, ':', (size_t)(at - start));
    *c = at + 1;
    if (uri_set(reader, "user", "user name", slice_between(start, colon ? colon : at)) != OK) {
        return FAILED;
    }
    return colon == NULL ? OK
                         : uri_set(reader, "password", "password", slice_between(colon + 1, at));
}

/* One host of the list; *c is behind it then. */
static Status uri_host(DsnReader *reader, const char **c, Text *hosts)
{
    const char *start = *c;
    const char *end;
    if (*start == '[') {
        start++;
        end = strchr(start, ']');
        if (end == NULL || end == start || strchr(":/?,", end[1]) == NULL) {
            return reader_fail(reader, DSN_REMEDY,
                               x_strdup("an address that begins with '[' does not end with ']'"));
        }
        *c = end + 1;
    } else {
        end = start + strcspn(start, ":/?,");
        *c = end;
    }
    text_append(hosts, start, (size_t)(end - start));
    return OK;
}

static Status uri_hosts(DsnReader *reader, const char **c)
{
    AUTO_BUFFER hosts = TEXT_EMPTY;
    AUTO_BUFFER ports = TEXT_EMPTY;
    text_add(&hosts, "");
    text_add(&ports, "");
    for (;;) {
        if (uri_host(reader, c, &hosts) != OK) {
            return FAILED;
        }
        if (**c == ':') {
            const char *port = ++*c;
            *c += strcspn(*c, "/?,");
            text_append(&ports, port, (size_t)(*c - port));
        }
        if (**c != ',') {
            break;
        }
        ++*c;
        text_add_char(&hosts, ',');
        text_add_char(&ports, ',');
    }
    if (strchr(hosts.data, '@') != NULL || strchr(ports.data, '@') != NULL) {
        return reader_fail(reader, ENCODE,
                           x_strdup("there is a second '@' after the one that ends the password"));
    }
    if (uri_set(reader, "host", "host", slice_of(hosts.data)) != OK) {
        return FAILED;
    }
    return uri_set(reader, "port", "port", slice_of(ports.data));
}

static Status uri_parameter(DsnReader *reader, size_t number, Slice text)
{
    const char *equals = memchr(text.data, '=', text.length);
    const char *end = text.data + text.length;
    if (equals == NULL || memchr(equals + 1, '=', (size_t)(end - equals - 1)) != NULL) {
        return reader_fail(reader, ENCODE,
                           x_format("parameter %zu behind the '?' is not key=value", number));
    }
    AUTO_BUFFER key = TEXT_EMPTY;
    AUTO_BUFFER value = TEXT_EMPTY;
    if (uri_decode(reader, "parameters", slice_between(text.data, equals), &key) != OK ||
        uri_decode(reader, "parameters", slice_between(equals + 1, end), &value) != OK) {
        return FAILED;
    }
    bool ssl = strcmp(key.data, "ssl") == 0 && strcmp(value.data, "true") == 0; /* of JDBC */
    dsn_set(reader->dsn, ssl ? "sslmode" : key.data, ssl ? "require" : value.data);
    return OK;
}

static Status uri_read(DsnReader *reader, const char *c)
{
    if (uri_user(reader, &c) != OK || uri_hosts(reader, &c) != OK) {
        return FAILED;
    }
    if (*c == '/') {
        const char *name = ++c;
        c += strcspn(c, "?");
        if (memchr(name, '@', (size_t)(c - name)) != NULL) {
            return reader_fail(reader, ENCODE,
                               x_strdup("there is an '@' after the '/' that ends the hosts"));
        }
        if (uri_set(reader, "dbname", "name of the database", slice_between(name, c)) != OK) {
            return FAILED;
        }
    }
    size_t number = 0;
    while (*c == '?' || *c == '&') {
        const char *start = ++c;
        c += strcspn(c, "&");
        if (*start == '\0') {
            break; /* nothing follows the last '?' or '&' */
        }
        if (uri_parameter(reader, ++number, slice_between(start, c)) != OK) {
            return FAILED;
        }
    }
    return OK;
}

/* The text without the white space around it. */
static char *dsn_trim(const char *text)
{
    text = skip_space(text);
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1])) {
        length--;
    }
    /* what is escaped is no end: "password=x\ " */
    bool escaped = length > 0 && text[length - 1] == '\\' && dsn_uri_prefix(text) == 0;
    return escaped ? x_strdup(text) : x_strndup(text, length);
}

static Status dsn_interpolate(const Interpolation *how, const char *text, char **ret_text,
                              DsnProblem *problem)
{
    bool all = interpolate_is_reference(text) && interpolate_reference_length(text) == strlen(text);
    Interpolation quoting = *how;
    quoting.quote = all ? NULL : dsn_uri_prefix(text) > 0 ? quote_uri : quote_pair;
    char *message = NULL;
    AUTO_TEXT replaced = NULL;
    if (interpolate(&quoting, text, &replaced, &message) != OK) {
        *problem = (DsnProblem){.message = message, .reference = true};
        return FAILED;
    }
    *ret_text = dsn_trim(replaced);
    return OK;
}

Status dsn_read(const Interpolation *how, const char *text, Dsn *ret_dsn, DsnProblem *ret_problem)
{
    Dsn dsn = {0};
    DsnReader reader = {.dsn = &dsn, .problem = ret_problem};
    AUTO_TEXT plain = dsn_trim(text);
    *ret_problem = (DsnProblem){0};
    if (how != NULL) {
        char *replaced = NULL;
        if (dsn_interpolate(how, plain, &replaced, ret_problem) != OK) {
            return FAILED;
        }
        free(plain);
        plain = replaced;
    }
    size_t prefix = dsn_uri_prefix(plain);
    Status status = prefix > 0 ? uri_read(&reader, plain + prefix) : pairs_read(&reader, plain);
    if (status == OK && *plain == '\0') {
        status = reader_fail(&reader, DSN_REMEDY, x_strdup("it is empty"));
    }
    explicit_bzero(plain, strlen(plain));
    if (status != OK) {
        dsn_free(&dsn);
        return FAILED;
    }
    *ret_dsn = dsn;
    return OK;
}

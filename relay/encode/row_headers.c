/* A strict scanner of RFC 8259 for the top level of an object; nested values are checked for
 * structure only as far as finding their end needs, since PostgreSQL has validated json and jsonb
 * already and text columns are refused when the structure is off. On the hot path: no tree is
 * built. */
#include "encode/row_headers.h"

#include <assert.h>
#include <stdint.h>

#include "encode/limits.h"

typedef struct Scanner {
    const char *at;
    const char *end;
    bool failed; /* sticky */
} Scanner;

static void skip_space(Scanner *s)
{
    while (s->at < s->end &&
           (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r')) {
        s->at++;
    }
}

static bool take(Scanner *s, char c)
{
    if (s->at < s->end && *s->at == c) {
        s->at++;
        return true;
    }
    return false;
}

/* After the opening quote: the raw text up to the closing one, which is taken. */
static Slice scan_string(Scanner *s, bool *ret_escaped)
{
    const char *start = s->at;
    *ret_escaped = false;
    for (; s->at < s->end; s->at++) {
        if (*s->at == '"') {
            Slice raw = {.data = start, .length = (size_t)(s->at - start)};
            s->at++;
            return raw;
        }
        if ((unsigned char)*s->at < 0x20) {
            break;
        }
        if (*s->at == '\\') {
            *ret_escaped = true;
            s->at++;
        }
    }
    s->failed = true;
    return SLICE_NULL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static uint32_t scan_hex4(Scanner *s)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = s->at < s->end ? hex_digit(*s->at) : -1;
        if (digit < 0) {
            s->failed = true;
            return 0;
        }
        code = code << 4 | (uint32_t)digit;
        s->at++;
    }
    return code;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xC0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *out++ = (char)(0xE0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    } else {
        *out++ = (char)(0xF0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3F));
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    }
    return out;
}

static char *unescape_unicode(Scanner *s, char *out)
{
    uint32_t code = scan_hex4(s);
    if (code >= 0xD800 && code <= 0xDBFF) {
        bool pair = take(s, '\\') && take(s, 'u');
        uint32_t low = pair ? scan_hex4(s) : 0;
        s->failed |= low < 0xDC00 || low > 0xDFFF;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code <= 0xDFFF) {
        s->failed = true;
    }
    return s->failed ? out : put_utf8(out, code);
}

/* The text of a raw JSON string; escapes only ever shrink. */
static Slice unescape(Scanner *s, Slice raw, Arena *arena)
{
    char *text = arena_alloc(arena, raw.length + 1);
    char *out = text;
    Scanner in = {.at = raw.data, .end = raw.data + raw.length};
    while (in.at < in.end && !in.failed) {
        char c = *in.at++;
        if (c != '\\') {
            *out++ = c;
            continue;
        }
        char escape = in.at < in.end ? *in.at++ : '\0';
        static const char FROM[] = "\"\\/bfnrt";
        static const char TO[] = "\"\\/\b\f\n\r\t";
        const char *known = escape != '\0' ? strchr(FROM, escape) : NULL;
        if (known != NULL) {
            *out++ = TO[known - FROM];
        } else if (escape == 'u') {
            out = unescape_unicode(&in, out);
        } else {
            in.failed = true;
        }
    }
    s->failed |= in.failed;
    return (Slice){.data = text, .length = (size_t)(out - text)};
}

static Slice scan_text(Scanner *s, Arena *arena)
{
    bool escaped = false;
    Slice raw = scan_string(s, &escaped);
    return escaped && !s->failed ? unescape(s, raw, arena) : raw;
}

/* An object or array: the raw text from its opening to its closing bracket. */
static Slice scan_nested(Scanner *s)
{
    const char *start = s->at;
    char closers[LIMIT_HEADERS_DEPTH];
    int depth = 0;
    while (s->at < s->end && !s->failed) {
        char c = *s->at++;
        if (c == '"') {
            bool escaped = false;
            (void)scan_string(s, &escaped);
        } else if (c == '{' || c == '[') {
            if (depth == LIMIT_HEADERS_DEPTH) {
                break;
            }
            closers[depth++] = c == '{' ? '}' : ']';
        } else if (c == '}' || c == ']') {
            assert(depth > 0); /* the first character is an opening bracket */
            if (closers[--depth] != c) {
                break;
            }
            if (depth == 0) {
                return (Slice){.data = start, .length = (size_t)(s->at - start)};
            }
        }
    }
    s->failed = true;
    return SLICE_NULL;
}

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9') {
        at++;
    }
    return at;
}

/* -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? and nothing more. */
static bool is_number(Slice raw)
{
    const char *end = raw.data + raw.length;
    const char *at = raw.data;
    at += at < end && *at == '-';
    const char *digits = at;
    at = skip_digits(at, end);
    if (at == digits || (*digits == '0' && at - digits > 1)) {
        return false;
    }
    if (at < end && *at == '.') {
        digits = at + 1;
        at = skip_digits(digits, end);
        if (at == digits) {
            return false;
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        digits = at;
        at = skip_digits(at, end);
        if (at == digits) {
            return false;
        }
    }
    return at == end;
}

static Slice scan_scalar(Scanner *s)
{
    const char *start = s->at;
    while (s->at < s->end && strchr(",}] \t\r\n", *s->at) == NULL) {
        s->at++;
    }
    Slice raw = {.data = start, .length = (size_t)(s->at - start)};
    bool word = slice_equal(raw, SLICE_LITERAL("true")) ||
                slice_equal(raw, SLICE_LITERAL("false")) || slice_equal(raw, SLICE_LITERAL("null"));
    s->failed |= !word && !is_number(raw);
    return raw;
}

bool header_names_have(const HeaderNames *names, Slice name)
{
    for (size_t i = 0; i < names->count; i++) {
        Slice item = names->items[i];
        if (item.length == name.length && strncasecmp(item.data, name.data, name.length) == 0) {
            return true;
        }
    }
    return false;
}

static void scan_member(Scanner *s, HeaderList *list, const HeaderNames *reserved)
{
    skip_space(s);
    if (!take(s, '"')) {
        s->failed = true;
        return;
    }
    Slice name = scan_text(s, list->arena);
    skip_space(s);
    s->failed |= s->failed || !take(s, ':');
    skip_space(s);
    if (s->failed || s->at == s->end) {
        s->failed = true;
        return;
    }
    Slice value;
    if (take(s, '"')) {
        value = scan_text(s, list->arena);
    } else if (*s->at == '{' || *s->at == '[') {
        value = scan_nested(s);
    } else {
        value = scan_scalar(s);
        value = slice_equal(value, SLICE_LITERAL("null")) ? SLICE_NULL : value;
    }
    if (reserved != NULL && header_names_have(reserved, name)) {
        list->shadowed++;
        return;
    }
    headers_add(list, name, value);
}

Status row_headers_add(Slice json, const HeaderNames *reserved, HeaderList *list, Error *err)
{
    if (slice_is_null(json)) {
        return OK;
    }
    Scanner s = {.at = json.data, .end = json.data + json.length};
    size_t members = 0;
    skip_space(&s);
    s.failed = json.length > LIMIT_HEADERS_BYTES || !take(&s, '{');
    skip_space(&s);
    bool more = !s.failed && !take(&s, '}');
    while (more && !s.failed) {
        scan_member(&s, list, reserved);
        members++;
        skip_space(&s);
        more = take(&s, ',');
        s.failed |= (!more && !take(&s, '}')) || members > RECORD_HEADERS_MAX;
    }
    skip_space(&s);
    if (s.failed || s.at != s.end) {
        error_set(err, CODE_HEADERS_INVALID,
                  "the row's headers are not a JSON object with at most %d members, %d levels "
                  "below a member, and %d bytes",
                  RECORD_HEADERS_MAX, LIMIT_HEADERS_DEPTH, LIMIT_HEADERS_BYTES);
        return error_advise(err);
    }
    return OK;
}

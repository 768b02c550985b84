#include "change/change_json.h"

#include <string.h>

#include "base/utf8.h"

static const char UPPER_HEX[] = "0123456789ABCDEF";

static void add_unit(Text *out, unsigned unit)
{
    char escape[] = {'\\',
                     'u',
                     UPPER_HEX[unit >> 12 & 15],
                     UPPER_HEX[unit >> 8 & 15],
                     UPPER_HEX[unit >> 4 & 15],
                     UPPER_HEX[unit & 15]};
    text_append(out, escape, sizeof(escape));
}

/* A quote, a backslash or a control character. */
static void add_escape(Text *out, unsigned char c)
{
    static const char SHORT[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                 ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    if (c < sizeof(SHORT) && SHORT[c] != '\0') {
        char escape[] = {'\\', SHORT[c]};
        text_append(out, escape, sizeof(escape));
    } else {
        add_unit(out, c);
    }
}

static bool add_string(Text *out, Slice text, bool beyond)
{
    text_add_char(out, '"');
    size_t from = 0;
    size_t at = 0;
    while (at < text.length) {
        unsigned char c = (unsigned char)text.data[at];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            at++;
            continue;
        }
        size_t length = c < 0x80 ? 1 : utf8_sequence(text.data + at, text.length - at);
        if (length == 0) {
            return false;
        }
        if (c < 0x80 || (length == 4 && beyond)) {
            text_append(out, text.data + from, at - from);
            from = at + length;
            if (c < 0x80) {
                add_escape(out, c);
            } else {
                uint32_t code = utf8_code(text.data + at, length) - 0x10000;
                add_unit(out, 0xD800 + (code >> 10));
                add_unit(out, 0xDC00 + (code & 0x3FF));
            }
        }
        at += length;
    }
    text_append(out, text.data + from, at - from);
    text_add_char(out, '"');
    return true;
}

bool change_json_string(Text *out, Slice text)
{
    return add_string(out, text, true);
}

bool change_json_inner(Text *out, Slice text)
{
    return add_string(out, text, false);
}

void change_json_base64(Text *out, const unsigned char *bytes, size_t length, bool url_safe)
{
    static const char DIGITS[2][65] = {
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"};
    const char *digits = DIGITS[url_safe];
    for (size_t at = 0; at < length; at += 3) {
        size_t left = length - at;
        uint32_t group = (uint32_t)bytes[at] << 16 | (left > 1 ? (uint32_t)bytes[at + 1] << 8 : 0) |
                         (left > 2 ? bytes[at + 2] : 0);
        char four[] = {digits[group >> 18], digits[group >> 12 & 63],
                       left > 1 ? digits[group >> 6 & 63] : '=',
                       left > 2 ? digits[group & 63] : '='};
        text_append(out, four, sizeof(four));
    }
}

void change_json_number(Text *out, int64_t number)
{
    static const char PAIRS[] =
        "00010203040506070809101112131415161718192021222324252627282930313233"
        "34353637383940414243444546474849505152535455565758596061626364656667"
        "6869707172737475767778798081828384858687888990919293949596979899";
    char digits[21];
    char *at = digits + sizeof(digits);
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    for (; rest >= 100; rest /= 100) {
        at -= 2;
        memcpy(at, PAIRS + 2 * (rest % 100), 2);
    }
    if (rest >= 10) {
        *--at = PAIRS[2 * rest + 1];
        rest /= 10;
    }
    *--at = (char)('0' + rest);
    if (number < 0) {
        *--at = '-';
    }
    text_append(out, at, (size_t)(digits + sizeof(digits) - at));
}

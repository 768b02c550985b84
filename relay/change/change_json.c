#include "change/change_json.h"

#include <string.h>

#include "base/eight.h"
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

/* How many of the bytes are themselves within a string. */
static size_t plain_bytes(const char *bytes, size_t length)
{
    size_t at = 0;
    for (size_t plain = 8; plain == 8 && at + 8 <= length; at += plain) {
        plain = eight_first(eight_odd(eight_read(bytes + at)));
    }
    while (at < length) {
        unsigned char c = (unsigned char)bytes[at];
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') {
            break;
        }
        at++;
    }
    return at;
}

static bool add_string(Text *out, Slice text, bool beyond)
{
    text_put_char(out, '"');
    size_t from = 0;
    for (size_t at = 0;;) {
        at += plain_bytes(text.data + at, text.length - at);
        if (at == text.length) {
            break;
        }
        unsigned char c = (unsigned char)text.data[at];
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
    text_put(out, (Slice){.data = text.data + from, .length = text.length - from});
    text_put_char(out, '"');
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
    size_t written = (length + 2) / 3 * 4;
    char *to = text_room(out, written);
    for (size_t at = 0; at < length; at += 3) {
        size_t left = length - at;
        uint32_t group = (uint32_t)bytes[at] << 16 | (left > 1 ? (uint32_t)bytes[at + 1] << 8 : 0) |
                         (left > 2 ? bytes[at + 2] : 0);
        *to++ = digits[group >> 18];
        *to++ = digits[group >> 12 & 63];
        *to++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[group & 63] : '=';
    }
    text_wrote(out, written);
}

/* Of a number above 0: a digit has 3.32 bits, so that their count is off by at most one. */
static unsigned digits_of(uint64_t number)
{
    static const uint64_t POWERS[] = {UINT64_C(1),
                                      UINT64_C(10),
                                      UINT64_C(100),
                                      UINT64_C(1000),
                                      UINT64_C(10000),
                                      UINT64_C(100000),
                                      UINT64_C(1000000),
                                      UINT64_C(10000000),
                                      UINT64_C(100000000),
                                      UINT64_C(1000000000),
                                      UINT64_C(10000000000),
                                      UINT64_C(100000000000),
                                      UINT64_C(1000000000000),
                                      UINT64_C(10000000000000),
                                      UINT64_C(100000000000000),
                                      UINT64_C(1000000000000000),
                                      UINT64_C(10000000000000000),
                                      UINT64_C(100000000000000000),
                                      UINT64_C(1000000000000000000),
                                      UINT64_C(10000000000000000000)};
    unsigned bits = 64 - (unsigned)__builtin_clzll(number);
    unsigned least = bits * 1233 >> 12;
    return least + (number >= POWERS[least]);
}

void change_json_number(Text *out, int64_t number)
{
    static const char PAIRS[] =
        "00010203040506070809101112131415161718192021222324252627282930313233"
        "34353637383940414243444546474849505152535455565758596061626364656667"
        "6869707172737475767778798081828384858687888990919293949596979899";
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    unsigned length = (rest == 0 ? 1 : digits_of(rest)) + (number < 0);
    char *begin = text_room(out, length);
    *begin = '-';
    char *at = begin + length;
    for (; rest >= 100; rest /= 100) {
        at -= 2;
        memcpy(at, PAIRS + 2 * (rest % 100), 2);
    }
    if (rest >= 10) {
        memcpy(at - 2, PAIRS + 2 * rest, 2);
    } else {
        at[-1] = (char)('0' + rest);
    }
    text_wrote(out, length);
}

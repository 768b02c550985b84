#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/eight.h"
#include "base/memory.h"
#include "base/utf8.h"

void text_free(Text *text)
{
    free(text->data);
    *text = TEXT_EMPTY;
}

void text_cut(Text *text, size_t length)
{
    text->length = length;
    if (text->data != NULL) {
        text->data[length] = '\0';
    }
}

void text_clear(Text *text)
{
    text_cut(text, 0);
}

void text_grow(Text *text, size_t more)
{
    size_t capacity = text->capacity > 0 ? text->capacity : 128;
    while (capacity - text->length <= more) {
        capacity *= 2;
    }
    text->data = x_realloc(text->data, capacity);
    text->capacity = capacity;
}

void text_append(Text *text, const char *bytes, size_t length)
{
    text_put(text, (Slice){.data = bytes, .length = length});
}

void text_add(Text *text, const char *string)
{
    text_put(text, slice_of(string));
}

void text_add_slice(Text *text, Slice slice)
{
    text_put(text, slice);
}

void text_add_char(Text *text, char c)
{
    text_put_char(text, c);
}

void text_printf(Text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length > 0) {
        vsnprintf(text_room(text, (size_t)length), (size_t)length + 1, format, again);
        text_wrote(text, (size_t)length);
    }
    va_end(again);
}

/* A character of a JSON string, or U+FFFD for a byte that is none (length 0). */
static void text_add_character(Text *text, const char *bytes, size_t length)
{
    uint32_t code = length > 0 ? utf8_code(bytes, length) : 0xFFFD;
    if (length == 0) {
        text_add(text, "\xEF\xBF\xBD");
    } else if (!utf8_steers(code)) {
        text_append(text, bytes, length);
    } else if (code < 0x10000) {
        text_printf(text, "\\u%04x", (unsigned)code);
    } else {
        text_printf(text, "\\u%04x\\u%04x", (unsigned)(0xD7C0 + (code >> 10)),
                    (unsigned)(0xDC00 + (code & 0x3FF)));
    }
}

void text_add_foreign_json(Text *text, const char *json)
{
    size_t length = strlen(json);
    for (size_t i = 0; i < length;) {
        size_t bytes = utf8_sequence(json + i, length - i);
        if (strchr(" \t\r\n", json[i]) != NULL) {
            text_add_char(text, json[i]);
        } else {
            text_add_character(text, json + i, bytes);
        }
        i += bytes > 0 ? bytes : 1;
    }
}

void text_add_shown(Text *text, const char *foreign, bool keep_lines)
{
    size_t length = strlen(foreign);
    for (size_t i = 0; i < length;) {
        size_t bytes = utf8_sequence(foreign + i, length - i);
        char c = foreign[i];
        if (c == '\n' && keep_lines) {
            text_add_char(text, c);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            bool space = text->length > 0 && text->data[text->length - 1] == ' ';
            text_add(text, space ? "" : " ");
        } else if (bytes == 0 || utf8_steers(utf8_code(foreign + i, bytes))) {
            text_add_char(text, '?');
        } else {
            text_append(text, foreign + i, bytes);
        }
        i += bytes > 0 ? bytes : 1;
    }
}

static bool json_is_plain(unsigned char c)
{
    return c >= ' ' && c < 0x7F && c != '"' && c != '\\';
}

/* Copies bytes up to the first that does not stand for itself; how many. DEL does not, either. */
static size_t add_plain(Text *text, const char *bytes, size_t length)
{
    size_t at = 0;
    for (size_t plain = 8; plain == 8 && at + 8 <= length; at += plain) {
        uint64_t eight = eight_read(bytes + at);
        memcpy(text_room(text, 8), bytes + at, 8);
        plain = eight_first(eight_odd(eight) | ((eight + EIGHT_ONES) & EIGHT_HIGH));
        text->length += plain;
    }
    for (; at < length && json_is_plain((unsigned char)bytes[at]); at++) {
        text_put_char(text, bytes[at]);
    }
    return at;
}

void text_add_json(Text *text, Slice value)
{
    if (slice_is_null(value)) {
        text_add(text, "null");
        return;
    }
    text_put_char(text, '"');
    for (size_t i = 0; i < value.length;) {
        i += add_plain(text, value.data + i, value.length - i);
        if (i == value.length) {
            break;
        }
        unsigned char c = (unsigned char)value.data[i];
        if (c == '"' || c == '\\') {
            text_put_char(text, '\\');
            text_put_char(text, (char)c);
            i++;
        } else {
            size_t length = utf8_sequence(value.data + i, value.length - i);
            text_add_character(text, value.data + i, length);
            i += length > 0 ? length : 1;
        }
    }
    text_put_char(text, '"');
}

const char *text_string(const Text *text)
{
    return text->data ? text->data : "";
}

char *text_fold(char *text)
{
    char *to = text;
    for (const char *c = text; *c != '\0'; c++) {
        bool blank = *c == '\n' || *c == '\r' || *c == '\t' || *c == ' ';
        if (!blank) {
            *to++ = *c;
        } else if (to > text && to[-1] != ' ') {
            *to++ = ' ';
        }
    }
    to -= to > text && to[-1] == ' ';
    *to = '\0';
    return text;
}

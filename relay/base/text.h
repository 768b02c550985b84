/* text: a growable string for building SQL, JSON and HTTP answers. Always NUL-terminated once
 * something was appended. What an event keeps lives in an arena. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/slice.h"

typedef struct Text {
    char *data;
    size_t length;
    size_t capacity;
} Text;

#define TEXT_EMPTY ((Text){0})

void text_free(Text *text);
/** Keeps the memory, drops the content. */
void text_clear(Text *text);
/** Drops what is behind the first `length` bytes, of which there are so many. */
void text_cut(Text *text, size_t length);
void text_append(Text *text, const char *bytes, size_t length);
void text_add(Text *text, const char *string);
void text_add_slice(Text *text, Slice slice);
void text_add_char(Text *text, char c);
void text_printf(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Appends a JSON string literal with quotes; a null slice becomes null. Bytes that are not valid
 * UTF-8 become U+FFFD, so the output is always valid JSON. What steers a terminal is escaped. */
void text_add_json(Text *text, Slice value);
/** Appends JSON that somebody else wrote, with what steers a terminal (utf8_steers, but for blanks
 * between tokens) as an escape: the same JSON, as such characters stand in strings only. */
void text_add_foreign_json(Text *text, const char *json);
/** Appends text from outside for people to read: what steers a terminal, and bytes that are not
 * UTF-8, become '?'; tabs and runs of line ends one space, or line ends stay. All that commands
 * print of what others named goes through here. */
void text_add_shown(Text *text, const char *foreign, bool keep_lines);
/** Makes one line of it, in place: runs of line ends, tabs and blanks are one blank, and none is at
 * the ends. Returns it. */
char *text_fold(char *text);
/** The content ("" when empty); owned by the text. */
const char *text_string(const Text *text);
/** The same as a slice: never the null slice. */
static inline Slice text_slice(const Text *text)
{
    return (Slice){.data = text->data != NULL ? text->data : "", .length = text->length};
}

/* The same inline, for records of changes, which are put together from many small pieces. */

/** Slow path of text_room(): memory for `more` bytes and the NUL. */
void text_grow(Text *text, size_t more);

/** Where the next bytes go; there is room for `more` of them and for the NUL. Whoever writes there
 * says how many with text_wrote(). */
static inline char *text_room(Text *text, size_t more)
{
    if (text->capacity - text->length <= more) {
        text_grow(text, more);
    }
    return text->data + text->length;
}

static inline void text_wrote(Text *text, size_t length)
{
    text->length += length;
    text->data[text->length] = '\0';
}

static inline void text_put(Text *text, Slice bytes)
{
    char *at = text_room(text, bytes.length);
    if (bytes.length > 0) {
        memcpy(at, bytes.data, bytes.length);
    }
    text_wrote(text, bytes.length);
}

static inline void text_put_char(Text *text, char c)
{
    *text_room(text, 1) = c;
    text_wrote(text, 1);
}

#define TEXT_PUT(text, literal) text_put(text, SLICE_LITERAL(literal))

#define AUTO_BUFFER             __attribute__((cleanup(text_free))) Text

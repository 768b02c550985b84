/* text: a growable string for building SQL, JSON and HTTP answers. Always NUL-terminated once
 * something was appended. Not for the hot path's per-event bytes (those live in an arena). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

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
void text_append(Text *text, const char *bytes, size_t length);
void text_add(Text *text, const char *string);
void text_add_slice(Text *text, Slice slice);
void text_add_char(Text *text, char c);
void text_printf(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Appends a JSON string literal with quotes; a null slice becomes null. Bytes that are not valid
 * UTF-8 become U+FFFD, so the output is always valid JSON. */
void text_add_json(Text *text, Slice value);
/** The content ("" when empty); owned by the text. */
const char *text_string(const Text *text);

#define AUTO_BUFFER __attribute__((cleanup(text_free))) Text

/* utf8: well-formedness after Unicode 15, table 3-7 (no surrogates, no overlong forms). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes of the well-formed sequence at the start (1 to 4), or 0 when there is none. */
size_t utf8_sequence(const char *bytes, size_t length);

/** The code point of a well-formed sequence of that many bytes (from utf8_sequence). */
uint32_t utf8_code(const char *bytes, size_t length);

/** True for a code point that steers a terminal, or what people read there, instead of being shown:
 * C0, DEL and C1 controls, bidirectional controls, line and paragraph separators, and the
 * invisible marks U+200B, U+FEFF, U+FFF9 to U+FFFB and tags. */
bool utf8_steers(uint32_t code);

/** The length of what is left of the bytes when they are cut to at most `most` without leaving a
 * part of a character at the end, also where they ended in one. */
size_t utf8_cut(const char *bytes, size_t length, size_t most);

/** True when all bytes are well-formed UTF-8. */
bool utf8_valid(const char *bytes, size_t length);

/* utf8: well-formedness after Unicode 15, table 3-7 (no surrogates, no overlong forms). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/** Bytes of the well-formed sequence at the start (1 to 4), or 0 when there is none. */
size_t utf8_sequence(const char *bytes, size_t length);

/** True when all bytes are well-formed UTF-8. */
bool utf8_valid(const char *bytes, size_t length);

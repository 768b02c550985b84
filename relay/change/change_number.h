/* change_number: PostgreSQL's text of a number to what Debezium writes for it.
 *
 * All of these read text that may be anything: false means that it is no such number, and what was
 * appended is to be taken back. scratch is memory to work in; text may not be in it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/text.h"

/** A whole number between low and high. */
bool change_number_whole(Slice text, int64_t low, int64_t high, int64_t *ret);

/** Appends a float8, or with `single` a float4, in Java's layout ("1.0E7"), or one of the strings
 * "NaN", "Infinity",
 * "-Infinity". */
bool change_number_float(Text *out, Slice text, bool single);

/** The same of a numeric, as the double that is next to it. */
bool change_number_double(Text *out, Slice text, Text *scratch);

enum { CHANGE_SCALE_ANY = -1 };

typedef enum ChangeSpecial {
    SPECIAL_NONE,
    SPECIAL_NAN,
    SPECIAL_INFINITY,
    SPECIAL_MINUS_INFINITY,
} ChangeSpecial;

/** NaN and the infinities, which numeric has, too. */
ChangeSpecial change_number_special(Slice text);

/** Appends base64 of the unscaled number, big-endian two's complement without superfluous bytes.
 * scale: how many digits behind the point it has; CHANGE_SCALE_ANY: as few as it needs, *ret_scale
 * says how many. False, too, when there are digits that the scale would lose. */
bool change_number_decimal(Text *out, Slice text, int scale, Text *scratch, int *ret_scale);

/** "$1,234.11", "-$1,234.11" or "($1,234.11)" to "1234.11" or "-1234.11" in scratch, which is
 * emptied before; with two digits behind the point. */
bool change_number_money(Slice text, Text *scratch);

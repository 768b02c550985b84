/* change_json: JSON as Jackson writes it, which is what Kafka Connect's JsonConverter calls.
 *
 * A string keeps all that is no control character as UTF-8, but for what is beyond the basic
 * plane: that is two escapes with upper-case digits. Text must be UTF-8: whoever calls has looked,
 * since a byte that is none is an error of the value and not of the writer. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/text.h"

/** Appends a string with its quotes. False: the text is no UTF-8, and a part of it was appended. */
bool change_json_string(Text *out, Slice text);

/** Appends the same as Java's own strings hold it, where it will be the text of another string:
 * nothing beyond the basic plane is escaped. */
bool change_json_inner(Text *out, Slice text);

/** Appends base64 with its padding and without quotes. */
void change_json_base64(Text *out, const unsigned char *bytes, size_t length, bool url_safe);

/** Appends a decimal number. */
void change_json_number(Text *out, int64_t number);

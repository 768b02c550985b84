/* change_value: PostgreSQL's text of one value to JSON.
 *
 * The text comes from a server or from whoever claims to be one: it is read to its end, within its
 * bounds, and what is no value of the type is refused, never guessed. */
#pragma once

#include "base/slice.h"
#include "change/change_out.h"
#include "change/change_type.h"

/** Appends the value to out->json, or nothing. */
ChangeWritten change_value_write(const ChangeType *type, Slice text, ChangeOut *out);

/** Appends bytes as a string of base64 or hexadecimal digits. */
void change_value_binary(ChangeBinary mode, Slice bytes, Text *json);

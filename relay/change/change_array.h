/* change_array: PostgreSQL's text of an array, such as {1,NULL,"a b"} or [0:1]={5,6}. */
#pragma once

#include "base/slice.h"
#include "change/change_out.h"
#include "change/change_type.h"

/* Appends one element. */
typedef ChangeWritten (*ChangeArrayWriter)(const ChangeType *type, Slice text, ChangeOut *out);

/** Appends a JSON array of its elements; those of more than one dimension one after another.
 * CHANGE_AS_NULL when it has a NULL that its schema does not allow, or an element without a value
 * (NaN in a precise numeric). */
ChangeWritten change_array_write(const ChangeType *type, Slice text, ChangeArrayWriter writer,
                                 ChangeOut *out);

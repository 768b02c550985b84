/* copy_text: a row of COPY ... TO STDOUT in the text format -> its values, in place.
 *
 * https://www.postgresql.org/docs/current/sql-copy.html, "Text Format": values are separated by
 * tabs, the row ends with a newline, \N alone is NULL, and a backslash stands before b, f, n, r, t,
 * v and itself. The server writes no other escape, so none is taken for one. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"

/** Reads a row of `count` values into row[]; the bytes are changed, and the values point into them.
 * RETRY / PG_PROTOCOL when it is no such row. */
Status copy_text_read(char *bytes, size_t length, Slice *row, size_t count, Error *err);

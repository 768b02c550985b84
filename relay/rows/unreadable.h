/* unreadable: which row is it that the server cannot read?
 *
 * A row may make the reading of all rows fail: its TOAST is damaged, or its text would be more than
 * the server can build, which takes seconds each time. Rows are read in order, so it is the one
 * behind those that came, as a rule. These are read once more, as they were thrown away, then it
 * alone. Where none comes before the failure (the server sorts) the next reads are of one row, two,
 * four, ...
 *
 * What the server calls an internal error may be of a moment: nothing is concluded from one of a
 * row that stands alone. Then the row is read without its bodies, and if need be with nothing but
 * its name (`lean`), and is refused. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "rows/table.h"

typedef struct Unreadable {
    size_t probe;   /* most rows of the next read, while one is looked for; 0: none is */
    size_t ahead;   /* so many before it are read first */
    unsigned tries; /* failures of the row that stands alone */
    TableLean lean; /* how much of that row is read */
    Error error;    /* of it */
} Unreadable;

/** A read of at most `limit` rows, which was bounded by unreadable_limit(), failed after so many.
 * False: it is no fault of a row, or not even the row's name can be read. */
bool unreadable_failed(Unreadable *unreadable, const Error *err, size_t limit, size_t rows);

/** Rows were read: so many, of the `most` that are read at once. */
void unreadable_passed(Unreadable *unreadable, size_t rows, size_t most);

/** How many rows to read now. */
size_t unreadable_limit(const Unreadable *unreadable, size_t limit);

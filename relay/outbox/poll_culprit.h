/* Which row makes fetches fail (rows/unreadable.h), and what it is called. */
#pragma once

#include "outbox/known.h"
#include "rows/unreadable.h"

typedef struct Culprit {
    Unreadable unreadable;
    KnownRow row; /* failed alone */
} Culprit;

/** It is being looked for: the next fetch reads rows by number. */
bool culprit_is_sought(const Culprit *culprit);
/** How many rows it reads. */
size_t culprit_limit(const Culprit *culprit, size_t limit);

/** A fetch of so many rows failed after so many; alone: it was of one row, this. False: that is no
 * fault of a row. */
bool culprit_failed(Culprit *culprit, const Error *err, size_t limit, size_t rows,
                    const KnownRow *alone);
/** Rows were read: so many, of the `most` that are read at once. */
void culprit_passed(Culprit *culprit, size_t rows, size_t most);

/** It was found: how much of it is read next; LEAN_NONE: it was not. */
TableLean culprit_lean(const Culprit *culprit);
KnownRow culprit_row(const Culprit *culprit);
const Error *culprit_error(const Culprit *culprit);
/** The table is read from the beginning. */
void culprit_forget_lean(Culprit *culprit);
void culprit_release(Culprit *culprit);

/* mark_refusals: rows whose marks do not take: the statement fails for what a row is (a trigger, a
 * constraint), or passes and leaves rows as they were (a trigger or a rule swallows it).
 *
 * Such rows are published, so they are kept and tried again. A statement that fails is taken apart
 * by halves until the row stands alone; the others are marked without it. The owner of the marker
 * hears of it, and in the end that they passed. */
#pragma once

#include "rows/mark_queue.h"
#include "rows/marker_line.h"

typedef struct MarkRefusals MarkRefusals;

typedef enum RefusalsTurn {
    REFUSALS_PASS,  /* rows that are not refused go on */
    REFUSALS_REST,  /* nothing is sent now */
    REFUSALS_PROBE, /* one of the refused rows is tried again, by statements that are made anew */
} RefusalsTurn;

enum { MARK_ROWS_MAX = 5000 }; /* in one statement */

MarkRefusals *refusals_new(MarkerLine *line, MarkQueue *queue);
void refusals_free(MarkRefusals **refusals);

/** A session begins, or is over; or the rows are forgotten. */
void refusals_begin(MarkRefusals *refusals);
void refusals_stop(MarkRefusals *refusals);
void refusals_forget(MarkRefusals *refusals);

/** No row is refused since nothing was left to be marked. */
bool refusals_are_none(const MarkRefusals *refusals);

/** At most so many rows go by the next statement. */
size_t refusals_most(const MarkRefusals *refusals);
/** The next one is what is left of one that was refused. */
bool refusals_are_apart(const MarkRefusals *refusals);

/** What comes next. REFUSALS_REST: for so long, or, with 0, until something else happens. */
RefusalsTurn refusals_next(MarkRefusals *refusals, int64_t *ret_wait_us);

/** A mark of so many rows failed. True: for what a row is, and the rows are tried again without it.
 */
bool refusals_reject(MarkRefusals *refusals, const Error *err, size_t rows);

/** A mark passed, and so many rows are as they were. True: they are tried again, from the first
 * row; false: not now, and the mark is settled as it is. */
bool refusals_ignore(MarkRefusals *refusals, size_t rows);
/** They were, at the last try. */
bool refusals_are_ignored(const MarkRefusals *refusals);

/** A mark passed, and rows are as they should be. */
void refusals_took(MarkRefusals *refusals);
/** Its rows are out of the queue. */
void refusals_settled(MarkRefusals *refusals);

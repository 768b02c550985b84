/* gaps: sequence numbers below the highest one seen that have not been seen yet.
 *
 * A number is drawn at INSERT and becomes visible at COMMIT, so a lower one may appear after a
 * higher one. Every fetch therefore looks at all gaps again, and at everything beyond the top, in
 * one statement: exactly the unpublished rows less those in flight. A gap is given up only when no
 * transaction that could still fill it is running (gaps_drop; see poll_fetch.c, "The fence").
 *
 * The number of ranges is bounded: beyond GAPS_MAX neighbours are merged. A merged range holds
 * numbers that were seen, so whoever looks there leaves out the rows that he knows. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"

enum { GAPS_MAX = 2048 };

typedef struct GapRange {
    int64_t low; /* inclusive */
    int64_t high;
    bool merged; /* holds numbers that were seen */
} GapRange;

typedef struct Gaps {
    VEC(GapRange) ranges; /* ascending, disjoint */
    int64_t top;          /* highest number seen; INT64_MIN: none */
    int64_t low;          /* below it nothing is looked for any more (but by a sweep) */
} Gaps;

/** Nothing was seen: what is looked for is the whole table. */
extern const Gaps GAPS_NONE;

/** Forgets everything: nothing is seen yet. */
void gaps_reset(Gaps *gaps);
void gaps_release(Gaps *gaps);

/** Notes a number as seen, whether beyond the top or inside a gap. */
void gaps_see(Gaps *gaps, int64_t seq);

/** True when seq is looked for: in a gap, or beyond the top. */
bool gaps_cover(const Gaps *gaps, int64_t seq);

/** True when a range may hold numbers that were seen. */
bool gaps_are_merged(const Gaps *gaps);

/** Gives up all gaps up to and including high. */
void gaps_drop(Gaps *gaps, int64_t high);

/* summary: the line that says every few minutes that a pipeline works, and nothing while it has
 * nothing to do. Loop thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What is true now. Counts are of all the time. */
typedef struct SummaryFacts {
    uint64_t published;
    uint64_t marked;
    uint64_t set_aside;
    int64_t waiting;    /* unpublished events; -1: not known */
    double lag_seconds; /* NAN: not known */
    const char *state;
} SummaryFacts;

typedef struct Summary {
    int64_t since_us; /* monotonic; 0: it has not begun */
    uint64_t published;
    uint64_t marked;
    uint64_t set_aside;
    bool idle; /* said, and still so */
} Summary;

/** Writes the line of pipeline `name` when interval_ms is over (0: never) and there is something to
 * say; of an idle time one. */
void summary_tell(Summary *summary, const char *name, const SummaryFacts *facts, int64_t now_us,
                  int64_t interval_ms);

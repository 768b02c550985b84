/* log_limit: keeps a fact that repeats from flooding the log: the first lines of a burst are
 * written, the others counted, and the count is written now and then. A quiet minute ends the
 * burst. Zero-initialised; one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    LOG_LIMIT_LINES = 10,           /* of a burst that are written */
    LOG_LIMIT_SUMMARY_SECONDS = 10, /* then one line in so long */
    LOG_LIMIT_QUIET_SECONDS = 60,
};

typedef struct LogLimit {
    int lines;
    int64_t held;          /* not written, and not summed up yet */
    int64_t held_since_us; /* the first of them */
    int64_t last_us;
} LogLimit;

/** Whether a line may be written now (monotonic clock); if not, it is counted. */
bool log_limit_take(LogLimit *limit, int64_t now_us);

/** How many lines were held back, when it is time to say so (or at_once), which starts the count
 * anew; else 0. */
int64_t log_limit_due(LogLimit *limit, int64_t now_us, bool at_once);

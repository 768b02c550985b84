/* How much is read by the next fetch, and how soon: rows so many that they fit the budget of a
 * batch; at once while there is more, else after an interval that grows while nothing comes. How
 * far the table was read until now. */
#pragma once

#include "config/config.h"
#include "outbox/poll_fetch.h"

typedef struct Pace {
    const PipelineConfig *config;
    int64_t interval_ms;
    bool more;        /* there is, or may be, something to read right now */
    size_t row_bytes; /* average of recent rows */
    size_t next_limit;
    bool caught_up; /* the last fetch emptied the table */
    /* Monotonic: when the last fetch was sent ... */
    int64_t complete_us; /* ... that left nothing; 0: none yet */
    int64_t covered_us;  /* ... that left something behind ... */
    int64_t covered_seq; /* ... this number */
} Pace;

/** Reads from the beginning. */
void pace_reset(Pace *pace);
/** The session is there: reads at once, and often. */
void pace_hurry(Pace *pace);

/** Something may be there. */
void pace_want(Pace *pace);
bool pace_wants(const Pace *pace);
/** A fetch is sent. */
void pace_take(Pace *pace);

/** What a fetch could have shown and did not is not there, or known. */
void pace_note_covered(Pace *pace, const Fetch *fetch);
/** Would a fetch that was sent after this look have shown this number? */
bool pace_has_covered(const Pace *pace, int64_t looked_us, int64_t seq);
/** After a fetch. insists: there is something to look for though this one found the end. */
void pace_adapt(Pace *pace, const Fetch *fetch, bool insists);

/** Bounds rows and bytes of the next fetch by the room there is. False when that would be so small
 * a remainder that waiting for more room is cheaper; idle: no more room will come. */
bool pace_fits(const Pace *pace, bool idle, size_t *events, size_t *bytes);

int64_t pace_interval_ms(const Pace *pace);
bool pace_is_caught_up(const Pace *pace);

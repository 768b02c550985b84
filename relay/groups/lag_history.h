/* lag_history: when the end of one partition passed an offset.
 *
 * What is known are points (offset, from, until): the end stood at that offset from one time until
 * another. They come from looking at the end again and again, and, for the time before we looked,
 * from asking the broker which record is the first one of a given time. Bounded: when it is full,
 * the point that tells least, relative to its age, goes. Times are wall-clock microseconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LAG_POINTS_MAX = 128 };

typedef struct LagPoint {
    int64_t offset;
    int64_t from_us;
    int64_t until_us;
} LagPoint;

/* Zero-initialised is empty. Offsets and times grow from point to point. */
typedef struct LagHistory {
    LagPoint points[LAG_POINTS_MAX];
    size_t count;
} LagHistory;

/* The record of an offset came between these times. */
typedef struct LagBracket {
    int64_t after_us; /* INT64_MIN: not known */
    int64_t before_us;
    int64_t first_offset; /* the records that came in that time: from here ... */
    int64_t end_offset;   /* ... to before here */
} LagBracket;

/** Notes that the end is at `end` now. An end that went back (the topic was made anew) forgets
 * everything before. */
void lag_history_look(LagHistory *history, int64_t now_us, int64_t end);

/** Notes the broker's answer that the first record of time_us or later has this offset. time_us
 * must be inside the bracket of some offset that is not consumed, or before all that is known. */
void lag_history_learn(LagHistory *history, int64_t time_us, int64_t offset);

/** The times between which the record of that offset came; false when it has not come. */
bool lag_history_bracket(const LagHistory *history, int64_t offset, LagBracket *ret_bracket);

/** When the record of that offset came, as if those of its bracket came evenly; after_us must be
 * known. */
int64_t lag_bracket_time_us(const LagBracket *bracket, int64_t offset);

/** Records between a group's committed offset (negative: none) and the end; those that the topic
 * has removed (before low) do not count. Never below 0. */
int64_t lag_events(int64_t committed, int64_t low, int64_t end);

/** The first offset the group has not consumed: committed, or low when that is further. */
int64_t lag_first(int64_t committed, int64_t low);

/* lag.h - how long events took, as percentiles, in fixed memory.
 *
 * One Lag counts durations in buckets that are at most 1.6 % wide, from 0 to about 12 days;
 * percentiles are the upper edge of their bucket, never better than the truth. Not thread-safe. */
#ifndef DEMO_LAG_H
#define DEMO_LAG_H

#include <stddef.h>
#include <stdint.h>

enum { LAG_STEPS = 64, LAG_OCTAVES = 34, LAG_BUCKETS = LAG_STEPS * LAG_OCTAVES, LAG_TEXT_MAX = 24 };

typedef struct Lag {
    uint64_t count;
    int64_t max_us;
    uint64_t bucket[LAG_BUCKETS];
} Lag;

/* Adds one duration in microseconds; negative ones (clocks differ) count as zero. */
void lag_add(Lag *lag, int64_t us);

/* The duration in microseconds that 'percent' (0 to 100) of all stay below or equal; 0 when empty.
 */
int64_t lag_percentile_us(const Lag *lag, double percent);

/* Writes a duration for people ("480 us", "1.9 ms", "12.4 s") to 'ret_text' and returns it. */
const char *lag_text(int64_t us, char ret_text[LAG_TEXT_MAX]);

#endif

/* lag.c - see lag.h. A bucket is chosen by the position of the highest bit (the octave) and the six
 * bits below it (the step), so its width is at most one sixty-fourth of its value. */
#include "lag.h"

#include <stdio.h>

enum { STEP_BITS = 6 };

static size_t bucket_of(uint64_t us)
{
    if (us < LAG_STEPS) {
        return us;
    }
    int shift = 63 - __builtin_clzll(us) - STEP_BITS;
    size_t index = (size_t)(shift + 1) * LAG_STEPS + ((us >> shift) - LAG_STEPS);
    return index < LAG_BUCKETS ? index : LAG_BUCKETS - 1;
}

static int64_t bucket_upper_us(size_t index)
{
    if (index < LAG_STEPS) {
        return (int64_t)index;
    }
    int shift = (int)(index / LAG_STEPS) - 1;
    return (int64_t)(((index % LAG_STEPS + LAG_STEPS + 1) << shift) - 1);
}

void lag_add(Lag *lag, int64_t us)
{
    if (us < 0) {
        us = 0;
    }
    lag->count++;
    lag->bucket[bucket_of((uint64_t)us)]++;
    if (us > lag->max_us) {
        lag->max_us = us;
    }
}

int64_t lag_percentile_us(const Lag *lag, double percent)
{
    double wanted = (double)lag->count * percent / 100;
    uint64_t seen = 0;

    for (size_t i = 0; i < LAG_BUCKETS; i++) {
        seen += lag->bucket[i];
        if (seen > 0 && (double)seen >= wanted) {
            return bucket_upper_us(i) < lag->max_us ? bucket_upper_us(i) : lag->max_us;
        }
    }
    return 0;
}

const char *lag_text(int64_t us, char ret_text[LAG_TEXT_MAX])
{
    if (us < 1000) {
        snprintf(ret_text, LAG_TEXT_MAX, "%d us", (int)us);
    } else if (us < 100000) {
        snprintf(ret_text, LAG_TEXT_MAX, "%.1f ms", (double)us / 1e3);
    } else if (us < 1000000) {
        snprintf(ret_text, LAG_TEXT_MAX, "%.0f ms", (double)us / 1e3);
    } else {
        snprintf(ret_text, LAG_TEXT_MAX, "%.1f s", (double)us / 1e6);
    }
    return ret_text;
}

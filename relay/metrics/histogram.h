/* histogram: how long things took. Fixed bounds from 0.5 ms to 60 s, three a decade (1-2-5), and
 * one bucket above. Plain integers written and read by the loop thread only; a note costs five
 * comparisons and no floating point. */
#pragma once

#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 17 };

typedef struct Histogram {
    uint64_t
        counts[HISTOGRAM_BOUNDS + 1]; /* a bucket each, not cumulative; the last is above 60 s */
    uint64_t total;
    unsigned __int128 sum_us; /* 64 bits do not hold a large backlog that is days old */
    int64_t max_us;
} Histogram;

/** Notes one duration in microseconds (negative counts as 0). */
void histogram_observe_us(Histogram *histogram, int64_t us);

/** Estimated quantile (0..1) in microseconds, 0 when empty; never above the largest duration
 * noted. */
int64_t histogram_quantile_us(const Histogram *histogram, double quantile);

/** Upper bound of a bucket (0 to HISTOGRAM_BOUNDS - 1) as seconds in text, for the "le" label. */
const char *histogram_bound_text(int bucket);

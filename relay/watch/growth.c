#include "watch/growth.h"

#include <math.h>

double growth_note(Growth *growth, int64_t now_us, double bytes)
{
    if (isnan(bytes)) {
        *growth = (Growth){0};
        return NAN;
    }
    size_t newest = (growth->next + GROWTH_SAMPLES - 1) % GROWTH_SAMPLES;
    if (growth->count == 0 || now_us - growth->samples[newest].at_us >= 1000000) {
        growth->samples[growth->next].at_us = now_us;
        growth->samples[growth->next].bytes = bytes;
        growth->next = (growth->next + 1) % GROWTH_SAMPLES;
        growth->count += growth->count < GROWTH_SAMPLES;
    }
    /* The oldest of the last minute, or the one before this when looks are further apart. */
    for (size_t back = growth->count; back > 0; back--) {
        size_t at = (growth->next + GROWTH_SAMPLES - back) % GROWTH_SAMPLES;
        int64_t passed_us = now_us - growth->samples[at].at_us;
        if (passed_us >= 1000000 && (passed_us <= GROWTH_SECONDS * INT64_C(1000000) || back <= 2)) {
            return (bytes - growth->samples[at].bytes) / ((double)passed_us / 1e6);
        }
    }
    return NAN;
}

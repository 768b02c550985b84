/* growth: how much WAL a slot held over the last minute. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { GROWTH_SAMPLES = 64, GROWTH_SECONDS = 60 };

typedef struct Growth {
    struct {
        int64_t at_us; /* monotonic */
        double bytes;
    } samples[GROWTH_SAMPLES];
    size_t count;
    size_t next;
} Growth;

/** Notes what the slot holds now (NAN: forgets everything) and returns bytes a second; NAN: not
 * known yet. */
double growth_note(Growth *growth, int64_t now_us, double bytes);

/* clock: the two clocks. Deadlines, leases and back-offs use the monotonic one and never notice a
 * stepped wall clock; only timestamps that people or Kafka see use the wall clock.
 *
 * What decides by time asks here and nowhere else: unit tests link another file in the place of
 * clock.c, with which time passes when they say so (tests/stub/clock.h). */
#pragma once

#include <stdint.h>

/* When something began: shown by the wall clock, measured by the monotonic one. */
typedef struct Moment {
    int64_t wall_us; /* 0: it did not begin */
    int64_t monotonic_us;
} Moment;

Moment clock_moment(void);

/** Microseconds since then, whatever was done to the wall clock. */
int64_t clock_since_us(const Moment *moment);

/** Monotonic microseconds since an arbitrary start. */
int64_t clock_monotonic_us(void);

/** Wall-clock microseconds since 1970-01-01 UTC. */
int64_t clock_wall_us(void);

/* clock: the two clocks. Deadlines, leases and back-offs use the monotonic one and never notice a
 * stepped wall clock; only timestamps that people or Kafka see use the wall clock. */
#pragma once

#include <stdint.h>

/** Monotonic microseconds since an arbitrary start. */
int64_t clock_monotonic_us(void);

/** Wall-clock microseconds since 1970-01-01 UTC. */
int64_t clock_wall_us(void);

#include "base/clock.h"

#include <time.h>

static int64_t clock_read_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

Moment clock_moment(void)
{
    return (Moment){.wall_us = clock_wall_us(), .monotonic_us = clock_monotonic_us()};
}

int64_t clock_since_us(const Moment *moment)
{
    return clock_monotonic_us() - moment->monotonic_us;
}

int64_t clock_monotonic_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
    return clock_read_us(CLOCK_REALTIME);
}

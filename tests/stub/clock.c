#include "stub/clock.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

/* Takes the place of event_add, too: how long a timer waits is not to be had from libevent
 * afterwards. */
typedef struct Timer {
    struct event *event; /* NULL: the place is free */
    int64_t due_us;
} Timer;

enum { TIMERS_MAX = 256, IDLE_TURNS = 4 };

static Timer timers[TIMERS_MAX];
static _Atomic int64_t skipped_us;
static size_t added;
static size_t idle_turns;

static int64_t read_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_real_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_monotonic_us(void)
{
    return clock_real_us() + atomic_load(&skipped_us);
}

int64_t clock_wall_us(void)
{
    return read_us(CLOCK_REALTIME) + atomic_load(&skipped_us);
}

Moment clock_moment(void)
{
    return (Moment){.wall_us = clock_wall_us(), .monotonic_us = clock_monotonic_us()};
}

int64_t clock_since_us(const Moment *moment)
{
    return clock_monotonic_us() - moment->monotonic_us;
}

/* The place of an event, or a free one. */
static Timer *timer_of(const struct event *event)
{
    for (size_t i = 0; i < TIMERS_MAX; i++) {
        if (timers[i].event == event) {
            return &timers[i];
        }
    }
    return NULL;
}

static void forget(const struct event *event)
{
    Timer *timer = timer_of(event);
    if (timer != NULL) {
        *timer = (Timer){0};
    }
}

/* Threads of a test have loops of their own, whose timers are none of ours. */
static bool is_main_thread(void)
{
    static _Thread_local bool known, is_main;
    static atomic_bool taken;
    if (!known) {
        known = true;
        is_main = !atomic_exchange(&taken, true);
    }
    return is_main;
}

int event_add(struct event *event, const struct timeval *timeout)
{
    static int (*real)(struct event *, const struct timeval *);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "event_add");
    }
    if (is_main_thread()) {
        added++;
        forget(event);
        Timer *timer = timeout != NULL ? timer_of(NULL) : NULL;
        if (timer != NULL) {
            int64_t wait_us = (int64_t)timeout->tv_sec * 1000000 + timeout->tv_usec;
            *timer = (Timer){.event = event, .due_us = clock_monotonic_us() + wait_us};
        }
    }
    return real(event, timeout);
}

void event_free(struct event *event)
{
    static void (*real)(struct event *);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "event_free");
    }
    if (is_main_thread()) {
        forget(event);
    }
    real(event);
}

static bool waits(const Timer *timer, struct event_base *base)
{
    return timer->event != NULL && event_get_base(timer->event) == base &&
           event_pending(timer->event, EV_TIMEOUT, NULL);
}

static void fire_due(struct event_base *base)
{
    int64_t now_us = clock_monotonic_us();
    for (size_t i = 0; i < TIMERS_MAX; i++) {
        if (waits(&timers[i], base) && timers[i].due_us <= now_us) {
            struct event *event = timers[i].event;
            timers[i] = (Timer){0};
            event_active(event, EV_TIMEOUT, 1);
        }
    }
}

static void skip_to_first(struct event_base *base)
{
    int64_t first_us = INT64_MAX;
    for (size_t i = 0; i < TIMERS_MAX; i++) {
        if (waits(&timers[i], base) && timers[i].due_us < first_us) {
            first_us = timers[i].due_us;
        }
    }
    int64_t now_us = clock_monotonic_us();
    if (first_us != INT64_MAX && first_us > now_us) {
        clock_skip_us(first_us - now_us);
    }
}

void clock_skip_us(int64_t us)
{
    atomic_fetch_add(&skipped_us, us);
}

void clock_turn(struct event_base *base)
{
    size_t before = added;
    fire_due(base);
    event_base_loop(base, EVLOOP_NONBLOCK);
    idle_turns = added == before ? idle_turns + 1 : 0;
    if (idle_turns >= IDLE_TURNS) {
        idle_turns = 0;
        skip_to_first(base);
    }
}

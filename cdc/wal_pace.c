/* When the socket of the stream is read.
 *
 * Coalesced reads. The walsender sends each message of a small transaction by itself; a reader that
 * wakes for every one costs both sides a system call and a context switch per message, and on the
 * loopback the kernel acknowledges every packet. While bytes come in thick and fast the socket is
 * therefore read on a timer, a portion of libpq's buffer at a time, at a pace that follows the
 * server's: just so slow that the receive buffer stays full. Then what the server sends piles up on
 * its side and travels in large segments, at half the cost. Ticks that bring next to nothing end
 * that. At low rates each message is read as it comes. */
#include "cdc/wal_pace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

enum {
    TICK_US = 150,      /* between two reads, at first */
    TICK_MAX_US = 1000, /* longest */
    TICK_SHORTER = 32,  /* by a 32nd while the buffer is full */
    TICK_LONGER = 8,    /* by an 8th while it is not */
    FULL_BYTES = 30000, /* left in the socket after a read: the server is ahead */
    BUSY_MESSAGES = 48, /* the buffer is full, or a read brings so many */
    BURST_READS = 16,   /* so many reads ... */
    BURST_US = 2000,    /* ... within this: a backlog is coming in */
    QUIET_MESSAGES = 4,
    QUIET_TICKS = 3,
};

struct Pace {
    struct event_base *base;
    void (*read)(void *arg);
    void *arg;
    int fd;
    struct event *readable;
    struct event *tick; /* of the timer descriptor: coalesced reads */
    int tick_fd;
    bool coalescing;
    int64_t tick_us;      /* between two reads while coalescing */
    unsigned quiet_ticks; /* that brought next to nothing */
    unsigned burst;       /* reads since burst_since_us */
    int64_t burst_since_us;
    int64_t read_us; /* monotonic: last bytes */
};

static void pace_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    const Pace *pace = arg;
    pace->read(pace->arg);
}

static void pace_on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    const Pace *pace = arg;
    if (pace->coalescing) {
        pace->read(pace->arg);
    }
}

static void pace_arm_tick(Pace *pace)
{
    int64_t left_us = pace->read_us + pace->tick_us - clock_monotonic_us();
    struct itimerspec spec = {.it_value = {.tv_nsec = left_us > 0 ? (long)left_us * 1000 : 1}};
    (void)timerfd_settime(pace->tick_fd, 0, &spec, NULL);
}

/* The pace of the reads follows the server's. */
static void pace_adapt(Pace *pace)
{
    int waiting = 0;
    if (ioctl(pace->fd, FIONREAD, &waiting) != 0) {
        waiting = FULL_BYTES;
    }
    if (waiting >= FULL_BYTES) {
        pace->tick_us -= pace->tick_us / TICK_SHORTER + 1;
        pace->tick_us = pace->tick_us < 0 ? 0 : pace->tick_us;
    } else {
        pace->tick_us += pace->tick_us / TICK_LONGER + 1;
        pace->tick_us = pace->tick_us > TICK_MAX_US ? TICK_MAX_US : pace->tick_us;
    }
}

void pace_note_read(Pace *pace)
{
    pace->read_us = clock_monotonic_us();
}

bool pace_wait(Pace *pace, unsigned messages)
{
    if (pace->coalescing) {
        pace->quiet_ticks = messages < QUIET_MESSAGES ? pace->quiet_ticks + 1 : 0;
        if (pace->quiet_ticks < QUIET_TICKS) {
            pace_adapt(pace);
            pace_arm_tick(pace);
            return false;
        }
        pace->coalescing = false;
        pace->burst = 0;
        event_add(pace->readable, NULL);
        return true;
    }
    if (pace->read_us - pace->burst_since_us > BURST_US) {
        pace->burst_since_us = pace->read_us;
        pace->burst = 0;
    }
    if (++pace->burst >= BURST_READS) {
        pace->coalescing = true;
        pace->quiet_ticks = 0;
        pace->tick_us = TICK_US;
        event_del(pace->readable);
        pace_arm_tick(pace);
    }
    return false;
}

void pace_pause(Pace *pace)
{
    if (pace->readable != NULL) {
        event_del(pace->readable);
    }
}

void pace_resume(Pace *pace)
{
    pace->coalescing = true;
    pace->quiet_ticks = 0;
    pace_arm_tick(pace);
}

bool pace_is_coalescing(const Pace *pace)
{
    return pace->coalescing;
}

bool pace_is_busy(const Pace *pace, unsigned messages)
{
    return pace->coalescing && (pace->tick_us < TICK_MAX_US || messages >= BUSY_MESSAGES);
}

int64_t pace_read_us(const Pace *pace)
{
    return pace->read_us;
}

void pace_begin(Pace *pace, int fd)
{
    pace->fd = fd;
    pace->read_us = clock_monotonic_us();
    pace->coalescing = false;
    pace->tick_us = TICK_US;
    pace->burst = 0;
    pace->readable = event_new(pace->base, fd, EV_READ | EV_PERSIST, pace_on_readable, pace);
    event_add(pace->readable, NULL);
}

void pace_stop(Pace *pace)
{
    if (pace->readable != NULL) {
        event_free(pace->readable);
        pace->readable = NULL;
    }
    pace->coalescing = false;
}

Status pace_new(struct event_base *base, void (*read)(void *arg), void *arg, Pace **ret_pace,
                Error *err)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) {
        char reason[128];
        return error_set(err, CODE_TIMER, "cannot make a timer: %s",
                         strerror_r(errno, reason, sizeof(reason)));
    }
    Pace *pace = x_calloc(1, sizeof(*pace));
    *pace = (Pace){.base = base, .read = read, .arg = arg, .tick_fd = fd};
    /* Edge-triggered: setting the timer anew is enough, nothing has to be read. */
    pace->tick = event_new(base, fd, EV_READ | EV_PERSIST | EV_ET, pace_on_tick, pace);
    event_add(pace->tick, NULL);
    *ret_pace = pace;
    return OK;
}

void pace_free(Pace **pace)
{
    if (*pace == NULL) {
        return;
    }
    pace_stop(*pace);
    event_free((*pace)->tick);
    close((*pace)->tick_fd);
    free(*pace);
    *pace = NULL;
}

/* watch_rig: a watch of two pipelines over a libpq that the test plays (tests/stub/libpq.h): the
 * first polls, the second reads the log. One for each test process. */
#pragma once

#include <criterion/criterion.h>
#include <sched.h>

#include "base/clock.h"
#include "stub/clock.h"
#include "stub/libpq.h"
#include "watch/watch_internal.h"

enum { WAIT_US = 10000000 };

typedef struct WatchRig {
    struct event_base *base;
    Worker *worker;
    struct event *worker_io;
    Metrics *metrics;
    Config config;
    PipelineConfig pipelines[2];
    Watch *watch;
    size_t known;  /* calls of pauses(known) */
    size_t failed; /* calls of pauses(!known) */
    bool server_asked_first;
    /* The server. */
    size_t sessions, names, pauses, servers, oldests, deads, preconditions, prepares;
    bool recovery, may_mark, cached, drawn_elsewhere;
    size_t verdicts, faults; /* of the first pipeline; the last verdict */
    char fault[48];
    uint64_t wal_end;
    char identity[PRECONDITION_IDENTITY_MAX]; /* of the second */
    const char *pause_table;
    const char *dead_letter;
    bool paused;
    const char *safe;
    const char *retained;
    const char *oldest_xid;
    const char *sees_all;
    const char *age;
    const char *oldest_seq; /* NULL: there is none */
    const char *occurred_age;
    const char *event_id;
    const char *insert_lsn;
    WatchRole role;
    SourceSight sight;
    size_t sights, asked_again, looks_told;
    size_t complaints_asked; /* complaints when it was asked to look again */
    SourceLook look;
    int64_t follow_low, follow_high;
    size_t complaints, over;
    Error unseen;
    const char *broken;  /* queries that hold this fail */
    const char *state;   /* of what is broken */
    const char *hanging; /* queries that hold this wait for stub_continue() */
    Text server_sql;
    Text oldest_sql;
} WatchRig;

extern WatchRig at;

/** The server. */
void rig_serve(void *arg, const StubQuery *query, StubReply *reply);

/** All callbacks, which note in `at` what they are told. */
WatchOptions rig_options(void);
/** Makes the watch, which connects. */
void rig_start(void);
/** The row of the first pipeline that waits longest. */
bool rig_oldest(WatchOldest *ret);
bool rig_has_oldest(void);
/** So many more looks at the server, each to its end. */
void rig_wait_looks(size_t count);
/** Whether the metrics hold that line. */
void rig_assert_exposed(const char *line, bool expected);

/* Turns the loop until the condition holds. */
#define WAIT(condition)                                                                            \
    do {                                                                                           \
        int64_t deadline_us = clock_monotonic_us() + WAIT_US;                                      \
        while (!(condition)) {                                                                     \
            cr_assert(clock_monotonic_us() < deadline_us, "not in time: %s", #condition);          \
            event_base_loop(at.base, EVLOOP_NONBLOCK);                                             \
            sched_yield();                                                                         \
        }                                                                                          \
    } while (0)

/* Likewise, and time passes whenever nothing else happens. */
#define PASS(condition)                                                                            \
    do {                                                                                           \
        int64_t deadline_us = clock_real_us() + WAIT_US;                                           \
        while (!(condition)) {                                                                     \
            cr_assert(clock_real_us() < deadline_us, "not in time: %s", #condition);               \
            clock_turn(at.base);                                                                   \
        }                                                                                          \
    } while (0)

/* watch: what is known about PostgreSQL besides the pipelines' own traffic: pauses, slots, the
 * oldest unpublished row, dead letters, the oldest transaction.
 *
 * One connection for the whole process ("<name>/watch"), which looks every monitor.interval with a
 * short statement_timeout and LISTENs to outboxd_pause. When it breaks it comes back by itself;
 * nothing that it meets ever keeps a pipeline from publishing. One loop thread. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/worker.h"
#include "config/config.h"
#include "metrics/metrics.h"
#include "rows/precondition.h"

typedef struct Watch Watch;

/* The last look; not known while PostgreSQL cannot be asked. */
typedef struct WatchSlot {
    bool present;
    bool active;
    char status[16];            /* reserved, extended, unreserved, lost; "": not told */
    double retained_wal_bytes;  /* NAN: not known, as in all of these */
    double confirmed_lag_bytes; /* between the end of the WAL and what is confirmed */
    double safe_wal_bytes;      /* NAN also without max_slot_wal_keep_size */
    double spill_bytes;         /* PostgreSQL 14 and later */
    double seconds_left; /* until max_slot_wal_keep_size as the WAL it holds grew of late; NAN also
                            when it does not grow */
} WatchSlot;

/* The oldest row that is not published, where the table tells; kept while PostgreSQL is away. */
typedef struct WatchOldest {
    bool present;
    bool stands; /* it was the oldest one look earlier, too: it does not just pass by */
    int64_t seq;
    int64_t occurred_at_us; /* wall clock; EVENT_NO_TIME */
    int64_t looked_at_us;   /* wall clock */
    char event_type[160];
    char aggregate_id[160];
} WatchOldest;

typedef struct WatchFacts {
    bool paused; /* as last known; false before anything is */
    int64_t paused_since_us;
    char paused_by[128];
    char pause_reason[512]; /* "": none was given */
    WatchSlot slot;
    WatchOldest oldest;
    double dead_letters;       /* at most WATCH_DEAD_LETTERS_MAX; NAN: not known */
    int64_t dead_letter_at_us; /* wall clock: the latest; 0: none */
} WatchFacts;

enum { WATCH_DEAD_LETTERS_MAX = 100000 };

typedef struct WatchServer {
    bool up;                           /* the last look succeeded */
    char address[320];                 /* "db:5432/shop"; "": never connected */
    char version[32];                  /* "15.20" */
    double oldest_transaction_seconds; /* 0: none has an xid; NAN: not known */
    bool oldest_transaction_exact;     /* else a lower bound: since when we see it */
} WatchServer;

typedef struct WatchOptions {
    struct event_base *base;
    Worker *worker;
    const Config *config;
    Metrics *metrics;
    void *arg;
    /** The pauses were read, whether or not they changed (known), or a look failed before they
     * ever were. Called from the loop, never from inside a call. */
    void (*pauses)(void *arg, bool known);
    /** What must hold was looked at for the pipeline with this index; likewise from the loop. Not
     * called while the server cannot be asked. NULL: not wanted. */
    void (*preconditions)(void *arg, size_t index, const PreconditionLook *look);
} WatchOptions;

/** Makes the series and connects. The error is FATAL / EXIT_CONFIG (a table's name). */
Status watch_new(const WatchOptions *options, Watch **ret_watch, Error *err);
void watch_free(Watch **watch);

/** Closes the connection for good; what is known stays. */
void watch_stop(Watch *watch);

/** Whether the pauses have ever been read. */
bool watch_knows_pauses(const Watch *watch);

/** Looks now instead of waiting for the next turn or the end of a back-off; a look that has begun
 * is followed by another. */
void watch_hurry(Watch *watch);

/** Facts of the pipeline with this index in the configuration; valid as long as the watch. */
const WatchFacts *watch_facts(const Watch *watch, size_t index);
const WatchServer *watch_server(const Watch *watch);

/** Seconds since the oldest unpublished row that the last looks saw; 0 when there was none. A row
 * that may just have passed by is as old as it was then. */
double watch_lag_seconds(const WatchOldest *oldest, int64_t now_wall_us);

/** Refreshes the gauges; called before each scrape. */
void watch_collect(Watch *watch);

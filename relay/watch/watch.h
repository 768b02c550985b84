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
#include "watch/sightings.h"

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

/* The row that waits longest; texts are valid until the loop goes on. */
typedef struct WatchOldest {
    int64_t seq;
    int64_t occurred_at_us; /* wall clock; EVENT_NO_TIME */
    double lag_seconds;
    bool waits; /* it has not been published since, as far as anybody can know: its lag grows */
    const char *event_type;
    const char *aggregate_id;
} WatchOldest;

/* What a pipeline does, as far as looks at its rows go. */
typedef struct WatchRole {
    bool judges;    /* it publishes: what its source does not know is to be found */
    bool waits;     /* it would publish, but is paused, stalled, or stopping: look often */
    bool stands_by; /* another relay publishes */
    bool connected; /* it is past its start, and its own connection to PostgreSQL works */
    uint64_t reconnects;
} WatchRole;

typedef struct WatchFacts {
    bool paused; /* as last known; false before anything is */
    int64_t paused_since_us;
    char paused_by[128];
    char pause_reason[512]; /* "": none was given */
    WatchSlot slot;
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
    WatchRole (*role)(void *arg, size_t index);
    /** What is known of a row of the pipeline with this index. */
    SourceSight (*sight)(void *arg, size_t index, const Sighting *row);
    void (*look_again)(void *arg, size_t index, int64_t seq);
    /** The rows of a pipeline that judges were looked at, and asked about. */
    void (*looked)(void *arg, size_t index, const SourceLook *look);
    /** From now on watch_settled() is to be called for settled events from low to high. */
    void (*follow)(void *arg, size_t index, int64_t low, int64_t high);
    /** Events were lost on the way: EVENT_UNSEEN; NULL: none is any more. */
    void (*unseen)(void *arg, size_t index, const Error *err);
} WatchOptions;

/** Makes the series and connects. The error is FATAL / EXIT_CONFIG (a table's name). */
Status watch_new(const WatchOptions *options, Watch **ret_watch, Error *err);
void watch_free(Watch **watch);

/** The relay drains: only rows are looked at, and a connection that breaks stays so. */
void watch_drain(Watch *watch);

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

/** Looks at the rows now: a pipeline's role changed. */
void watch_hurry_rows(Watch *watch);

/** An event that follow() asked for is settled. */
void watch_settled(Watch *watch, size_t index, int64_t seq, Slice event_id);

/** An event waits in its row from now on, and left memory: no look need find it before it counts.
 */
void watch_parked(Watch *watch, size_t index, const Event *event);

/** The unpublished row that waits longest, as far as looks tell; false: none. owner: this relay
 * publishes, and published last at published_us (monotonic; 0: never). */
bool watch_oldest(Watch *watch, size_t index, bool owner, int64_t published_us,
                  WatchOldest *ret_oldest);

/** Seconds for which an event has been waiting that is in the pipeline. */
double watch_event_age(const Watch *watch, size_t index, const Event *event);

/** Whether the rows were ever looked at. */
bool watch_has_looked(const Watch *watch, size_t index);

/** Refreshes the gauges; called before each scrape. */
void watch_collect(Watch *watch);

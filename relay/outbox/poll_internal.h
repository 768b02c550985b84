/* What the files of the polling source share; nobody else includes this. */
#pragma once

#include "outbox/gaps.h"
#include "outbox/poll.h"
#include "pg/conn.h"
#include "rows/marker.h"
#include "rows/parked.h"
#include "rows/publisher.h"
#include "rows/table.h"

typedef enum PollState {
    POLL_LOST,      /* closed; waits for start() */
    POLL_DELAYED,   /* back-off before connecting */
    POLL_OPENING,   /* reader connects, sets its session up, tries the lock */
    POLL_STANDBY,   /* reader is connected, the lock is somebody else's */
    POLL_CLAIMING,  /* the lock is ours: is this the history we know? */
    POLL_LOCKED,    /* resume() may come */
    POLL_PREPARING, /* marker connects and marks what is left over */
    POLL_ACTIVE,
    POLL_CLOSED, /* drained */
} PollState;

/* The fetch that is running or was the last. */
typedef struct Fetch {
    Batch *batch; /* being filled */
    bool header_read;
    bool truncated; /* byte budget reached: the rest was not kept */
    bool cancelling;
    bool closes_fence; /* all transactions of the fence had ended before this fetch */
    size_t limit;
    size_t budget_bytes;
    size_t rows; /* that the server sent */
    size_t dropped_bytes;
    size_t swept;
    int64_t last_seq;
    int64_t top;         /* of gaps when it was sent */
    int64_t sweep_below; /* INT64_MIN: no sweep */
    int64_t sent_us;
    uint32_t table_oid;  /* of the table that was read */
    char insert_lsn[32]; /* WAL position that covers everything this fetch saw */
    bool durable;        /* ... and is flushed */
    int guard_tries;
    Error error;
} Fetch;

/* Which writers could still fill gaps: see poll_fetch.c. */
typedef struct Fence {
    bool active;
    int64_t top;
    char *writers; /* virtual transaction ids, space-separated */
    char *latest;  /* of the running fetch */
    int64_t next_us;
} Fence;

typedef struct PollSource {
    Source source; /* first */
    PollOptions options;
    OutboxTable *table;
    PollState state;
    bool draining;
    PgConn *reader;
    PublisherLock lock; /* on the reader */
    PgConn *marker_conn;
    Marker *marker;
    struct event *timer;  /* back-off, standby, next poll */
    struct event *report; /* delivers `lost` or `drained` outside of every call */
    Error error;
    char *dead_letter; /* name of the table, as SQL */
    HistoryMemory history;
    History found;         /* by the session that is being opened */
    char *publisher_table; /* as SQL; NULL: no row proves the history */
    char *publisher_key;   /* condition that finds the row */
    char *publisher_ctid;  /* where it was claimed */
    int backend_pid;       /* of the reader */
    int owner_pid;         /* of the reader that held the lock last */
    bool taken;            /* somebody else held the lock since */
    bool foreign;          /* batches that are out are of another history */
    char *application_name;
    Gaps gaps;
    Parked parked;  /* rows whose events wait for their topic */
    bool rereading; /* reads from the beginning, as soon as everything acknowledged is marked */
    Fetch fetch;
    Fence fence;
    Batch **outstanding; /* handed to the pipeline, oldest first */
    size_t outstanding_count;
    size_t outstanding_capacity;
    int64_t lease_until_us; /* monotonic: the lock is surely ours until then */
    int64_t asked_us;       /* when the running query of the reader was sent */
    int64_t interval_ms;    /* present poll interval */
    bool more;              /* there is, or may be, something to read right now */
    size_t row_bytes;       /* average of recent rows */
    size_t next_limit;
    int64_t next_sweep_us;
    bool caught_up; /* the last fetch emptied the table */
    bool blocked_said;
    int64_t
        complete_us;    /* monotonic: when the last fetch was sent that left nothing; 0: none yet */
    int64_t covered_us; /* when the last one was sent that left something behind ... */
    int64_t covered_seq; /* ... this number */
} PollSource;

/* poll.c */
/** Closes everything and reports `lost` from the loop. */
void poll_lose(PollSource *poll, const Error *err);
void poll_set_timer(PollSource *poll, int64_t delay_ms);
/** Reports `drained` when nothing is left to mark. */
void poll_check_drained(PollSource *poll);

/* poll_session.c: connecting, the lock, the lease */
void session_open(PollSource *poll);
void session_lock_lost(void *arg, const Error *err);
void session_lock_taken(void *arg);
void session_lock_held(void *arg);
/** The lease, until resume(). */
void session_keep_lock(PollSource *poll);
void session_try_lock(PollSource *poll);
void session_renew_lease(PollSource *poll);
/** Sends a query on the reader and notes when, for the lease. */
void session_ask(PollSource *poll, const PgQuery *query);
void session_marker_opened(void *arg, const Error *err);
void session_reader_opened(void *arg, const Error *err);
void session_ping(PollSource *poll);

/* poll_fetch.c */
void fetch_reset(PollSource *poll);
/** Reads when there is something to read and room for it; else arms the timer. */
void fetch_next(PollSource *poll);
void fetch_release(PollSource *poll);

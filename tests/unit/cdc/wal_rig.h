/* wal_rig: a WAL source between a server that is played (behind tests/stub/libpq.c: an outbox
 * table, a slot, a position row and a log, which understand exactly the statements of the source)
 * and a pipeline that is played. It checks at all times that the slot is told only what the
 * position row holds. One rig for a test process. */
#pragma once

#include <criterion/criterion.h>
#include <event2/event.h>

#include "base/clock.h"
#include "base/text.h"
#include "cdc/slot.h"
#include "cdc/wal.h"
#include "stub/clock.h"
#include "stub/given.h"
#include "stub/libpq.h"
#include "stub/source_rig.h"

enum {
    RIG_ROWS = 400,
    RIG_TRANSACTIONS = 100,
    RIG_RELATIONS = 8,
    RIG_OUTBOX = 4242,
    RIG_NEXT = 4243
};

typedef struct RigRow {
    bool visible; /* committed, and not deleted */
    bool marked;
    bool out; /* delivered, not given back */
    size_t delivered;
    bool acknowledged;
    bool parked; /* ... for now: it waits for its topic */
} RigRow;

typedef struct RigTransaction {
    uint64_t commit_lsn; /* ends 8 bytes later */
    int64_t first;       /* rows first to last */
    int64_t last;
} RigTransaction;

typedef struct RigPosition {
    uint64_t lsn; /* 0: no row */
    uint64_t tx_lsn;
    uint64_t tx_ordinal;
    bool backfill;
    bool waiting;
    int64_t end;    /* backfill_end; SLOT_NO_END: null */
    int64_t filled; /* backfill_seq; 0: null */
    int timeline;
    char generation[40]; /* "": null */
    uint64_t writes;
    char publication[64]; /* "": null */
    uint32_t table_id;    /* 0: null */
} RigPosition;

typedef struct Rig {
    /* The server. seq of a row is its index. */
    RigRow rows[RIG_ROWS];
    RigTransaction log[RIG_TRANSACTIONS];
    size_t log_count;
    uint64_t end_lsn;
    uint64_t log_end;    /* insert position, when the log goes on behind end_lsn; 0: it does not */
    const char *members; /* OIDs of partitions; NULL: none */
    int64_t swap_from;   /* rows from there on are in the table that has the name now; 0: none */
    bool swap_dropped;   /* the old one is gone */
    bool swap_denied;    /* ... or may not be marked */
    bool swap_unborn;    /* the publication has the new one since later than it was made */
    bool marked_old_name;
    uint32_t marked_table; /* of the prepared statement */
    bool stranger;         /* a relation that is asked about is another table of the publication */
    int timeline;
    const char *publication; /* its identity now */
    bool pending;            /* a transaction that changes it is open */
    bool broken;             /* it has a row filter */
    const char *history;     /* TIMELINE_HISTORY; NULL: no such file */
    RigPosition position;
    const char *position_system; /* NULL: this one */
    bool has_slot;
    uint64_t confirmed;     /* of the slot */
    const char *wal_status; /* "reserved" */
    bool has_publication;
    size_t looks;      /* at the preconditions */
    bool may_not_save; /* ... one of which does not hold */
    bool lock_taken;
    bool slot_taken;       /* answer to the questions of the lease */
    const char *slot_busy; /* START_REPLICATION fails with this SQLSTATE */
    const char *snapshot;  /* of marks */
    bool hang_marks;
    bool hang_pings;
    bool hang_saves;              /* of the whole position row */
    bool hang_notes;              /* in one column of it */
    bool hang_questions;          /* about the log and the tree */
    bool save_fails;              /* the position row cannot be written */
    uint64_t late_writes;         /* to it, by a session that is gone, land before it is claimed */
    uint64_t late_lsn;            /* ... and leave this in it */
    int walsender;                /* connection that streams; 0: none */
    uint64_t started_at;          /* of START_REPLICATION */
    uint32_t told[RIG_RELATIONS]; /* relations that this stream has told of */
    size_t told_count;
    size_t starts;
    size_t locks;
    size_t marks;
    size_t sights; /* at parked rows */
    bool renamed;  /* ... which find another table under the name */
    size_t pings;
    size_t statuses;
    bool unwatched;   /* nobody looks at the preconditions but the source */
    size_t questions; /* about the log and the tree, while it streams */
    Text trace;       /* what was asked for, in order */
    /* The pipeline. */
    SourceRig pipe;
} Rig;

extern Rig rig;

/** The server: wal_rig_server.c, wal_rig_stream.c. */
void rig_serve(void *arg, const StubQuery *query, StubReply *reply);
void rig_receive(void *arg, int connection, const char *bytes, size_t length);

void rig_prepare(void);
/** Slot and position of a relay that ran before. */
void rig_given_position(uint64_t lsn);
/** Makes the source and starts it. */
void rig_begin(void);
/** ... which goes on at the end of the log. */
void rig_begin_streaming(void);
void rig_end(void);

void rig_turn(void);
/** A good look at the preconditions, as the watch takes them. */
void rig_watch(void);
/** Turns the loop until the condition holds, with a deadline. */
#define RIG_WAIT(condition)                                                                        \
    do {                                                                                           \
        int64_t wait_until_us = clock_monotonic_us() + 10000000;                                   \
        while (!(condition)) {                                                                     \
            rig_watch();                                                                           \
            event_base_loop(rig.pipe.base, EVLOOP_NONBLOCK);                                       \
            cr_assert_lt(clock_monotonic_us(), wait_until_us, "waited in vain for %s (%s: %s)",    \
                         #condition, error_code_name(rig.pipe.error.code),                         \
                         error_message(&rig.pipe.error));                                          \
        }                                                                                          \
    } while (0)
/** Likewise, and time passes whenever nothing else happens: for a lease, a pause, a back-off. */
#define RIG_PASS(condition)                                                                        \
    do {                                                                                           \
        int64_t wait_until_us = clock_real_us() + 10000000;                                        \
        while (!(condition)) {                                                                     \
            rig_watch();                                                                           \
            clock_turn(rig.pipe.base);                                                             \
            cr_assert_lt(clock_real_us(), wait_until_us, "waited in vain for %s (%s: %s)",         \
                         #condition, error_code_name(rig.pipe.error.code),                         \
                         error_message(&rig.pipe.error));                                          \
        }                                                                                          \
    } while (0)

/** Rows first to last are committed by one transaction, and streamed if there is a stream. */
void rig_commit(int64_t first, int64_t last);
/** From now on the table is renamed, and another one has its name. */
void rig_swap(int64_t from);
/** The insert position of the server's log. */
uint64_t rig_log_end(void);
/** Rows as rig_commit(), under the name of a partition that nobody told of. */
void rig_commit_to(uint32_t leaf, int64_t first, int64_t last);
/** Streams one of the log. */
void rig_stream(const RigTransaction *transaction);
/** Begins and ends a transaction without rows, with places of one's own. */
void rig_empty_transaction(uint64_t begin_lsn, uint64_t commit_lsn, uint64_t end_lsn);
/** A keep-alive of the server, which has nothing more up to `end`. */
void rig_keepalive(uint64_t end, bool reply);

size_t rig_delivered(void);
/** Gives the oldest batch back: its events settled, but not the one with seq `except` (-1: none).
 */
void rig_ack(int64_t except);
/** Gives the oldest batch back: the events from first to last parked, the others published. */
void rig_ack_parked(int64_t first, int64_t last);
void rig_ack_all(void);
/** As the pipeline after `lost`: gives everything back and starts again. */
void rig_restart(void);
/** Begins, and loses the connection while the mark of rows 1 and 2 is under way; it is not
 * committed.
 */
void rig_lose_a_mark(void);
/** What was asked for since the start. */
void rig_assert_trace(const char *expected);
/** Asserts that each row from first to last was delivered once, and is marked. */
void rig_assert_published_once(int64_t first, int64_t last);

/* poll_rig: a polling source between an outbox table that is played (a server behind
 * tests/stub/libpq.c, which understands exactly the statements of the source) and a pipeline that
 * is played. One rig for a test process. */
#pragma once

#include <criterion/criterion.h>
#include <event2/event.h>

#include "outbox/poll.h"
#include "stub/clock.h"
#include "stub/given.h"
#include "stub/libpq.h"
#include "stub/source_rig.h"

enum { RIG_ROWS = 6000 };

typedef struct RigRow {
    bool visible;
    bool marked;       /* or deleted */
    bool dead;         /* in the dead-letter table */
    bool acknowledged; /* the pipeline gave it back settled */
    bool parked;       /* ... or to wait in its row */
    size_t delivered;
    bool out;    /* delivered, not given back */
    int version; /* of the event under this number: a part of its event id */
} RigRow;

/* What proves the history of the server. */
typedef struct RigHistory {
    const char *system_id;
    const char *timeline;
    const char *lsn; /* inserted and flushed */
    bool no_row_table;
    char generation[40]; /* "": no row */
    unsigned writes;
    unsigned late_writes; /* by a session that is gone, land before the row is claimed */
} RigHistory;

typedef struct Rig {
    /* The server. seq is the index. */
    RigRow rows[RIG_ROWS];
    size_t payload_bytes;
    bool lock_taken; /* by another relay */
    const char *holder_pid;
    bool durable;
    size_t not_durable;    /* so many answers of the guard say no */
    bool answered_durable; /* the last answer */
    bool hang_fetch;
    size_t sweeps;      /* fetches that look at all numbers */
    bool large;         /* a row has a value out of line */
    size_t small_reads; /* statements that do not look at sizes */
    size_t looks;       /* at the preconditions */
    bool may_not_mark;  /* ... one of which does not hold */
    RigHistory history;
    const char *insert_lsn;     /* in the answer of the guard; NULL: as ever */
    const char *fetched_oid;    /* of the table that a fetch read; NULL: the right one */
    const char *table_oid;      /* NULL: 4242 */
    const char *storage;        /* of table and sequence; NULL: as ever */
    const char *last_value;     /* of the sequence; NULL: unknown */
    const char *configured_oid; /* of the table that has the configured name; NULL: the same */
    const char *middle_oid;     /* had the name after the old one; NULL: none */
    size_t rows_handed_on;
    const char *renamed_at_the_end; /* has the name when the old table is finished */
    bool noted;                     /* another table had the name at a look */
    const char *grants;             /* rights on the old table that we lack; NULL: none */
    bool unlinked;                  /* the catalog does not tell what was between */
    const char *stray_rows;         /* of a table that may have been between; NULL: there is none */
    const char *present_name;       /* of the table that is read; NULL: it was dropped */
    const char *old_oid;            /* a row of outbox.publisher tells of this table; NULL: none */
    char lock_tried[8];             /* OID of the last */
    bool old_taken;                 /* its lock is another relay's */
    size_t unlocks;
    size_t rows_deleted; /* from outbox.publisher */
    size_t claims;
    size_t asks; /* how many rows are replaced */
    bool hang_claim;
    const char *error_of_claim;  /* SQLSTATE; NULL: none */
    const char *error_of_fetch;  /* SQLSTATE */
    const char *table_fields[7]; /* of the answer about the table; NULL: as it should be */
    const char *mark;        /* of a pooled session, as the server has it; NULL: as it was set */
    const char *writers;     /* transactions that write to the table */
    char *fetch_sql;         /* the last */
    size_t fetches;          /* statements that look for rows */
    size_t wide;             /* of those: the first of a wide fetch */
    bool in_snapshot;        /* a wide fetch is under way */
    bool snapshot[RIG_ROWS]; /* unpublished in it */
    bool keys_only;
    bool lean;               /* without what cannot be read */
    int64_t unreadable;      /* this row cannot be read whole; 0: each can */
    bool unreadable_at_once; /* ... and the rows before it do not come either, as behind a sort */
    size_t unreadable_reads; /* so often it was tried */
    size_t guards;
    size_t flushes; /* forced */
    size_t marks;
    size_t prunes;
    size_t pings;
    const char *error_of_mark; /* SQLSTATE */
    const char *error_of_dead_letter;
    bool row_of_letter_gone; /* the copy finds no row */
    int letters;             /* statements */
    /* The pipeline. */
    SourceRig pipe;
    void (*delivered)(const Event *event); /* NULL: nobody asks */
    bool (*parks)(const Event *event);     /* its topic is missing; NULL: none is */
} Rig;

extern Rig rig;

void rig_prepare(void);
/** Makes the source and starts it. */
void rig_begin(void);
/** ... until it reads. */
void rig_activate(void);
void rig_end(void);

/** The event id of a row, as text. */
const char *rig_event_id(int64_t seq, char *at, size_t size);
/** Answers a COPY of rows or keys. False: it failed, and nothing may follow. */
bool rig_serve_copy(const char *sql, StubReply *reply);

/** Rows first to last become visible. */
void rig_insert(int64_t first, int64_t last);

void rig_turn(void);
/** Turns the loop until the condition holds, with a deadline. It sleeps while there is nothing to
 * do: walks wait for thousands of short pauses. */
#define RIG_WAIT(condition)                                                                        \
    do {                                                                                           \
        int64_t wait_until_us = clock_monotonic_us() + 10000000;                                   \
        event_base_loopexit(rig.pipe.base, &(struct timeval){.tv_sec = 10});                       \
        while (!(condition)) {                                                                     \
            event_base_loop(rig.pipe.base, EVLOOP_ONCE);                                           \
            cr_assert_lt(clock_monotonic_us(), wait_until_us, "waited in vain for %s",             \
                         #condition);                                                              \
        }                                                                                          \
    } while (0)
/** Likewise, and time passes whenever nothing else happens: for a lease, a pause, a back-off. */
#define RIG_PASS(condition)                                                                        \
    do {                                                                                           \
        int64_t wait_until_us = clock_real_us() + 10000000;                                        \
        while (!(condition)) {                                                                     \
            clock_turn(rig.pipe.base);                                                             \
            cr_assert_lt(clock_real_us(), wait_until_us, "waited in vain for %s", #condition);     \
        }                                                                                          \
    } while (0)

/** How many rows are delivered, marked, ... */
size_t rig_delivered(void);
size_t rig_marked(void);

/** Gives the oldest batch back: its events settled, but not the one with seq `except` (-1: none).
 */
void rig_ack(int64_t except);
void rig_ack_all(void);

/** As the pipeline after `lost`: gives everything back unsettled and starts again. */
void rig_restart(void);

/** Asserts the seqs of the batches that are out, as "1 2 3". */
void rig_assert_out(const char *expected);

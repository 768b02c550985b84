/* marker_rig: a marker on a server that is played (behind tests/stub/libpq.c), which knows its
 * statements, and its owner, which counts what it is told. One rig for a test process. */
#pragma once

#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "flow/batch.h"
#include "flow/source.h"
#include "metrics/metrics.h"
#include "rows/marker.h"
#include "stub/clock.h"
#include "stub/given.h"
#include "stub/given_schema.h"
#include "stub/libpq.h"

enum { ROWS = 100 };

/* What is played. */
typedef struct MarkerRigServer {
    /* The table. seq is the index. */
    bool visible[ROWS];
    int marks_of[ROWS];
    bool replaced[ROWS]; /* the number has another event */
    const char *id_type; /* of the event id's column; NULL: unknown to us */
    const char *snapshot;
    char position[24]; /* committed: "" none */
    char tx_lsn[24];
    char tx_ordinal[24];
    /* The last mark. */
    size_t sent_rows;
    char sent_position[24]; /* "NULL" */
    size_t marks;
    size_t counts;
    size_t prunes;
    size_t prunes_before_count;
    size_t letters;
    size_t feeds; /* of large ones */
    size_t fed_bytes;
    const char *feed_error;
    size_t row_looks;
    const char *row_ctid;
    size_t prepares;
    size_t asks; /* how many are replaced, who holds the lock, where the row is */
    bool hang;
    bool renamed; /* another table has the name */
    bool deaf;    /* a mark finds no row of ours, for no reason */
    bool eats;    /* a trigger returns NULL: rows stay as they are */
    /* The row that proves the history. */
    char owner[HISTORY_GENERATION];
    unsigned writes;
    char ctid[16];
    const char *error; /* SQLSTATE */
    const char *prune_error;
    const char *const (*prune_finds)[4]; /* by one after the other: deleted, looked, young, took */
    bool swallows;                       /* dead letters */
    int64_t bad_letter;                  /* is refused; 0: none is */
    int64_t gone_letter;                 /* its row is */
    int64_t swallowed_letter;
    bool break_group;
    size_t groups;     /* of dead letters */
    bool poison[ROWS]; /* a trigger refuses to have it marked */
} MarkerRigServer;

typedef struct MarkerRig {
    MarkerRigServer server;
    PipelineConfig pipeline;
    OutboxTable *table;
    Metrics *metrics;
    Stats stats;
    struct event_base *base;
    Worker *worker;
    struct event *worker_io;
    PgConn *conn;
    Marker *marker;
    HistoryMemory history;
    bool proven;
    bool opened;
    /* The owner. */
    MarkerOwner owner;
    size_t marked;
    size_t idle;
    size_t asides;
    size_t asides_refused;
    ErrorCode aside_reason; /* of the last one */
    size_t looks;
    int64_t aside_seqs[1000];
    size_t stop_at_aside; /* 0: not */
    int64_t looked_seq;
    uint64_t looked;
    size_t lost;
    size_t blocked;
    size_t replaced;
    size_t refusals;
    size_t healed;
    bool wants_refusals;
    Error error;
} MarkerRig;

extern MarkerRig rig;

void marker_rig_prepare(void);
/** The row that proves the history is there, and claimed. */
void marker_rig_prove(void);
/** Makes the marker and connects it. */
void marker_rig_begin(void);
void marker_rig_end(void);

void marker_rig_turn(void);
/** Once more, after marker_stop(). */
void marker_rig_connect(const MarkerPosition *position);
/** Somebody writes to the row that proves the history. */
void marker_rig_write(void);

/** A batch of these rows, all settled; ends with -1. The marker copies what it needs. */
void marker_rig_add(const int64_t *seqs, uint32_t xid, uint64_t lsn);
/** ... and a position, at once. */
void marker_rig_add_now(const int64_t *seqs, uint32_t xid, uint64_t lsn);
#define ROWS_OF(...) ((const int64_t[]){__VA_ARGS__, -1})
/** A row that becomes a dead letter. */
void marker_rig_add_letter(Batch *batch, int64_t seq);

#define WAIT(condition)                                                                            \
    do {                                                                                           \
        int64_t wait_until_us = clock_monotonic_us() + 10000000;                                   \
        while (!(condition)) {                                                                     \
            event_base_loop(rig.base, EVLOOP_NONBLOCK);                                            \
            cr_assert_lt(clock_monotonic_us(), wait_until_us, "waited in vain for %s",             \
                         #condition);                                                              \
        }                                                                                          \
    } while (0)

/* Likewise, and time passes whenever nothing else happens: for a lease, a pause, a back-off. */
#define PASS(condition)                                                                            \
    do {                                                                                           \
        int64_t wait_until_us = clock_real_us() + 10000000;                                        \
        while (!(condition)) {                                                                     \
            clock_turn(rig.base);                                                                  \
            cr_assert_lt(clock_real_us(), wait_until_us, "waited in vain for %s", #condition);     \
        }                                                                                          \
    } while (0)

/* mark_queue: rows that are acknowledged and not yet marked, with the positions that hold once they
 * are. First in, first out, but for rows that cannot be seen yet.
 *
 * The server streams a transaction as soon as its commit record is flushed. Its rows become visible
 * to others a moment later, or much later: after the answer of a synchronous standby. A mark that
 * comes between the two misses them. Such rows stay at the head of the queue, and no position
 * behind them is committed, until a snapshot shows that their transaction is over. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a source that reads the WAL stands. */
typedef struct MarkerPosition {
    uint64_t lsn;        /* everything that committed before it is done */
    uint64_t tx_lsn;     /* of the transaction that commits there ... */
    uint64_t tx_ordinal; /* ... so many events are done, too; 0: none */
    int64_t backfill_seq; /* while rows from before are published and kept: up to here; 0: none */
} MarkerPosition;

typedef struct MarkRow {
    int64_t seq;  /* EVENT_NO_SEQ: a message, without a row */
    uint32_t xid; /* of its transaction; 0: it was seen in the table, so it is over */
} MarkRow;

/* Holds once `events` events, counted since the start, are marked. */
typedef struct MarkBoundary {
    uint64_t events;
    MarkerPosition position;
} MarkBoundary;

typedef struct MarkQueue {
    MarkRow *rows; /* oldest first */
    size_t count;
    size_t capacity;
    size_t sent; /* the first so many are in the running statement */
    uint64_t events_added;
    uint64_t events_done;
    MarkBoundary *boundaries; /* oldest first */
    size_t boundary_count;
    size_t boundary_capacity;
    size_t boundaries_sent;
    MarkerPosition position; /* committed */
    MarkerPosition position_sent;
} MarkQueue;

/* What a statement did not find. */
typedef struct MarkMissing {
    int64_t *seqs; /* in any order; owned by the caller */
    size_t count;
    const char *snapshot; /* pg_current_snapshot() of the statement, as text */
} MarkMissing;

void mark_queue_add(MarkQueue *queue, int64_t seq, uint32_t xid);
void mark_queue_add_position(MarkQueue *queue, const MarkerPosition *position);

/** Chooses what the next statement holds: at most `most` rows, and the last position that holds
 * when those are marked. */
void mark_queue_choose(MarkQueue *queue, size_t most);

/** The statement was committed. Sorts the missing rows. Without missing rows its position was, too;
 * with any, it was not. Rows whose transaction is over and that are missing still are gone:
 * *ret_vanished counts them. The others are kept: their number is returned. */
size_t mark_queue_settle(MarkQueue *queue, const MarkMissing *missing, size_t *ret_vanished);

/** The connection is lost: nothing is known of the statement. */
void mark_queue_unsend(MarkQueue *queue);

/** True when nothing is left to be written. */
bool mark_queue_is_empty(const MarkQueue *queue);

void mark_queue_release(MarkQueue *queue);

/** True when a snapshot ("xmin:xmax:xip,...", pg_snapshot of PostgreSQL's documentation, 9.27)
 * shows what the transaction did, if it committed. The 32 bits of xid wrap around as in the server.
 */
bool mark_snapshot_shows(const char *snapshot, uint32_t xid);

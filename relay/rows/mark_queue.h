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

#include "base/slice.h"
#include "base/vec.h"
#include "rows/mark_positions.h"

enum { MARK_ID_INLINE = 40 }; /* bytes; a UUID has 36 */

/* A row is named by its number and its event id: numbers are given out again when a table, or its
 * server, begins anew. */
typedef struct MarkRow {
    int64_t seq;        /* EVENT_NO_SEQ: a message, without a row */
    uint32_t xid;       /* of its transaction; 0: it was seen in the table, so it is over */
    uint32_t id_length; /* of the event id as text; MARK_ID_NULL: SQL NULL, or no such column */
    bool refused;       /* the server refuses to mark it: left out until it is excused */
    union {
        char bytes[MARK_ID_INLINE];
        char *more; /* longer than that; owned by the queue */
    } id;
} MarkRow;

#define MARK_ID_NULL UINT32_MAX

typedef struct MarkQueue {
    VEC(MarkRow) rows;           /* oldest first */
    size_t sent;                 /* the first so many are in the running statement */
    VEC(const MarkRow *) chosen; /* of those, the ones with a row, by seq */
    size_t refused;              /* so many rows are */
    size_t behind;               /* the first so many stayed when later ones were marked */
    uint64_t events_added;
    uint64_t events_done;
    MarkPositions positions;
} MarkQueue;

/* A row that a statement did not find. */
typedef struct MarkMiss {
    int64_t seq;
    bool replaced; /* there is a row with this number and another event id */
} MarkMiss;

typedef struct MarkMissing {
    MarkMiss *rows; /* in any order; owned by the caller */
    size_t count;
    const char *snapshot; /* pg_current_snapshot() of the statement, as text */
} MarkMissing;

/* Rows that are given up, as nothing is left to be marked. */
typedef struct MarkGone {
    size_t vanished; /* no row has the number any more */
    size_t replaced; /* another event has it */
} MarkGone;

/** Copies the event id. */
void mark_queue_add(MarkQueue *queue, int64_t seq, Slice event_id, uint32_t xid);
void mark_queue_add_position(MarkQueue *queue, const MarkerPosition *position);

/** Chooses what the next statement holds: at most `most` rows, no number twice, and the last
 * position that holds when those are marked: none behind a row that is refused. */
void mark_queue_choose(MarkQueue *queue, size_t most);

/** The rows that were chosen, without messages, in order of their numbers; valid until the queue is
 * changed. */
const MarkRow *const *mark_queue_chosen(const MarkQueue *queue, size_t *ret_count);

/** The event id; null for SQL NULL. Valid as long as the row. */
Slice mark_row_id(const MarkRow *row);

/** Rows that wait; of those, refused ones. */
size_t mark_queue_count(const MarkQueue *queue);
size_t mark_queue_refused(const MarkQueue *queue);

/** The last position that is committed, and the one that goes with what was chosen. */
MarkerPosition mark_queue_position(const MarkQueue *queue);
const MarkerPosition *mark_queue_position_sent(const MarkQueue *queue);
/** The server's word for the committed one, at the start of a session. */
void mark_queue_set_position(MarkQueue *queue, const MarkerPosition *position);

/** True when such a row waits to be marked. */
bool mark_queue_has(const MarkQueue *queue, int64_t seq, Slice event_id);

/** The statement was committed. Sorts the missing rows. Without missing rows its position was, too;
 * with any, it was not. Rows whose transaction is over and that are missing still are given up:
 * *ret_gone counts them. The others are kept: their number is returned. */
size_t mark_queue_settle(MarkQueue *queue, const MarkMissing *missing, MarkGone *ret_gone);

/** The server refuses to mark the rows that were chosen: they are left out from now on. */
void mark_queue_refuse(MarkQueue *queue);

/** One refused row is to be tried again: the nth, counted round. */
void mark_queue_excuse(MarkQueue *queue, size_t nth);

/** No row is refused any more. */
void mark_queue_forgive(MarkQueue *queue);

/** The connection is lost: nothing is known of the statement. */
void mark_queue_unsend(MarkQueue *queue);

/** Forgets all rows, and positions that are not committed: they are of another history. */
void mark_queue_forget(MarkQueue *queue);

/** True when nothing is left to be written. */
bool mark_queue_is_empty(const MarkQueue *queue);

void mark_queue_release(MarkQueue *queue);

/** True when a snapshot ("xmin:xmax:xip,...", pg_snapshot of PostgreSQL's documentation, 9.27)
 * shows what the transaction did, if it committed. The 32 bits of xid wrap around as in the server.
 */
bool mark_snapshot_shows(const char *snapshot, uint32_t xid);

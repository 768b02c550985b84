/* marker: what happens to rows that are done, on one connection, one statement at a time, in this
 * order of importance: dead letters, marks (with the position, for sources that have one), pruning,
 * counting. While a mark statement runs, acknowledgements pile up, so the next one is bigger:
 * batching adapts to the server's speed by itself.
 *
 * The position is committed by the statement that marks the last row before it, never earlier. What
 * is acknowledged and not marked stays in memory when the connection is lost, until its owner says
 * that the server is of another history (marker_forget).
 *
 * A statement that must wait for a lock of somebody else gives up after lock_timeout
 * (rows/publisher) and is tried again; that is said once, with the holder of the lock. Loop thread
 * only. */
#pragma once

#include "flow/batch.h"
#include "flow/record.h"
#include "rows/mark_positions.h"
#include "rows/marker_owner.h"

typedef struct Marker Marker;

Marker *marker_new(const MarkerOptions *options);
void marker_free(Marker **marker);

/** The connection is open, its settings are made. The statements are prepared by the first mark. */
void marker_start(Marker *marker, const MarkerSession *session);

/** The table has another name by now (table_rename), or its old one again. */
void marker_renamed(Marker *marker);

/** Marks go to another table from now on, which table_rename() has named. Nothing may be pending.
 */
void marker_retarget(Marker *marker, uint32_t table_oid);

/** The connection is gone: forgets what was sent, keeps what is not marked. */
void marker_stop(Marker *marker);

/** Forgets the rows that are not marked and the positions behind them: another history. */
void marker_forget(Marker *marker);

/** Rows of the batch that are settled will be marked; position (or NULL) holds once they are. */
void marker_add(Marker *marker, const Batch *batch, const MarkerPosition *position);

/** A position without rows. at_once: not after mark_interval. */
void marker_add_position(Marker *marker, const MarkerPosition *position, bool at_once);

/** Commits the event to the dead-letter table, then reports `aside`, or `aside_refused`. Copies
 * record and reason. */
void marker_add_aside(Marker *marker, Event *event, const Record *record, const Error *reason);

/** Looks at these rows, at most SOURCE_LOOKS_MAX, as soon as the connection is free. What was asked
 * before and not answered is forgotten. False: a look was refused in this session. */
bool marker_look_at(Marker *marker, const EventRow *rows, size_t count);

/** Sends the next statement if the connection is free and it is time. */
void marker_next(Marker *marker);

/** From now on everything goes at once, and there is no upkeep. */
void marker_drain(Marker *marker);

/** True while something must still be written. */
bool marker_pending(const Marker *marker);

/** Events acknowledged whose row, or position, is not committed. */
size_t marker_unmarked(const Marker *marker);

/** True while rows left over from before the connection was lost are still unmarked: they look
 * unpublished. */
bool marker_recovering(const Marker *marker);

/** True when the row is acknowledged and not yet marked. */
bool marker_has(const Marker *marker, int64_t seq, Slice event_id);

/** False from a row that the server refused to mark (MARK_REJECTED) until nothing is left to be
 * marked: later rows were marked before it. */
bool marker_in_order(const Marker *marker);

/** The server did not store the last position: it lies beyond the end of its log. */
bool marker_position_is_beyond(const Marker *marker);

/** The last position that is committed. */
MarkerPosition marker_position(const Marker *marker);

/** The owner has written to the row that proves the history: it is there now. */
void marker_row_moved(Marker *marker, const char *ctid);

/** Everything is read: no need to count what is left. */
void marker_caught_up(Marker *marker, bool caught_up);

/** Unpublished rows by the last count, *ret_capped when there may be more; -1: not counted. */
double marker_backlog(const Marker *marker, bool *ret_capped);

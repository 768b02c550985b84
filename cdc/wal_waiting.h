/* wal_waiting: events that wait for their topic: batches that are kept back until their rows are
 * seen, and reading again. */
#pragma once

#include "cdc/wal_ack.h"

typedef struct Waiting Waiting;

Waiting *waiting_new(const WalContext *wal, Acks *acks, Progress *progress, WaitingRows *rows,
                     PositionRow *row, const Tables *tables);
void waiting_free(Waiting **waiting);

/** Does what is due. */
void waiting_go_on(Waiting *waiting);

/* Batches that are kept back. */

/** Takes a batch of the stream that came back until its parked rows are seen; false: not needed. */
bool waiting_keeps_back(Waiting *waiting, Batch *batch);
bool waiting_has_any(const Waiting *waiting);
size_t waiting_events(const Waiting *waiting);
/** The connection is gone: the stream will bring what was kept back. */
void waiting_give_back(Waiting *waiting);

/* Rows. */

/** The event may wait in its row (SourceOps). */
bool waiting_may_park(const Waiting *waiting, const Event *event);
/** The row waits for its topic, or is kept back with one that does. */
bool waiting_knows(const Waiting *waiting, int64_t seq, Slice event_id);
/** Nothing is known of what waits. */
void waiting_forget(Waiting *waiting);

/* Reading again. */

/** The stream was left: all of it comes again, once nothing is out: NEWS_REREAD. */
void waiting_begin_reread(Waiting *waiting);
/** It is done: the stream is back. */
void waiting_end_reread(Waiting *waiting);
bool waiting_is_rereading(const Waiting *waiting);
/** The connection is gone: the start reads again. */
void waiting_drop_reread(Waiting *waiting);
/** Nothing is read before all come again. */
bool waiting_stands(const Waiting *waiting);
/** in_use: somebody reads the slot. True when it is our old walsender: looks again soon. */
bool waiting_for_slot(Waiting *waiting, bool in_use);

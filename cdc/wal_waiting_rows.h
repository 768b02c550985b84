/* wal_waiting_rows: what is known of the events that wait for their topic: the rows of those that
 * the position has passed, and those that have no row. wal_waiting.c sees to them. */
#pragma once

#include "flow/batch.h"
#include "rows/parked.h"

typedef struct WaitingRows WaitingRows;

WaitingRows *waiting_rows_new(void);
void waiting_rows_free(WaitingRows **rows);

/** Parked rows of the batch are remembered. */
void waiting_rows_note(WaitingRows *rows, const Batch *batch);
const Parked *waiting_rows_parked(const WaitingRows *rows);
/** Those that are remembered are all there are. */
bool waiting_rows_are_known(const WaitingRows *rows);
void waiting_rows_know(WaitingRows *rows);
/** Nothing is known. */
void waiting_rows_forget(WaitingRows *rows);

/** The event has no unpublished row: it may not be parked until it is acknowledged. */
void waiting_rows_add_rowless(WaitingRows *rows, const Event *event);
bool waiting_rows_is_rowless(const WaitingRows *rows, const Event *event);
bool waiting_rows_have_rowless(const WaitingRows *rows);
/** Everything up to there is acknowledged. */
void waiting_rows_acked(WaitingRows *rows, uint64_t lsn);
void waiting_rows_forget_rowless(WaitingRows *rows);

/* reselect: changes of which large values were not sent, until their rows are read again
 * (toast = "reselect").
 *
 * An UPDATE that leaves a large value as it is does not write it to the log. The events of such a
 * change are in their batch, at their places, and become records when the batch is complete: its
 * rows are read by their replica identities, all of a table at once (keyed_rows.h), and what was
 * missing is taken from there. The row may be newer than the change. Of one that is gone, the
 * placeholders stay.
 *
 * What was read again is named in a header of the record (RESELECT_HEADER), as a JSON array. */
#pragma once

#include "cdc/captured.h"
#include "cdc/wal_context.h"
#include "cdc/wal_start.h"
#include "change/change_event.h"

#define RESELECT_HEADER "outboxd_reselected"

typedef struct Reselect Reselect;

/* A change of which values are missing. */
typedef struct ReselectChange {
    const CapturedTable *table;
    const ChangeRow *row;              /* the headers of its place live in the batch's arena */
    Event *events[CHANGE_RECORDS_MAX]; /* of each record, not filled; NULL: nobody needs it */
} ReselectChange;

Reselect *reselect_new(const WalContext *wal, const WalStart *start);
void reselect_free(Reselect **reselect);
/** completed(arg): the batch of reselect_complete() is. */
void reselect_tell(Reselect *reselect, void (*completed)(void *arg), void *arg);

/** True: a value that the record shows was not sent, and the row can be found. */
bool reselect_wants(const CapturedTable *table, const ChangeRow *row);
/** Notes a change whose events are in this batch; what it is of is copied. */
void reselect_add(Reselect *reselect, Batch *batch, const ReselectChange *change);

/** The batch has such changes. */
bool reselect_has(const Reselect *reselect, const Batch *batch);
/** Reads their rows and makes their records. One batch at a time, in the order of the stream;
 * events: what makes records. */
void reselect_complete(Reselect *reselect, Batch *batch, ChangeEvents *events);
/** The stream was left: all changes are forgotten, with the connection. */
void reselect_close(Reselect *reselect);

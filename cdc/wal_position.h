/* wal_position: the position row, which says what is published: its writes, one after the other,
 * and what it says of rows that wait. */
#pragma once

#include "cdc/wal_context.h"
#include "cdc/wal_progress.h"
#include "cdc/wal_start.h"
#include "cdc/wal_tables.h"
#include "cdc/wal_waiting_rows.h"

typedef struct PositionRow PositionRow;

/* The whole row. */
typedef struct PositionWrite {
    MarkerPosition position;
    bool backfill;        /* rows from before the slot are still to come */
    bool read;            /* all that the table has unpublished was read */
    const char *identity; /* of the publication that it was reached with */
} PositionWrite;

/** The write was committed (err == NULL) or not. */
typedef void (*PositionDone)(void *arg, const Error *err);

PositionRow *position_new(const WalContext *wal, const WalStart *start, const Tables *tables,
                          const WaitingRows *rows, Progress *progress);
void position_free(PositionRow **row);

/** Writes all of it, when its turn comes. */
void position_save(PositionRow *row, const PositionWrite *write, void *arg, PositionDone done);
/** Raises the count of writes as the new owner: marks may follow. Only the row that was judged. */
void position_claim(PositionRow *row, void *arg, PositionDone done);
/** Sets one column of our row. */
void position_note(PositionRow *row, const char *column, const char *value, void *arg,
                   PositionDone done);
/** A write waits, or is under way. */
bool position_is_saving(const PositionRow *row);
/** Nobody is told any more. */
void position_drop_waiting(PositionRow *row);

/** The row says that rows wait for their topic, so a restart reads the table. */
bool position_says_waiting(const PositionRow *row);
void position_set_waiting(PositionRow *row, bool waiting);

/** Where the row is, for the marker: valid until the next write. */
const char *position_ctid(const PositionRow *row);

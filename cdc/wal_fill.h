/* wal_fill: rows from before the slot are published from the table, before the stream; or the table
 * is compared with the log. */
#pragma once

#include "cdc/wal_books.h"
#include "cdc/wal_handover.h"
#include "cdc/wal_rotation.h"

typedef struct Fill Fill;

typedef struct FillParts {
    WalContext *wal;
    const WalBooks *books;
    const Waiting *waiting;
    Handover *handover;
    WalRotation *rotation;
} FillParts;

Fill *fill_new(const FillParts *parts);
void fill_free(Fill **fill);

/** Reads in this snapshot, which the creation of the slot exported. */
void fill_set_snapshot(Fill *fill, const char *snapshot);
void fill_start(Fill *fill);
/** As fill_start, after an interruption: only what is left. */
void fill_go_on(Fill *fill);
/** Compares the table with the log, publishes nothing: NEWS_COMPARED. */
void fill_prove(Fill *fill);
/** Unpublished rows that the log does not bring, and the number of the first. */
size_t fill_missed(const Fill *fill, int64_t *ret_first);

/** Does what is due: NEWS_FILLED at the end. */
void fill_next(Fill *fill);
/** The last row was read ... */
bool fill_is_complete(const Fill *fill);
/** ... and that all is published is written down. */
bool fill_is_recorded(const Fill *fill);
/** The pipeline knows that it may begin. */
bool fill_is_announced(const Fill *fill);

/** The connections are gone, or the stream was left. */
void fill_close(Fill *fill);
/** Nothing of it counts any more. */
void fill_forget(Fill *fill);

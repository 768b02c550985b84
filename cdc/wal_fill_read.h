/* wal_fill_read: a part of the rows of one table, in the filler's snapshot. One that cannot be read
 * stands alone. */
#pragma once

#include "cdc/wal_filler.h"
#include "flow/batch.h"

typedef struct FillRead FillRead;

typedef struct FillReader {
    /** False: the event is left out. */
    bool (*keeps)(void *arg, const Event *event);
    /** These rows were read (last: there are no more), and are its owner's. NULL: none were, and
     * what keeps() was asked for since the last time does not count: they are read again. */
    void (*done)(void *arg, Batch *batch, bool last);
    void *arg;
} FillReader;

FillRead *fill_read_new(const WalContext *wal, const Filler *filler, FillReader reader);
void fill_read_free(FillRead **read);

/** A table, from its beginning: as SQL, and as users know it (both borrowed). */
void fill_read_begin(FillRead *read, const char *table, const char *shown);
/** Rows up to there were read before. */
void fill_read_skip_to(FillRead *read, int64_t seq);
/** Reads the next rows, at most `limit`. */
void fill_read_next(FillRead *read, size_t limit);
bool fill_read_is_running(const FillRead *read);
/** The connection is gone: what was read is let go. */
void fill_read_drop(FillRead *read);

/* wal_filler: the connection that reads rows from before the slot, and the snapshot that it shows
 * them in. */
#pragma once

#include "cdc/wal_scout.h"

typedef struct Filler Filler;

/** taken(arg): the snapshot is. */
Filler *filler_new(const WalContext *wal, Scout *scout, void (*taken)(void *arg), void *arg);
void filler_free(Filler **filler);

/** What the creation of the slot exported; "": a snapshot of now is taken, which overlaps with the
 * log. */
void filler_set_snapshot(Filler *filler, const char *snapshot);
/** Takes the snapshot, of this table (as SQL, borrowed). */
void filler_open(Filler *filler, const char *table);
void filler_close(Filler *filler);
/** Neither exported nor taken. */
void filler_forget(Filler *filler);

bool filler_has_snapshot(const Filler *filler);
/** What has a higher seq comes with the stream; SLOT_NO_END: not known yet. */
int64_t filler_end(const Filler *filler);
/** ... is known from before. */
void filler_set_end(Filler *filler, int64_t end);
PgConn *filler_conn(const Filler *filler);

/* snapshot_hold: the connection that keeps a snapshot, so that others can read in it, for as long
 * as they do: that of the slot's beginning, or one of now. */
#pragma once

#include "cdc/wal_context.h"
#include "change/change_source.h"

typedef struct SnapshotHold SnapshotHold;

/** held(arg): the snapshot is. */
SnapshotHold *snapshot_hold_new(const WalContext *wal, void (*held)(void *arg), void *arg);
void snapshot_hold_free(SnapshotHold **hold);

/** Takes over the snapshot that the creation of a slot exported, which stands at that LSN; with ""
 * takes one of now. */
void snapshot_hold_open(SnapshotHold *hold, const char *exported, uint64_t lsn);
void snapshot_hold_close(SnapshotHold *hold);

/** Its name, for SET TRANSACTION SNAPSHOT. */
const char *snapshot_hold_name(const SnapshotHold *hold);
/** What its rows say of themselves. */
const ChangePlace *snapshot_hold_place(const SnapshotHold *hold);
/** Since when it is held, monotonic. */
int64_t snapshot_hold_since_us(const SnapshotHold *hold);

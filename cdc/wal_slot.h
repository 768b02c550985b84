/* wal_slot: what to do with the slot, now that facts, history and old tables are known. */
#pragma once

#include "cdc/wal_between.h"
#include "cdc/wal_books.h"
#include "cdc/wal_walsender.h"

typedef struct WalSlot WalSlot;

typedef struct WalSlotParts {
    WalContext *wal;
    const WalBooks *books;
    Waiting *waiting;
    const Between *between;
    Filling *fill;
    Walsender *walsender;
} WalSlotParts;

WalSlot *wal_slot_new(const WalSlotParts *parts);
void wal_slot_free(WalSlot **slot);

/** Creates, adopts, goes on, or stops at a gap. */
/** Only the snapshot was wanted, and it is published: drops the slot, and the pipeline ends. */
void wal_slot_end(WalSlot *slot);
void wal_slot_decide(WalSlot *slot);
/** A filling has compared the table with the log: reads on, or finds a gap. */
void wal_slot_compared(WalSlot *slot);
/** Now and then: a slot that is not made in a moment waits for somebody, which is said. */
void wal_slot_watch(WalSlot *slot);
/** The connection is gone: it is not being created any more. */
void wal_slot_forget(WalSlot *slot);

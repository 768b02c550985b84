/* wal_fill: rows of the outbox from before the slot are published from the table, before the
 * stream; or the table is compared with the log. */
#pragma once

#include "cdc/wal_books.h"
#include "cdc/wal_filling.h"
#include "cdc/wal_handover.h"
#include "cdc/wal_rotation.h"

typedef struct FillParts {
    WalContext *wal;
    const WalBooks *books;
    const Waiting *waiting;
    Handover *handover;
    WalRotation *rotation;
} FillParts;

Filling *fill_new(const FillParts *parts);

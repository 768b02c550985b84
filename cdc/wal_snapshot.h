/* wal_snapshot: the first snapshot of ordinary tables (capture = "tables"), before the stream. */
#pragma once

#include "cdc/wal_books.h"
#include "cdc/wal_filling.h"
#include "cdc/wal_handover.h"

Filling *wal_snapshot_new(WalContext *wal, const WalBooks *books, Handover *handover);

/* snapshot_record: which tables are published whole, in outbox.captured_table, so that an
 * interruption costs those alone that were not.
 *
 * A row counts for the stream that begins where this one does: another slot has another place, and
 * its snapshot begins anew. Rows are written by the relay that owns the position. */
#pragma once

#include "cdc/snapshot_tables.h"
#include "cdc/wal_books.h"

typedef struct SnapshotRecord SnapshotRecord;

typedef struct SnapshotRecordParts {
    const WalContext *wal;
    const WalBooks *books;
    SnapshotTables *tables;
    void *arg;
    void (*known)(void *arg);    /* tables of an earlier run are TABLE_RECORDED */
    void (*recorded)(void *arg); /* so are those that were published since */
} SnapshotRecordParts;

SnapshotRecord *snapshot_record_new(const SnapshotRecordParts *parts);
void snapshot_record_free(SnapshotRecord **record);

/** Asks what is written: known(). */
void snapshot_record_ask(SnapshotRecord *record);
/** Writes what is acknowledged and not written, if there is any: recorded(). */
void snapshot_record_write(SnapshotRecord *record);
/** The connection is gone. */
void snapshot_record_drop(SnapshotRecord *record);

/* snapshot_rows: rows that a snapshot reads -> batches of events, each of one table, with
 * Debezium's markers: `first` for the first row of the first table (none if that is empty),
 * `first_in_data_collection` and `last_in_data_collection` for those of a table, `last` for the
 * very last, exactly once.
 *
 * Which row is the last is known only when none follows. So one row of each table that is read is
 * held back, and of the table that was read to its end the last one, until another row is there
 * that will come after it. A table that is given up in the middle, to be read again, ends in the
 * same way: its rows were true.
 *
 * Several tables may be read at a time, and rows of one come in the order in which they are given.
 */
#pragma once

#include "cdc/change_reader.h"
#include "cdc/snapshot_tables.h"

typedef struct SnapshotRows SnapshotRows;

typedef struct SnapshotRowsParts {
    const PipelineConfig *pipeline;
    const Schema *schema; /* of made events */
    ChangeReader *changes;
    SnapshotTables *tables; /* whose `out`, rows and bytes are counted here */
    void *arg;
    void (*deliver)(void *arg, Batch *batch); /* of at least one event; it is the receiver's */
} SnapshotRowsParts;

SnapshotRows *snapshot_rows_new(const SnapshotRowsParts *parts);
void snapshot_rows_free(SnapshotRows **rows);

/** The snapshot that is read from now on: its time, LSN and transaction. */
void snapshot_rows_set_place(SnapshotRows *rows, const ChangePlace *place);
/** Rows that are taken from now on are processed now. */
void snapshot_rows_look_at_clock(SnapshotRows *rows);
/** Takes a row of COPY in the text format. RETRY / PG_PROTOCOL when it is none. */
Status snapshot_rows_take(SnapshotRows *rows, size_t table, Slice bytes, Error *err);
/** No other row of the table follows: what was taken goes out, but perhaps for the last. */
Status snapshot_rows_end_table(SnapshotRows *rows, size_t table, Error *err);
/** The table has other columns now: what is held of it goes out as its last row. */
Status snapshot_rows_release(SnapshotRows *rows, size_t table, Error *err);
/** No other row follows. */
Status snapshot_rows_finish(SnapshotRows *rows, Error *err);
/** What was taken and did not go out is forgotten. */
void snapshot_rows_forget(SnapshotRows *rows);

/** The place of a batch's table. */
size_t snapshot_rows_table(const Batch *batch);

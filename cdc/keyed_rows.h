/* keyed_rows: rows of captured tables as they are now, found by their keys, on a connection of its
 * own: all rows of a table by one query.
 *
 * Nothing is read before every transaction that is named is seen. A walsender sends a transaction
 * when its commit record is on disk, which may be before anybody can see what it did: what was read
 * then would be older than the change that it belongs to.
 *
 * Values are the texts that a snapshot reads (snapshot_worker.h). A table is found by its OID and a
 * column by its name and type: what is not there any more has no rows, and no values. */
#pragma once

#include "cdc/keyed_sql.h"
#include "cdc/wal_context.h"

typedef struct KeyedRows KeyedRows;

typedef struct KeyedRowsParts {
    const WalContext *wal;
    const char *settings; /* SQL, of the session; "" for none */
    void *arg;
    /** A row that is there: the values of KeyedTable.columns, valid during the call; SLICE_UNSENT
     * for a column that is not there any more. */
    void (*row)(void *arg, size_t table, size_t row, const Slice *values);
    /** Rows of this table cannot be read, for what is in them: no further one of it comes. */
    void (*unread)(void *arg, size_t table, const Error *err);
    /** Anything else failed: the connection is closed, and the question over. */
    void (*lost)(void *arg, const Error *err);
    /** All that is there was read. */
    void (*done)(void *arg);
} KeyedRowsParts;

KeyedRows *keyed_rows_new(const KeyedRowsParts *parts);
void keyed_rows_free(KeyedRows **rows);

/** Reads; the question is borrowed until done() or lost(), or until it is closed. One at a time. */
void keyed_rows_read(KeyedRows *rows, const KeyedQuestion *question);
/** The connection is left, and with it the question. */
void keyed_rows_close(KeyedRows *rows);

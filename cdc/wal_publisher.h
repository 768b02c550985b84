/* wal_publisher: the rows of outbox.publisher, which tell of each table that had the name and may
 * not be finished, whichever capture read it. */
#pragma once

#include "cdc/old_tables.h"
#include "cdc/wal_context.h"
#include "cdc/wal_start.h"

typedef struct PublisherRows PublisherRows;

/** noted(arg): the rows have told, and know of us. */
PublisherRows *publisher_rows_new(const WalContext *wal, const WalStart *start,
                                  void (*noted)(void *arg), void *arg);
void publisher_rows_free(PublisherRows **rows);

/** Notes that this table is read, and looks for those of before. False: there is nothing to be
 * asked. */
bool publisher_rows_begin(PublisherRows *rows);
/** The tables that the rows told of, oldest first. */
const OldTables *publisher_rows_found(const PublisherRows *rows);
/** An old table is finished. False: nothing was sent, and done is not called. */
bool publisher_rows_forget(PublisherRows *rows, uint32_t table_oid, void *arg,
                           void (*done)(void *arg, const Error *err));

/* wal_scout: before a filling that overlaps with the log: the rows that the log brings. */
#pragma once

#include "cdc/relation.h"
#include "cdc/wal_gap.h"
#include "cdc/wal_start.h"

typedef struct Scout Scout;

/** done(arg): what the log brings is known. like: what the outbox is. */
Scout *scout_new(const WalContext *wal, const WalStart *start, Gap *gap, const Relations *like,
                 void (*done)(void *arg), void *arg);
void scout_free(Scout **scout);

/** Nothing is known, and nothing wanted. */
void scout_forget(Scout *scout);
/** The filling overlaps with the log. Appends the question what the tree is in the snapshot of the
 * filling, and where the log ended ... */
void scout_want(Scout *scout, int server_version, Text *sql);
/** ... and reads the answer. */
void scout_read_tree(Scout *scout, const PGresult *row);
bool scout_is_wanted(const Scout *scout);

/** Reads ahead in the slot for the rows of this table. */
void scout_start(Scout *scout, PgConn *filler, uint32_t table_oid);
bool scout_is_running(const Scout *scout);
bool scout_is_complete(const Scout *scout);
/** The log brings this row. */
bool scout_expects(const Scout *scout, int64_t seq);

/* wal_tables: which tables do rows come from, and which of them do marks go to? The old ones that
 * may not be finished, oldest first, and behind them the configured one, whose place is
 * tables_count(). */
#pragma once

#include "cdc/old_tables.h"
#include "cdc/relation.h"
#include "cdc/wal_context.h"
#include "cdc/wal_log.h"

typedef struct Tables Tables;

Tables *tables_new(const WalContext *wal, const ServerLog *log);
void tables_free(Tables **tables);
/** A start: none is known. */
void tables_clear(Tables *tables);

/* Which tables. */

/** The list itself, which stays where it is. */
const OldTables *tables_old(const Tables *tables);
size_t tables_count(const Tables *tables);
/** Old table `at`, or the configured one: its OID; its present name as SQL, NULL when it is gone.
 */
uint32_t tables_oid(const Tables *tables, size_t at);
const char *tables_name(const Tables *tables, size_t at);
/** It is an old table that may not be finished. */
bool tables_have(const Tables *tables, uint32_t oid);
void tables_add(Tables *tables, uint32_t oid, const char *name);
/** Reads what the parts of old table `at` are. */
void tables_read_tree(Tables *tables, size_t at, const PGresult *row);
/** Says of each what became of it, once. lost: its unread rows are, if it is gone. */
void tables_say(Tables *tables, bool lost);

/* What is finished. */

/** So many of the old ones are. */
size_t tables_done(const Tables *tables);
/** The first `count` of them are. */
void tables_finish(Tables *tables, size_t count);
/** The oldest table that is not finished: what the position row names. */
uint32_t tables_oldest(const Tables *tables);
/** What the old ones had in the log before the swap ends before it. */
uint64_t tables_barrier(const Tables *tables);
void tables_set_barrier(Tables *tables, uint64_t lsn);

/* Where marks go. */

size_t tables_at(const Tables *tables);
/** Its OID, also while there is no connection: what is not marked is its. */
uint32_t tables_target(const Tables *tables);
/** Marks go to table `at` from now on. */
void tables_turn(Tables *tables, size_t at);
/** The marker begins: which table do its marks go to? */
uint32_t tables_aim(Tables *tables);
/** True when the message is a row of another table than the one that marks go to: marks are to go
 * there once what was read before is marked. */
bool tables_lie_elsewhere(Tables *tables, const Relations *relations, Slice data);
/** Marks are to go to table `at` once everything before is marked. */
void tables_want(Tables *tables, size_t at);
/** The one that is wanted; false: marks go where they are to go. */
bool tables_are_turning(const Tables *tables, size_t *ret_at);
void tables_stop_turning(Tables *tables);

/* A relation that had the name at its place in the log, and that nothing else told of: which table
 * is it now? */

void tables_add_question(const Tables *tables, uint32_t relation, Text *sql);
void tables_read_answer(Tables *tables, uint32_t relation, const PGresult *row);
/** The log told of another table that has the name now. */
bool tables_are_replaced(const Tables *tables);

/* mark_sql: the statement that marks (or deletes) rows, and its parameters.
 *
 * A row is hit only if number and event id are those of the event that was published. seq drives
 * the index, whatever the size of the table; the id is compared in the column's own type where
 * PostgreSQL itself has an equality for it, else as text. Nothing depends on search_path. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "rows/mark_queue.h"
#include "rows/table.h"

enum {
    MARK_PARAM_SEQS, /* bigint[], binary */
    MARK_PARAM_IDS,  /* uuid[] or text[], binary; NULL without a column */
    MARK_PARAM_ROW,  /* ctid of the row that proves the history */
    MARK_PARAMS_POLL,
    MARK_PARAM_LSN = MARK_PARAMS_POLL,
    MARK_PARAM_TX_LSN,
    MARK_PARAM_TX_ORDINAL,
    MARK_PARAM_BACKFILL_SEQ,
    MARK_PARAMS_WAL,
};

typedef enum MarkIdKind {
    MARK_ID_NONE, /* the table has no column for it */
    MARK_ID_UUID, /* compared by position, without a join */
    MARK_ID_OWN,  /* another type of pg_catalog that has an equality */
    MARK_ID_TEXT, /* any other */
} MarkIdKind;

typedef struct MarkSql {
    const OutboxTable *table;
    uint32_t table_oid;     /* nothing is marked once another table has its name; 0: not asked */
    bool touches_rows;      /* false: on_publish = "keep" */
    bool with_position;     /* the row is that of outbox.position, which moves */
    const char *row_table;  /* where the row is that proves the history; NULL: none */
    const char *row_key;    /* condition that finds it, beginning with a column's name */
    const char *generation; /* only if the row has this one; NULL: whoever wrote it */
    MarkIdKind id_kind;
    char id_type[128]; /* of MARK_ID_OWN, as SQL */
} MarkSql;

/** Appends a query of one row, one column: how event ids of this table are compared. False when
 * there is nothing to ask: it has no such column. */
bool mark_sql_add_id_query(const MarkSql *mark, Text *sql);
/** Reads its answer; NULL: SQL NULL. */
void mark_sql_read_id_type(MarkSql *mark, const char *answer);

/** Appends the condition that the table of this name is the one of this OID. A plan is made by name
 * again after each change, so it may find another. */
void mark_sql_add_same_table(const MarkSql *mark, Text *sql);

/** Appends PREPARE of the statements that mark_sql_statement() and mark_sql_then() name. What they
 * return:
 * without position: nothing, its command tag counts the rows hit; with row_table the other follows
 * in the same transaction: no row when another relay, or another table, has taken the place, and
 * then none was hit; else "ctid";
 * with position: no row likewise, else one or more of "ctid", "moved", "seq" (a row that was not
 * hit, or NULL), "snapshot", "replaced". */
void mark_sql_add_prepare(const MarkSql *mark, Text *sql);

/** The prepared statement for these rows, which are in order of their numbers. */
const char *mark_sql_statement(const MarkRow *const *rows, size_t count);
/** The one behind it, in the same transaction, with the one parameter MARK_PARAM_ROW; NULL: none.
 */
const char *mark_sql_then(const MarkSql *mark);

/** Appends a query with MARK_PARAM_SEQS and MARK_PARAM_IDS: how many of these rows there are with
 * another event id, and whether it is the same table. */
void mark_sql_add_replaced_query(const MarkSql *mark, Text *sql);

/** The arrays for these rows; malloc'd. The second is NULL without a column. */
char *mark_sql_seqs(const MarkRow *const *rows, size_t count, int *ret_length);
char *mark_sql_ids(const MarkSql *mark, const MarkRow *const *rows, size_t count, int *ret_length);

/* table: the SQL of one outbox table, built once from the configuration. */
#pragma once

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "flow/schema.h"

/* A column of the outbox, as a bit of OutboxTable.absent. */
#define TABLE_COLUMN(field) (UINT32_C(1) << (field))

/* How much of a row is read. */
typedef enum TableLean {
    LEAN_NONE,   /* all of it */
    LEAN_BODIES, /* without payload, payload_bytes and headers */
    LEAN_NAME,   /* number and event id alone */
} TableLean;

typedef struct OutboxTable {
    const PipelineConfig *config;
    Schema *schema;    /* of its rows, as they are read */
    char *name;        /* quoted; its present one */
    char *configured;  /* quoted; as the configuration says */
    char *seq;         /* quoted column name */
    char *select_list; /* in the order of rows/row.c; with what is stored of payload and headers */
    char *plain_list;  /* without the latter; for rows that are stored in one page */
    char *
        small_begin; /* SQL around a SELECT of that: it fails (SQLSTATE 22011) where the text ... */
    char *small_end; /* ... of a value is large all the same */
    char *rows_begin;  /* SQL around a SELECT of the list: sizes are looked at before values ... */
    char *rows_end;    /* ... and what comes is in the order of rows/row.c */
    char *unpublished; /* " AND "published_at" IS NULL", or "" when the table has no such column */
    size_t extra_count;
    bool looked_at;  /* `absent` is what a server said */
    uint32_t absent; /* columns that the table does not have and that were not named */
} OutboxTable;

/** The name, not quoted, of the column that holds a field, as configured; "" when the table has
 * none. Of a default that no column goes by, table_has is false. */
const char *table_column(const PipelineConfig *config, EventField field);

/** Whether the table has a column for the field, as far as is known. */
bool table_has(const OutboxTable *table, EventField field);

/** Takes what a look at the table found: the columns that are absent. The SQL is as of then. */
void table_take_columns(OutboxTable *table, uint32_t absent);

/** The columns that a record shows as headers, as bits. */
uint32_t table_header_columns(void);

/** Appends the names of these columns: "event_version, headers". */
void table_add_names(const PipelineConfig *config, uint32_t columns, Text *names);

/** What a SELECT lists of a row that cannot be read whole, in the order of rows/row.c; what is left
 * out is NULL. The caller's to free. */
char *table_lean_list(const OutboxTable *table, TableLean lean);

/** Appends the event id as text, as it names a row: of one over REFUSAL_SMALL_BYTES the beginning
 * and REFUSAL_ID_CUT. column: as SQL. Only what is needed of a value is read. */
void table_add_id(const char *column, Text *sql);

/** The same, of this table; NULL where it has no such column. */
void table_add_id_of(const OutboxTable *table, Text *sql);

/** Appends a condition, never NULL if `same` is not: the row whose event id is in that column is
 * named so. name: SQL of a text; same: SQL of the comparison that holds for a name that was not
 * cut. */
void table_add_id_is(const char *column, const char *name, const char *same, Text *sql);

/** Whether rows of one page are always within the limit of the configuration. */
bool table_may_be_small(const OutboxTable *table);

/** Appends a condition: no row of the table has a value out of line, nor has a table below it; true
 * only for a table that is neither divided nor inherited from. oid: as SQL, or NULL: by its name.
 */
void table_add_small(const OutboxTable *table, const char *oid, Text *sql);

/** The error is FATAL / EXIT_CONFIG. */
Status table_new(const PipelineConfig *config, OutboxTable **ret_table, Error *err);
void table_free(OutboxTable **table);

/** The table has this name, as SQL, by now; NULL: the configured one again. */
void table_rename(OutboxTable *table, const char *name);

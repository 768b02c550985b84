/* table: the SQL of one outbox table, built once from the configuration. */
#pragma once

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "flow/event.h"

typedef struct OutboxTable {
    const PipelineConfig *config;
    char *name;        /* quoted; its present one */
    char *configured;  /* quoted; as the configuration says */
    char *seq;         /* quoted column name */
    char *select_list; /* in the order of rows/row.c; with what is stored of payload and headers */
    char *rows_begin;  /* SQL around a SELECT of the list: sizes are looked at before values ... */
    char *rows_end;    /* ... and what comes is in the order of rows/row.c */
    char *unpublished; /* " AND "published_at" IS NULL", or "" when the table has no such column */
    size_t extra_count;
} OutboxTable;

/** The name, not quoted, of the column that holds a field; "" when the table has none. */
const char *table_column(const PipelineConfig *config, EventField field);

/** The error is FATAL / EXIT_CONFIG. */
Status table_new(const PipelineConfig *config, OutboxTable **ret_table, Error *err);
void table_free(OutboxTable **table);

/** The table has this name, as SQL, by now; NULL: the configured one again. */
void table_rename(OutboxTable *table, const char *name);

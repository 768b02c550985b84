/* table: the SQL of one outbox table, built once from the configuration. */
#pragma once

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "flow/event.h"

typedef struct OutboxTable {
    const PipelineConfig *config;
    char *name;        /* quoted */
    char *seq;         /* quoted column name */
    char *select_list; /* in the order of rows/row.c */
    char *unpublished; /* " AND "published_at" IS NULL", or "" when the table has no such column */
    size_t extra_count;
} OutboxTable;

/** The name, not quoted, of the column that holds a field; "" when the table has none. */
const char *table_column(const PipelineConfig *config, EventField field);

/** The error is FATAL / EXIT_CONFIG. */
Status table_new(const PipelineConfig *config, OutboxTable **ret_table, Error *err);
void table_free(OutboxTable **table);

/* table: the SQL of one outbox table, built once from the configuration. */
#pragma once

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "outbox/gaps.h"

typedef struct OutboxTable {
    const PipelineConfig *config;
    char *name;        /* quoted */
    char *seq;         /* quoted column name */
    char *select_list; /* in the order of outbox/row.c */
    char *unpublished; /* " AND "published_at" IS NULL", or "" when the table has no such column */
    char *mark_sql;    /* one parameter: bigint[] */
    size_t extra_count;
} OutboxTable;

/** The error is FATAL / EXIT_CONFIG. */
Status table_new(const PipelineConfig *config, OutboxTable **ret_table, Error *err);
void table_free(OutboxTable **table);

/** Appends COPY (...) TO STDOUT (FORMAT binary): all unpublished rows in the gaps and beyond the
 * top, in order of seq, at most limit. With sweep_below > INT64_MIN also those below it. */
void table_add_fetch(const OutboxTable *table, const Gaps *gaps, int64_t sweep_below, size_t limit,
                     Text *sql);

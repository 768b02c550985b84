#include "cdc/table_counts.h"

#include <stdlib.h>
#include <string.h>

#include "base/document.h"
#include "base/memory.h"
#include "base/vec.h"

/* Series beyond the registry's bound are shared, so the numbers stand here, too. */
struct TableCount {
    char *table;
    uint64_t changes;
    uint64_t bytes;
    int64_t last_us;
    uint64_t *changes_series; /* NULL: there are no metrics */
    uint64_t *bytes_series;
    double *last_series;
};

struct TableCounts {
    Metrics *metrics;
    const char *pipeline;
    VEC(TableCount *) items; /* by name */
};

static void count_expose(TableCount *count, Metrics *m, const char *pipeline)
{
    const char *table = count->table;
    count->changes_series = metrics_counter(
        m, "outboxd_table_changes_total",
        "With capture = \"tables\": changes of this table that were read from the WAL.", "pipeline",
        pipeline, "table", table, NULL);
    count->bytes_series =
        metrics_counter(m, "outboxd_table_bytes_total",
                        "With capture = \"tables\": bytes of the keys and values that these "
                        "changes became.",
                        "pipeline", pipeline, "table", table, NULL);
    count->last_series = metrics_gauge(
        m, "outboxd_table_last_change_timestamp_seconds",
        "With capture = \"tables\": when the transaction of the last change of this table that was "
        "read committed.",
        "pipeline", pipeline, "table", table, NULL);
}

static size_t counts_place(const TableCounts *counts, const char *table)
{
    size_t low = 0;
    size_t high = counts->items.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(counts->items.items[middle]->table, table) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

TableCount *table_counts_of(TableCounts *counts, const char *table)
{
    size_t at = counts_place(counts, table);
    if (at < counts->items.count && strcmp(counts->items.items[at]->table, table) == 0) {
        return counts->items.items[at];
    }
    TableCount *count = x_calloc(1, sizeof(*count));
    count->table = x_strdup(table);
    if (counts->metrics != NULL) {
        count_expose(count, counts->metrics, counts->pipeline);
    }
    *vec_insert(&counts->items, at) = count;
    return count;
}

Slice table_count_name(const TableCount *count)
{
    return slice_of(count->table);
}

void table_count_add(TableCount *count, uint64_t bytes, int64_t committed_at_us)
{
    count->changes++;
    count->bytes += bytes;
    count->last_us = committed_at_us;
    if (count->changes_series != NULL) {
        ++*count->changes_series;
        *count->bytes_series += bytes;
        *count->last_series = (double)committed_at_us / 1e6;
    }
}

void table_counts_show(const TableCounts *counts, json_t *pipeline)
{
    json_t *tables = document_array(pipeline, "tables");
    size_t shown = 0;
    for (size_t i = 0; i < counts->items.count && shown < TABLE_COUNTS_SHOWN; i++) {
        const TableCount *count = counts->items.items[i];
        if (count->changes == 0) {
            continue;
        }
        json_t *item = document_item(tables);
        document_text(item, "table", count->table);
        document_count(item, "changes", (int64_t)count->changes);
        document_count(item, "bytes", (int64_t)count->bytes);
        document_time(item, "last_change", count->last_us);
        shown++;
    }
}

TableCounts *table_counts_new(Metrics *metrics, const char *pipeline)
{
    TableCounts *counts = x_calloc(1, sizeof(*counts));
    counts->metrics = metrics;
    counts->pipeline = pipeline;
    return counts;
}

void table_counts_free(TableCounts **counts)
{
    TableCounts *old = *counts;
    *counts = NULL;
    if (old == NULL) {
        return;
    }
    for (size_t i = 0; i < old->items.count; i++) {
        free(old->items.items[i]->table);
        free(old->items.items[i]);
    }
    vec_free(&old->items);
    free(old);
}

#include "cdc/snapshot_series.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/vec.h"

#define TABLE_ROWS      "outboxd_snapshot_table_rows"
#define TABLE_BYTES     "outboxd_snapshot_table_bytes"
#define TABLE_PUBLISHED "outboxd_snapshot_table_published"

/* What a table adds to a series, which may be that of others, too: also of another pipeline. */
typedef struct Share {
    double *series;
    double value;
} Share;

typedef struct TableSeries {
    char *table;
    Share rows;
    Share bytes;
    Share published;
} TableSeries;

struct SnapshotSeries {
    Metrics *metrics;
    const char *pipeline;
    double *running;
    double *done;
    double *tables_planned;
    double *tables_published;
    double *rows;
    double *rows_expected;
    double *bytes;
    double *duration;
    double *left;
    double *wal_bytes;
    double *wal_bytes_expected;
    VEC(TableSeries) tables; /* in the order of the plan */
};

#define GAUGE(name, help)                                                                          \
    metrics_gauge(m, "outboxd_snapshot_" name, help, "pipeline", series->pipeline, NULL)

static void series_expose(SnapshotSeries *series)
{
    Metrics *m = series->metrics;
    series->running = GAUGE("running", "1 while the first snapshot is read and published.");
    series->done =
        GAUGE("done_ratio", "Share of the first snapshot that is read, by the size of the tables.");
    series->tables_planned = GAUGE("tables", "Tables of the first snapshot.");
    series->tables_published =
        GAUGE("tables_published", "Tables of the first snapshot of which every row is published.");
    series->rows = GAUGE("rows", "Rows of the first snapshot that are read. Fewer after a table "
                                 "changed and is read again.");
    series->rows_expected = GAUGE("rows_expected", "Rows of the tables that the first snapshot has "
                                                   "begun to read, as the planner estimates.");
    series->bytes = GAUGE("bytes", "Bytes of the rows of the first snapshot that are read.");
    series->duration =
        GAUGE("duration_seconds", "Time since this process began the first snapshot. After the "
                                  "end, the time that it took.");
    series->left = GAUGE("seconds_left", "Time until the first snapshot is read, if it continues "
                                         "as fast as until now. 0 at the end.");
    series->wal_bytes = GAUGE("retained_wal_bytes", "WAL that the slot retains until the first "
                                                    "snapshot is published. Absent after that.");
    series->wal_bytes_expected = GAUGE("retained_wal_expected_bytes",
                                       "WAL that the slot will retain at the end of the first "
                                       "snapshot, if the server writes as much as until now.");
}

/* Nothing is known of them. */
static void series_hide(const SnapshotSeries *series)
{
    *series->running = 0;
    *series->done = *series->tables_planned = *series->tables_published = NAN;
    *series->rows = *series->rows_expected = *series->bytes = NAN;
    *series->duration = *series->left = *series->wal_bytes = *series->wal_bytes_expected = NAN;
}

#define OF_TABLE(name, help)                                                                       \
    metrics_gauge(m, name, help, "pipeline", series->pipeline, "table", table, NULL)

static void series_add_table(SnapshotSeries *series, const SnapshotTable *planned)
{
    Metrics *m = series->metrics;
    char *table = x_format("%s.%s", planned->schema, planned->name);
    *vec_add(&series->tables) = (TableSeries){
        .table = table,
        .rows.series = OF_TABLE(TABLE_ROWS, "Rows of this table that the first snapshot has read."),
        .bytes.series = OF_TABLE(TABLE_BYTES, "Bytes of the rows of this table that the first "
                                              "snapshot has read."),
        .published.series = OF_TABLE(TABLE_PUBLISHED, "1 if every row of this table that the first "
                                                      "snapshot shows is published.")};
}

static void series_collect_total(const SnapshotSeries *series, const SnapshotView *view,
                                 const SnapshotTables *tables, uint64_t wal_bytes)
{
    SnapshotTotal total = snapshot_view_total(tables);
    bool running = snapshot_view_is_running(view);
    int64_t left_s = running ? snapshot_view_left_s(view, &total) : 0;
    *series->running = running ? 1 : 0;
    *series->done = total.done;
    *series->tables_planned = (double)total.tables;
    *series->tables_published = (double)total.tables_done;
    *series->rows = (double)total.rows;
    *series->rows_expected = (double)total.rows_expected;
    *series->bytes = (double)total.bytes;
    *series->duration = (double)snapshot_view_took_us(view) / 1e6;
    *series->left = left_s >= 0 ? (double)left_s : NAN;
    *series->wal_bytes = running ? (double)wal_bytes : NAN;
    int64_t expected = snapshot_view_wal_at_end(view, &total, wal_bytes);
    *series->wal_bytes_expected = running && expected >= 0 ? (double)expected : NAN;
}

static void share_set(Share *share, double value)
{
    *share->series += value - share->value;
    share->value = value;
}

static void series_collect_tables(SnapshotSeries *series, const SnapshotTables *tables)
{
    for (size_t i = 0; i < series->tables.count; i++) {
        TableSeries *one = &series->tables.items[i];
        const SnapshotTable *table = &tables->items.items[i];
        share_set(&one->rows, (double)table->rows);
        share_set(&one->bytes, (double)table->bytes);
        share_set(&one->published, table->state == TABLE_RECORDED ? 1 : 0);
    }
}

void snapshot_series_collect(SnapshotSeries *series, const SnapshotView *view,
                             const SnapshotTables *tables, uint64_t wal_bytes)
{
    if (series->metrics == NULL || tables->items.count == 0) {
        return;
    }
    for (size_t i = series->tables.count; i < tables->items.count; i++) {
        series_add_table(series, &tables->items.items[i]);
    }
    series_collect_total(series, view, tables, wal_bytes);
    series_collect_tables(series, tables);
}

static void series_remove(const SnapshotSeries *series, const char *name, const char *table,
                          Share *share)
{
    share_set(share, 0);
    metrics_remove(series->metrics, name, "pipeline", series->pipeline, "table", table, NULL);
}

void snapshot_series_forget(SnapshotSeries *series)
{
    if (series->metrics == NULL) {
        return;
    }
    for (size_t i = 0; i < series->tables.count; i++) {
        TableSeries *one = &series->tables.items[i];
        series_remove(series, TABLE_ROWS, one->table, &one->rows);
        series_remove(series, TABLE_BYTES, one->table, &one->bytes);
        series_remove(series, TABLE_PUBLISHED, one->table, &one->published);
        free(one->table);
    }
    series->tables.count = 0;
    series_hide(series);
}

SnapshotSeries *snapshot_series_new(Metrics *metrics, const char *pipeline)
{
    SnapshotSeries *series = x_calloc(1, sizeof(*series));
    series->metrics = metrics;
    series->pipeline = pipeline;
    if (metrics != NULL) {
        series_expose(series);
        series_hide(series);
    }
    return series;
}

void snapshot_series_free(SnapshotSeries **series)
{
    if (*series == NULL) {
        return;
    }
    snapshot_series_forget(*series);
    vec_free(&(*series)->tables);
    free(*series);
    *series = NULL;
}

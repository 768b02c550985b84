#include "cdc/snapshot_view.h"

#include "base/clock.h"
#include "base/document.h"
#include "base/log.h"
#include "base/memory.h"

enum { SAY_SECONDS = 10 };

static const char *const STATES[] = {
    [TABLE_WAITS] = "waiting",   [TABLE_ASKED] = "running",      [TABLE_READS] = "running",
    [TABLE_READ] = "publishing", [TABLE_RECORDED] = "published", [TABLE_GONE] = "dropped",
};

/* The blocks that were given out to be read, of all. */
static double table_done(const SnapshotTable *table)
{
    if (table->state >= TABLE_READ) {
        return 1;
    }
    double all = 0;
    double taken = 0;
    for (size_t i = 0; i < table->parts.count; i++) {
        double blocks = table->parts.items[i].blocks;
        all += blocks;
        taken += i < table->part ? blocks : i == table->part ? table->block : 0;
    }
    return all > 0 ? taken / all : 0;
}

SnapshotTotal snapshot_view_total(const SnapshotTables *tables)
{
    SnapshotTotal total = {.tables = tables->items.count};
    double weight = 0;
    double done = 0;
    for (size_t i = 0; i < tables->items.count; i++) {
        const SnapshotTable *table = &tables->items.items[i];
        double size = table->bytes_expected > 0 ? (double)table->bytes_expected : 1;
        weight += size;
        done += size * table_done(table);
        total.rows += table->rows;
        total.bytes += table->bytes;
        total.tables_done += table->state >= TABLE_RECORDED;
        total.rows_expected += table->rows_expected > 0 ? table->rows_expected : 0;
    }
    total.done = weight > 0 ? done / weight : 1;
    return total;
}

void snapshot_view_begin(SnapshotView *view, const SnapshotTables *tables, uint64_t wal_bytes)
{
    view->began_us = view->said_us = clock_monotonic_us();
    view->began_at = snapshot_view_total(tables).done;
    view->began_wal_bytes = wal_bytes;
    view->ended_us = 0;
    view->warned = 0;
}

void snapshot_view_end(SnapshotView *view)
{
    view->ended_us = clock_monotonic_us();
}

bool snapshot_view_is_running(const SnapshotView *view)
{
    return view->began_us != 0 && view->ended_us == 0;
}

int64_t snapshot_view_took_us(const SnapshotView *view)
{
    int64_t now_us = view->ended_us != 0 ? view->ended_us : clock_monotonic_us();
    return view->began_us != 0 ? now_us - view->began_us : 0;
}

int64_t snapshot_view_left_s(const SnapshotView *view, const SnapshotTotal *total)
{
    double gained = total->done - view->began_at;
    if (!snapshot_view_is_running(view) || gained <= 0) {
        return -1;
    }
    double passed = (double)snapshot_view_took_us(view) / 1e6;
    return (int64_t)(passed * (1 - total->done) / gained + 0.5);
}

int64_t snapshot_view_wal_at_end(const SnapshotView *view, const SnapshotTotal *total,
                                 uint64_t wal_bytes)
{
    int64_t left_s = snapshot_view_left_s(view, total);
    double passed = (double)snapshot_view_took_us(view) / 1e6;
    if (left_s < 0 || passed <= 0) {
        return -1;
    }
    uint64_t from = view->began_wal_bytes;
    double grown = wal_bytes > from ? (double)(wal_bytes - from) : 0;
    return (int64_t)((double)wal_bytes + grown * (double)left_s / passed + 0.5);
}

static void view_say_progress(const SnapshotView *view, const SnapshotTotal *total,
                              uint64_t wal_bytes)
{
    log_write(LOG_INFO, view->pipeline->name, CODE_SNAPSHOT_PROGRESS,
              LOG_FIELDS(log_number("percent", (long long)(total->done * 100)),
                         log_number("rows", (long long)total->rows),
                         log_number("tables", (long long)total->tables),
                         log_number("tables_published", (long long)total->tables_done),
                         log_number("seconds_left", snapshot_view_left_s(view, total)),
                         log_number("wal_bytes", (long long)wal_bytes),
                         log_number("wal_bytes_expected",
                                    snapshot_view_wal_at_end(view, total, wal_bytes))),
              "reading the tables");
}

static void view_warn(SnapshotView *view, int64_t now_us, const SnapshotCost *cost)
{
    const TablesConfig *limits = &view->pipeline->tables;
    int64_t held_us = now_us - cost->held_us;
    if ((view->warned & WARNED_LONG) == 0 && held_us >= limits->snapshot_xmin_max_ms * 1000) {
        view->warned |= WARNED_LONG;
        log_write(LOG_WARN, view->pipeline->name, CODE_SNAPSHOT_LONG,
                  LOG_FIELDS(log_number("seconds", held_us / 1000000)),
                  "the snapshot is older than snapshot_xmin_max: VACUUM keeps every row that was "
                  "deleted or updated since, in all tables of the database");
    }
    if ((view->warned & WARNED_WAL) == 0 &&
        cost->wal_bytes >= (uint64_t)limits->snapshot_wal_max_bytes) {
        view->warned |= WARNED_WAL;
        log_write(LOG_WARN, view->pipeline->name, CODE_SNAPSHOT_WAL,
                  LOG_FIELDS(log_number("bytes", (long long)cost->wal_bytes)),
                  "the slot retains more WAL than snapshot_wal_max, and will until the snapshot is "
                  "published");
    }
}

void snapshot_view_say(SnapshotView *view, const SnapshotTables *tables, const SnapshotCost *cost)
{
    int64_t now_us = clock_monotonic_us();
    if (!snapshot_view_is_running(view)) {
        return;
    }
    if (now_us - view->said_us >= SAY_SECONDS * INT64_C(1000000)) {
        SnapshotTotal total = snapshot_view_total(tables);
        view->said_us = now_us;
        view_say_progress(view, &total, cost->wal_bytes);
    }
    view_warn(view, now_us, cost);
}

static void show_table(const SnapshotTable *table, json_t *item)
{
    AUTO_TEXT name = x_format("%s.%s", table->schema, table->name);
    document_text(item, "table", name);
    document_text(item, "state", STATES[table->state]);
    document_count(item, "rows", (int64_t)table->rows);
    document_count(item, "bytes", (int64_t)table->bytes);
    document_number(item, "percent", "%.0f", table_done(table) * 100);
}

void snapshot_view_show(const SnapshotView *view, const SnapshotTables *tables, uint64_t wal_bytes,
                        json_t *pipeline)
{
    if (tables->items.count == 0) {
        return;
    }
    SnapshotTotal total = snapshot_view_total(tables);
    json_t *snapshot = document_object(pipeline, "snapshot");
    int64_t left_s = snapshot_view_left_s(view, &total);
    document_text(snapshot, "state",
                  view->ended_us != 0   ? "complete"
                  : view->began_us != 0 ? "running"
                                        : "waiting");
    document_number(snapshot, "percent", "%.0f", total.done * 100);
    document_count(snapshot, "rows", (int64_t)total.rows);
    document_count(snapshot, "rows_expected", total.rows_expected);
    document_count(snapshot, "bytes", (int64_t)total.bytes);
    if (left_s >= 0) {
        document_count(snapshot, "seconds_left", left_s);
        document_time(snapshot, "ends_at", clock_wall_us() + left_s * 1000000);
    }
    if (snapshot_view_is_running(view)) {
        int64_t expected = snapshot_view_wal_at_end(view, &total, wal_bytes);
        document_count(snapshot, "retained_wal_bytes", (int64_t)wal_bytes);
        if (expected >= 0) {
            document_count(snapshot, "retained_wal_bytes_expected", expected);
        }
    }
    json_t *list = document_array(snapshot, "tables");
    for (size_t i = 0; i < tables->items.count; i++) {
        show_table(&tables->items.items[i], document_item(list));
    }
}

/* The first snapshot: who reads what, and what follows from it.
 *
 *   ask what is written ─▶ hold a snapshot ─▶ chunks, by all workers ─▶ the next round, if tables
 *   changed meanwhile, in a snapshot of then ─▶ all is acknowledged and written down ─▶ the stream
 *
 * The slot's creation exports a snapshot of its very beginning, so rows and stream meet exactly.
 * Behind an interruption, and for a table that is another one by now, a snapshot of then is taken:
 * what it shows may be newer than the first changes of the stream, which lead to the same rows. */
#include "cdc/wal_snapshot.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "cdc/snapshot_hold.h"
#include "cdc/snapshot_record.h"
#include "cdc/snapshot_rows.h"
#include "cdc/snapshot_series.h"
#include "cdc/snapshot_view.h"
#include "cdc/snapshot_worker.h"
#include "cdc/wire.h"

typedef enum SnapshotStage {
    STAGE_NONE,
    STAGE_ASKED,   /* what is written of it already */
    STAGE_HOLDING, /* a snapshot is being taken */
    STAGE_READING,
    STAGE_READ,      /* all rows were read */
    STAGE_RECORDING, /* that all of it is published */
    STAGE_RECORDED,  /* they are published, and that is written down */
} SnapshotStage;

typedef struct Snapshot {
    Filling filling; /* first */
    WalContext *wal;
    const WalBooks *books;
    Handover *handover;
    SnapshotStage stage;
    SnapshotTables tables;
    SnapshotRows *rows;
    SnapshotHold *hold;
    SnapshotRecord *record;
    SnapshotView view;
    SnapshotSeries *series;
    VEC(SnapshotWorker *) workers;
    char exported[64]; /* name of the slot's snapshot; "": there is none */
    bool announced;
} Snapshot;

static_assert(offsetof(Snapshot, filling) == 0, "a Filling * is one of its Snapshot");

static void snapshot_go_on(Snapshot *snapshot);

static bool snapshot_goes_on(const Snapshot *snapshot, Status status, const Error *err)
{
    if (status != OK) {
        claim_lose(snapshot->wal->claim, err);
    }
    return status == OK;
}

static SnapshotTable *snapshot_table(const Snapshot *snapshot, size_t place)
{
    return &snapshot->tables.items.items[place];
}

/* The end. */

static void on_recorded(void *arg, const Error *err)
{
    Snapshot *snapshot = arg;
    if (!wal_goes_on(snapshot->wal, err)) {
        return;
    }
    verify_stored(snapshot->books->verify);
    snapshot->stage = STAGE_RECORDED;
    if (snapshot->wal->pipeline->tables.snapshot != SNAPSHOT_MODE_NEVER) {
        SnapshotTotal total = snapshot_view_total(&snapshot->tables);
        log_write(LOG_INFO, snapshot->wal->pipeline->name, CODE_SNAPSHOT_COMPLETE,
                  LOG_FIELDS(log_number("tables", (long long)total.tables),
                             log_number("rows", (long long)total.rows)),
                  "the snapshot is published");
    }
    snapshot_view_end(&snapshot->view);
    wal_tell(snapshot->wal, NEWS_FILLED);
}

static void snapshot_record_all(Snapshot *snapshot)
{
    const WalBooks *books = snapshot->books;
    snapshot->stage = STAGE_RECORDING;
    AUTO_ERROR injected = {0};
    if (FAILPOINT_FAILS("snapshot_end", &injected)) {
        claim_lose(snapshot->wal->claim, &injected);
        return;
    }
    PositionWrite write = {.read = true,
                           .identity = verify_identity(books->verify),
                           .position = {.lsn = progress_start(books->progress)}};
    position_save(books->row, &write, snapshot, on_recorded);
}

static void snapshot_close_connections(Snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->workers.count; i++) {
        snapshot_worker_close(snapshot->workers.items[i]);
    }
    snapshot_hold_close(snapshot->hold);
}

static void snapshot_next(Filling *filling)
{
    Snapshot *snapshot = (Snapshot *)filling;
    if (snapshot->wal->state != WAL_FILLING) {
        return;
    }
    snapshot_go_on(snapshot);
    snapshot_record_write(snapshot->record);
    if (snapshot->stage == STAGE_READ && snapshot_tables_are_recorded(&snapshot->tables) &&
        handover_is_drained(snapshot->handover)) {
        snapshot_record_all(snapshot);
    }
}

/* No other row follows. */
static void snapshot_end(Snapshot *snapshot)
{
    AUTO_ERROR err = {0};
    if (snapshot_goes_on(snapshot, snapshot_rows_finish(snapshot->rows, &err), &err)) {
        snapshot->stage = STAGE_READ;
        snapshot_close_connections(snapshot);
        snapshot_next(&snapshot->filling);
        wal_tell(snapshot->wal, NEWS_SETTLED);
    }
}

/* Rounds. */

static void snapshot_hold(Snapshot *snapshot)
{
    snapshot->stage = STAGE_HOLDING;
    snapshot_hold_open(snapshot->hold, snapshot->exported,
                       progress_start(snapshot->books->progress));
    snapshot->exported[0] = '\0'; /* it is taken over, or gone */
}

static void snapshot_end_round(Snapshot *snapshot)
{
    if (snapshot_tables_begin_round(&snapshot->tables)) {
        snapshot_hold(snapshot);
    } else {
        snapshot_end(snapshot);
    }
}

static void on_held(void *arg)
{
    Snapshot *snapshot = arg;
    const ChangePlace *place = snapshot_hold_place(snapshot->hold);
    char lsn[24];
    snapshot->stage = STAGE_READING;
    snapshot_rows_set_place(snapshot->rows, place);
    log_write(LOG_INFO, snapshot->wal->pipeline->name, CODE_SNAPSHOT_STARTED,
              LOG_FIELDS(log_text("snapshot", snapshot_hold_name(snapshot->hold)),
                         log_text("lsn", lsn_format(place->lsn, lsn)),
                         log_number("workers", (long long)snapshot->workers.count)),
              "reading the tables");
    for (size_t i = 0; i < snapshot->workers.count; i++) {
        if (!snapshot_worker_is_free(snapshot->workers.items[i])) {
            snapshot_worker_open(snapshot->workers.items[i]);
        }
    }
    snapshot_go_on(snapshot);
}

/* Work. */

static bool snapshot_has_room(const Snapshot *snapshot)
{
    size_t events = (size_t)snapshot->wal->pipeline->limits.batch_events;
    size_t bytes = 0;
    return handover_room(snapshot->handover, &events, &bytes);
}

static uint64_t snapshot_wal_bytes(const Snapshot *snapshot)
{
    uint64_t from = progress_start(snapshot->books->progress);
    uint64_t end = server_log_end(snapshot->books->log);
    return end > from ? end - from : 0;
}

static void snapshot_say(Snapshot *snapshot)
{
    const SnapshotCost cost = {.held_us = snapshot_hold_since_us(snapshot->hold),
                               .wal_bytes = snapshot_wal_bytes(snapshot)};
    snapshot_view_say(&snapshot->view, &snapshot->tables, &cost);
}

static void snapshot_hold_workers(const Snapshot *snapshot, bool hold)
{
    for (size_t i = 0; i < snapshot->workers.count; i++) {
        snapshot_worker_hold(snapshot->workers.items[i], hold);
    }
}

/* The rows of it that the stream has. */
static const char *snapshot_filter(const Snapshot *snapshot, const SnapshotTable *table)
{
    const MappedTable *mapped = mapped_find(snapshot->books->start->mapped, table->oid);
    return mapped != NULL ? mapped_row_filter(snapshot->wal->pipeline, mapped) : NULL;
}

/* False: there is nothing to do for it. */
static bool snapshot_give_work(Snapshot *snapshot, SnapshotWorker *worker)
{
    const char *name = snapshot_hold_name(snapshot->hold);
    bool whole = wal_server_version(snapshot->wal) < 140000; /* no scan of a range of TIDs */
    SnapshotChunk chunk;
    if (snapshot_tables_take(&snapshot->tables, whole, &chunk)) {
        const SnapshotTable *table = snapshot_table(snapshot, chunk.table);
        snapshot_worker_read(worker, table, &chunk, name, snapshot_filter(snapshot, table));
        return true;
    }
    size_t next = snapshot_tables_next(&snapshot->tables);
    if (next == SIZE_MAX) {
        return false;
    }
    SnapshotTable *table = snapshot_table(snapshot, next);
    table->state = TABLE_ASKED;
    table->lsn = snapshot_hold_place(snapshot->hold)->lsn;
    snapshot_worker_ask(worker, next, table, name);
    return true;
}

static void snapshot_go_on(Snapshot *snapshot)
{
    if (snapshot->stage != STAGE_READING || snapshot->wal->state != WAL_FILLING) {
        return;
    }
    bool room = snapshot_has_room(snapshot);
    snapshot_say(snapshot);
    snapshot_hold_workers(snapshot, !room);
    for (size_t i = 0; room && i < snapshot->workers.count; i++) {
        SnapshotWorker *worker = snapshot->workers.items[i];
        if (snapshot_worker_is_free(worker) && !snapshot_give_work(snapshot, worker)) {
            break;
        }
    }
    if (snapshot_tables_round_is_over(&snapshot->tables)) {
        snapshot_end_round(snapshot);
    }
}

static void on_batch(void *arg, Batch *batch)
{
    Snapshot *snapshot = arg;
    handover_deliver(snapshot->handover, batch);
    if (!snapshot_has_room(snapshot)) {
        snapshot_hold_workers(snapshot, true);
    }
}

static void on_arrived(void *arg)
{
    const Snapshot *snapshot = arg;
    snapshot_rows_look_at_clock(snapshot->rows);
}

static Status on_row(void *arg, SnapshotWorker *worker, Slice bytes, Error *err)
{
    Snapshot *snapshot = arg;
    size_t place = snapshot_worker_chunk(worker)->table;
    return snapshot_rows_take(snapshot->rows, place, bytes, err);
}

/* Tables. */

static void snapshot_table_is_read(Snapshot *snapshot, size_t place)
{
    AUTO_ERROR err = {0};
    SnapshotTable *table = snapshot_table(snapshot, place);
    table->state = TABLE_READ;
    if (!snapshot_goes_on(snapshot, snapshot_rows_end_table(snapshot->rows, place, &err), &err)) {
        return;
    }
    log_write(LOG_INFO, snapshot->wal->pipeline->name, CODE_SNAPSHOT_TABLE_READ,
              LOG_FIELDS(log_text("table", table->sql), log_number("rows", (long long)table->rows),
                         log_number("bytes", (long long)table->bytes)),
              "read a table");
    snapshot_record_write(snapshot->record); /* it may be empty */
}

/* It is another one than the snapshot shows. */
static void snapshot_put_off(Snapshot *snapshot, size_t place)
{
    AUTO_ERROR err = {0};
    SnapshotTable *table = snapshot_table(snapshot, place);
    if (!table->again) {
        log_write(LOG_WARN, snapshot->wal->pipeline->name, CODE_SNAPSHOT_TABLE_CHANGED,
                  LOG_FIELDS(log_text("table", table->sql)),
                  "the table was rewritten, truncated, altered or dropped since the snapshot was "
                  "taken: it is read again, from its beginning, in a new snapshot");
    }
    snapshot_table_put_off(table);
    if (table->running == 0) {
        (void)snapshot_goes_on(snapshot, snapshot_rows_end_table(snapshot->rows, place, &err),
                               &err);
    }
}

static void snapshot_lose_table(const Snapshot *snapshot, SnapshotTable *table)
{
    table->state = TABLE_GONE;
    log_write(LOG_WARN, snapshot->wal->pipeline->name, CODE_SNAPSHOT_TABLE_GONE,
              LOG_FIELDS(log_text("table", table->sql)),
              "the table was dropped before it was read: it is not in the snapshot");
}

/* What the table is, is known: its chunks may be read. */
static void snapshot_open_table(Snapshot *snapshot, size_t place, SnapshotAnswer *answer)
{
    AUTO_ERROR err = {0};
    SnapshotTable *table = snapshot_table(snapshot, place);
    bool other = table->shape != NULL && strcmp(table->shape, answer->shape) != 0;
    if (other &&
        !snapshot_goes_on(snapshot, snapshot_rows_release(snapshot->rows, place, &err), &err)) {
        return;
    }
    const MappingConfig *mapping = &snapshot->wal->pipeline->tables.mappings[table->mapping];
    Status set = captured_set(change_reader_captured(snapshot->books->changes), mapping,
                              &(ChangeRelation){.oid = table->oid,
                                                .columns = answer->columns.items,
                                                .count = answer->columns.count},
                              &err);
    if (set != OK && err.code == CODE_CHANGE_SCHEMA_STALE) {
        snapshot_put_off(snapshot, place); /* dropped between two questions */
        return;
    }
    if (!snapshot_goes_on(snapshot, set, &err)) {
        return;
    }
    snapshot_table_describe(table, answer);
    if (!snapshot_table_has_more(table)) {
        snapshot_table_is_read(snapshot, place);
    }
}

static void snapshot_take_answer(Snapshot *snapshot, SnapshotWorker *worker)
{
    size_t place = snapshot_worker_chunk(worker)->table;
    SnapshotAnswer *answer = snapshot_worker_answer(worker);
    if (!answer->told) {
        snapshot_lose_table(snapshot, snapshot_table(snapshot, place));
    } else if (answer->changed) {
        snapshot_put_off(snapshot, place);
    } else {
        snapshot_open_table(snapshot, place, answer);
    }
}

/* Its chunk is read, or its table another one. */
static void snapshot_take_back(Snapshot *snapshot, SnapshotWorker *worker, bool changed)
{
    const SnapshotChunk *chunk = snapshot_worker_chunk(worker);
    SnapshotTable *table = snapshot_table(snapshot, chunk->table);
    bool last = table->state == TABLE_READS && snapshot_tables_return(&snapshot->tables, chunk);
    if (changed || (last && table->again)) {
        snapshot_put_off(snapshot, chunk->table);
    } else if (last) {
        snapshot_table_is_read(snapshot, chunk->table);
    }
}

static void on_news(void *arg, SnapshotWorker *worker, WorkerNews news)
{
    Snapshot *snapshot = arg;
    switch (news) {
    case WORKER_READY:
        break;
    case WORKER_ASKED:
        snapshot_take_answer(snapshot, worker);
        break;
    case WORKER_READ:
    case WORKER_CHANGED:
        snapshot_take_back(snapshot, worker, news == WORKER_CHANGED);
        break;
    }
    snapshot_go_on(snapshot);
}

/* Beginning. */

static void snapshot_announce(Snapshot *snapshot)
{
    const Source *source = snapshot->wal->source;
    if (!snapshot->announced) {
        snapshot->announced = true;
        source->events.active(source->events.arg);
    }
}

static void on_known(void *arg)
{
    Snapshot *snapshot = arg;
    snapshot_announce(snapshot);
    if (snapshot->wal->state != WAL_FILLING) {
        return;
    }
    snapshot_view_begin(&snapshot->view, &snapshot->tables, snapshot_wal_bytes(snapshot));
    if (snapshot_tables_next(&snapshot->tables) == SIZE_MAX) {
        snapshot_end(snapshot);
    } else {
        snapshot_hold(snapshot);
    }
}

static void on_table_recorded(void *arg)
{
    snapshot_next(arg);
}

static void snapshot_start(Filling *filling)
{
    Snapshot *snapshot = (Snapshot *)filling;
    WalContext *wal = snapshot->wal;
    wal->state = WAL_FILLING;
    change_reader_begin(snapshot->books->changes, PQdb(pg_conn_raw(claim_conn(wal->claim))));
    if (wal->pipeline->tables.snapshot == SNAPSHOT_MODE_NEVER) {
        snapshot_announce(snapshot);
        snapshot->stage = STAGE_READ;
        snapshot_next(filling);
        return;
    }
    snapshot_series_forget(snapshot->series); /* of the plan before, whose tables may be others */
    snapshot_tables_plan(&snapshot->tables, snapshot->books->start->mapped);
    snapshot->stage = STAGE_ASKED;
    snapshot_record_ask(snapshot->record);
}

/* Of FillingOps. */

static void snapshot_set(Filling *filling, const char *name)
{
    Snapshot *snapshot = (Snapshot *)filling;
    snprintf(snapshot->exported, sizeof(snapshot->exported), "%s", name);
}

static void snapshot_came_back(Filling *filling, const Batch *batch)
{
    Snapshot *snapshot = (Snapshot *)filling;
    size_t place = snapshot_rows_table(batch);
    if (batch->count == 0 || batch->events[0]->commit_lsn != 0 ||
        place >= snapshot->tables.items.count) {
        return; /* of the stream */
    }
    SnapshotTable *table = snapshot_table(snapshot, place);
    table->out--;
    table->unsettled = table->unsettled || batch->unsettled > 0;
}

static void snapshot_status(const Filling *filling, json_t *pipeline)
{
    const Snapshot *snapshot = (const Snapshot *)filling;
    snapshot_view_show(&snapshot->view, &snapshot->tables, snapshot_wal_bytes(snapshot), pipeline);
}

static void snapshot_collect(const Filling *filling)
{
    const Snapshot *snapshot = (const Snapshot *)filling;
    snapshot_series_collect(snapshot->series, &snapshot->view, &snapshot->tables,
                            snapshot_wal_bytes(snapshot));
}

static bool snapshot_is_complete(const Filling *filling)
{
    return ((const Snapshot *)filling)->stage >= STAGE_READ;
}

static bool snapshot_is_recorded(const Filling *filling)
{
    return ((const Snapshot *)filling)->stage == STAGE_RECORDED;
}

static bool snapshot_is_announced(const Filling *filling)
{
    return ((const Snapshot *)filling)->announced;
}

static void snapshot_close(Filling *filling)
{
    Snapshot *snapshot = (Snapshot *)filling;
    snapshot_close_connections(snapshot);
    snapshot_rows_forget(snapshot->rows);
    snapshot_record_drop(snapshot->record);
    if (snapshot->stage < STAGE_READ) {
        snapshot->stage = STAGE_NONE;
    } else if (snapshot->stage == STAGE_RECORDING) {
        snapshot->stage = STAGE_READ;
    }
}

static void snapshot_forget(Filling *filling)
{
    Snapshot *snapshot = (Snapshot *)filling;
    snapshot_close(filling);
    snapshot_tables_clear(&snapshot->tables);
    snapshot_series_forget(snapshot->series);
    snapshot->view = (SnapshotView){.pipeline = snapshot->wal->pipeline};
    snapshot->stage = STAGE_NONE;
    snapshot->exported[0] = '\0';
    snapshot->announced = false;
}

static void snapshot_free(Filling *filling)
{
    Snapshot *snapshot = (Snapshot *)filling;
    for (size_t i = 0; i < snapshot->workers.count; i++) {
        snapshot_worker_free(&snapshot->workers.items[i]);
    }
    vec_free(&snapshot->workers);
    snapshot_hold_free(&snapshot->hold);
    snapshot_record_free(&snapshot->record);
    snapshot_rows_free(&snapshot->rows);
    snapshot_series_free(&snapshot->series);
    snapshot_tables_clear(&snapshot->tables);
    free(snapshot);
}

static const FillingOps SNAPSHOT_OPS = {
    .set_snapshot = snapshot_set,
    .start = snapshot_start,
    .go_on = snapshot_start,
    .next = snapshot_next,
    .came_back = snapshot_came_back,
    .status = snapshot_status,
    .collect = snapshot_collect,
    .is_complete = snapshot_is_complete,
    .is_recorded = snapshot_is_recorded,
    .is_announced = snapshot_is_announced,
    .close = snapshot_close,
    .forget = snapshot_forget,
    .free = snapshot_free,
};

Filling *wal_snapshot_new(WalContext *wal, const WalBooks *books, Handover *handover)
{
    Snapshot *snapshot = x_calloc(1, sizeof(*snapshot));
    snapshot->filling.ops = &SNAPSHOT_OPS;
    snapshot->wal = wal;
    snapshot->books = books;
    snapshot->handover = handover;
    snapshot->view.pipeline = wal->pipeline;
    bool never = wal->pipeline->tables.snapshot == SNAPSHOT_MODE_NEVER;
    snapshot->series =
        snapshot_series_new(never ? NULL : wal->options->metrics, wal->pipeline->name);
    snapshot->rows = snapshot_rows_new(&(SnapshotRowsParts){.pipeline = wal->pipeline,
                                                            .schema = wal->table->schema,
                                                            .changes = books->changes,
                                                            .tables = &snapshot->tables,
                                                            .arg = snapshot,
                                                            .deliver = on_batch});
    snapshot->hold = snapshot_hold_new(wal, on_held, snapshot);
    snapshot->record = snapshot_record_new(&(SnapshotRecordParts){.wal = wal,
                                                                  .books = books,
                                                                  .tables = &snapshot->tables,
                                                                  .arg = snapshot,
                                                                  .known = on_known,
                                                                  .recorded = on_table_recorded});
    for (int64_t i = 0; i < wal->pipeline->tables.snapshot_workers; i++) {
        *vec_add(&snapshot->workers) =
            snapshot_worker_new(&(WorkerParts){.wal = wal,
                                               .captured = change_reader_captured(books->changes),
                                               .arg = snapshot,
                                               .arrived = on_arrived,
                                               .row = on_row,
                                               .news = on_news});
    }
    return &snapshot->filling;
}

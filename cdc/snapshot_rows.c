#include "cdc/snapshot_rows.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cdc/change_made.h"
#include "cdc/copy_text.h"
#include "flow/batch.h"

enum { BATCH_BYTES = 1 << 20 };

/* A table whose rows come, or of which the last is held back. */
typedef struct OpenTable {
    size_t table;
    Text held;  /* the row that came last */
    bool begun; /* a row of it went out */
    Batch *batch;
} OpenTable;

struct SnapshotRows {
    SnapshotRowsParts with;
    ChangePlace *place;  /* of the row that goes out */
    VEC(OpenTable) open; /* each holds a row; at the end of a table only its last one is left */
    size_t ended;        /* the table whose last row waits for another one; SIZE_MAX: none */
    bool begun;          /* a row of the first table went out */
    Slice row[PGOUTPUT_COLUMNS_MAX];
};

static OpenTable *rows_open(SnapshotRows *rows, size_t table)
{
    for (size_t i = 0; i < rows->open.count; i++) {
        if (rows->open.items[i].table == table) {
            return &rows->open.items[i];
        }
    }
    return NULL;
}

static void open_free(OpenTable *open)
{
    text_free(&open->held);
    batch_free(&open->batch);
}

static void rows_deliver(SnapshotRows *rows, OpenTable *open)
{
    Batch *batch = open->batch;
    open->batch = NULL;
    if (batch != NULL) {
        batch->position = open->table;
        rows->with.tables->items.items[open->table].out++;
        rows->with.deliver(rows->with.arg, batch);
    }
}

static ChangeSnapshot rows_mark(const SnapshotRows *rows, const OpenTable *open,
                                ChangeSnapshot last)
{
    if (last == SNAPSHOT_LAST) {
        return SNAPSHOT_LAST;
    }
    if (open->table == 0 && !rows->begun) {
        return SNAPSHOT_FIRST;
    }
    if (last == SNAPSHOT_LAST_OF_TABLE) {
        return SNAPSHOT_LAST_OF_TABLE;
    }
    return open->begun ? SNAPSHOT_ROW : SNAPSHOT_FIRST_OF_TABLE;
}

/* The row that is held becomes an event. last: SNAPSHOT_LAST, SNAPSHOT_LAST_OF_TABLE or
 * SNAPSHOT_NO. */
static Status rows_emit(SnapshotRows *rows, OpenTable *open, ChangeSnapshot last, Error *err)
{
    const SnapshotRowsParts *with = &rows->with;
    const SnapshotTable *planned = &with->tables->items.items[open->table];
    const CapturedTable *table = captured_find(change_reader_captured(with->changes), planned->oid);
    assert(table != NULL && table->table != NULL && table->table->count <= PGOUTPUT_COLUMNS_MAX);
    if (copy_text_read(open->held.data, open->held.length, rows->row, table->table->count, err) !=
        OK) {
        return error_prefix(err, "snapshot of %s", planned->sql);
    }
    open->batch = open->batch != NULL ? open->batch : batch_new();
    rows->place->snapshot = rows_mark(rows, open, last);
    const ChangeRow row = {.op = 'r', .new_row = rows->row, .place = rows->place};
    const ChangeShown shown = {
        .kind = change_made_kind('r'),
        .table = table->name,
        .row = change_made_row(with->pipeline, table->table, &row, 0, 1, &open->batch->arena)};
    ChangeRecords records = {0};
    AUTO_ERROR why = {0};
    Status made = change_event_row(change_reader_events(with->changes), table->table, &row,
                                   &open->batch->arena, &records, &why);
    if (made != OK && why.class != ERROR_POISON) {
        error_copy(err, &why);
        return FAILED;
    }
    Event *event = batch_add(open->batch, with->schema);
    event->seq = EVENT_NO_SEQ;
    if (made == OK) {
        records.items[0].topic = table->topic;
        change_made_fill(with->pipeline, event, &records.items[0], &shown);
    } else {
        change_made_refuse(event, table->topic, &shown, &why);
    }
    open->begun = true;
    rows->begun = rows->begun || open->table == 0;
    text_clear(&open->held);
    return OK;
}

void snapshot_rows_look_at_clock(SnapshotRows *rows)
{
    rows->place->now_ns = clock_wall_us() * 1000;
}

/* The table is over: its last row goes out. */
static Status rows_close(SnapshotRows *rows, OpenTable *open, ChangeSnapshot last, Error *err)
{
    snapshot_rows_look_at_clock(rows); /* it was held for as long as no other came */
    if (rows_emit(rows, open, last, err) != OK) {
        return FAILED;
    }
    rows_deliver(rows, open);
    rows->with.tables->items.items[open->table].out--;
    open_free(open);
    vec_remove(&rows->open, (size_t)(open - rows->open.items), 1);
    return OK;
}

/* Another row is there, which comes after it. */
static Status rows_release_ended(SnapshotRows *rows, Error *err)
{
    if (rows->ended == SIZE_MAX) {
        return OK;
    }
    OpenTable *open = rows_open(rows, rows->ended);
    rows->ended = SIZE_MAX;
    return rows_close(rows, open, SNAPSHOT_LAST_OF_TABLE, err);
}

Status snapshot_rows_release(SnapshotRows *rows, size_t table, Error *err)
{
    return rows->ended == table ? rows_release_ended(rows, err) : OK;
}

Status snapshot_rows_take(SnapshotRows *rows, size_t table, Slice bytes, Error *err)
{
    SnapshotTable *planned = &rows->with.tables->items.items[table];
    if (rows_release_ended(rows, err) != OK) {
        return FAILED;
    }
    OpenTable *open = rows_open(rows, table);
    if (open == NULL) {
        open = vec_add(&rows->open);
        *open = (OpenTable){.table = table};
        planned->out++; /* as long as one of its rows is held */
    } else if (rows_emit(rows, open, SNAPSHOT_NO, err) != OK) {
        return FAILED;
    }
    text_append(&open->held, bytes.data, bytes.length);
    planned->rows++;
    planned->bytes += bytes.length;
    const Batch *batch = open->batch;
    if (batch != NULL && (batch->count >= (size_t)rows->with.pipeline->limits.batch_events ||
                          batch->bytes >= BATCH_BYTES)) {
        rows_deliver(rows, open);
    }
    return OK;
}

Status snapshot_rows_end_table(SnapshotRows *rows, size_t table, Error *err)
{
    OpenTable *open = rows_open(rows, table);
    if (open == NULL) {
        return OK; /* it is empty */
    }
    if (rows->open.count > 1) {
        return rows_close(rows, open, SNAPSHOT_LAST_OF_TABLE, err);
    }
    rows_deliver(rows, open);
    rows->ended = table;
    return OK;
}

Status snapshot_rows_finish(SnapshotRows *rows, Error *err)
{
    if (rows->ended == SIZE_MAX) {
        return OK;
    }
    OpenTable *open = rows_open(rows, rows->ended);
    rows->ended = SIZE_MAX;
    return rows_close(rows, open, SNAPSHOT_LAST, err);
}

void snapshot_rows_set_place(SnapshotRows *rows, const ChangePlace *place)
{
    *rows->place = *place;
    snapshot_rows_look_at_clock(rows);
}

void snapshot_rows_forget(SnapshotRows *rows)
{
    for (size_t i = 0; i < rows->open.count; i++) {
        open_free(&rows->open.items[i]);
    }
    rows->open.count = 0;
    rows->ended = SIZE_MAX;
    rows->begun = false;
}

size_t snapshot_rows_table(const Batch *batch)
{
    return batch->position;
}

SnapshotRows *snapshot_rows_new(const SnapshotRowsParts *parts)
{
    SnapshotRows *rows = x_calloc(1, sizeof(*rows));
    rows->with = *parts;
    rows->place = x_calloc(1, sizeof(*rows->place));
    rows->ended = SIZE_MAX;
    return rows;
}

void snapshot_rows_free(SnapshotRows **rows)
{
    if (*rows == NULL) {
        return;
    }
    snapshot_rows_forget(*rows);
    vec_free(&(*rows)->open);
    free((*rows)->place);
    free(*rows);
    *rows = NULL;
}

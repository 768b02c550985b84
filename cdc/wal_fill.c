/* Rows from before the slot: read from the table in one snapshot, published before the stream.
 *
 * A slot that we have just made exports the snapshot of its very beginning: what it shows
 * unpublished is published from the table, what it does not show comes with the stream. Where there
 * is no such snapshot (the slot was there before, or we were interrupted) a snapshot of now is
 * taken, which overlaps with the stream: what the stream will bring is looked up in it beforehand
 * (wal_scout.c), and left to it.
 *
 * So that an interruption costs little, the position row says where the reading ends (rows with a
 * higher number were inserted after the first snapshot was taken, so the stream brings them, in
 * their place among messages), and, where rows are not marked, how far it came. */
#include "cdc/wal_fill.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/memory.h"
#include "cdc/wal_fill_read.h"
#include "cdc/wal_fill_record.h"
#include "cdc/wal_filler.h"

/* What of the table the log does not bring. */
typedef struct FillProof {
    bool wanted; /* nothing is published: rows are counted */
    size_t missed;
    int64_t first_missed;
    size_t missed_before; /* by the last part that was read whole */
} FillProof;

typedef struct Fill {
    Filling filling; /* first */
    FillParts with;
    Scout *scout;
    Filler *filler;
    FillRead *read;
    FillRecord *record;
    FillProof proof;
    size_t at;     /* of the old tables; their count: the configured one */
    bool complete; /* the last row was read */
    bool announced;
    uint64_t published;
} Fill;

static_assert(offsetof(Fill, filling) == 0, "a Filling * is one of its Fill");

static void fill_next(Fill *fill);

/* Rows. */

/* Acknowledged rows whose marks are under way are no fault, nor those that wait for their topic. */
static void fill_prove_row(Fill *fill, const Event *event)
{
    Slice id = event->row[FIELD_EVENT_ID];
    if (marker_has(fill->with.wal->marker, event->seq, id) ||
        waiting_knows(fill->with.waiting, event->seq, id)) {
        return;
    }
    FillProof *proof = &fill->proof;
    proof->first_missed = proof->missed == 0 ? event->seq : proof->first_missed;
    proof->missed++;
}

static bool fill_keeps(void *arg, const Event *event)
{
    Fill *fill = arg;
    if (acks_have_filled(fill->with.books->acks, tables_oid(fill->with.books->tables, fill->at),
                         event->seq) ||
        scout_expects(fill->scout, event->seq)) {
        return false; /* acknowledged before we were interrupted, or coming with the log */
    }
    if (fill->proof.wanted) {
        fill_prove_row(fill, event);
    }
    return !fill->proof.wanted;
}

static void fill_on_rows(void *arg, Batch *batch, bool last)
{
    Fill *fill = arg;
    if (batch == NULL) { /* they are read again */
        fill->proof.missed = fill->proof.missed_before;
        fill_next(fill);
        return;
    }
    fill->complete = last;
    if (last) {
        /* Its lock on the table: DDL would wait for it, and our marks for the DDL. */
        filler_close(fill->filler);
    }
    if (batch->count > 0) {
        fill->published += batch->count;
        handover_deliver(fill->with.handover, batch);
    } else {
        batch_free(&batch);
    }
    fill_next(fill);
}

/* Tables. */

/* The next table, from its beginning, in a snapshot of its own. */
static void fill_open(Fill *fill)
{
    while (tables_name(fill->with.books->tables, fill->at) == NULL) {
        fill->at++; /* it is gone */
    }
    const char *name = tables_name(fill->with.books->tables, fill->at);
    bool present = fill->at >= tables_count(fill->with.books->tables);
    fill->complete = false;
    fill_record_open(fill->record);
    fill_read_begin(fill->read, name, present ? fill->with.wal->pipeline->outbox.table : name);
    filler_open(fill->filler, name);
}

static void fill_on_table_noted(void *arg)
{
    Fill *fill = arg;
    fill->at++;
    fill_open(fill);
    wal_tell(fill->with.wal, NEWS_SETTLED); /* a stop does not wait for the next table */
}

/* Rows that are kept do not show that they are published: the position row does, by its table and
 * number. */
static void fill_next_table(Fill *fill)
{
    if (!fill->proof.wanted && wal_keeps_rows(fill->with.wal)) {
        fill_record_table(fill->record, fill->at);
        return;
    }
    fill->at++;
    fill_open(fill);
}

/* What comes next. */

static void fill_on_step(void *arg)
{
    fill_next(arg);
}

static void fill_on_end_written(void *arg)
{
    Fill *fill = arg;
    const Source *source = fill->with.wal->source;
    if (!fill->proof.wanted && !fill->announced) {
        fill->announced = true;
        source->events.active(source->events.arg);
    }
    fill_next(fill);
}

/* Everything of this table was read. */
static void fill_finish_table(Fill *fill)
{
    bool old = fill->at < tables_count(fill->with.books->tables);
    /* Not with a batch that came back unpublished: the next start must read its rows again. */
    bool done = progress_outstanding(fill->with.books->progress) == 0 &&
                !progress_has_hole(fill->with.books->progress) &&
                !marker_pending(fill->with.wal->marker);
    if (old && (fill->proof.wanted || done)) {
        fill_next_table(fill);
    } else if (fill->proof.wanted) {
        wal_tell(fill->with.wal, NEWS_COMPARED);
    } else if (done) {
        fill_record_all(fill->record, fill->published);
    }
}

static void fill_read_on(Fill *fill)
{
    size_t most = (size_t)fill->with.wal->pipeline->limits.batch_events;
    size_t events = most;
    size_t bytes = 0;
    if (fill->proof.wanted || handover_room(fill->with.handover, &events, &bytes)) {
        fill->proof.missed_before = fill->proof.missed;
        fill_read_next(fill->read, events < most ? events : most);
    }
}

static void fill_next(Fill *fill)
{
    const WalContext *wal = fill->with.wal;
    if (wal->state != WAL_FILLING || fill_read_is_running(fill->read) ||
        !filler_has_snapshot(fill->filler)) {
        return;
    }
    if (!fill->proof.wanted && fill->at != tables_at(fill->with.books->tables)) {
        tables_want(fill->with.books->tables, fill->at);
        wal_rotation_go_on(fill->with.rotation);
    } else if (fill->complete) {
        fill_finish_table(fill);
    } else if (wal->draining || scout_is_running(fill->scout)) {
        return;
    } else if (!fill_record_has_end(fill->record)) {
        fill_record_end(fill->record, filler_end(fill->filler));
    } else if (scout_is_wanted(fill->scout) && !scout_is_complete(fill->scout)) {
        scout_start(fill->scout, filler_conn(fill->filler),
                    tables_oid(fill->with.books->tables, fill->at));
    } else {
        fill_read_on(fill);
    }
}

/* Beginning and end. */

static void fill_start(Fill *fill)
{
    fill->with.wal->state = WAL_FILLING;
    if (!fill->proof.wanted) {
        waiting_rows_forget(fill->with.books->rows);
    }
    fill->at = tables_done(fill->with.books->tables);
    fill_open(fill);
}

static void fill_prove(Filling *filling)
{
    Fill *fill = (Fill *)filling;
    fill->proof.wanted = true;
    fill_start(fill);
}

static void fill_go_on(Filling *filling)
{
    Fill *fill = (Fill *)filling;
    const SlotStored *stored = fill->with.books->start->given.stored;
    fill_start(fill);
    if (!stored->backfill) {
        fill_record_keep_position(fill->record);
    }
    if (tables_count(fill->with.books->tables) == 0) {
        filler_set_end(fill->filler, stored->backfill_end);
    }
    if (wal_keeps_rows(fill->with.wal) && stored->backfill_seq != 0) {
        fill_read_skip_to(fill->read, stored->backfill_seq);
    }
}

static void fill_set_snapshot(Filling *filling, const char *snapshot)
{
    filler_set_snapshot(((Fill *)filling)->filler, snapshot);
}

static size_t fill_missed(const Filling *filling, int64_t *ret_first)
{
    const Fill *fill = (const Fill *)filling;
    *ret_first = fill->proof.first_missed;
    return fill->proof.missed;
}

static bool fill_is_complete(const Filling *filling)
{
    return ((const Fill *)filling)->complete;
}

static bool fill_is_recorded(const Filling *filling)
{
    return fill_record_is_whole(((const Fill *)filling)->record);
}

static bool fill_is_announced(const Filling *filling)
{
    return ((const Fill *)filling)->announced;
}

static void fill_close(Filling *filling)
{
    Fill *fill = (Fill *)filling;
    filler_close(fill->filler);
    fill_read_drop(fill->read);
    scout_forget(fill->scout);
}

static void fill_forget(Filling *filling)
{
    Fill *fill = (Fill *)filling;
    filler_forget(fill->filler);
    fill_read_drop(fill->read);
    fill_record_begin(fill->record);
    fill->proof = (FillProof){0};
    fill->at = 0;
    fill->complete = fill->announced = false;
    fill->published = 0;
}

static void fill_free(Filling *filling)
{
    Fill *fill = (Fill *)filling;
    fill_read_free(&fill->read);
    filler_free(&fill->filler);
    scout_free(&fill->scout);
    fill_record_free(&fill->record);
    free(fill);
}

static void fill_begin(Filling *filling)
{
    fill_start((Fill *)filling);
}

static void fill_wake(Filling *filling)
{
    fill_next((Fill *)filling);
}

static const FillingOps FILL_OPS = {
    .set_snapshot = fill_set_snapshot,
    .start = fill_begin,
    .go_on = fill_go_on,
    .prove = fill_prove,
    .missed = fill_missed,
    .next = fill_wake,
    .is_complete = fill_is_complete,
    .is_recorded = fill_is_recorded,
    .is_announced = fill_is_announced,
    .close = fill_close,
    .forget = fill_forget,
    .free = fill_free,
};

Filling *fill_new(const FillParts *parts)
{
    const WalContext *wal = parts->wal;
    const WalBooks *books = parts->books;
    Fill *fill = x_calloc(1, sizeof(*fill));
    fill->filling.ops = &FILL_OPS;
    fill->with = *parts;
    fill->scout = scout_new(wal, books->start, books->gap, books->relations, fill_on_step, fill);
    fill->filler = filler_new(wal, fill->scout, fill_on_step, fill);
    fill->read = fill_read_new(
        wal, fill->filler, (FillReader){.keeps = fill_keeps, .done = fill_on_rows, .arg = fill});
    fill->record = fill_record_new(wal, books,
                                   (FillRecordReader){.end_written = fill_on_end_written,
                                                      .table_noted = fill_on_table_noted,
                                                      .arg = fill});
    return &fill->filling;
}

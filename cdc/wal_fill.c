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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "flow/refusal.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/row.h"

void fill_release(WalSource *wal)
{
    batch_free(&wal->fill.batch);
    error_clear(&wal->fill.error);
    wal->fill.running = false;
    scout_release(wal);
}

void fill_forget(Fill *fill)
{
    batch_free(&fill->batch);
    error_clear(&fill->error);
    error_clear(&fill->unreadable.error);
    memset(fill, 0, sizeof(*fill));
}

static void on_fill_recorded(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    log_write(LOG_INFO, wal->options.pipeline->name, CODE_BACKFILL_COMPLETE,
              LOG_FIELDS(log_number("events", (long long)wal->fill.published)),
              wal->fill.again ? "the rows that waited for a topic are read again; the WAL follows"
                              : "the rows from before the slot are published; the WAL follows");
    wal->fill.recorded = true;
    wal->waiting.known = true;
    verify_adopt(wal); /* what was missed, if anything was, came from the table, too */
    known_seqs_release(&wal->filled); /* what is left of them to mark is in the marker */
    wal_tell(wal, NEWS_FILLED);
}

/* Acknowledged rows whose marks are under way are no fault, nor those that wait for their topic. */
static void fill_prove_row(WalSource *wal, const Event *event)
{
    Fill *fill = &wal->fill;
    Slice id = event->row[FIELD_EVENT_ID];
    if (marker_has(wal->marker, event->seq, id) || waiting_knows(wal, event->seq, id)) {
        return;
    }
    fill->first_missed = fill->missed == 0 ? event->seq : fill->first_missed;
    fill->missed++;
}

static void fill_on_row(void *arg, const char *bytes, size_t length)
{
    WalSource *wal = arg;
    Fill *fill = &wal->fill;
    if (fill->error.class != ERROR_NONE) {
        return;
    }
    if (!fill->header_read) {
        fill->header_read = true;
        if (row_skip_header(&bytes, &length, &fill->error) != OK || length == 0) {
            return;
        }
    }
    if (row_is_trailer(bytes, length)) {
        return;
    }
    Event *event = NULL;
    if (row_read(bytes, length, wal->table->schema, fill->batch, &event, &fill->error) != OK) {
        return;
    }
    fill->rows++;
    fill->last_seq = event->seq;
    if (fill->unreadable.lean != LEAN_NONE) {
        bool present = fill->at >= wal->rotation.tables.count;
        refusal_set_unreadable(
            event, present ? wal->options.pipeline->outbox.table : tables_name(wal, fill->at),
            &fill->unreadable.error);
    }
    bool same_table = wal->rotation.filled == tables_oid(wal, fill->at);
    if ((same_table && known_seqs_has(&wal->filled, event->seq)) ||
        scout_expects(wal, event->seq)) {
        batch_take_back(
            fill->batch); /* acknowledged before we were interrupted, or coming with the log */
    } else if (fill->proof) {
        batch_take_back(fill->batch);
        fill_prove_row(wal, event);
    }
}

/* A row that the server cannot print, not even its name: a human has to. */
static void fill_name_rows(WalSource *wal, Error *err)
{
    const Fill *fill = &wal->fill;
    const char *table = tables_name(wal, fill->at);
    AUTO_ERROR copy = error_of(err);
    error_set_as(err, ERROR_FATAL, EXIT_POSTGRES, CODE_EVENT_UNREADABLE,
                 "the server cannot read the row of %s after number %lld, nor its event id: %s",
                 table, (long long)fill->last_seq, error_message(&copy));
    error_hint(err,
               "Correct or delete the row, then start again. The row is damaged, or its text would "
               "be larger than 1 GB. %s",
               slot_cannot_send(&copy) ? SLOT_FIND_HUGE_NUMBERS : "");
}

static void on_fill_rolled_back(void *arg, const Error *err)
{
    WalSource *wal = arg;
    wal->fill.running = false;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    fill_next(wal);
}

/* A row cannot be read. What came before it is read again, then it alone; it comes without what
 * cannot be read, and is refused. The snapshot stays. False: not even its name can be read. */
static bool fill_isolates(WalSource *wal, const Error *err)
{
    Fill *fill = &wal->fill;
    if (!pg_conn_is_open(wal->filler) ||
        !unreadable_failed(&fill->unreadable, err, fill->limit, fill->rows)) {
        return false;
    }
    fill->last_seq = fill->from;
    fill->missed = fill->from_missed;
    fill->chosen = true;
    batch_free(&fill->batch);
    fill->running = true;
    pg_conn_send(wal->filler, &(PgQuery){.step = "roll back fill",
                                         .sql = "ROLLBACK TO SAVEPOINT outboxd_fill",
                                         .arg = wal,
                                         .done = on_fill_rolled_back});
    return true;
}

static void fill_on_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    Fill *fill = &wal->fill;
    fill->running = false;
    if (err != NULL && fill_isolates(wal, err)) {
        return;
    }
    if (err != NULL || fill->error.class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(err != NULL ? err : &fill->error);
        if (copy.class == ERROR_FATAL && sqlstate_is_of_data(&copy)) {
            fill_name_rows(wal, &copy);
        }
        claim_lose(wal->claim, &copy);
        return;
    }
    unreadable_passed(&fill->unreadable, fill->rows,
                      (size_t)wal->options.pipeline->limits.batch_events);
    AUTO_ERROR failed = {0};
    if (FAILPOINT_FAILS("fetched", &failed)) {
        claim_lose(wal->claim, &failed);
        return;
    }
    fill->complete = fill->rows < fill->limit;
    if (fill->complete) {
        /* Its lock on the table: DDL would wait for it, and our marks for the DDL. */
        pg_conn_close(wal->filler);
    }
    Batch *batch = fill->batch;
    fill->batch = NULL;
    if (batch->count > 0) {
        fill->published += batch->count;
        wal_deliver(wal, batch);
    } else {
        batch_free(&batch);
    }
    fill_next(wal);
}

/* The next rows. A plan that sorts the table reads the values of all its rows, and one that cannot
 * be read fails them all: behind a failure the rows are chosen by number first. */
static void fill_add_range(const WalSource *wal, Text *sql)
{
    const Fill *fill = &wal->fill;
    const OutboxTable *table = wal->table;
    const char *name = tables_name(wal, fill->at);
    if (fill->chosen) {
        text_printf(sql, "%s = ANY(ARRAY(SELECT k.%s FROM %s AS k WHERE ", table->seq, table->seq,
                    name);
    }
    text_printf(sql, "%s > %lld AND %s <= %lld%s", table->seq, (long long)fill->last_seq,
                table->seq, (long long)fill->end, table->unpublished);
    if (fill->chosen) {
        text_printf(sql, " ORDER BY k.%s LIMIT %zu))%s", table->seq, fill->limit,
                    table->unpublished);
    }
}

static void fill_fetch(WalSource *wal, size_t limit)
{
    Fill *fill = &wal->fill;
    fill->limit = unreadable_limit(&fill->unreadable, limit);
    fill->from = fill->last_seq;
    fill->from_missed = fill->missed;
    fill->rows = 0;
    fill->header_read = false;
    fill->running = true;
    error_clear(&fill->error);
    fill->batch = batch_new();
    const OutboxTable *table = wal->table;
    TableLean how = fill->unreadable.lean;
    AUTO_TEXT lean = how != LEAN_NONE ? table_lean_list(table, how) : NULL;
    AUTO_BUFFER range = TEXT_EMPTY;
    fill_add_range(wal, &range);
    AUTO_TEXT sql = x_format(
        "COPY (%sSELECT %s FROM %s AS o WHERE %s ORDER BY o.%s LIMIT %zu%s) TO STDOUT (FORMAT "
        "binary)",
        lean != NULL ? "" : table->rows_begin, lean != NULL ? lean : table->select_list,
        tables_name(wal, fill->at), text_string(&range), table->seq, fill->limit,
        lean != NULL ? "" : table->rows_end);
    pg_conn_send(wal->filler, &(PgQuery){.step = "fetch before the slot",
                                         .sql = sql,
                                         .arg = wal,
                                         .row = fill_on_row,
                                         .done = fill_on_done});
}

static void on_end_written(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    wal->fill.durable = true;
    if (!wal->fill.proof && !wal->fill.announced) {
        wal->fill.announced = true;
        wal->source.events.active(wal->source.events.arg);
    }
    fill_next(wal);
}

/* Also a commit of our own after the snapshot was taken: what the snapshot shows is on disk then,
 * even what was committed with synchronous_commit = off. */
static void fill_write_end(WalSource *wal)
{
    /* The position names the oldest table, and one end does not hold for several. */
    AUTO_TEXT end = wal->rotation.tables.count > 0 ? x_strdup("NULL")
                                                   : x_format("%lld", (long long)wal->fill.end);
    wal->fill.flushing = true;
    position_note(wal, "backfill_end", end, on_end_written);
}

/* The next table, from its beginning, in a snapshot of its own. */
static void fill_open(WalSource *wal)
{
    Fill *fill = &wal->fill;
    while (tables_name(wal, fill->at) == NULL) {
        fill->at++; /* it is gone */
    }
    fill->taken = fill->complete = fill->flushing = fill->durable = false;
    error_clear(&fill->unreadable.error);
    memset(&fill->unreadable, 0, sizeof(fill->unreadable));
    fill->chosen = false;
    fill->last_seq = INT64_MIN;
    fill->end = SLOT_NO_END;
    scout_release(wal);
    pg_conn_close(wal->filler);
    pg_conn_open(wal->filler);
}

static void on_table_noted(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    wal->fill.noting = false;
    wal->rotation.done = wal->fill.at + 1;
    wal->fill.at++;
    fill_open(wal);
    wal_tell(wal, NEWS_SETTLED); /* a stop does not wait for the next table */
}

/* Rows that are kept do not show that they are published: the position row does, by its table and
 * number. */
static void fill_next_table(WalSource *wal)
{
    Fill *fill = &wal->fill;
    if (!fill->proof && wal->options.pipeline->outbox.on_publish == ON_PUBLISH_KEEP) {
        AUTO_TEXT next = x_format("%u, backfill_seq = NULL", tables_oid(wal, wal->fill.at + 1));
        if (!fill->noting) {
            fill->noting = true;
            position_note(wal, "table_id", next, on_table_noted);
        }
        return;
    }
    fill->at++;
    fill_open(wal);
}

void fill_next(WalSource *wal)
{
    Fill *fill = &wal->fill;
    if (wal->state != WAL_FILLING || fill->running || !fill->taken) {
        return;
    }
    if (!fill->proof && fill->at != wal->rotation.at) {
        wal_rotation_switch(wal, fill->at);
        return;
    }
    if (fill->complete && fill->proof && fill->at < wal->rotation.tables.count) {
        fill_next_table(wal);
        return;
    }
    if (fill->complete && fill->proof) {
        wal_tell(wal, NEWS_COMPARED);
        return;
    }
    if (fill->complete) {
        /* Not with a batch that came back unpublished: the next start must read its rows again. */
        bool done = wal->outstanding == 0 && !wal->hole && !marker_pending(wal->marker);
        if (done && fill->at < wal->rotation.tables.count) {
            fill_next_table(wal);
        } else if (done && !fill->recording) {
            fill->recording = true;
            MarkerPosition start = {.lsn = wal->start_lsn};
            position_save(wal, wal->fill.again ? &wal->facts.position : &start, false,
                          on_fill_recorded);
        }
        return;
    }
    if (wal->draining || wal->scout.running) {
        return;
    }
    if (!fill->durable) {
        if (!fill->flushing) {
            fill_write_end(wal);
        }
        return;
    }
    if (wal->scout.wanted && !wal->scout.complete) {
        scout_start(wal);
        return;
    }
    size_t events = 0;
    size_t bytes = 0;
    if (fill->proof) {
        fill_fetch(wal, (size_t)wal->options.pipeline->limits.batch_events);
    } else if (wal_room(wal, &events, &bytes)) {
        size_t most = (size_t)wal->options.pipeline->limits.batch_events;
        fill_fetch(wal, events < most ? events : most);
    }
}

static void on_snapshot_row(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
        PQfnumber(result, "members") >= 0) {
        scout_read_tree(wal, result);
    } else if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
               wal->fill.end == SLOT_NO_END) {
        wal->fill.end = strtoll(pg_needed(result, 0, 0), NULL, 10);
    }
}

static void on_snapshot(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    wal->fill.taken = true;
    fill_next(wal);
}

static void on_filler_set(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, "BEGIN ISOLATION LEVEL REPEATABLE READ; ");
    if (wal->fill.snapshot[0] != '\0') {
        AUTO_TEXT snapshot = ident_literal(wal->fill.snapshot);
        text_printf(&sql, "SET TRANSACTION SNAPSHOT %s; ", snapshot);
    }
    text_printf(&sql, "SELECT coalesce(max(%s), 0) FROM %s", wal->table->seq,
                tables_name(wal, wal->fill.at));
    wal->scout.wanted = wal->fill.snapshot[0] == '\0';
    if (wal->scout.wanted) { /* it stands before this snapshot, and how far before is not known */
        text_add(&sql, "; ");
        tree_add_query(wal->options.pipeline, claim_table(wal->claim), 0,
                       PQserverVersion(pg_conn_raw(wal->filler)), &sql);
    }
    text_add(&sql, "; SAVEPOINT outboxd_fill"); /* what fails behind it leaves lock and snapshot */
    pg_conn_send(wal->filler, &(PgQuery){.step = "import snapshot",
                                         .sql = sql.data,
                                         .rows_wanted = wal->scout.wanted ? 2 : 1,
                                         .arg = wal,
                                         .result = on_snapshot_row,
                                         .done = on_snapshot});
}

void fill_filler_opened(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_settings(wal->options.config, wal->options.pipeline, false,
                           pg_conn_raw(wal->filler), &sql);
    text_add(&sql, "SET statement_timeout = 0; "); /* reading ahead takes as long as the log is */
    pg_conn_send(wal->filler, &(PgQuery){.step = "session of the filler",
                                         .sql = sql.data,
                                         .arg = wal,
                                         .done = on_filler_set});
}

void fill_start(WalSource *wal)
{
    wal->state = WAL_FILLING;
    if (!wal->fill.proof) {
        wal->waiting.known = false;
        parked_clear(&wal->waiting.parked);
    }
    wal->fill.at = wal->rotation.done;
    fill_open(wal);
}

void fill_prove(WalSource *wal)
{
    wal->fill.proof = true;
    fill_start(wal);
}

void fill_go_on(WalSource *wal)
{
    fill_start(wal);
    wal->fill.again = !wal->facts.backfill;
    if (wal->rotation.tables.count == 0) {
        wal->fill.end = wal->facts.backfill_end;
    }
    if (wal->options.pipeline->outbox.on_publish == ON_PUBLISH_KEEP &&
        wal->facts.backfill_seq != 0) {
        wal->fill.last_seq = wal->facts.backfill_seq;
    }
}

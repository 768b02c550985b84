#include "cdc/wal_requeue.h"

#include <event2/event.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "cdc/change_made.h"
#include "cdc/keyed_rows.h"
#include "cdc/requeue_letters.h"
#include "cdc/snapshot_sql.h"
#include "pg/result.h"
#include "pg/sqlstate.h"

/* The stream is held while rows are read: a lock of somebody is not waited for. */
#define SETTINGS "SET lock_timeout = '1s'; "

typedef enum RequeueStage {
    REQUEUE_IDLE,
    REQUEUE_NONE,    /* the table of letters cannot be asked for them */
    REQUEUE_ASKING,  /* which letters, what their table is */
    REQUEUE_HOLDING, /* the stream is to be held */
    REQUEUE_READING, /* it is */
    REQUEUE_OUT,     /* the records are */
} RequeueStage;

typedef VEC(int64_t) LetterIds;

/* The letters of a table, and their rows. */
typedef struct RequeueRound {
    RequeueLetters letters;
    SnapshotAnswer *columns; /* of the table */
    KeyedQuestion question;
    int64_t put_off; /* the last letter of those whose rows could not be read; 0: none */
    bool unread;     /* some rows could not be read */
} RequeueRound;

/* Letters, by what becomes of them. */
typedef struct RequeueIds {
    LetterIds out;      /* of the events of the batch */
    LetterIds over;     /* published, or about rows that are gone */
    LetterIds refused;  /* not asked for any more */
    LetterIds kept;     /* over, or refused, and the table keeps them as they are */
    size_t kept_before; /* so many of these when the statement was sent that writes down ... */
    size_t over_sent;   /* ... so many of the others */
    size_t refused_sent;
} RequeueIds;

struct Requeue {
    const WalContext *wal;
    const WalBooks *books;
    Handover *handover;
    Stream *stream;
    struct event *timer;
    ClaimJob next; /* ends letters, or looks for them */
    ClaimJob describe;
    KeyedRows *rows;
    Captured *captured; /* as the catalog is now: the stream reads with that of then */
    RequeueStage stage;
    RequeueRound *round;
    Batch *batch;
    RequeueIds *ids;
};

static void requeue_next(Requeue *requeue)
{
    wal_want(requeue->wal, &requeue->next);
}

/* Nothing is held any more; what is over, or refused, is written down. */
static void requeue_end(Requeue *requeue)
{
    if (requeue->stage == REQUEUE_HOLDING || requeue->stage == REQUEUE_READING) {
        stream_release(requeue->stream);
    }
    keyed_rows_close(requeue->rows);
    keyed_question_clear(&requeue->round->question);
    requeue_letters_clear(&requeue->round->letters);
    requeue->stage = requeue->batch != NULL ? REQUEUE_OUT : REQUEUE_IDLE;
    if (requeue->ids->over.count + requeue->ids->refused.count > 0) {
        requeue_next(requeue);
    }
}

/* What becomes of letters. */

static void requeue_tell_gone(Requeue *requeue, const RequeueLetter *letter)
{
    log_write(LOG_INFO, requeue->wal->pipeline->name, CODE_REQUEUE_ROW_GONE,
              LOG_FIELDS(log_number("dead_letter", letter->id),
                         log_text("table", requeue->round->letters.name),
                         log_text("key", letter->key)),
              "the row of a dead letter that was requeued is gone, or does not pass the filter: "
              "nothing is published for it");
    *vec_add(&requeue->ids->over) = letter->id;
}

static void requeue_refuse(Requeue *requeue, const RequeueLetter *letter, const char *why)
{
    log_write(LOG_WARN, requeue->wal->pipeline->name, CODE_REQUEUE_REFUSED,
              LOG_FIELDS(log_number("dead_letter", letter->id),
                         log_text("table", requeue->round->letters.name),
                         log_text("key", letter->key)),
              "a dead letter cannot be requeued, and stays: %s", why);
    *vec_add(&requeue->ids->refused) = letter->id;
}

static void requeue_refuse_all(Requeue *requeue, const char *why)
{
    for (size_t i = 0; i < requeue->round->letters.items.count; i++) {
        requeue_refuse(requeue, &requeue->round->letters.items.items[i], why);
    }
    requeue_end(requeue);
}

static void requeue_give_up_all(Requeue *requeue)
{
    for (size_t i = 0; i < requeue->round->letters.items.count; i++) {
        requeue_tell_gone(requeue, &requeue->round->letters.items.items[i]);
    }
    requeue_end(requeue);
}

/* Rows. */

static RequeueLetter *requeue_letter(const Requeue *requeue, size_t row)
{
    RequeueLetter *letter = requeue->round->letters.items.items;
    for (const Slice *wanted = requeue->round->question.tables.items[0].rows.items[row];
         letter->values != wanted;) {
        letter++;
    }
    return letter;
}

static void on_row(void *arg, size_t table, size_t row, const Slice *values)
{
    (void)table;
    Requeue *requeue = arg;
    RequeueLetter *letter = requeue_letter(requeue, row);
    const CapturedTable *captured = captured_find(requeue->captured, requeue->round->letters.table);
    requeue->batch = requeue->batch != NULL ? requeue->batch : batch_new();
    int64_t now_us = clock_wall_us();
    const ChangePlace place = {.committed_at_us = now_us,
                               .now_ns = now_us * 1000,
                               .last_commit = requeue->books->assembler->last_commit,
                               .snapshot = SNAPSHOT_INCREMENTAL};
    const ChangeRow change = {.op = 'r', .new_row = values, .place = &place, .asked = true};
    Arena *arena = &requeue->batch->arena;
    const ChangeShown shown = {
        .kind = change_made_kind('r'),
        .table = captured->name,
        .row = change_made_row(requeue->wal->pipeline, captured->table, &change, 0, 1, arena)};
    ChangeRecords records = {0};
    AUTO_ERROR why = {0};
    Event *event = batch_add(requeue->batch, requeue->wal->table->schema);
    event->seq = EVENT_NO_SEQ;
    event->occurred_at_us = now_us;
    event->commit_lsn = requeue->books->assembler->complete_lsn;
    if (change_event_row(change_reader_events(requeue->books->changes), captured->table, &change,
                         arena, &records, &why) == OK) {
        records.items[0].topic = captured->topic;
        change_made_fill(requeue->wal->pipeline, event, &records.items[0], &shown);
    } else {
        change_made_refuse(event, captured->topic, &shown, &why);
    }
    letter->found++;
    *vec_add(&requeue->ids->out) = letter->id;
}

static void on_unread(void *arg, size_t table, const Error *err)
{
    (void)table;
    Requeue *requeue = arg;
    requeue->round->unread = true;
    for (size_t i = 0; i < requeue->round->letters.items.count; i++) {
        const RequeueLetter *letter = &requeue->round->letters.items.items[i];
        if (letter->values != NULL && letter->found == 0) {
            requeue_refuse(requeue, letter, error_message(err));
        }
    }
}

/* They are asked for still. */
static void on_lost(void *arg, const Error *err)
{
    Requeue *requeue = arg;
    RequeueRound *round = requeue->round;
    round->put_off = round->letters.items.items[round->letters.items.count - 1].id;
    log_write(
        LOG_WARN, requeue->wal->pipeline->name, CODE_REQUEUE_PUT_OFF,
        LOG_FIELDS(log_text("table", round->letters.name), log_text("hint", error_own_hint(err))),
        "dead letters that were requeued wait for the next attempt: %s", error_message(err));
    batch_free(&requeue->batch);
    requeue->ids->out.count = 0;
    requeue_end(requeue);
}

/* Behind what was read of the stream, as something that commits there. */
static void requeue_deliver(Requeue *requeue)
{
    const Assembler *assembler = requeue->books->assembler;
    requeue->batch->position = assembler->complete_lsn;
    requeue->batch->last_commit = assembler->last_commit;
    stream_release(requeue->stream); /* which is read from the loop */
    requeue->stage = REQUEUE_OUT;
    log_write(LOG_INFO, requeue->wal->pipeline->name, CODE_REQUEUE_READ,
              LOG_FIELDS(log_text("table", requeue->round->letters.name),
                         log_number("rows", (long long)requeue->batch->count)),
              "the rows of dead letters that were requeued are read, and published again");
    handover_deliver(requeue->handover, requeue->batch);
}

static void on_done(void *arg)
{
    Requeue *requeue = arg;
    AUTO_ERROR injected = {0};
    if (FAILPOINT_FAILS("requeue_read", &injected)) {
        on_lost(requeue, &injected);
        return;
    }
    for (size_t i = 0; !requeue->round->unread && i < requeue->round->letters.items.count; i++) {
        const RequeueLetter *letter = &requeue->round->letters.items.items[i];
        if (letter->values != NULL && letter->found == 0) {
            requeue_tell_gone(requeue, letter);
        }
    }
    if (requeue->batch != NULL) {
        requeue_deliver(requeue);
    }
    requeue_end(requeue);
}

void requeue_held(Requeue *requeue)
{
    const ReadTransaction *read = change_reader_transaction(requeue->books->changes);
    requeue->stage = REQUEUE_READING;
    requeue->round->unread = false;
    for (size_t i = 0; i < read->read && i < READ_RECENT; i++) {
        *vec_add(&requeue->round->question.transactions) = read->recent[i];
    }
    keyed_rows_read(requeue->rows, &requeue->round->question);
}

/* Their table. */

static void on_description(void *arg, const PGresult *result)
{
    const Requeue *requeue = arg;
    if (!snapshot_read_answer(result, requeue->round->columns)) {
        (void)captured_read(requeue->captured, result, &requeue->round->columns->failed);
    }
}

static void requeue_ask_rows(Requeue *requeue, const ChangeTable *table)
{
    KeyedTable *asked = vec_add(&requeue->round->question.tables);
    requeue_ask(&requeue->round->letters, table, asked);
    asked->filter = start_filter(requeue->books->start, requeue->wal->pipeline,
                                 captured_mapping(requeue->captured), table->oid);
    for (size_t i = 0; i < requeue->round->letters.items.count; i++) {
        const RequeueLetter *letter = &requeue->round->letters.items.items[i];
        if (letter->values == NULL && !letter->other) {
            requeue_refuse(requeue, letter, "the table does not have the columns of its key");
        }
    }
    if (asked->rows.count == 0) {
        requeue_end(requeue);
        return;
    }
    requeue->stage = REQUEUE_HOLDING;
    stream_hold(requeue->stream);
}

static void on_described(void *arg, const Error *err)
{
    Requeue *requeue = arg;
    const SnapshotAnswer *columns = requeue->round->columns;
    uint32_t oid = requeue->round->letters.table;
    err = err == NULL && columns->failed.class != ERROR_NONE ? &columns->failed : err;
    if (!wal_goes_on(requeue->wal, err)) {
        return;
    }
    const MappingConfig *mapping = captured_mapping(requeue->captured);
    const ChangeRelation now = {oid, columns->columns.items, columns->columns.count};
    AUTO_ERROR why = {0};
    captured_learn(requeue->captured, change_reader_captured(requeue->books->changes), oid);
    if (!columns->told) {
        requeue_give_up_all(requeue);
    } else if (mapping == NULL) {
        requeue_refuse_all(requeue, "no mapping matches its table");
    } else if (captured_set(requeue->captured, mapping, &now, &why) != OK) {
        requeue_refuse_all(requeue, error_message(&why));
    } else {
        requeue_ask_rows(requeue, captured_find(requeue->captured, oid)->table);
    }
}

static void requeue_run_describe(void *arg)
{
    Requeue *requeue = arg;
    const WalContext *wal = requeue->wal;
    uint32_t oid = requeue->round->letters.table;
    AUTO_BUFFER sql = TEXT_EMPTY;
    snapshot_answer_clear(requeue->round->columns);
    captured_set_database(requeue->captured, PQdb(pg_conn_raw(claim_conn(wal->claim))));
    captured_add_table_questions(
        wal->pipeline,
        &(MappedTold){oid, requeue->round->letters.schema, requeue->round->letters.relation}, &sql);
    text_add(&sql, "; ");
    snapshot_add_columns(wal->pipeline, oid, wal_server_version(wal), &sql);
    claim_ask(wal->claim, &(PgQuery){.step = "describe the table of dead letters",
                                     .sql = text_string(&sql),
                                     .arg = requeue,
                                     .result = on_description,
                                     .done = on_described});
}

/* Letters. */

static void on_look(void *arg, const PGresult *result)
{
    (void)requeue_read_look(result, &((Requeue *)arg)->round->letters);
}

static void on_looked(void *arg, const Error *err)
{
    Requeue *requeue = arg;
    bool none =
        err != NULL && pg_conn_is_open(claim_conn(requeue->wal->claim)) && sqlstate_is(err, "42");
    if (none || !wal_goes_on(requeue->wal, err)) {
        bool refused = none && sqlstate_is(err, "42501"); /* it may be granted while we run */
        requeue->stage = none && !refused ? REQUEUE_NONE : REQUEUE_IDLE;
        return;
    }
    if (requeue->round->letters.items.count == 0) {
        requeue->stage = REQUEUE_IDLE;
    } else if (requeue->round->letters.table == 0) {
        requeue_give_up_all(requeue);
    } else {
        wal_want(requeue->wal, &requeue->describe);
    }
}

static void on_kept(void *arg, const PGresult *result)
{
    const Requeue *requeue = arg;
    int kept_id = PQfnumber(result, REQUEUE_KEPT_ID);
    for (int row = 0; kept_id >= 0 && row < PQntuples(result); row++) {
        *vec_add(&requeue->ids->kept) = strtoll(pg_needed(result, row, kept_id), NULL, 10);
    }
}

static void requeue_keep(LetterIds *kept, const LetterIds *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        *vec_add(kept) = ids->items[i];
    }
}

/* They are not asked about again as long as this process lives. */
static void requeue_tell_kept(const Requeue *requeue, const Error *err)
{
    const RequeueIds *ids = requeue->ids;
    AUTO_BUFFER numbers = TEXT_EMPTY;
    for (size_t i = ids->kept_before; i < ids->kept.count; i++) {
        text_printf(&numbers, "%s%lld", i > ids->kept_before ? "," : "",
                    (long long)ids->kept.items[i]);
    }
    if (numbers.length > 0) {
        log_write(LOG_WARN, requeue->wal->pipeline->name, CODE_REQUEUE_KEPT,
                  LOG_FIELDS(log_text("dead_letters", numbers.data)),
                  "dead letters that were requeued are done with, but cannot be deleted or changed "
                  "by DELETE or UPDATE of %s: %s",
                  claim_dead_letter(requeue->wal->claim),
                  err != NULL ? error_message(err)
                              : "a trigger or rule of the table discards the statement");
    }
}

/* What passes, such as a lock of another session: they are ended with a later look. */
static bool requeue_ends_later(const Requeue *requeue, const Error *err)
{
    if (err->class != ERROR_RETRY || sqlstate_is_of_function(err)) {
        return false;
    }
    log_write(LOG_WARN, requeue->wal->pipeline->name, CODE_REQUEUE_PUT_OFF,
              LOG_FIELDS(log_text("hint", error_own_hint(err))),
              "dead letters that were requeued are done with, and stay until the next attempt to "
              "delete or change them: %s",
              error_message(err));
    return true;
}

static void on_ended(void *arg, const Error *err)
{
    Requeue *requeue = arg;
    RequeueIds *ids = requeue->ids;
    bool refused = err != NULL && pg_conn_is_open(claim_conn(requeue->wal->claim));
    if (refused ? requeue_ends_later(requeue, err) : !wal_goes_on(requeue->wal, err)) {
        return;
    }
    if (refused) { /* by the table: the pipeline has no part in it */
        ids->kept.count = ids->kept_before;
        requeue_keep(&ids->kept, &ids->over, ids->over_sent);
        requeue_keep(&ids->kept, &ids->refused, ids->refused_sent);
    }
    requeue_tell_kept(requeue, err);
    vec_remove(&ids->over, 0, ids->over_sent);
    vec_remove(&ids->refused, 0, ids->refused_sent);
    requeue_next(requeue); /* there may be more */
}

static void requeue_run_next(void *arg)
{
    Requeue *requeue = arg;
    const WalContext *wal = requeue->wal;
    const char *table = claim_dead_letter(wal->claim);
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (*table == '\0' || requeue->stage == REQUEUE_ASKING) {
        return;
    }
    if (requeue->ids->over.count + requeue->ids->refused.count > 0) {
        RequeueIds *ids = requeue->ids;
        requeue_add_ends(table,
                         &(RequeueEnds){.over = ids->over.items,
                                        .over_count = ids->over.count,
                                        .refused = ids->refused.items,
                                        .refused_count = ids->refused.count},
                         &sql);
        ids->kept_before = ids->kept.count;
        ids->over_sent = ids->over.count;
        ids->refused_sent = ids->refused.count;
        claim_ask(wal->claim, &(PgQuery){.step = "end dead letters that were requeued",
                                         .sql = text_string(&sql),
                                         .arg = requeue,
                                         .result = on_kept,
                                         .done = on_ended});
    } else if (requeue->stage == REQUEUE_IDLE && wal->state == WAL_ACTIVE && !wal->draining) {
        requeue->stage = REQUEUE_ASKING;
        requeue_add_look(table, wal->pipeline->name,
                         &(RequeueLater){.put_off = requeue->round->put_off,
                                         .kept = requeue->ids->kept.items,
                                         .kept_count = requeue->ids->kept.count},
                         &sql);
        claim_ask(wal->claim, &(PgQuery){.step = "look for dead letters that were requeued",
                                         .sql = text_string(&sql),
                                         .arg = requeue,
                                         .result = on_look,
                                         .done = on_looked});
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Requeue *requeue = arg;
    if (requeue->wal->state == WAL_ACTIVE && requeue->stage != REQUEUE_NONE) {
        requeue_next(requeue);
    }
}

/* Its life. */

void requeue_came_back(Requeue *requeue, const Batch *batch)
{
    if (batch != requeue->batch || batch == NULL) {
        return;
    }
    for (size_t i = 0; batch->unsettled == 0 && i < requeue->ids->out.count; i++) {
        *vec_add(&requeue->ids->over) = requeue->ids->out.items[i];
    }
    requeue->batch = NULL;
    requeue->ids->out.count = 0;
    requeue->stage = REQUEUE_IDLE;
    FAILPOINT("requeue_published");
    requeue_next(requeue);
}

void requeue_close(Requeue *requeue)
{
    bool out = requeue->stage == REQUEUE_OUT;
    if (!out) {
        batch_free(&requeue->batch);
        requeue->ids->out.count = 0;
    }
    keyed_rows_close(requeue->rows);
    keyed_question_clear(&requeue->round->question);
    requeue_letters_clear(&requeue->round->letters);
    requeue->stage = out ? REQUEUE_OUT : REQUEUE_IDLE;
}

Requeue *requeue_new(const WalContext *wal, const WalBooks *books, Handover *handover,
                     Stream *stream)
{
    if (books->changes == NULL) {
        return NULL;
    }
    Requeue *requeue = x_calloc(1, sizeof(*requeue));
    requeue->wal = wal;
    requeue->books = books;
    requeue->handover = handover;
    requeue->stream = stream;
    requeue->next = (ClaimJob){.run = requeue_run_next, .arg = requeue};
    requeue->describe = (ClaimJob){.run = requeue_run_describe, .arg = requeue};
    requeue->captured = captured_new(wal->pipeline, NULL);
    requeue->ids = x_calloc(1, sizeof(*requeue->ids));
    requeue->round = x_calloc(1, sizeof(*requeue->round));
    requeue->round->columns = snapshot_answer_new();
    requeue->rows = keyed_rows_new(&(KeyedRowsParts){.wal = wal,
                                                     .settings = SETTINGS,
                                                     .arg = requeue,
                                                     .row = on_row,
                                                     .unread = on_unread,
                                                     .lost = on_lost,
                                                     .done = on_done});
    int64_t interval_ms = wal->config->monitor.interval_ms;
    requeue->timer = event_new(wal->options->base, -1, EV_PERSIST, on_timer, requeue);
    event_add(requeue->timer, &(struct timeval){.tv_sec = interval_ms / 1000,
                                                .tv_usec = interval_ms % 1000 * 1000});
    return requeue;
}

void requeue_free(Requeue **requeue)
{
    Requeue *old = *requeue;
    *requeue = NULL;
    if (old == NULL) {
        return;
    }
    if (old->stage != REQUEUE_OUT) {
        batch_free(&old->batch);
    }
    event_free(old->timer);
    keyed_rows_free(&old->rows);
    captured_free(&old->captured);
    snapshot_answer_free(&old->round->columns);
    requeue_letters_clear(&old->round->letters);
    keyed_question_clear(&old->round->question);
    free(old->round);
    vec_free(&old->ids->out);
    vec_free(&old->ids->over);
    vec_free(&old->ids->refused);
    vec_free(&old->ids->kept);
    free(old->ids);
    free(old);
}

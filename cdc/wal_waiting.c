/* Events that wait for their topic, in their rows.
 *
 * The position may pass them, once two things are on disk or seen: outbox.position.waiting is true,
 * so that a restart reads the table again; and their rows are seen in it, so that such a reading
 * finds them. Until then the acknowledged batch, and those behind it, are kept back here. The
 * server streams a transaction before others see it (rows/mark_queue.h), so a row may not be seen
 * yet. Once its transaction is, a row that is not there, or not unpublished, never will be: it was
 * deleted by the transaction that wrote it, or soon after, or its table is not the outbox any more.
 * The log alone has such an event, so the position stays before it: the pipeline is asked for a
 * reread, and as the event may not be parked any more it waits in memory.
 *
 * When a topic is there, the source reads again: it leaves the stream, takes up what came back and
 * fills from the table (wal_fill.c), which brings what the position has passed and nothing else:
 * the rest is left to the log (wal_scout.c). Then the stream goes on. */
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/mark_queue.h"

enum {
    WAITING_LOOK_MS = 20,     /* rows that could not be seen yet, or a slot that is in use still */
    WAITING_LOOK_ROWS = 2000, /* are asked for at once, and what is left of a batch */
};

static void waiting_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    waiting_go_on(arg);
}

static void waiting_later(WalSource *wal)
{
    event_add(wal->waiting.timer, &(struct timeval){.tv_usec = WAITING_LOOK_MS * 1000});
}

static bool waiting_has_parked(const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->events[i]->state == EVENT_PARKED) {
            return true;
        }
    }
    return false;
}

bool waiting_is_connected(const WalSource *wal)
{
    return wal->state == WAL_ACTIVE || wal->state == WAL_FILLING || wal->state == WAL_CHECKING ||
           wal->state == WAL_STARTING;
}

bool waiting_keeps_back(WalSource *wal, Batch *batch)
{
    Waiting *waiting = &wal->waiting;
    bool from_stream = batch->count > 0 && batch->events[0]->commit_lsn != 0;
    if (!from_stream || (waiting->oldest == NULL && !waiting_has_parked(batch))) {
        return false;
    }
    bool behind_hole = waiting->oldest == NULL && wal->hole;
    if (behind_hole || !waiting_is_connected(wal)) {
        waiting_note(wal, batch); /* they come again, and are counted as waiting already */
        wal->hole = true;         /* as in waiting_give_back() */
        return false;
    }
    batch->newer = NULL;
    if (waiting->oldest == NULL) {
        waiting->oldest = batch;
    } else {
        waiting->newest->newer = batch;
    }
    waiting->newest = batch;
    waiting->events += batch->count;
    waiting_go_on(wal);
    return true;
}

static Batch *waiting_take_oldest(Waiting *waiting)
{
    Batch *batch = waiting->oldest;
    waiting->oldest = batch->newer;
    batch->newer = NULL;
    waiting->events -= batch->count;
    return batch;
}

void waiting_give_back(WalSource *wal)
{
    wal->waiting.asking = false;
    event_del(wal->waiting.timer);
    while (wal->waiting.oldest != NULL) {
        Batch *batch = waiting_take_oldest(&wal->waiting);
        waiting_note(wal, batch);
        wal->hole = true; /* the stream brings it again, and what is settled in it is known */
        wal_pass(wal, batch);
    }
}

static bool waiting_all_visible(const Batch *batch, const char *snapshot)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event->state == EVENT_PARKED && !mark_snapshot_shows(snapshot, event->xid)) {
            return false;
        }
    }
    return true;
}

static void waiting_add_rowless(Waiting *waiting, const Event *event)
{
    if (parked_is_full(&waiting->rowless)) {
        parked_clear(&waiting->rowless); /* those that wait still are found again */
    }
    parked_add(&waiting->rowless, event->seq, event->row[FIELD_EVENT_ID]);
    if (event->commit_lsn > waiting->rowless_until) {
        waiting->rowless_until = event->commit_lsn;
    }
}

/* Of the events that wait, those without a row do so no more: their number. */
static size_t waiting_unpark(Waiting *waiting, Batch *batch)
{
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        Event *event = batch->events[i];
        if (event->state != EVENT_PARKED ||
            parked_has(&waiting->found, event->seq, event->row[FIELD_EVENT_ID])) {
            continue;
        }
        event->state = EVENT_PENDING;
        batch->unsettled++;
        waiting_add_rowless(waiting, event);
        count++;
    }
    return count;
}

static void waiting_say_rowless(const WalSource *wal, size_t count)
{
    log_write(LOG_WARN, wal->options.pipeline->name, CODE_EVENTS_WITHOUT_ROW,
              LOG_FIELDS(log_number("events", (long long)count)),
              "events that wait for their topic have no unpublished row in '%s' (for example "
              "because their own transaction deleted it): they wait in memory, and no later event "
              "is marked before they are published",
              wal->options.pipeline->outbox.table);
}

/* What was asked for is answered: passes the batches whose rows are all seen. From the first event
 * that has no row, all come again, and nothing is read before they do. */
static void waiting_judge(WalSource *wal)
{
    Waiting *waiting = &wal->waiting;
    bool news = waiting->rowless.count == 0;
    bool last = waiting->snapshot == NULL;
    size_t rowless = 0;
    while (waiting->oldest != NULL && !last &&
           waiting_all_visible(waiting->oldest, waiting->snapshot)) {
        Batch *batch = waiting_take_oldest(waiting);
        last = batch == waiting->asked;
        rowless += waiting_unpark(waiting, batch);
        wal_pass(wal, batch);
    }
    parked_clear(&waiting->found);
    if (rowless == 0) {
        return;
    }
    while (waiting->oldest != NULL) {
        wal_pass(wal, waiting_take_oldest(waiting)); /* behind a hole */
    }
    if (news) {
        waiting_say_rowless(wal, rowless);
    }
    waiting->stands = true;
    wal->source.events.wants_reread(wal->source.events.arg);
}

static void on_waiting_recorded(void *arg, const Error *err)
{
    WalSource *wal = arg;
    wal->waiting.asking = false;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    wal->waiting.recorded = true;
    waiting_go_on(wal);
}

static void on_waiting_result(void *arg, const PGresult *result)
{
    Waiting *waiting = &((WalSource *)arg)->waiting;
    free(waiting->snapshot);
    waiting->snapshot = NULL;
    parked_clear(&waiting->found);
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) < 1) {
        return;
    }
    waiting->snapshot = x_strdup(pg_needed(result, 0, 0));
    waiting->replaced = *pg_needed(result, 0, 1) != 't';
    for (int row = 0; row < PQntuples(result); row++) {
        if (pg_is_null(result, row, 2) || parked_is_full(&waiting->found)) {
            continue;
        }
        Slice id = pg_is_null(result, row, 3) ? SLICE_NULL : slice_of(pg_value(result, row, 3));
        parked_add(&waiting->found, strtoll(pg_value(result, row, 2), NULL, 10), id);
    }
}

static void on_waiting_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    Waiting *waiting = &wal->waiting;
    waiting->asking = false;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    if (waiting->replaced) {
        claim_lose_table(wal->claim); /* the start finds both */
        return;
    }
    waiting_judge(wal);
    if (waiting->oldest != NULL) {
        waiting_later(wal);
    }
    waiting_go_on(wal);
    wal_tell(wal, NEWS_SETTLED);
    wal->source.events.progress(wal->source.events.arg);
}

/* What is visible, and which of their rows are there and unpublished. */
static void waiting_add_question(WalSource *wal, Text *sql)
{
    Waiting *waiting = &wal->waiting;
    const OutboxTable *table = wal->table;
    AUTO_TEXT name = ident_literal(table->name);
    AUTO_BUFFER id = TEXT_EMPTY;
    table_add_id_of(table, &id);
    text_printf(sql,
                "SELECT pg_current_snapshot() AS snapshot, coalesce(to_regclass(%s)::oid = %u,"
                " false) AS same, given.seq, given.id FROM (SELECT true) AS one LEFT JOIN (SELECT"
                " %s::bigint AS seq, %s AS id FROM %s WHERE %s = ANY ('{",
                name, wal->rotation.target, table->seq, text_string(&id), table->name, table->seq);
    size_t rows = 0;
    for (Batch *batch = waiting->oldest; batch != NULL && rows < WAITING_LOOK_ROWS;
         batch = batch->newer) {
        waiting->asked = batch;
        for (size_t i = 0; i < batch->count; i++) {
            if (batch->events[i]->state == EVENT_PARKED) {
                text_printf(sql, "%s%lld", rows++ > 0 ? "," : "", (long long)batch->events[i]->seq);
            }
        }
    }
    text_printf(sql, "}'::bigint[])%s) AS given ON true", table->unpublished);
}

static void waiting_ask(WalSource *wal)
{
    if (!wal->waiting.recorded) {
        wal->waiting.asking = true;
        position_note(wal, "waiting", "true", on_waiting_recorded);
        return;
    }
    wal->waiting.asking = true;
    wal->waiting.replaced = false;
    AUTO_BUFFER sql = TEXT_EMPTY;
    waiting_add_question(wal, &sql);
    claim_ask(wal->claim, &(PgQuery){.step = "rows that wait",
                                     .sql = sql.data,
                                     .arg = wal,
                                     .rows_wanted = 1,
                                     .result = on_waiting_result,
                                     .done = on_waiting_done});
}

/* Everything came back and is marked: the source begins again. */
static void waiting_begin_again(WalSource *wal)
{
    waiting_forget(wal);
    wal->waiting.reread = wal->waiting.stands = false;
    wal->waiting.rereading = true;
    wal_take_up(wal);
    wal_want(wal, JOB_FACTS);
}

static bool waiting_may_go_on(const WalSource *wal)
{
    return waiting_is_connected(wal) && !wal->waiting.asking &&
           !event_pending(wal->waiting.timer, EV_TIMEOUT, NULL);
}

void waiting_run(void *arg)
{
    WalSource *wal = arg;
    if (waiting_may_go_on(wal) && wal->waiting.oldest != NULL) {
        waiting_ask(wal);
    }
}

void waiting_go_on(WalSource *wal)
{
    Waiting *waiting = &wal->waiting;
    if (!waiting_may_go_on(wal)) {
        return;
    }
    if (waiting->oldest != NULL) {
        wal_want(wal, JOB_WAITING);
    } else if (waiting->reread && wal->outstanding == 0 && !marker_pending(wal->marker) &&
               !position_is_saving(wal)) {
        waiting_begin_again(wal);
    }
}

bool waiting_for_slot(WalSource *wal)
{
    if (!wal->waiting.rereading || wal->facts.active_pid == 0) {
        return false;
    }
    wal->waiting.rereading = false; /* our own walsender, which is about to end */
    wal->waiting.reread = true;
    waiting_later(wal);
    return true;
}

/* Not while events come again that the log alone has, or rows of several tables. */
bool waiting_look_at_rows(Source *source, const EventRow *rows, size_t count)
{
    WalSource *wal = (WalSource *)source;
    return wal->waiting.rowless.count == 0 && wal->rotation.tables.count == 0 &&
           marker_look_at(wal->marker, rows, count);
}

void waiting_init(WalSource *wal)
{
    wal->waiting.timer = event_new(wal->options.base, -1, 0, waiting_on_timer, wal);
}

void waiting_release(WalSource *wal)
{
    Waiting *waiting = &wal->waiting;
    while (waiting->oldest != NULL) {
        Batch *batch = waiting_take_oldest(waiting);
        batch_free(&batch);
    }
    if (waiting->timer != NULL) {
        event_free(waiting->timer);
    }
    free(waiting->snapshot);
    parked_clear(&waiting->parked);
    parked_clear(&waiting->found);
    parked_clear(&waiting->rowless);
}

void waiting_begin_reread(WalSource *wal)
{
    wal->state = WAL_CHECKING;
    wal->waiting.reread = true;
    waiting_later(wal); /* after the batches that come back now */
}

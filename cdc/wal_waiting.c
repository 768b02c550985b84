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
#include "cdc/wal_waiting.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_sight.h"

enum { WAITING_LOOK_MS = 20 }; /* rows that could not be seen yet, or a slot that is in use still */

struct Waiting {
    const WalContext *wal;
    Acks *acks;
    Progress *progress;
    WaitingRows *rows;
    PositionRow *row;
    const Tables *tables;
    Sight *sight;
    Batch *oldest; /* acknowledged, and kept back until their parked rows are seen */
    Batch *newest;
    size_t events;  /* in those */
    bool asking;    /* whether they are seen */
    bool stands;    /* nothing is read before all come again */
    bool reread;    /* reads again, as soon as nothing is out */
    bool rereading; /* ... and does, until the stream is back */
    struct event *timer;
    ClaimJob job;
};

static void waiting_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    waiting_go_on(arg);
}

static void waiting_later(Waiting *waiting)
{
    event_add(waiting->timer, &(struct timeval){.tv_usec = WAITING_LOOK_MS * 1000});
}

/* Rows. */

bool waiting_may_park(const Waiting *waiting, const Event *event)
{
    const WalContext *wal = waiting->wal;
    if (waiting_rows_is_rowless(waiting->rows, event)) {
        return false;
    }
    size_t most = waiting_rows_parked(waiting->rows)->count + waiting->events +
                  progress_outstanding_events(waiting->progress);
    return !wal_keeps_rows(wal) && !wal->pipeline->wal.messages && most < PARKED_MAX;
}

bool waiting_knows(const Waiting *waiting, int64_t seq, Slice event_id)
{
    for (const Batch *batch = waiting->oldest; batch != NULL; batch = batch->newer) {
        if (batch_find(batch, seq, event_id) != NULL) {
            return true;
        }
    }
    return parked_has(waiting_rows_parked(waiting->rows), seq, event_id);
}

void waiting_forget(Waiting *waiting)
{
    waiting_rows_forget(waiting->rows);
    position_set_waiting(waiting->row, false);
}

/* Batches that are kept back. */

static bool waiting_has_parked(const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->events[i]->state == EVENT_PARKED) {
            return true;
        }
    }
    return false;
}

bool waiting_keeps_back(Waiting *waiting, Batch *batch)
{
    bool from_stream = batch->count > 0 && batch->events[0]->commit_lsn != 0;
    if (!from_stream || (waiting->oldest == NULL && !waiting_has_parked(batch))) {
        return false;
    }
    bool behind_hole = waiting->oldest == NULL && progress_has_hole(waiting->progress);
    if (behind_hole || !wal_is_connected(waiting->wal)) {
        waiting_rows_note(waiting->rows, batch); /* they come again, and wait already */
        progress_note_hole(waiting->progress);   /* as in waiting_give_back() */
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
    waiting_go_on(waiting);
    return true;
}

bool waiting_has_any(const Waiting *waiting)
{
    return waiting->oldest != NULL;
}

size_t waiting_events(const Waiting *waiting)
{
    return waiting->events;
}

static Batch *waiting_take_oldest(Waiting *waiting)
{
    Batch *batch = waiting->oldest;
    waiting->oldest = batch->newer;
    batch->newer = NULL;
    waiting->events -= batch->count;
    return batch;
}

void waiting_give_back(Waiting *waiting)
{
    waiting->asking = false;
    event_del(waiting->timer);
    while (waiting->oldest != NULL) {
        Batch *batch = waiting_take_oldest(waiting);
        waiting_rows_note(waiting->rows, batch);
        /* The stream brings it again, and what is settled in it is known. */
        progress_note_hole(waiting->progress);
        acks_pass(waiting->acks, batch);
    }
}

/* Of the events that wait, those without a row do so no more: their number. */
static size_t waiting_unpark(Waiting *waiting, Batch *batch)
{
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        Event *event = batch->events[i];
        if (event->state != EVENT_PARKED || sight_has(waiting->sight, event)) {
            continue;
        }
        event->state = EVENT_PENDING;
        batch->unsettled++;
        waiting_rows_add_rowless(waiting->rows, event);
        count++;
    }
    return count;
}

static void waiting_say_rowless(const Waiting *waiting, size_t count)
{
    const PipelineConfig *pipeline = waiting->wal->pipeline;
    log_write(LOG_WARN, pipeline->name, CODE_EVENTS_WITHOUT_ROW,
              LOG_FIELDS(log_number("events", (long long)count)),
              "events that wait for their topic have no unpublished row in '%s' (for example "
              "because their own transaction deleted it): they wait in memory, and no later event "
              "is marked before they are published",
              pipeline->outbox.table);
}

/* What was asked for is answered: passes the batches whose rows are all seen. From the first event
 * that has no row, all come again, and nothing is read before they do. */
static void waiting_judge(Waiting *waiting)
{
    Sight *sight = waiting->sight;
    const SourceEvents *events = &waiting->wal->source->events;
    bool news = !waiting_rows_have_rowless(waiting->rows);
    bool last = !sight_is_taken(sight);
    size_t rowless = 0;
    while (waiting->oldest != NULL && !last && sight_shows_all(sight, waiting->oldest)) {
        Batch *batch = waiting_take_oldest(waiting);
        last = sight_ends_with(sight, batch);
        rowless += waiting_unpark(waiting, batch);
        acks_pass(waiting->acks, batch);
    }
    sight_forget(sight);
    if (rowless == 0) {
        return;
    }
    while (waiting->oldest != NULL) {
        acks_pass(waiting->acks, waiting_take_oldest(waiting)); /* behind a hole */
    }
    if (news) {
        waiting_say_rowless(waiting, rowless);
    }
    waiting->stands = true;
    events->wants_reread(events->arg);
}

static void on_waiting_recorded(void *arg, const Error *err)
{
    Waiting *waiting = arg;
    waiting->asking = false;
    if (!wal_goes_on(waiting->wal, err)) {
        return;
    }
    position_set_waiting(waiting->row, true);
    waiting_go_on(waiting);
}

static void on_waiting_result(void *arg, const PGresult *result)
{
    sight_read(((Waiting *)arg)->sight, result);
}

static void on_waiting_done(void *arg, const Error *err)
{
    Waiting *waiting = arg;
    const WalContext *wal = waiting->wal;
    waiting->asking = false;
    if (!wal_goes_on(wal, err)) {
        return;
    }
    if (sight_is_of_another(waiting->sight)) {
        claim_lose_table(wal->claim); /* the start finds both */
        return;
    }
    waiting_judge(waiting);
    if (waiting->oldest != NULL) {
        waiting_later(waiting);
    }
    waiting_go_on(waiting);
    wal_tell(wal, NEWS_SETTLED);
    wal->source->events.progress(wal->source->events.arg);
}

static void waiting_ask(Waiting *waiting)
{
    waiting->asking = true;
    if (!position_says_waiting(waiting->row)) {
        position_note(waiting->row, "waiting", "true", waiting, on_waiting_recorded);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    sight_add_question(waiting->sight, waiting->wal->table, tables_target(waiting->tables),
                       waiting->oldest, &sql);
    claim_ask(waiting->wal->claim, &(PgQuery){.step = "rows that wait",
                                              .sql = sql.data,
                                              .arg = waiting,
                                              .rows_wanted = 1,
                                              .result = on_waiting_result,
                                              .done = on_waiting_done});
}

/* Reading again. */

/* Everything came back and is marked: the source begins again. */
static void waiting_begin_again(Waiting *waiting)
{
    waiting_forget(waiting);
    waiting->reread = waiting->stands = false;
    waiting->rereading = true;
    acks_take_up(waiting->acks);
    wal_tell(waiting->wal, NEWS_REREAD);
}

static bool waiting_may_go_on(const Waiting *waiting)
{
    return wal_is_connected(waiting->wal) && !waiting->asking &&
           !event_pending(waiting->timer, EV_TIMEOUT, NULL);
}

static void waiting_run(void *arg)
{
    Waiting *waiting = arg;
    if (waiting_may_go_on(waiting) && waiting->oldest != NULL) {
        waiting_ask(waiting);
    }
}

void waiting_go_on(Waiting *waiting)
{
    if (!waiting_may_go_on(waiting)) {
        return;
    }
    if (waiting->oldest != NULL) {
        wal_want(waiting->wal, &waiting->job);
    } else if (waiting->reread && progress_outstanding(waiting->progress) == 0 &&
               !marker_pending(waiting->wal->marker) && !position_is_saving(waiting->row)) {
        waiting_begin_again(waiting);
    }
}

bool waiting_for_slot(Waiting *waiting, bool in_use)
{
    if (!waiting->rereading || !in_use) {
        return false;
    }
    waiting->rereading = false; /* our own walsender, which is about to end */
    waiting->reread = true;
    waiting_later(waiting);
    return true;
}

void waiting_begin_reread(Waiting *waiting)
{
    waiting->reread = true;
    waiting_later(waiting); /* after the batches that come back now */
}

void waiting_end_reread(Waiting *waiting)
{
    waiting->rereading = false;
}

bool waiting_is_rereading(const Waiting *waiting)
{
    return waiting->rereading;
}

void waiting_drop_reread(Waiting *waiting)
{
    waiting->reread = waiting->rereading = waiting->stands = false;
}

bool waiting_stands(const Waiting *waiting)
{
    return waiting->stands;
}

Waiting *waiting_new(const WalContext *wal, Acks *acks, Progress *progress, WaitingRows *rows,
                     PositionRow *row, const Tables *tables)
{
    Waiting *waiting = x_calloc(1, sizeof(*waiting));
    waiting->wal = wal;
    waiting->acks = acks;
    waiting->progress = progress;
    waiting->rows = rows;
    waiting->row = row;
    waiting->tables = tables;
    waiting->sight = sight_new();
    waiting->timer = event_new(wal->options->base, -1, 0, waiting_on_timer, waiting);
    waiting->job = (ClaimJob){.run = waiting_run, .arg = waiting};
    return waiting;
}

void waiting_free(Waiting **waiting)
{
    if (*waiting == NULL) {
        return;
    }
    while ((*waiting)->oldest != NULL) {
        Batch *batch = waiting_take_oldest(*waiting);
        batch_free(&batch);
    }
    event_free((*waiting)->timer);
    sight_free(&(*waiting)->sight);
    free(*waiting);
    *waiting = NULL;
}

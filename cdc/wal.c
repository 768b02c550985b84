/* The WAL source: its life as the pipeline sees it. The control connection holds the publisher's
 * lock and writes (position, marks, dead letters); the walsender connection brings the stream.
 * Either of them lost means both are: one way to recover. */
#include "cdc/wal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "rows/precondition.h"
#include "rows/row.h"

static WalSource *wal_of(Source *source)
{
    return (WalSource *)source;
}

void wal_set_timer(WalSource *wal, int64_t delay_ms)
{
    struct timeval tv = {.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};
    event_add(wal->timer, &tv);
}

static void wal_close(WalSource *wal, WalState state)
{
    event_del(wal->timer);
    event_del(wal->pulse);
    stream_stop(wal);
    pg_conn_close(wal->walsender);
    pg_conn_close(wal->filler);
    pg_conn_close(wal->control);
    fill_release(wal);
    ask_release(wal);
    waiting_give_back(wal);
    wal->waiting.reread = wal->waiting.rereading = wal->waiting.stands = false;
    marker_stop(wal->marker);
    *wal->options.stats->postgres_connected = 0;
    wal->lease_until_us = 0;
    position_drop_waiting(wal);
    wal->look_wanted = false;
    wal->creation = (SlotCreation){0};
    wal->rotation.switching = wal->rotation.counting = false;
    wal->state = state;
}

static bool wal_publishes(const WalSource *wal)
{
    return wal->state == WAL_ACTIVE || wal->state == WAL_FILLING || wal->state == WAL_STARTING;
}

/* The slot is ours as long as the server hears from us: it ends a walsender that was silent for
 * lease + PUBLISHER_MARGIN_MS. The lock is ours for lease_ms from each question it answered. */
bool wal_lease_holds(const WalSource *wal)
{
    int64_t now_us = clock_monotonic_us();
    int64_t lease_us = wal->options.pipeline->claim.lease_ms * 1000;
    return now_us < wal->lease_until_us ||
           (wal->state == WAL_ACTIVE && now_us - wal->stream.status_us < lease_us);
}

static void wal_count_repeats(WalSource *wal, Error *err)
{
    MarkerPosition at = marker_position(wal->marker);
    char lsn[24];
    char tx_lsn[24];
    AUTO_TEXT place = x_format("position %s, in transaction %s: %llu", lsn_format(at.lsn, lsn),
                               lsn_format(at.tx_lsn, tx_lsn), (unsigned long long)at.tx_ordinal);
    repeats_judge(&wal->repeats, place, err);
}

void wal_lose(WalSource *wal, const Error *err)
{
    if (wal->state == WAL_LOST || wal->state == WAL_CLOSED) {
        return;
    }
    AUTO_ERROR copy = error_of(err); /* may be wal->error */
    wal_count_repeats(wal, &copy);
    error_copy(&wal->error, &copy);
    wal->doubts = precondition_soften(&wal->error, wal->begun, &wal->refusals);
    wal->source.lease_over = wal_publishes(wal) && !wal_lease_holds(wal);
    wal_close(wal, WAL_LOST);
    event_active(wal->report, 0, 0);
}

void wal_check_drained(WalSource *wal)
{
    if (!wal->draining || wal->state == WAL_LOST || wal->state == WAL_CLOSED ||
        marker_pending(wal->marker) || wal->waiting.oldest != NULL) {
        return;
    }
    bool filled = wal->state == WAL_FILLING && wal->fill.complete && wal->outstanding == 0;
    if (filled && !wal->hole && !wal->fill.recorded) {
        fill_next(wal); /* else the next start would read the table again */
        return;
    }
    if (verify_last(wal) || marker_pending(wal->marker)) {
        return;
    }
    if (wal->state == WAL_ACTIVE) {
        stream_send_status(wal, false);
    }
    wal_close(wal, WAL_CLOSED);
    event_active(wal->report, 0, 0);
}

static void wal_on_report(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    WalSource *wal = arg;
    if (wal->state == WAL_CLOSED) {
        wal->source.events.drained(wal->source.events.arg);
    } else if (wal->state == WAL_LOST) {
        if (wal->doubts) {
            wal->source.events.doubt(wal->source.events.arg);
        }
        wal->source.events.lost(wal->source.events.arg, &wal->error);
    }
}

static void wal_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    WalSource *wal = arg;
    if (wal->state == WAL_DELAYED) {
        wal_session_open(wal);
    } else if (wal->state == WAL_STANDBY && pg_conn_is_busy(wal->control)) {
        wal_set_timer(wal, wal->options.pipeline->claim.standby_interval_ms); /* an answer is due */
    } else if (wal->state == WAL_STANDBY) {
        wal_session_try_lock(wal);
    }
}

/* Often enough for the lease, the status updates and idle_session_timeout. */
static int64_t wal_pulse_ms(const WalSource *wal)
{
    return wal->options.pipeline->claim.lease_ms / 4;
}

static void wal_on_pulse(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    WalSource *wal = arg;
    int64_t pulse_ms = wal_pulse_ms(wal);
    event_add(wal->pulse,
              &(struct timeval){.tv_sec = pulse_ms / 1000, .tv_usec = pulse_ms % 1000 * 1000});
    wal_session_ping(wal);
    if (wal->state == WAL_ACTIVE) {
        stream_watch(wal);
    }
    wal_slot_watch(wal);
    marker_next(wal->marker);
}

/* Events of the batch that were acknowledged in an earlier stream and met again in this one. */
static void wal_remember_met(WalSource *wal, const Batch *batch)
{
    for (size_t i = 0; batch != NULL && i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event_is_over(event)) {
            known_events_add(&wal->again, event->commit_lsn, event->ordinal);
        }
    }
}

static void wal_start(Source *source, int64_t delay_ms)
{
    WalSource *wal = wal_of(source);
    assert(wal->state == WAL_LOST);
    wal->state = WAL_DELAYED;
    marker_caught_up(wal->marker, false);
    wal_set_timer(wal, delay_ms);
}

void wal_take_up(WalSource *wal)
{
    /* In the order of the stream: what came back, what was not handed on, what was not met yet. */
    wal_remember_met(wal, wal->assembler.batch);
    batch_free(&wal->assembler.batch);
    known_events_restart(&wal->assembler.known, &wal->again);
    wal->outstanding = 0;
    wal->outstanding_events = 0;
    wal->hole = false;
}

static void wal_resume(Source *source)
{
    WalSource *wal = wal_of(source);
    if (wal->state != WAL_LOCKED) {
        return; /* drained, or lost meanwhile */
    }
    wal_take_up(wal);
    if (!wal->waiting.known) {
        waiting_forget(wal);
    }
    wal->state = WAL_CHECKING;
    wal_session_look(wal);
}

/* Everything up to here is acknowledged. */
static void wal_acked(WalSource *wal, const Batch *batch, const MarkerPosition *position)
{
    bool from_stream = batch->count > 0 && batch->events[0]->commit_lsn != 0;
    waiting_note(wal, batch);
    if (!from_stream) {
        for (size_t i = 0; i < batch->count; i++) {
            if (event_is_over(batch->events[i])) {
                fill_note(wal, batch->events[i]->seq);
            }
        }
        /* Rows that are kept do not show that they are published: the position does. */
        bool keep = wal->options.pipeline->outbox.on_publish == ON_PUBLISH_KEEP && batch->count > 0;
        int64_t read = keep ? batch->events[batch->count - 1]->seq : 0;
        MarkerPosition filled = {.lsn = wal->start_lsn, .backfill_seq = read};
        marker_add(wal->marker, batch, read != 0 ? &filled : NULL);
        return;
    }
    wal->acked = *position;
    waiting_acked(wal);
    wal->verify.idle = false;
    MarkerPosition stored = verify_cap(wal, position);
    wal->verify.pushed = stored;
    marker_add(wal->marker, batch, &stored);
}

/* A batch that came back: what is settled at its head counts, what is settled behind a hole is
 * remembered and recognised when the stream brings it again. */
static void wal_take_back(WalSource *wal, Batch *batch)
{
    size_t head = 0;
    while (!wal->hole && head < batch->count && event_is_settled(batch->events[head])) {
        head++;
    }
    wal->hole = true;
    size_t count = batch->count;
    if (head > 0) {
        const Event *last = batch->events[head - 1];
        MarkerPosition position = wal->acked;
        position.tx_lsn = last->commit_lsn;
        position.tx_ordinal = last->ordinal;
        batch->count = head; /* the marker sees the head alone */
        wal_acked(wal, batch, &position);
        batch->count = count;
    }
    for (size_t i = head; i < count; i++) {
        const Event *event = batch->events[i];
        if (!event_is_over(event)) {
            continue;
        }
        if (event->commit_lsn != 0) {
            known_events_add(&wal->again, event->commit_lsn, event->ordinal);
        } else {
            fill_note(wal, event->seq);
        }
    }
    if (count > head && batch->events[head]->commit_lsn == 0) {
        /* Rows of the table are marked one by one, whatever came of their neighbours. */
        Batch rest = *batch;
        rest.events = batch->events + head;
        rest.count = count - head;
        marker_add(wal->marker, &rest, NULL);
    }
}

void wal_pass(WalSource *wal, Batch *batch)
{
    if (batch->unsettled == 0 && !wal->hole) {
        MarkerPosition position = {
            .lsn = batch->position, .tx_lsn = batch->tx_lsn, .tx_ordinal = batch->tx_ordinal};
        if (position.lsn < wal->acked.lsn) {
            position.lsn = wal->acked.lsn; /* while idle it followed the log of others */
        }
        wal_acked(wal, batch, &position);
    } else {
        wal_take_back(wal, batch);
    }
    batch_free(&batch);
}

static void wal_ack(Source *source, Batch *batch)
{
    WalSource *wal = wal_of(source);
    if (wal->outstanding > 0) {
        wal->outstanding--;
        wal->outstanding_events -= batch->count;
    }
    if (waiting_keeps_back(wal, batch)) {
        return;
    }
    wal_pass(wal, batch);
    marker_next(wal->marker);
    if (wal->rotation.switching) {
        event_active(wal->pulse, 0, 0);
    }
    if (wal->state == WAL_FILLING) {
        fill_next(wal);
    }
}

static void wal_set_aside(Source *source, Event *event, const Record *record, const Error *reason)
{
    WalSource *wal = wal_of(source);
    marker_add_aside(wal->marker, event, record, reason);
    marker_next(wal->marker);
}

void wal_lose_lease(WalSource *wal)
{
    AUTO_ERROR err = {0};
    error_set(
        &err, CODE_LEASE_EXPIRED,
        "nothing was said to PostgreSQL within the lease of %lld ms: another relay may publish "
        "now",
        (long long)wal->options.pipeline->claim.lease_ms);
    wal_lose(wal, &err);
}

static bool wal_may_publish(Source *source)
{
    WalSource *wal = wal_of(source);
    if (!wal_publishes(wal)) {
        return false;
    }
    if (wal_lease_holds(wal)) {
        return true;
    }
    wal_lose_lease(wal);
    return false;
}

static void wal_wake(Source *source)
{
    WalSource *wal = wal_of(source);
    if (wal->state == WAL_DELAYED) {
        wal_set_timer(wal, 0);
    } else if (wal->state == WAL_ACTIVE && wal->stream.paused) {
        stream_resume(wal);
    } else if (wal->state == WAL_FILLING) {
        fill_next(wal);
    }
}

static void wal_verified(Source *source, uint64_t wal_end, const char *identity)
{
    verify_take(wal_of(source), wal_end, identity);
}

static void wal_drain(Source *source)
{
    WalSource *wal = wal_of(source);
    wal->draining = true;
    marker_drain(wal->marker);
    wal_check_drained(wal);
}

static size_t wal_unmarked(const Source *source)
{
    const WalSource *wal = (const WalSource *)source;
    return marker_unmarked(wal->marker) + wal->waiting.events;
}

/* What follows has its place behind all of it: the log behind the rows from before the slot, a
 * table behind the one that was renamed. */
static bool wal_reads_on(const Source *source)
{
    const WalSource *wal = (const WalSource *)source;
    bool filled = wal->state == WAL_FILLING && wal->fill.complete;
    return wal->outstanding == 0 || !(filled || wal->rotation.switching);
}

static void wal_free(Source *source)
{
    WalSource *wal = wal_of(source);
    stream_release(wal);
    fill_release(wal);
    marker_free(&wal->marker);
    pg_conn_free(&wal->walsender);
    pg_conn_free(&wal->filler);
    pg_conn_free(&wal->control);
    event_free(wal->timer);
    event_free(wal->pulse);
    event_free(wal->report);
    assembler_release(&wal->assembler);
    fill_forget(&wal->fill);
    error_clear(&wal->error);
    error_clear(&wal->unreadable);
    known_events_release(&wal->again);
    known_seqs_release(&wal->filled);
    ask_release(wal);
    waiting_release(wal);
    wal_rotation_release(wal);
    precondition_release(&wal->look);
    position_drop_waiting(wal);
    free(wal->application_name);
    free(wal->dead_letter);
    free(wal->position_table);
    free(wal->position_key);
    table_free(&wal->table);
    free(wal);
}

static const SourceOps WAL_OPS = {
    .start = wal_start,
    .resume = wal_resume,
    .ack = wal_ack,
    .set_aside = wal_set_aside,
    .may_publish = wal_may_publish,
    .wake = wal_wake,
    .drain = wal_drain,
    .unmarked = wal_unmarked,
    .verified = wal_verified,
    .sight = view_sight,
    .look_at_rows = waiting_look_at_rows,
    .backlog = view_backlog,
    .may_park = waiting_may_park,
    .parked = waiting_parked,
    .reread = waiting_reread,
    .reads_on = wal_reads_on,
    .status = view_status,
    .slot = view_slot,
    .free = wal_free,
};

void wal_deliver(WalSource *wal, Batch *batch)
{
    wal->outstanding++;
    wal->outstanding_events += batch->count;
    if (pg_conn_takes_bytes(wal->control)) {
        row_check_texts(batch);
    }
    wal->source.events.batch(wal->source.events.arg, batch);
}

bool wal_room(WalSource *wal, size_t *ret_events, size_t *ret_bytes)
{
    return !wal->draining && !wal->waiting.stands &&
           wal->source.events.room(wal->source.events.arg, ret_events, ret_bytes);
}

bool wal_is_idle(const WalSource *wal)
{
    return wal->state == WAL_ACTIVE && wal->outstanding == 0 && !wal->hole &&
           wal->assembler.batch == NULL && !wal->assembler.in_transaction &&
           !marker_pending(wal->marker) && wal->waiting.oldest == NULL;
}

/* From the marker. */

static void on_marker_lost(void *arg, const Error *err)
{
    WalSource *wal = arg;
    wal->distrust = wal->distrust || marker_position_is_beyond(wal->marker);
    wal_lose(arg, err);
}

static void on_marker_refused(void *arg, const Error *err)
{
    WalSource *wal = arg;
    wal->source.events.refused(wal->source.events.arg, err);
}

static void on_marker_aside(void *arg, Event *event)
{
    WalSource *wal = arg;
    wal->source.events.aside(wal->source.events.arg, event);
}

static void on_marker_aside_refused(void *arg, Event *event, const Error *err)
{
    WalSource *wal = arg;
    wal->source.events.aside_refused(wal->source.events.arg, event, err);
}

static void on_marker_row_looks(void *arg, EventRow row, uint64_t look)
{
    WalSource *wal = arg;
    wal->source.events.row_looks(wal->source.events.arg, row, look);
}

static void on_marked(void *arg)
{
    WalSource *wal = arg;
    wal->refusals = 0;
    position_send_waiting(wal);
    ask_send_waiting(wal);
    waiting_go_on(wal);
    wal_rotation_go_on(wal);
    if (wal->state == WAL_ACTIVE) {
        stream_send_status(wal, false);
    } else if (wal->state == WAL_FILLING) {
        fill_next(wal);
    }
    wal->source.events.progress(wal->source.events.arg);
}

static void on_marker_idle(void *arg)
{
    WalSource *wal = arg;
    position_send_waiting(wal);
    ask_send_waiting(wal);
    waiting_go_on(wal);
    wal_rotation_go_on(wal);
    if (wal->state == WAL_FILLING) {
        fill_next(wal);
    }
    wal_check_drained(wal);
}

/* The connection that waited holds the publisher's lock: the lease comes first. */
static void on_marker_blocked(void *arg)
{
    wal_session_ping(arg);
}

static PgConn *wal_new_conn(WalSource *wal, int64_t silence_ms, int64_t user_timeout_ms,
                            bool replication, void (*opened)(void *arg, const Error *err))
{
    const WalOptions *options = &wal->options;
    return pg_conn_new(&(PgConnOptions){
        .base = options->base,
        .worker = options->worker,
        .dsn = options->config->database.dsn,
        .application_name = wal->application_name,
        .connect_timeout_ms = options->config->database.connect_timeout_ms,
        .silence_timeout_ms = silence_ms,
        .tcp_user_timeout_ms = user_timeout_ms,
        .replication = replication,
        .arg = wal,
        .opened = opened,
    });
}

Status wal_source_new(const WalOptions *options, Source **ret_source, Error *err)
{
    OutboxTable *table = NULL;
    if (table_new(options->pipeline, &table, err) != OK) {
        return FAILED;
    }
    WalSource *wal = x_calloc(1, sizeof(*wal));
    wal->source.ops = &WAL_OPS;
    wal->options = *options;
    wal->table = table;
    wal->state = WAL_LOST;
    wal->assembler.pipeline = options->pipeline;
    wal->assembler.relations.pipeline = options->pipeline;
    wal->assembler.relations.event_schema = table->schema;
    wal->assembler.parked = &wal->waiting.parked;
    AUTO_TEXT name = ident_literal(options->pipeline->name);
    wal->position_key = x_format("pipeline = %s", name);
    wal->application_name = x_format("%s/%s", options->config->name, options->pipeline->name);
    wal->timer = event_new(options->base, -1, 0, wal_on_timer, wal);
    wal->pulse = event_new(options->base, -1, 0, wal_on_pulse, wal);
    wal->report = event_new(options->base, -1, 0, wal_on_report, wal);
    int64_t statement_ms = options->config->database.statement_timeout_ms + 5000;
    int64_t lease_ms = options->pipeline->claim.lease_ms;
    wal->control = wal_new_conn(wal, statement_ms, lease_ms, false, wal_session_control_opened);
    /* The creation of a slot waits for every running transaction. */
    wal->walsender = wal_new_conn(wal, 0, lease_ms / 2, true, wal_slot_walsender_opened);
    wal->filler = wal_new_conn(wal, 0, lease_ms, false, fill_filler_opened); /* may read ahead */
    waiting_init(wal);
    wal_rotation_init(wal);
    history_begin(&wal->history);
    wal->marker = marker_new(&(MarkerOptions){.base = options->base,
                                              .history = &wal->history,
                                              .pipeline = options->pipeline,
                                              .table = table,
                                              .stats = options->stats,
                                              .conn = wal->control,
                                              .arg = wal,
                                              .lost = on_marker_lost,
                                              .refused = on_marker_refused,
                                              .aside = on_marker_aside,
                                              .aside_refused = on_marker_aside_refused,
                                              .row_looks = on_marker_row_looks,
                                              .marked = on_marked,
                                              .idle = on_marker_idle,
                                              .blocked = on_marker_blocked});
    wal->lock = (PublisherLock){.conn = wal->control,
                                .pipeline = options->pipeline,
                                .shared = options->pipeline->outbox.on_publish == ON_PUBLISH_KEEP,
                                .arg = wal,
                                .lost = on_marker_lost,
                                .locked = wal_session_lock_held,
                                .taken = wal_session_lock_taken};
    if (stream_init(wal, err) != OK) {
        wal_free(&wal->source);
        return FAILED;
    }
    *ret_source = &wal->source;
    return OK;
}

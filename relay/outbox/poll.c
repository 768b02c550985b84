/* The polling source: its life as the pipeline sees it. Two connections: the reader holds the
 * publisher lock and fetches; the marker marks (or deletes), prunes and writes dead letters, so
 * that marking runs beside the next fetch. Either of them lost means both are: one way to recover.
 */
#include "outbox/poll.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "outbox/poll_internal.h"
#include "rows/precondition.h"

static PollSource *poll_of(Source *source)
{
    return (PollSource *)source;
}

void poll_set_timer(PollSource *poll, int64_t delay_ms)
{
    struct timeval tv = {.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};
    event_add(poll->timer, &tv);
}

static void poll_close(PollSource *poll, PollState state)
{
    event_del(poll->timer);
    pg_conn_close(poll->reader);
    pg_conn_close(poll->marker_conn);
    fetch_release(poll);
    marker_stop(poll->marker);
    rotation_reset(poll);
    *poll->options.stats->postgres_connected = 0;
    poll->lease_until_us = 0;
    poll->state = state;
}

void poll_lose(PollSource *poll, const Error *err)
{
    if (poll->state == POLL_LOST || poll->state == POLL_CLOSED) {
        return;
    }
    if (poll->known.parked > 0) {
        left_go_back(&poll->left); /* what waits is counted anew, in all tables or in none */
    }
    error_copy(&poll->error, err);
    AUTO_TEXT place = x_format("%.200s; %llu marked", error_message(err),
                               (unsigned long long)*poll->options.stats->marked);
    repeats_judge(&poll->repeats, place, &poll->error);
    poll->doubts = precondition_soften(&poll->error, poll->begun, &poll->refusals);
    poll->source.lease_over =
        poll->state == POLL_ACTIVE && clock_monotonic_us() >= poll->lease_until_us;
    poll_close(poll, POLL_LOST);
    event_active(poll->report, 0, 0);
}

void poll_check_drained(PollSource *poll)
{
    if (!poll->draining || poll->state == POLL_LOST || poll->state == POLL_CLOSED ||
        marker_pending(poll->marker)) {
        return;
    }
    poll_close(poll, POLL_CLOSED);
    event_active(poll->report, 0, 0);
}

static void poll_on_report(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    PollSource *poll = arg;
    if (poll->state == POLL_CLOSED) {
        poll->source.events.drained(poll->source.events.arg);
    } else if (poll->state == POLL_LOST) {
        if (poll->doubts) {
            poll->source.events.doubt(poll->source.events.arg);
        }
        poll->source.events.lost(poll->source.events.arg, &poll->error);
    }
}

static void poll_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    PollSource *poll = arg;
    switch (poll->state) {
    case POLL_DELAYED:
        session_open(poll);
        break;
    case POLL_STANDBY:
        session_try_lock(poll);
        break;
    case POLL_LOCKED:
        session_keep_lock(poll);
        break;
    case POLL_ACTIVE:
        poll->more = true;
        fetch_next(poll);
        marker_next(poll->marker);
        break;
    default:
        break;
    }
}

static void poll_start(Source *source, int64_t delay_ms)
{
    PollSource *poll = poll_of(source);
    assert(poll->state == POLL_LOST);
    poll->state = POLL_DELAYED;
    poll_set_timer(poll, delay_ms);
}

static void poll_resume(Source *source)
{
    PollSource *poll = poll_of(source);
    if (poll->state != POLL_LOCKED) {
        return; /* drained, or lost meanwhile */
    }
    event_del(poll->timer);
    poll->outstanding_count = 0;
    if (poll->foreign) {
        known_free(&poll->known); /* of another history */
    }
    poll->foreign = false;
    fetch_reset(poll);
    poll->state = POLL_PREPARING;
    pg_conn_open(poll->marker_conn);
}

static void poll_ack(Source *source, Batch *batch)
{
    PollSource *poll = poll_of(source);
    for (size_t i = 0; i < poll->outstanding_count; i++) {
        if (poll->outstanding[i] == batch) {
            poll->outstanding_count--;
            memmove(poll->outstanding + i, poll->outstanding + i + 1,
                    (poll->outstanding_count - i) * sizeof(Batch *));
            break;
        }
    }
    if (!poll->foreign) {
        fetch_take_back(poll, batch);
        marker_add(poll->marker, batch, NULL);
    }
    batch_free(&batch);
    marker_next(poll->marker);
}

/* What is in flight when an event is parked is parked, too, at most: in_flight_events of them. */
static bool poll_may_park(const Source *source, const Event *event)
{
    (void)event;
    const PollSource *poll = (const PollSource *)source;
    size_t open = 0;
    for (size_t i = 0; i < poll->outstanding_count; i++) {
        open += poll->outstanding[i]->count;
    }
    return poll->known.parked + left_parked(&poll->left) + open < PARKED_MAX;
}

static size_t poll_parked(const Source *source)
{
    const PollSource *poll = (const PollSource *)source;
    return poll->known.parked + left_parked(&poll->left);
}

static void poll_reread(Source *source)
{
    PollSource *poll = poll_of(source);
    poll->rereading = true;
    rotation_go_back(poll);
    poll->more = true; /* fetch_next(), when the batches are back: by wake() */
}

static void poll_set_aside(Source *source, Event *event, const Record *record, const Error *reason)
{
    PollSource *poll = poll_of(source);
    marker_add_aside(poll->marker, event, record, reason);
    marker_next(poll->marker);
}

static bool poll_may_publish(Source *source)
{
    PollSource *poll = poll_of(source);
    if (poll->state != POLL_ACTIVE) {
        return false;
    }
    if (clock_monotonic_us() < poll->lease_until_us) {
        return true;
    }
    AUTO_ERROR err = {0};
    error_set(
        &err, CODE_LEASE_EXPIRED,
        "no answer from PostgreSQL within the lease of %lld ms: another relay may publish now",
        (long long)poll->options.pipeline->claim.lease_ms);
    poll_lose(poll, &err);
    return false;
}

static void poll_wake(Source *source)
{
    PollSource *poll = poll_of(source);
    if (poll->state == POLL_DELAYED) {
        poll_set_timer(poll, 0);
    } else if (poll->state == POLL_ACTIVE && poll->more) {
        fetch_next(poll);
    }
}

static void poll_drain(Source *source)
{
    PollSource *poll = poll_of(source);
    poll->draining = true;
    marker_drain(poll->marker);
    poll_check_drained(poll);
}

static size_t poll_unmarked(const Source *source)
{
    return marker_unmarked(((const PollSource *)source)->marker);
}

static SourceSight poll_sight(const Source *source, int64_t seq, Slice event_id,
                              uint64_t insert_lsn, int64_t looked_us)
{
    (void)insert_lsn;
    const PollSource *poll = (const PollSource *)source;
    if (marker_has(poll->marker, seq, event_id)) {
        return SIGHT_PUBLISHED;
    }
    if (known_is_parked(&poll->known, known_row(seq, event_id))) {
        return SIGHT_KNOWN;
    }
    if (poll->state != POLL_ACTIVE || poll->draining || marker_recovering(poll->marker) ||
        poll->rotation.active) {
        return SIGHT_BEHIND;
    }
    if (poll->fetch.batch != NULL && batch_find(poll->fetch.batch, seq, event_id) != NULL) {
        return SIGHT_KNOWN;
    }
    bool covered = poll->covered_us > looked_us && seq <= poll->covered_seq;
    return poll->complete_us > looked_us || covered ? SIGHT_UNKNOWN : SIGHT_BEHIND;
}

static void poll_look_again(Source *source, int64_t seq)
{
    poll_fetch_widen(poll_of(source), seq);
}

/* Not while rows come from several tables. */
static bool poll_look_at_rows(Source *source, const EventRow *rows, size_t count)
{
    PollSource *poll = poll_of(source);
    return !poll->rotation.active && poll->left.count == 0 &&
           marker_look_at(poll->marker, rows, count);
}

static double poll_backlog(const Source *source)
{
    const PollSource *poll = (const PollSource *)source;
    if (!poll->caught_up) {
        bool capped = false;
        double backlog = marker_backlog(poll->marker, &capped);
        return backlog < 0 ? NAN : backlog;
    }
    size_t open = marker_unmarked(poll->marker) + poll->known.parked + left_parked(&poll->left);
    for (size_t i = 0; i < poll->outstanding_count; i++) {
        open += poll->outstanding[i]->count;
    }
    return (double)open;
}

static void poll_status(const Source *source, Text *json)
{
    const PollSource *poll = (const PollSource *)source;
    double backlog = poll_backlog(source);
    bool capped = false;
    (void)marker_backlog(poll->marker, &capped);
    if (isnan(backlog)) {
        text_add(json, ",\"backlog_events\":null,\"backlog_capped\":false");
    } else {
        text_printf(json, ",\"backlog_events\":%.0f,\"backlog_capped\":%s", backlog,
                    !poll->caught_up && capped ? "true" : "false");
    }
}

static void poll_free(Source *source)
{
    PollSource *poll = poll_of(source);
    pg_conn_free(&poll->reader);
    marker_free(&poll->marker);
    pg_conn_free(&poll->marker_conn);
    event_free(poll->timer);
    event_free(poll->report);
    fetch_release(poll);
    error_clear(&poll->error);
    error_clear(&poll->unreadable.error);
    gaps_release(&poll->gaps);
    known_free(&poll->known);
    free(poll->fence.writers);
    free(poll->fence.latest);
    free(poll->outstanding);
    rotation_release(poll);
    left_release(&poll->left);
    free(poll->dead_letter);
    free(poll->publisher_table);
    free(poll->publisher_key);
    free(poll->publisher_ctid);
    free(poll->application_name);
    table_free(&poll->table);
    free(poll);
}

static const SourceOps POLL_OPS = {
    .start = poll_start,
    .resume = poll_resume,
    .ack = poll_ack,
    .set_aside = poll_set_aside,
    .may_publish = poll_may_publish,
    .wake = poll_wake,
    .drain = poll_drain,
    .unmarked = poll_unmarked,
    .sight = poll_sight,
    .look_again = poll_look_again,
    .look_at_rows = poll_look_at_rows,
    .backlog = poll_backlog,
    .may_park = poll_may_park,
    .parked = poll_parked,
    .reread = poll_reread,
    .status = poll_status,
    .free = poll_free,
};

/* From the marker. */

static void on_marker_lost(void *arg, const Error *err)
{
    poll_lose(arg, err);
}

static void on_marker_refused(void *arg, const Error *err)
{
    PollSource *poll = arg;
    poll->source.events.refused(poll->source.events.arg, err);
}

static void on_marker_aside(void *arg, Event *event)
{
    PollSource *poll = arg;
    poll->source.events.aside(poll->source.events.arg, event);
}

static void on_marker_aside_refused(void *arg, Event *event, const Error *err)
{
    PollSource *poll = arg;
    poll->source.events.aside_refused(poll->source.events.arg, event, err);
}

static void on_marker_row_looks(void *arg, EventRow row, uint64_t look)
{
    PollSource *poll = arg;
    poll->source.events.row_looks(poll->source.events.arg, row, look);
}

static void on_marked(void *arg)
{
    PollSource *poll = arg;
    poll->refusals = 0;
    fetch_next(poll); /* when it waited for rows left over, or for room */
    poll->source.events.progress(poll->source.events.arg);
}

static void on_marker_idle(void *arg)
{
    poll_check_drained(arg);
}

static void on_marker_replaced(void *arg)
{
    rotation_notice(arg, NULL);
}

static PgConn *poll_new_conn(PollSource *poll, int64_t silence_ms,
                             void (*opened)(void *arg, const Error *err))
{
    const PollOptions *options = &poll->options;
    return pg_conn_new(&(PgConnOptions){
        .base = options->base,
        .worker = options->worker,
        .dsn = options->config->database.dsn,
        .application_name = poll->application_name,
        .connect_timeout_ms = options->config->database.connect_timeout_ms,
        .silence_timeout_ms = silence_ms,
        .tcp_user_timeout_ms = options->pipeline->claim.lease_ms,
        .arg = poll,
        .opened = opened,
    });
}

Status poll_source_new(const PollOptions *options, Source **ret_source, Error *err)
{
    OutboxTable *table = NULL;
    if (table_new(options->pipeline, &table, err) != OK) {
        return FAILED;
    }
    PollSource *poll = x_calloc(1, sizeof(*poll));
    poll->source.ops = &POLL_OPS;
    poll->options = *options;
    poll->table = table;
    poll->state = POLL_LOST;
    history_begin(&poll->history);
    poll->application_name = x_format("%s/%s", options->config->name, options->pipeline->name);
    poll->timer = event_new(options->base, -1, 0, poll_on_timer, poll);
    poll->report = event_new(options->base, -1, 0, poll_on_report, poll);
    poll->reader = poll_new_conn(poll, options->pipeline->claim.lease_ms, session_reader_opened);
    poll->marker_conn = poll_new_conn(poll, options->config->database.statement_timeout_ms + 5000,
                                      session_marker_opened);
    poll->marker = marker_new(&(MarkerOptions){.base = options->base,
                                               .pipeline = options->pipeline,
                                               .table = table,
                                               .stats = options->stats,
                                               .conn = poll->marker_conn,
                                               .history = &poll->history,
                                               .arg = poll,
                                               .lost = on_marker_lost,
                                               .refused = on_marker_refused,
                                               .aside = on_marker_aside,
                                               .aside_refused = on_marker_aside_refused,
                                               .row_looks = on_marker_row_looks,
                                               .marked = on_marked,
                                               .idle = on_marker_idle,
                                               .replaced = on_marker_replaced});
    poll->lock = (PublisherLock){.conn = poll->reader,
                                 .pipeline = options->pipeline,
                                 .arg = poll,
                                 .lost = session_lock_lost,
                                 .locked = session_lock_held,
                                 .taken = session_lock_taken};
    rotation_init(poll);
    gaps_reset(&poll->gaps);
    *ret_source = &poll->source;
    return OK;
}

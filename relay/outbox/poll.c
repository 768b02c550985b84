/* The polling source: its life as the pipeline sees it. Two connections, both the claim's: the
 * reader holds the publisher lock and fetches; the marker marks (or deletes), prunes and writes
 * dead letters, so that marking runs beside the next fetch. Either of them lost means both are: one
 * way to recover.
 */
#include "outbox/poll.h"

#include <math.h>
#include <stdlib.h>

#include "base/document.h"
#include "base/memory.h"
#include "outbox/poll_internal.h"
#include "outbox/poll_pace.h"
#include "outbox/poll_read.h"
#include "outbox/poll_rotation.h"
#include "outbox/poll_session.h"
#include "rows/parked.h"

static Poll *poll_of(const Source *source)
{
    return ((const PollSource *)source)->poll;
}

/* What comes next. */
static void poll_on_news(Poll *poll, PollNews news)
{
    switch (news) {
    case NEWS_GO_ON:
        fetch_next(poll);
        break;
    case NEWS_TABLES_KNOWN:
        session_judge(poll);
        break;
    case NEWS_OLD_TAKEN:
        session_lock_taken(poll, rotation_lock(poll));
        break;
    }
}

static void poll_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Poll *poll = arg;
    if (poll->state == POLL_ACTIVE) {
        pace_want(poll->reading->pace);
        fetch_next(poll);
        marker_next(poll->marker);
    }
}

static void poll_start(Source *source, int64_t delay_ms)
{
    claim_start(poll_of(source)->claim, delay_ms);
}

static void poll_resume(Source *source)
{
    Poll *poll = poll_of(source);
    if (poll->state != POLL_LOCKED) {
        return; /* drained, or lost meanwhile */
    }
    reading_resume(poll->reading);
    marker_caught_up(poll->marker, false);
    poll->state = POLL_PREPARING;
    claim_open_marker(poll->claim);
}

static void poll_ack(Source *source, Batch *batch)
{
    Poll *poll = poll_of(source);
    handed_remove(&poll->reading->handed, batch);
    if (!poll->reading->foreign) {
        reading_take_back(poll->reading, batch);
        marker_add(poll->marker, batch, NULL);
    }
    batch_free(&batch);
    marker_next(poll->marker);
}

static size_t poll_parked(const Source *source)
{
    const Poll *poll = poll_of(source);
    return known_parked(poll->reading->known) + left_parked(&poll->left);
}

/* What is in flight when an event is parked is parked, too, at most: in_flight_events of them. */
static bool poll_may_park(const Source *source, const Event *event)
{
    (void)event;
    const Poll *poll = poll_of(source);
    return poll_parked(source) + handed_events(&poll->reading->handed) < PARKED_MAX;
}

static void poll_reread(Source *source)
{
    Poll *poll = poll_of(source);
    poll->reading->rereading = true;
    rotation_go_back(poll);
    pace_want(poll->reading->pace); /* fetch_next(), when the batches are back: by wake() */
}

static bool poll_may_publish(Source *source)
{
    Poll *poll = poll_of(source);
    if (poll->state != POLL_ACTIVE) {
        return false;
    }
    if (claim_lease_holds(poll->claim)) {
        return true;
    }
    AUTO_ERROR err = {0};
    error_set(
        &err, CODE_LEASE_EXPIRED,
        "no answer from PostgreSQL within the lease of %lld ms: another relay may publish now",
        (long long)poll->options.pipeline->claim.lease_ms);
    claim_lose(poll->claim, &err);
    return false;
}

static void poll_wake(Source *source)
{
    Poll *poll = poll_of(source);
    claim_wake(poll->claim);
    if (poll->state == POLL_ACTIVE && pace_wants(poll->reading->pace)) {
        fetch_next(poll);
    }
}

static void poll_drain(Source *source)
{
    Poll *poll = poll_of(source);
    poll->draining = true;
    marker_drain(poll->marker);
    poll_check_drained(poll);
}

static size_t poll_unmarked(const Source *source)
{
    return marker_unmarked(poll_of(source)->marker);
}

static SourceSight poll_sight(const Source *source, int64_t seq, Slice event_id,
                              uint64_t insert_lsn, int64_t looked_us)
{
    (void)insert_lsn;
    const Poll *poll = poll_of(source);
    if (marker_has(poll->marker, seq, event_id)) {
        return SIGHT_PUBLISHED;
    }
    if (known_is_parked(poll->reading->known, known_row(seq, event_id))) {
        return SIGHT_KNOWN;
    }
    if (poll->state != POLL_ACTIVE || poll->draining || marker_recovering(poll->marker) ||
        rotation_is_active(poll->rotation)) {
        return SIGHT_BEHIND;
    }
    const Batch *batch = intake_batch(poll->reading->intake);
    if (batch != NULL && batch_find(batch, seq, event_id) != NULL) {
        return SIGHT_KNOWN;
    }
    return pace_has_covered(poll->reading->pace, looked_us, seq) ? SIGHT_UNKNOWN : SIGHT_BEHIND;
}

static void poll_look_again(Source *source, int64_t seq)
{
    (void)seq; /* a sweep looks at every number */
    fetch_widen(poll_of(source));
}

/* Not while rows come from several tables. */
static bool poll_look_at_rows(Source *source, const EventRow *rows, size_t count)
{
    Poll *poll = poll_of(source);
    return !rotation_is_active(poll->rotation) && left_is_empty(&poll->left) &&
           marker_look_at(poll->marker, rows, count);
}

static double poll_backlog(const Source *source)
{
    const Poll *poll = poll_of(source);
    if (!pace_is_caught_up(poll->reading->pace)) {
        bool capped = false;
        double backlog = marker_backlog(poll->marker, &capped);
        return backlog < 0 ? NAN : backlog;
    }
    return (double)(marker_unmarked(poll->marker) + poll_parked(source) +
                    handed_events(&poll->reading->handed));
}

static void poll_collect(const Source *source, double *ret_backlog)
{
    *ret_backlog = poll_backlog(source);
}

static void poll_status(const Source *source, json_t *pipeline)
{
    const Poll *poll = poll_of(source);
    double backlog = poll_backlog(source);
    bool capped = false;
    (void)marker_backlog(poll->marker, &capped);
    document_number(pipeline, "backlog_events", "%.0f", backlog);
    document_bool(pipeline, "backlog_capped",
                  !isnan(backlog) && !pace_is_caught_up(poll->reading->pace) && capped);
}

static void poll_free(Source *source)
{
    Poll *poll = poll_of(source);
    claim_free(&poll->claim);
    event_free(poll->timer);
    rotation_free(poll);
    session_free(&poll->session);
    reading_free(&poll->reading);
    left_release(&poll->left);
    free(poll->refusal);
    table_free(&poll->table);
    free(poll);
    free(source);
}

static const SourceOps POLL_OPS = {
    .start = poll_start,
    .resume = poll_resume,
    .ack = poll_ack,
    .may_publish = poll_may_publish,
    .wake = poll_wake,
    .drain = poll_drain,
    .unmarked = poll_unmarked,
    .sight = poll_sight,
    .look_again = poll_look_again,
    .look_at_rows = poll_look_at_rows,
    .collect = poll_collect,
    .may_park = poll_may_park,
    .parked = poll_parked,
    .reread = poll_reread,
    .status = poll_status,
    .free = poll_free,
};

Status poll_source_new(const SourceOptions *options, Source **ret_source, Error *err)
{
    OutboxTable *table = NULL;
    if (table_new(options->pipeline, &table, err) != OK) {
        return FAILED;
    }
    PollSource *source = x_calloc(1, sizeof(*source));
    Poll *poll = x_calloc(1, sizeof(*poll));
    source->source.ops = &POLL_OPS;
    source->poll = poll;
    poll->source = &source->source;
    poll->options = *options;
    poll->table = table;
    poll->tell = poll_on_news;
    poll->timer = event_new(options->base, -1, 0, poll_on_timer, poll);
    poll->refusal = x_calloc(1, sizeof(*poll->refusal));
    poll->session = session_new();
    poll->reading = reading_new(options->pipeline, options->stats);
    poll->claim = claim_new(&(ClaimOptions){.source = &poll->options,
                                            .table = table,
                                            .events = &source->source,
                                            .reader = &SESSION_READER,
                                            .arg = poll});
    poll->marker = claim_marker(poll->claim);
    poll->history = claim_history(poll->claim);
    rotation_new(poll);
    *ret_source = &source->source;
    return OK;
}

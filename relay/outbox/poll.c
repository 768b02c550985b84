/* The polling source: its life as the pipeline sees it. Two connections, both the claim's: the
 * reader holds the publisher lock and fetches; the marker marks (or deletes), prunes and writes
 * dead letters, so that marking runs beside the next fetch. Either of them lost means both are: one
 * way to recover.
 */
#include "outbox/poll.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/document.h"
#include "base/memory.h"
#include "outbox/poll_internal.h"

static PollSource *poll_of(Source *source)
{
    return (PollSource *)source;
}

/* What comes next. */
static void poll_on_news(PollSource *poll, PollNews news)
{
    switch (news) {
    case NEWS_GO_ON:
        fetch_next(poll);
        break;
    case NEWS_DURABLE:
        fetch_complete(poll);
        break;
    case NEWS_TABLES_KNOWN:
        session_judge(poll);
        break;
    case NEWS_OLD_TAKEN:
        session_lock_taken(poll, poll->rotation.lock);
        break;
    }
}

static void poll_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    PollSource *poll = arg;
    if (poll->state == POLL_ACTIVE) {
        poll->more = true;
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
    PollSource *poll = poll_of(source);
    if (poll->state != POLL_LOCKED) {
        return; /* drained, or lost meanwhile */
    }
    poll->outstanding_count = 0;
    if (poll->foreign) {
        known_free(&poll->known); /* of another history */
    }
    poll->foreign = false;
    fetch_reset(poll);
    poll->state = POLL_PREPARING;
    claim_open_marker(poll->claim);
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

static bool poll_may_publish(Source *source)
{
    PollSource *poll = poll_of(source);
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
    PollSource *poll = poll_of(source);
    claim_wake(poll->claim);
    if (poll->state == POLL_ACTIVE && poll->more) {
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

static void poll_status(const Source *source, json_t *pipeline)
{
    const PollSource *poll = (const PollSource *)source;
    double backlog = poll_backlog(source);
    bool capped = false;
    (void)marker_backlog(poll->marker, &capped);
    document_number(pipeline, "backlog_events", "%.0f", backlog);
    document_bool(pipeline, "backlog_capped", !isnan(backlog) && !poll->caught_up && capped);
}

static void poll_free(Source *source)
{
    PollSource *poll = poll_of(source);
    claim_free(&poll->claim);
    event_free(poll->timer);
    fetch_release(poll);
    error_clear(&poll->error);
    error_clear(&poll->unreadable.error);
    gaps_release(&poll->gaps);
    known_free(&poll->known);
    free(poll->fence.writers);
    free(poll->fence.latest);
    free(poll->outstanding);
    rotation_release(poll);
    claim_lock_free(&poll->rotation.lock);
    left_release(&poll->left);
    free(poll->publisher_table);
    free(poll->publisher_key);
    free(poll->publisher_ctid);
    table_free(&poll->table);
    free(poll);
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
    .backlog = poll_backlog,
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
    PollSource *poll = x_calloc(1, sizeof(*poll));
    poll->source.ops = &POLL_OPS;
    poll->options = *options;
    poll->table = table;
    poll->tell = poll_on_news;
    poll->timer = event_new(options->base, -1, 0, poll_on_timer, poll);
    poll->claim = claim_new(&(ClaimOptions){.source = &poll->options,
                                            .table = table,
                                            .events = &poll->source,
                                            .reader = &SESSION_READER,
                                            .arg = poll});
    poll->marker = claim_marker(poll->claim);
    poll->history = claim_history(poll->claim);
    rotation_init(poll);
    gaps_reset(&poll->gaps);
    *ret_source = &poll->source;
    return OK;
}

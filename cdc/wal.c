/* The WAL source: its life as the pipeline sees it, and what comes next when one of its parts has
 * news. The connection of the claim holds the publisher's lock and writes (position, marks, dead
 * letters); the walsender connection brings the stream. Either of them lost means both are: one way
 * to recover. */
#include "cdc/wal.h"

#include <stdlib.h>

#include "base/memory.h"
#include "cdc/wal_parts.h"
#include "cdc/wire.h"

static WalParts *parts_of(const Source *source)
{
    return ((const WalSource *)source)->parts;
}

/* The connections are left, with what was read on them and is not handed on. */
static void wal_leave(const WalWork *work)
{
    stream_stop(work->stream);
    handover_close(work->handover);
    if (work->requeue != NULL) {
        requeue_close(work->requeue);
    }
    walsender_close(work->walsender);
    filling_close(work->fill);
}

static void wal_close(void *arg, bool lost)
{
    (void)lost;
    WalParts *parts = arg;
    WalContext *wal = parts->context;
    const WalBooks *books = parts->books;
    const WalWork *work = parts->work;
    if (marker_position_is_beyond(wal->marker)) {
        progress_distrust(books->progress);
    }
    wal_leave(work);
    waiting_give_back(work->waiting);
    waiting_drop_reread(work->waiting);
    position_drop_waiting(books->row);
    books->start->facts_told = false;
    wal_slot_forget(work->slot);
    tables_stop_turning(books->tables);
    wal_rotation_forget(work->rotation);
    wal->state = WAL_AWAY;
}

static bool wal_publishes(const void *arg)
{
    const WalContext *wal = ((const WalParts *)arg)->context;
    return wal->state == WAL_ACTIVE || wal->state == WAL_FILLING || wal->state == WAL_STARTING;
}

static bool wal_lease_holds(const void *arg)
{
    return stream_lease_holds(((const WalParts *)arg)->work->stream);
}

static char *wal_place(void *arg, const Error *err)
{
    (void)err;
    MarkerPosition at = marker_position(((const WalParts *)arg)->context->marker);
    char lsn[24];
    char tx_lsn[24];
    return x_format("position %s, in transaction %s: %llu", lsn_format(at.lsn, lsn),
                    lsn_format(at.tx_lsn, tx_lsn), (unsigned long long)at.tx_ordinal);
}

/* All that the table had from before the slot was read. */
static bool wal_has_filled(const WalParts *parts)
{
    return parts->context->state == WAL_FILLING && filling_is_complete(parts->work->fill);
}

static void wal_check_drained(WalParts *parts)
{
    const WalContext *wal = parts->context;
    const Progress *progress = parts->books->progress;
    const WalWork *work = parts->work;
    if (!wal->draining || !claim_is_live(wal->claim)) {
        return;
    }
    if (claim_stands_by(wal->claim)) {
        claim_end(wal->claim);
        return;
    }
    if (marker_pending(wal->marker) || waiting_has_any(work->waiting)) {
        return;
    }
    if (wal_has_filled(parts) && progress_outstanding(progress) == 0 &&
        !progress_has_hole(progress) && !filling_is_recorded(work->fill)) {
        filling_next(work->fill); /* else the next start would read the table again */
        return;
    }
    if (verify_last(parts->books->verify) || marker_pending(wal->marker)) {
        return;
    }
    stream_send_status(work->stream, false);
    claim_end(wal->claim);
}

static void wal_pulse(void *arg)
{
    const WalParts *parts = arg;
    const WalContext *wal = parts->context;
    claim_ping(wal->claim);
    if (wal->state == WAL_ACTIVE) {
        stream_watch(parts->work->stream);
    }
    wal_slot_watch(parts->work->slot);
    marker_next(wal->marker);
}

/* Of SourceOps. */

static void wal_start(Source *source, int64_t delay_ms)
{
    const WalContext *wal = parts_of(source)->context;
    marker_caught_up(wal->marker, false);
    claim_start(wal->claim, delay_ms);
}

/* It is told before it is freed. */
static void wal_came_back(const WalWork *work, const Batch *batch)
{
    filling_came_back(work->fill, batch);
    if (work->requeue != NULL) {
        requeue_came_back(work->requeue, batch);
    }
}

/* Batches that were read and never went out come back after those that did. */
static void wal_take_back(const WalParts *parts)
{
    for (Batch *batch; (batch = handover_take_back(parts->work->handover)) != NULL;) {
        progress_return(parts->books->progress, batch);
        wal_came_back(parts->work, batch);
        acks_pass(parts->books->acks, batch);
    }
}

static void wal_resume(Source *source)
{
    const WalParts *parts = parts_of(source);
    WalContext *wal = parts->context;
    if (wal->state != WAL_LOCKED) {
        return; /* drained, or lost meanwhile */
    }
    wal_take_back(parts);
    acks_take_up(parts->books->acks);
    if (!waiting_rows_are_known(parts->books->rows)) {
        waiting_forget(parts->work->waiting);
    }
    wal->state = WAL_CHECKING;
    wal_session_ask_facts(parts->work->session);
}

static void wal_ack(Source *source, Batch *batch)
{
    const WalParts *parts = parts_of(source);
    const WalContext *wal = parts->context;
    progress_return(parts->books->progress, batch);
    if (waiting_keeps_back(parts->work->waiting, batch)) {
        return;
    }
    wal_came_back(parts->work, batch);
    acks_pass(parts->books->acks, batch);
    marker_next(wal->marker);
    if (tables_are_turning(parts->books->tables, NULL)) {
        claim_pulse_now(wal->claim);
    }
    filling_next(parts->work->fill);
}

static bool wal_may_publish(Source *source)
{
    const WalParts *parts = parts_of(source);
    if (!wal_publishes(parts)) {
        return false;
    }
    if (wal_lease_holds(parts)) {
        return true;
    }
    wal_lose_lease(parts->context);
    return false;
}

static void wal_wake(Source *source)
{
    const WalParts *parts = parts_of(source);
    claim_wake(parts->context->claim);
    if (parts->context->state == WAL_ACTIVE) {
        stream_wake(parts->work->stream);
    } else {
        filling_next(parts->work->fill);
    }
}

static void wal_verified(Source *source, uint64_t wal_end, const char *identity)
{
    verify_take(parts_of(source)->books->verify, wal_end, identity);
}

static void wal_drain(Source *source)
{
    WalParts *parts = parts_of(source);
    parts->context->draining = true;
    marker_drain(parts->context->marker);
    wal_check_drained(parts);
}

/* What follows has its place behind all of it: the log behind the rows from before the slot, a
 * table behind the one that was renamed. */
static bool wal_reads_on(const Source *source)
{
    const WalParts *parts = parts_of(source);
    return progress_outstanding(parts->books->progress) == 0 ||
           !(wal_has_filled(parts) || tables_are_turning(parts->books->tables, NULL));
}

static size_t wal_unmarked(const Source *source)
{
    return handover_unmarked(parts_of(source)->work->handover);
}

static bool wal_may_park(const Source *source, const Event *event)
{
    return waiting_may_park(parts_of(source)->work->waiting, event);
}

static size_t wal_parked(const Source *source)
{
    return waiting_rows_parked(parts_of(source)->books->rows)->count;
}

/* Not while events come again that the log alone has, or rows of several tables. */
static bool wal_look_at_rows(Source *source, const EventRow *rows, size_t count)
{
    const WalParts *parts = parts_of(source);
    return !waiting_rows_have_rowless(parts->books->rows) &&
           tables_count(parts->books->tables) == 0 &&
           marker_look_at(parts->context->marker, rows, count);
}

static void wal_reread(Source *source)
{
    const WalParts *parts = parts_of(source);
    WalContext *wal = parts->context;
    if (!wal_is_connected(wal) || wal->draining) {
        waiting_forget(parts->work->waiting); /* resume() reads the table, if there is anything */
        return;
    }
    wal_leave(parts->work);
    wal_take_back(parts);
    wal->state = WAL_CHECKING;
    waiting_begin_reread(parts->work->waiting);
}

static SourceSight wal_sight(const Source *source, int64_t seq, Slice event_id, uint64_t insert_lsn,
                             int64_t looked_us)
{
    (void)looked_us;
    return view_sight(parts_of(source)->work->view, seq, event_id, insert_lsn);
}

static void wal_collect(const Source *source, double *ret_backlog)
{
    const WalWork *work = parts_of(source)->work;
    *ret_backlog = view_backlog(work->view);
    filling_collect(work->fill);
}

static void wal_status(const Source *source, json_t *pipeline)
{
    const WalWork *work = parts_of(source)->work;
    view_status(work->view, pipeline);
    filling_status(work->fill, pipeline);
}

static void wal_show_slot(const Source *source, json_t *slot)
{
    view_slot(parts_of(source)->work->view, slot);
}

static void wal_free(Source *source)
{
    WalSource *wal = (WalSource *)source;
    wal_parts_free(&wal->parts);
    free(wal);
}

static const SourceOps WAL_OPS = {
    .start = wal_start,
    .resume = wal_resume,
    .ack = wal_ack,
    .may_publish = wal_may_publish,
    .wake = wal_wake,
    .drain = wal_drain,
    .unmarked = wal_unmarked,
    .verified = wal_verified,
    .sight = wal_sight,
    .look_at_rows = wal_look_at_rows,
    .collect = wal_collect,
    .may_park = wal_may_park,
    .parked = wal_parked,
    .reread = wal_reread,
    .reads_on = wal_reads_on,
    .status = wal_status,
    .slot = wal_show_slot,
    .free = wal_free,
};

/* What comes next. */

static void wal_go_on(const WalParts *parts)
{
    waiting_go_on(parts->work->waiting);
    wal_rotation_go_on(parts->work->rotation);
    verify_go_on(parts->books->verify);
    filling_next(parts->work->fill);
}

static void wal_on_news(void *arg, WalNews news)
{
    WalParts *parts = arg;
    const WalContext *wal = parts->context;
    const WalWork *work = parts->work;
    switch (news) {
    case NEWS_SETTLED:
        wal_check_drained(parts);
        break;
    case NEWS_REREAD:
        wal_session_ask_facts(work->session);
        break;
    case NEWS_FACTS:
        wal_rotation_forget(work->rotation);
        between_begin(work->between);
        break;
    case NEWS_TABLES:
        walsender_open(work->walsender);
        break;
    case NEWS_IDENTIFIED:
        wal_slot_decide(work->slot);
        break;
    case NEWS_ANSWERED:
        stream_go_on(work->stream);
        break;
    case NEWS_TURNED:
        if (wal->state == WAL_FILLING) {
            filling_next(work->fill);
        } else {
            stream_go_on(work->stream);
        }
        break;
    case NEWS_COMPARED:
        wal_slot_compared(work->slot);
        break;
    case NEWS_HELD:
        requeue_held(work->requeue);
        break;
    case NEWS_COMPLETED:
        if (wal->state == WAL_ACTIVE) {
            stream_wake(work->stream);
        }
        break;
    case NEWS_FILLED:
        if (wal->draining) {
            wal_check_drained(parts);
        } else if (wal->state == WAL_FILLING && wal_reads_snapshot_alone(wal)) {
            wal_slot_end(work->slot);
        } else if (wal->state == WAL_FILLING) { /* else all of it is read again */
            walsender_stream(work->walsender);
        }
        break;
    }
}

/* Somebody else publishes. */
static void wal_on_other(void *arg, const char *holder)
{
    WalParts *parts = arg;
    claim_stand_by(parts->context->claim, holder);
    waiting_give_back(parts->work->waiting);
    waiting_forget(parts->work->waiting);
    position_drop_waiting(parts->books->row);
    marker_stop(parts->context->marker);
    parts->context->state = WAL_AWAY;
    wal_check_drained(parts);
}

/* Of ClaimReader. */

static void wal_looked(void *arg, const PreconditionLook *look)
{
    wal_session_looked(((WalParts *)arg)->work->session, look);
}

static bool wal_tolerates(const void *arg, const Error *fault)
{
    return wal_session_tolerates(((const WalParts *)arg)->work->session, fault);
}

static void wal_lock_held(void *arg)
{
    wal_session_lock_held(((WalParts *)arg)->work->session);
}

static void wal_lock_taken(void *arg, const ClaimLock *lock)
{
    wal_on_other(arg, claim_lock_holder(lock));
}

static void wal_add_ping(void *arg, Text *sql)
{
    ping_add(((WalParts *)arg)->work->ping, sql);
}

static void wal_ping_result(void *arg, const PGresult *result)
{
    ping_read(((WalParts *)arg)->work->ping, result);
}

static void wal_pinged(void *arg)
{
    const WalParts *parts = arg;
    if (!ping_is_good(parts->work->ping)) {
        return;
    }
    wal_go_on(parts);
    if (parts->context->state == WAL_ACTIVE) {
        stream_follow(parts->work->stream);
    }
}

static void wal_marked(void *arg)
{
    const WalParts *parts = arg;
    wal_go_on(parts);
    stream_send_status(parts->work->stream, false);
}

static void wal_idle(void *arg)
{
    wal_go_on(arg);
    wal_check_drained(arg);
}

static const ClaimReader WAL_READER = {
    .replicates = true,
    .looks_itself = true,
    .looked = wal_looked,
    .tolerates = wal_tolerates,
    .held = wal_lock_held,
    .taken = wal_lock_taken,
    .pulse = wal_pulse,
    .add_ping = wal_add_ping,
    .ping_result = wal_ping_result,
    .pinged = wal_pinged,
    .publishes = wal_publishes,
    .lease_holds = wal_lease_holds,
    .place = wal_place,
    .close = wal_close,
    .marked = wal_marked,
    .idle = wal_idle,
};

Status wal_source_new(const SourceOptions *options, Source **ret_source, Error *err)
{
    WalSource *wal = x_calloc(1, sizeof(*wal));
    wal->source.ops = &WAL_OPS;
    WalOwner owner = {.source = &wal->source,
                      .reader = &WAL_READER,
                      .tell = wal_on_news,
                      .stand_by = wal_on_other};
    if (wal_parts_new(options, &owner, &wal->parts, err) != OK) {
        free(wal);
        return FAILED;
    }
    *ret_source = &wal->source;
    return OK;
}

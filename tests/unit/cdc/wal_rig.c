#include "wal_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "stub/settle.h"

Rig rig;

/* The pipeline. */

static void on_locked(void *arg)
{
    (void)arg;
    rig.locked++;
    if (!rig.keep_waiting) {
        rig.source->ops->resume(rig.source);
    }
}

static void on_active(void *arg)
{
    (void)arg;
    rig.active++;
}

static void on_standby(void *arg, const char *holder)
{
    (void)arg;
    rig.standby++;
    rig.walsender = 0;
    snprintf(rig.holder, sizeof(rig.holder), "%s", holder);
}

static void on_batch(void *arg, Batch *batch)
{
    (void)arg;
    cr_assert_gt(batch->count, 0);
    cr_assert_lt(rig.batch_count, RIG_BATCHES);
    rig.batches[rig.batch_count++] = batch;
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        RigRow *row = &rig.rows[event->seq];
        bool known = event->state == EVENT_PARKED ? row->parked : row->acknowledged;
        cr_assert_eq(event_is_settled(event), known, "row %" PRId64, event->seq);
        cr_assert_not(row->out, "row %" PRId64 " is handed on twice", event->seq);
        row->out = true;
        row->delivered += !event_is_settled(event);
    }
}

static void on_aside_refused(void *arg, Event *event, const Error *err)
{
    (void)arg;
    (void)event;
    (void)err;
}

static bool on_room(void *arg, size_t *ret_events, size_t *ret_bytes)
{
    (void)arg;
    *ret_events = rig.room_events;
    *ret_bytes = 1000000;
    return rig.room_events > 0;
}

static void on_aside(void *arg, Event *event)
{
    (void)arg;
    batch_settle(event, EVENT_ASIDE);
}

static void on_progress(void *arg)
{
    (void)arg;
}

static void on_doubt(void *arg)
{
    (void)arg;
    rig.doubts++;
}

static void on_wants_reread(void *arg)
{
    (void)arg;
    rig.rereads++;
}

static void on_lost(void *arg, const Error *err)
{
    (void)arg;
    rig.lost++;
    rig.walsender = 0;
    error_copy(&rig.error, err);
}

static void on_drained(void *arg)
{
    (void)arg;
    rig.drained++;
}

static void on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    worker_dispatch(rig.worker);
}

void rig_prepare(void)
{
    error_clear(&rig.error);
    memcpy(&rig,
           &(Rig){.end_lsn = 0x10000,
                  .timeline = 1,
                  .publication = "publication 1",
                  .position.end = SLOT_NO_END,
                  .has_publication = true,
                  .wal_status = "reserved",
                  .snapshot = "10:10:",
                  .room_events = 100,
                  .pipeline = given_pipeline()},
           sizeof(rig));
    rig.pipeline.capture = CAPTURE_WAL;
    given_columns_needed(rig.pipeline.outbox.columns);
    rig.pipeline.wal.slot = GIVEN("outboxd_orders");
    rig.pipeline.wal.publication = GIVEN("outboxd_orders");
    rig.pipeline.outbox.mark_interval_ms = 0;
    rig.pipeline.wal.shutdown_grace_ms = 10000;
    rig.config.name = GIVEN("shop");
    rig.config.database.dsn = GIVEN("host=db");
    rig.config.database.connect_timeout_ms = 60000;
    rig.config.database.statement_timeout_ms = 60000;
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    stub_reset(rig_serve, NULL);
    stub_stream_receive(rig_receive);
}

void rig_begin(void)
{
    rig.base = event_base_new();
    rig.worker = worker_new();
    rig.worker_io =
        event_new(rig.base, worker_fd(rig.worker), EV_READ | EV_PERSIST, on_worker, NULL);
    event_add(rig.worker_io, NULL);
    rig.metrics = metrics_new();
    stats_init(&rig.stats, rig.metrics, "orders");
    AUTO_ERROR err = {0};
    cr_assert_eq(wal_source_new(&(SourceOptions){.base = rig.base,
                                                 .worker = rig.worker,
                                                 .config = &rig.config,
                                                 .pipeline = &rig.pipeline,
                                                 .stats = &rig.stats},
                                &rig.source, &err),
                 OK, "%s", error_message(&err));
    rig.source->events = (SourceEvents){.locked = on_locked,
                                        .active = on_active,
                                        .standby = on_standby,
                                        .batch = on_batch,
                                        .room = on_room,
                                        .aside = on_aside,
                                        .aside_refused = on_aside_refused,
                                        .progress = on_progress,
                                        .doubt = on_doubt,
                                        .wants_reread = on_wants_reread,
                                        .lost = on_lost,
                                        .drained = on_drained};
    rig.source->ops->start(rig.source, 0);
}

void rig_end(void)
{
    worker_settle(rig.worker);
    worker_free(&rig.worker);
    rig.source->ops->free(rig.source);
    rig.source = NULL;
    for (size_t i = 0; i < rig.batch_count; i++) {
        batch_free(&rig.batches[i]);
    }
    rig.batch_count = 0;
    for (size_t i = 0; i < RIG_ROWS; i++) {
        rig.rows[i].out = false;
    }
    rig.walsender = 0;
    event_free(rig.worker_io);
    event_base_free(rig.base);
    metrics_free(&rig.metrics);
    text_free(&rig.trace);
    cr_assert_eq(stub_open_connections(), 0);
    cr_assert_eq(stub_open_results(), 0);
}

void rig_watch(void)
{
    if (!rig.unwatched && rig.source != NULL && rig.walsender != 0) {
        rig.source->ops->verified(rig.source, rig_log_end(), rig.publication);
    }
}

void rig_turn(void)
{
    rig_watch();
    for (int i = 0; i < 50; i++) {
        event_base_loop(rig.base, EVLOOP_NONBLOCK);
    }
}

size_t rig_delivered(void)
{
    size_t count = 0;
    for (size_t i = 0; i < RIG_ROWS; i++) {
        count += rig.rows[i].delivered;
    }
    return count;
}

static void give_back(Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        RigRow *row = &rig.rows[batch->events[i]->seq];
        row->out = false;
        row->acknowledged |= event_is_over(batch->events[i]);
        row->parked = batch->events[i]->state == EVENT_PARKED;
    }
    rig.source->ops->ack(rig.source, batch);
}

static void settle(Batch *batch, int64_t except)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->events[i]->seq != except && !event_is_settled(batch->events[i])) {
            batch_settle(batch->events[i], EVENT_PUBLISHED);
        }
    }
}

void rig_ack(int64_t except)
{
    cr_assert_gt(rig.batch_count, 0);
    Batch *batch = rig.batches[0];
    rig.batch_count--;
    memmove(rig.batches, rig.batches + 1, rig.batch_count * sizeof(Batch *));
    settle(batch, except);
    give_back(batch);
}

void rig_ack_parked(int64_t first, int64_t last)
{
    cr_assert_gt(rig.batch_count, 0);
    Batch *batch = rig.batches[0];
    for (size_t i = 0; i < batch->count; i++) {
        Event *event = batch->events[i];
        if (!event_is_settled(event)) {
            bool waits = event->seq >= first && event->seq <= last;
            batch_settle(event, waits ? EVENT_PARKED : EVENT_PUBLISHED);
        }
    }
    rig_ack(-1);
}

void rig_ack_all(void)
{
    while (rig.batch_count > 0) {
        rig_ack(-1);
    }
}

void rig_restart(void)
{
    for (size_t i = 0; i < rig.batch_count; i++) {
        give_back(rig.batches[i]);
    }
    rig.batch_count = 0;
    rig.source->ops->start(rig.source, 0);
}

void rig_assert_published_once(int64_t first, int64_t last)
{
    for (int64_t seq = first; seq <= last; seq++) {
        cr_assert_eq(rig.rows[seq].delivered, 1, "row %" PRId64, seq);
        cr_assert(rig.rows[seq].marked, "row %" PRId64, seq);
    }
}

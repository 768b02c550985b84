#include "stub/source_rig.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "stub/settle.h"

static void on_locked(void *arg)
{
    SourceRig *rig = arg;
    rig->locked++;
    if (!rig->keep_waiting) {
        rig->source->ops->resume(rig->source);
    }
}

static void on_active(void *arg)
{
    ((SourceRig *)arg)->active++;
}

static void part(SourceRig *rig)
{
    if (rig->parted != NULL) {
        rig->parted();
    }
}

static void on_standby(void *arg, const char *holder)
{
    SourceRig *rig = arg;
    rig->standby++;
    part(rig);
    snprintf(rig->holder, sizeof(rig->holder), "%s", holder);
}

static void on_batch(void *arg, Batch *batch)
{
    SourceRig *rig = arg;
    cr_assert_gt(batch->count, 0);
    cr_assert_lt(rig->batch_count, SOURCE_RIG_BATCHES);
    rig->batches[rig->batch_count++] = batch;
    rig->came(batch);
}

static bool on_room(void *arg, size_t unmarked, size_t *ret_events, size_t *ret_bytes)
{
    (void)unmarked;
    SourceRig *rig = arg;
    *ret_events = rig->room_events;
    *ret_bytes = rig->room_bytes;
    return rig->room_events > 0;
}

static void on_letter_settled(void *arg, Event *event, ErrorCode reason, const Error *err)
{
    SourceRig *rig = arg;
    cr_assert_neq(reason, CODE_NONE);
    if (err == NULL) {
        rig->asides++;
        batch_settle(event, EVENT_ASIDE);
        return;
    }
    rig->asides_refused++;
    error_copy(&rig->error, err);
}

static void on_progress(void *arg)
{
    ((SourceRig *)arg)->progress++;
}

static void on_doubt(void *arg)
{
    ((SourceRig *)arg)->doubts++;
}

static void on_wants_reread(void *arg)
{
    ((SourceRig *)arg)->rereads++;
}

static void on_refused(void *arg, const Error *err)
{
    SourceRig *rig = arg;
    rig->refusals += err != NULL;
    rig->accepted += err == NULL;
    if (err != NULL) {
        error_copy(&rig->error, err);
    } else {
        rig->source->ops->wake(rig->source); /* as the pipeline does */
    }
}

static void on_lost(void *arg, const Error *err)
{
    SourceRig *rig = arg;
    rig->lost++;
    part(rig);
    error_copy(&rig->error, err);
}

static void on_drained(void *arg)
{
    ((SourceRig *)arg)->drained++;
}

static void on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    worker_dispatch(((SourceRig *)arg)->worker);
}

SourceRig source_rig_of(void)
{
    SourceRig rig = {.room_events = 100, .room_bytes = 1000000, .pipeline = given_pipeline()};
    rig.config.name = GIVEN("shop");
    rig.config.database.dsn = GIVEN("host=db");
    rig.config.database.replication_dsn = GIVEN("");
    rig.config.database.connect_timeout_ms = 60000;
    rig.config.database.statement_timeout_ms = 60000;
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    return rig;
}

void source_rig_begin(SourceRig *rig, SourceRigMake make)
{
    rig->base = event_base_new();
    rig->worker = worker_new();
    rig->worker_io =
        event_new(rig->base, worker_fd(rig->worker), EV_READ | EV_PERSIST, on_worker, rig);
    event_add(rig->worker_io, NULL);
    rig->metrics = metrics_new();
    stats_init(&rig->stats, rig->metrics, "orders");
    AUTO_ERROR err = {0};
    cr_assert_eq(make(&(SourceOptions){.base = rig->base,
                                       .worker = rig->worker,
                                       .config = &rig->config,
                                       .pipeline = &rig->pipeline,
                                       .stats = &rig->stats},
                      &rig->source, &err),
                 OK, "%s", error_message(&err));
    rig->source->events = (SourceEvents){.arg = rig,
                                         .locked = on_locked,
                                         .active = on_active,
                                         .standby = on_standby,
                                         .batch = on_batch,
                                         .room = on_room,
                                         .progress = on_progress,
                                         .doubt = on_doubt,
                                         .wants_reread = on_wants_reread,
                                         .refused = on_refused,
                                         .lost = on_lost,
                                         .drained = on_drained};
    cr_assert(rig->source->letters->of_source);
    rig->source->letters->events = (LettersEvents){.arg = rig, .settled = on_letter_settled};
    rig->source->ops->start(rig->source, 0);
}

void source_rig_set_aside(SourceRig *rig, Event *event, const Record *record, const Error *reason)
{
    rig->source->letters->take(rig->source->letters, event, record, reason);
}

void source_rig_end(SourceRig *rig)
{
    worker_settle(rig->worker);
    worker_free(&rig->worker);
    rig->source->ops->free(rig->source);
    rig->source = NULL;
    for (size_t i = 0; i < rig->batch_count; i++) {
        batch_free(&rig->batches[i]);
    }
    rig->batch_count = 0;
    event_free(rig->worker_io);
    event_base_free(rig->base);
    stats_release(&rig->stats);
    metrics_free(&rig->metrics);
}

void source_rig_turn(SourceRig *rig)
{
    for (int i = 0; i < 50; i++) {
        event_base_loop(rig->base, EVLOOP_NONBLOCK);
    }
}

Batch *source_rig_take_oldest(SourceRig *rig)
{
    cr_assert_gt(rig->batch_count, 0);
    Batch *batch = rig->batches[0];
    rig->batch_count--;
    memmove(rig->batches, rig->batches + 1, rig->batch_count * sizeof(Batch *));
    return batch;
}

void source_rig_give_back(SourceRig *rig, Batch *batch)
{
    rig->went(batch);
    rig->source->ops->ack(rig->source, batch);
}

void source_rig_restart(SourceRig *rig)
{
    for (size_t i = 0; i < rig->batch_count; i++) {
        source_rig_give_back(rig, rig->batches[i]);
    }
    rig->batch_count = 0;
    rig->source->ops->start(rig->source, 0);
}

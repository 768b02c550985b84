/* The pipeline's edges: what source, sink and clock report, construction, and what others may see.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "flow/pipeline_internal.h"

enum {
    STALL_SECONDS = 5,       /* without an acknowledgement: say so */
    REPEAT_LOG_SECONDS = 60, /* "still waiting" */
};

bool pipeline_works(const Pipeline *p)
{
    bool works = p->state == PIPELINE_RUNNING || p->state == PIPELINE_STALLED;
    return works && !p->paused && !p->held && !p->rejected && p->broken.class == ERROR_NONE;
}

/* From the source. */

static void on_active(void *arg)
{
    Pipeline *p = arg;
    *p->parts.stats->leader = 1;
    p->begun = true;
    pipeline_input(p, INPUT_ACTIVE);
}

static void on_locked(void *arg)
{
    pipeline_input(arg, INPUT_LOCKED);
}

static void on_standby(void *arg, const char *holder)
{
    Pipeline *p = arg;
    *p->parts.stats->leader = 0;
    p->begun = true;
    if (strcmp(p->holder, holder) != 0) {
        snprintf(p->holder, sizeof(p->holder), "%s", holder);
        log_write(LOG_INFO, p->parts.config->name, CODE_PIPELINE_STANDBY,
                  LOG_FIELDS(log_text("holder", holder)),
                  "standby: another relay publishes this outbox");
        pipeline_doubt(p); /* is it one? The watch tells */
    }
    pipeline_input(p, INPUT_STANDBY);
}

static void on_batch(void *arg, Batch *batch)
{
    Pipeline *p = arg;
    *p->parts.stats->read += batch->count;
    *p->parts.stats->read_bytes += batch->bytes;
    batch->arrived_us = clock_monotonic_us();
    acker_open(&p->acker, batch);
    if (p->sending == NULL) {
        p->sending = batch;
    }
    if (p->state != PIPELINE_RUNNING && p->state != PIPELINE_STALLED) {
        p->sending = NULL; /* stopping: these rows stay unpublished */
    }
    pipeline_wake(p);
}

static bool on_room(void *arg, size_t *ret_events, size_t *ret_bytes)
{
    Pipeline *p = arg;
    const PipelineConfig *config = p->parts.config;
    size_t events = p->acker.events + p->parts.source->ops->unmarked(p->parts.source);
    if (!pipeline_works(p) || p->source_lost || events >= (size_t)config->limits.in_flight_events ||
        p->acker.bytes >= (size_t)config->limits.in_flight_bytes) {
        return false;
    }
    *ret_events = (size_t)config->limits.in_flight_events - events;
    *ret_bytes = (size_t)config->limits.in_flight_bytes - p->acker.bytes;
    return true;
}

static void on_progress(void *arg)
{
    Pipeline *p = arg;
    pipeline_wake(p);
}

static void on_wants_reread(void *arg)
{
    pipeline_want_reread(arg);
}

static void on_source_lost(void *arg, const Error *err)
{
    Pipeline *p = arg;
    *p->parts.stats->leader = 0;
    p->source_lost = true;
    p->rejected = false; /* it says so again once it is connected */
    pipeline_forget_aside(p);
    pipeline_complain(p, err, false);
    pipeline_input(p, err->class == ERROR_FATAL ? INPUT_FATAL : INPUT_SOURCE_LOST);
}

static void on_drained(void *arg)
{
    Pipeline *p = arg;
    *p->parts.stats->leader = 0;
    pipeline_input(p, INPUT_DRAINED);
}

/* From the sink. */

static void on_ready(void *arg)
{
    Pipeline *p = arg;
    p->blocked = false;
    if (!p->answered && sink_answers(p->parts.sink)) {
        p->answered = true;
        if (p->parts.changed != NULL) {
            p->parts.changed(p->parts.arg, p);
        }
    }
    pipeline_wake(p);
}

static void on_trouble(void *arg, const Error *err)
{
    Pipeline *p = arg;
    if (!sink_answers(p->parts.sink)) {
        parking_doubt(&p->parking);
    }
    bool waits = p->state == PIPELINE_REWINDING && !p->unlocked;
    if (p->state != PIPELINE_RUNNING && p->state != PIPELINE_STALLED && !waits) {
        return;
    }
    pipeline_complain(p, err, true);
    pipeline_input(p, err->class == ERROR_FATAL ? INPUT_FATAL : INPUT_TROUBLE);
}

static void on_healed(void *arg)
{
    Pipeline *p = arg;
    /* A producer that failed is well again when one of its records is acknowledged, not before. */
    bool waits_for_acknowledgement = p->reopens > 0 && p->acker.events > 0;
    if (p->error_from_sink && p->error.class != ERROR_FATAL && !waits_for_acknowledgement) {
        pipeline_input(p, INPUT_HEALED);
    }
}

static void on_reopen(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Pipeline *p = arg;
    ++*p->parts.stats->producers_recreated;
    p->parts.sink->ops->reopen(p->parts.sink);
}

void pipeline_reopen_sink(Pipeline *p)
{
    if (p->reopening) {
        return;
    }
    p->reopening = true;
    int64_t delay_ms = p->reopens++ == 0 || p->stop_asked ? 0 : pipeline_backoff_ms(p);
    if (delay_ms == 0) {
        on_reopen(-1, 0, p);
        return;
    }
    event_add(p->reopen,
              &(struct timeval){.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000});
}

static void on_sink_lost(void *arg, const Error *err)
{
    Pipeline *p = arg;
    pipeline_complain(p, err, true);
    pipeline_reopen_sink(p);
    pipeline_input(p, err->class == ERROR_FATAL ? INPUT_FATAL : INPUT_RESEND);
}

static void on_reopened(void *arg)
{
    Pipeline *p = arg;
    p->reopening = false;
    p->blocked = false;
    pipeline_reset_cursor(p);
    if (p->state == PIPELINE_DRAINING) {
        p->sending = NULL;
    }
    pipeline_wake(p);
}

/* From the clock. */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Pipeline *p = arg;
    bool over = p->state == PIPELINE_STOPPED || p->state == PIPELINE_FAILED;
    if (over) {
        if (!p->ended_reported) {
            p->ended_reported = true;
            p->parts.ended(p->parts.arg, p);
        }
        return;
    }
    pipeline_pump(p);
}

static void on_settle_timeout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    pipeline_settle_timeout(arg);
}

static void pipeline_watch_stall(Pipeline *p)
{
    int64_t silent_us = clock_monotonic_us() - p->progress_us;
    if (p->in_flight == 0 || silent_us < STALL_SECONDS * INT64_C(1000000) ||
        (p->error.class != ERROR_NONE && p->state == PIPELINE_STALLED)) {
        return;
    }
    AUTO_ERROR err = {0};
    const Sink *sink = p->parts.sink;
    if (sink->ops->silent != NULL) {
        sink->ops->silent(sink, STALL_SECONDS, &err);
        on_trouble(p, &err);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Pipeline *p = arg;
    uint64_t published = *p->parts.stats->published;
    p->rate = p->rate * 0.5 + (double)(published - p->rate_count) * 0.5;
    p->rate_count = published;
    bool waits = p->state == PIPELINE_REWINDING && !p->unlocked;
    if (p->state == PIPELINE_RUNNING || p->state == PIPELINE_STALLED || waits) {
        pipeline_watch_stall(p);
    }
    pipeline_watch_waiting(p);
    pipeline_sum_up(p, false);
    pipeline_remind_broken(p);
    int64_t now_us = clock_monotonic_us();
    if (p->error.class == ERROR_RETRY &&
        now_us - p->error_logged_us > REPEAT_LOG_SECONDS * INT64_C(1000000)) {
        p->error_logged_us = now_us;
        p->error_said = true;
        log_write(LOG_WARN, p->parts.config->name, p->error.code,
                  LOG_FIELDS(log_number("repeated", p->error_repeated),
                             log_number("for_s", clock_since_us(&p->error_since) / 1000000)),
                  "still waiting: %s", error_message(&p->error));
    }
}

Pipeline *pipeline_new(const PipelineParts *parts)
{
    Pipeline *p = x_calloc(1, sizeof(*p));
    p->parts = *parts;
    p->state = PIPELINE_STARTING;
    p->since = clock_moment();
    p->held = parts->hold;
    p->parking = (Parking){.pipeline = parts->config->name,
                           .metrics = parts->metrics,
                           .dead_letter = parts->config->route.on_missing_topic ==
                                          ON_MISSING_TOPIC_DEAD_LETTER};
    topics_set_rule(parts->topics, parts->sink->ops->refuse_topic);
    topics_on_forget(parts->topics, pipeline_may_forget_topic, pipeline_forget_topic, p);
    topics_pass_time(parts->topics, clock_monotonic_us());
    pipeline_follow(p, INT64_MAX, INT64_MIN);
    p->wake = event_new(parts->base, -1, 0, on_wake, p);
    p->tick = event_new(parts->base, -1, EV_PERSIST, on_tick, p);
    p->settle = event_new(parts->base, -1, 0, on_settle_timeout, p);
    p->reopen = event_new(parts->base, -1, 0, on_reopen, p);
    p->parts.source->events = (SourceEvents){
        .arg = p,
        .locked = on_locked,
        .active = on_active,
        .standby = on_standby,
        .batch = on_batch,
        .room = on_room,
        .aside = pipeline_aside_done,
        .aside_refused = pipeline_aside_refused,
        .row_looks = pipeline_row_looks,
        .progress = on_progress,
        .doubt = pipeline_doubt,
        .refused = pipeline_refused,
        .wants_reread = on_wants_reread,
        .lost = on_source_lost,
        .drained = on_drained,
    };
    p->parts.sink->events = (SinkEvents){
        .arg = p,
        .settled = pipeline_settled,
        .ready = on_ready,
        .trouble = on_trouble,
        .missing = pipeline_on_missing,
        .found = pipeline_on_found,
        .healed = on_healed,
        .lost = on_sink_lost,
        .reopened = on_reopened,
    };
    return p;
}

void pipeline_free(Pipeline **pipeline)
{
    Pipeline *p = *pipeline;
    if (p == NULL) {
        return;
    }
    event_free(p->wake);
    event_free(p->tick);
    event_free(p->settle);
    event_free(p->reopen);
    /* The sink first: it may still read memory of open batches. */
    p->parts.sink->ops->free(p->parts.sink);
    p->parts.source->ops->free(p->parts.source);
    for (Batch *batch; (batch = acker_pop(&p->acker)) != NULL;) {
        batch_free(&batch);
    }
    isolate_release(&p->isolate);
    p->parts.encoder->free(p->parts.encoder);
    parking_clear(&p->parking);
    router_free(&p->parts.router);
    topics_free(&p->parts.topics);
    error_clear(&p->broken);
    error_clear(&p->error);
    error_clear(&p->unseen);
    error_clear(&p->alarm);
    free(p);
    *pipeline = NULL;
}

void pipeline_start(Pipeline *p)
{
    struct timeval second = {.tv_sec = 1};
    event_add(p->tick, &second);
    p->parts.source->ops->start(p->parts.source, 0);
}

void pipeline_stop(Pipeline *p)
{
    if (!p->stop_asked) {
        p->stop_asked = true;
        if (event_pending(p->reopen, EV_TIMEOUT, NULL)) {
            event_active(p->reopen, 0, 0); /* nobody waits for a back-off while stopping */
        }
        pipeline_input(p, INPUT_STOP);
    }
}

void pipeline_pause(Pipeline *p, bool paused)
{
    bool changes = p->paused != paused;
    if (!changes && !p->held) {
        return;
    }
    p->held = false;
    p->paused = paused;
    p->paused_since = paused ? clock_moment() : (Moment){0};
    p->progress_us = clock_monotonic_us(); /* silence counts from here */
    if (changes && p->parts.changed != NULL) {
        p->parts.changed(p->parts.arg, p);
    }
    pipeline_wake(p);
}

static const Event *pipeline_oldest(const Pipeline *p)
{
    for (const Batch *batch = p->acker.oldest; batch != NULL; batch = batch->newer) {
        for (size_t i = 0; batch->unsettled > 0 && i < batch->count; i++) {
            if (!event_is_settled(batch->events[i])) {
                return batch->events[i];
            }
        }
    }
    return NULL;
}

void pipeline_view(const Pipeline *p, PipelineView *ret_view)
{
    const Hold *first = parking_first(&p->parking);
    bool broken = p->broken.class != ERROR_NONE && p->state < PIPELINE_DRAINING;
    bool rests =
        !broken && p->paused && (p->state == PIPELINE_RUNNING || p->state == PIPELINE_STALLED);
    bool lost = p->state == PIPELINE_STARTING || (p->state == PIPELINE_REWINDING && p->source_lost);
    bool later = rests && p->paused_since.monotonic_us > p->since.monotonic_us;
    *ret_view = (PipelineView){
        .name = p->parts.config->name,
        .state = rests ? PIPELINE_PAUSED : p->state,
        .since_us = later ? p->paused_since.wall_us : p->since.wall_us,
        .lost = p->connected && p->error.class == ERROR_RETRY && lost,
        .paused = p->paused,
        .in_flight_events = p->acker.events,
        .in_flight_bytes = p->acker.bytes,
        .unmarked_events = p->parts.source->ops->unmarked(p->parts.source),
        .oldest = pipeline_oldest(p),
        .last_published_us = p->last_published_us,
        .published_monotonic_us = p->published_monotonic_us,
        .events_per_second = p->rate,
        .error = &p->error,
        .error_since_us = p->error_since.wall_us,
        .error_repeated = p->error_repeated,
        .unseen = &p->unseen,
        .unseen_since_us = p->unseen_since.wall_us,
        .alarm = pipeline_alarm(p),
        .alarm_since_us = p->alarm_since.wall_us,
        .holder = p->state == PIPELINE_STANDBY ? p->holder : "",
        .waiting_events = p->parking.parked + p->parking.in_memory,
        .waiting_topics = p->parking.topics > 0 ? p->parking.topics : first != NULL,
        .waiting_topic = first != NULL ? first->topic->name : "",
        .waiting_reason = first != NULL ? &first->reason : NULL,
        .waiting_since_us = first != NULL ? first->since.wall_us : 0,
    };
    if (broken) {
        ret_view->state = PIPELINE_STALLED;
        ret_view->since_us = p->broken_since.wall_us;
        ret_view->error = &p->broken;
        ret_view->error_since_us = p->broken_since.wall_us;
        ret_view->error_repeated = p->broken_repeated;
    }
}

const Source *pipeline_source(const Pipeline *p)
{
    return p->parts.source;
}

const Sink *pipeline_sink(const Pipeline *p)
{
    return p->parts.sink;
}

const PipelineConfig *pipeline_config(const Pipeline *p)
{
    return p->parts.config;
}

ExitCode pipeline_exit_code(const Pipeline *p)
{
    return p->state == PIPELINE_FAILED ? p->error.exit_code : EXIT_OK;
}

void pipeline_collect(Pipeline *p)
{
    Stats *stats = p->parts.stats;
    PipelineView view;
    pipeline_view(p, &view);
    *stats->in_flight_events = (double)view.in_flight_events;
    *stats->in_flight_bytes = (double)view.in_flight_bytes;
    *stats->unmarked_events = (double)view.unmarked_events;
    *stats->backlog_events = p->parts.source->ops->backlog(p->parts.source);
    *stats->window_events = (double)(view.in_flight_events + view.unmarked_events);
    *stats->last_publish = (double)view.last_published_us / 1e6;
    *stats->waiting_events = (double)view.waiting_events;
    *stats->waiting_topics = (double)view.waiting_topics;
    *stats->held_rows = (double)p->parking.rows;
    parking_collect(&p->parking);
}

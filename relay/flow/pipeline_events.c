/* The pipeline's edges: what source, sink and clock report, construction, and what others may see.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "flow/pipeline_internal.h"

enum {
    STALL_SECONDS = 5, /* without an acknowledgement: say so */
};

/* From the source. */

static void on_active(void *arg)
{
    Pipeline *p = arg;
    *p->parts->stats->now->leader = 1;
    p->machine->begun = true;
    pipeline_input(p, INPUT_ACTIVE);
}

static void on_locked(void *arg)
{
    pipeline_input(arg, INPUT_LOCKED);
}

static void on_standby(void *arg, const char *holder)
{
    Pipeline *p = arg;
    *p->parts->stats->now->leader = 0;
    p->machine->begun = true;
    if (strcmp(p->holder, holder) != 0) {
        snprintf(p->holder, sizeof(p->holder), "%s", holder);
        log_write(LOG_INFO, p->parts->config->name, CODE_PIPELINE_STANDBY,
                  LOG_FIELDS(log_text("holder", holder)),
                  "standby: another relay publishes this outbox");
        pipeline_doubt(p); /* is it one? The watch tells */
    }
    pipeline_input(p, INPUT_STANDBY);
}

static void on_batch(void *arg, Batch *batch)
{
    Pipeline *p = arg;
    *p->parts->stats->read += batch->count;
    *p->parts->stats->read_bytes += batch->bytes;
    batch->arrived_us = clock_monotonic_us();
    window_open(p->window, batch, machine_goes(p->machine));
    pipeline_wake(p);
}

static bool on_room(void *arg, size_t unmarked, size_t *ret_events, size_t *ret_bytes)
{
    const Pipeline *p = arg;
    return machine_works(p->machine) && !pipeline_change_waits(p) &&
           window_room(p->window, unmarked, ret_events, ret_bytes);
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
    *p->parts->stats->now->leader = 0;
    machine_brake(p->machine, BRAKE_REJECTED, false); /* it says so again once it is connected */
    if (p->parts->letters->of_source) {
        window_forget_aside(p->window);
    }
    pipeline_complain(p, err, false);
    pipeline_input(p, err->class == ERROR_FATAL ? INPUT_SOURCE_FAILED : INPUT_SOURCE_LOST);
}

static void on_finished(void *arg)
{
    pipeline_stop(arg);
}

static void on_drained(void *arg)
{
    Pipeline *p = arg;
    *p->parts->stats->now->leader = 0;
    pipeline_input(p, INPUT_DRAINED);
}

/* From the sink. */

static void on_ready(void *arg)
{
    Pipeline *p = arg;
    p->outlet->blocked = false;
    if (!p->outlet->answered && sink_answers(p->parts->sink)) {
        p->outlet->answered = true;
        pipeline_changed(p);
    }
    pipeline_wake(p);
}

static void on_trouble(void *arg, const Error *err)
{
    Pipeline *p = arg;
    if (!sink_answers(p->parts->sink)) {
        parking_doubt(p->parking);
    }
    if (!machine_goes(p->machine) && !machine_waits_for_sink(p->machine)) {
        return;
    }
    pipeline_complain(p, err, true);
    pipeline_input(p, err->class == ERROR_FATAL ? INPUT_FATAL : INPUT_TROUBLE);
}

static void on_healed(void *arg)
{
    Pipeline *p = arg;
    /* A producer that failed is well again when one of its records is acknowledged, not before. */
    bool waits_for_acknowledgement = p->outlet->reopens > 0 && p->window->acker.events > 0;
    if (p->trouble->from_sink && p->trouble->error.class != ERROR_FATAL &&
        !waits_for_acknowledgement) {
        pipeline_input(p, INPUT_HEALED);
    }
}

static void on_sink_lost(void *arg, const Error *err)
{
    Pipeline *p = arg;
    p->outlet->lost_by = err->code;
    pipeline_complain(p, err, true);
    pipeline_reopen_sink(p);
    pipeline_input(p, err->class == ERROR_FATAL ? INPUT_FATAL : INPUT_RESEND);
}

static void on_reopened(void *arg)
{
    Pipeline *p = arg;
    p->outlet->reopening = false;
    p->outlet->blocked = false;
    pipeline_reset_cursor(p);
    if (!machine_goes(p->machine)) {
        window_stop_sending(p->window);
    }
    pipeline_wake(p);
}

/* From the clock. */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Pipeline *p = arg;
    if (machine_is_over(p->machine)) {
        if (!p->machine->ended_reported) {
            p->machine->ended_reported = true;
            p->parts->ended(p->parts->arg, p);
        }
        return;
    }
    pipeline_pump(p);
}

void pipeline_time_is_up(Pipeline *p)
{
    if (p->window->in_flight > 0) {
        pipeline_input(p, INPUT_TIME_UP);
    }
}

static void on_settle_timeout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    pipeline_time_is_up(arg);
}

static void pipeline_watch_stall(Pipeline *p)
{
    int64_t silent_us = clock_monotonic_us() - p->window->progress_us;
    if (p->window->in_flight == 0 || silent_us < STALL_SECONDS * INT64_C(1000000) ||
        (trouble_is_on(p->trouble) && p->machine->state == MACHINE_STALLED)) {
        return;
    }
    AUTO_ERROR err = {0};
    const Sink *sink = p->parts->sink;
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
    uint64_t published = *p->parts->stats->published;
    p->pulse->rate = p->pulse->rate * 0.5 + (double)(published - p->pulse->rate_count) * 0.5;
    p->pulse->rate_count = published;
    if (machine_goes(p->machine) || machine_waits_for_sink(p->machine)) {
        pipeline_watch_stall(p);
    }
    pipeline_watch_waiting(p);
    if (pipeline_change_waits(p)) {
        pipeline_wake(p);
    }
    pipeline_sum_up(p, false);
    pipeline_remind_broken(p);
    trouble_remind(p->trouble);
}

static void pipeline_build(Pipeline *p, const PipelineParts *parts)
{
    const char *name = parts->config->name;
    p->parts = x_calloc(1, sizeof(*p->parts));
    *p->parts = *parts;
    if (parts->letters == NULL) {
        p->parts->letters = parts->source->letters;
    }
    p->machine = x_calloc(1, sizeof(*p->machine));
    machine_init(p->machine, name, &PIPELINE_MACHINE, p);
    machine_brake(p->machine, BRAKE_UNKNOWN, parts->hold);
    p->window = x_calloc(1, sizeof(*p->window));
    p->window->events_max = (size_t)parts->config->limits.in_flight_events;
    p->window->bytes_max = (size_t)parts->config->limits.in_flight_bytes;
    p->trouble = trouble_new(name);
    p->broken = broken_new(name);
    p->outlet = outlet_new(parts->sink, parts->base, on_settle_timeout, pipeline_on_reopen, p);
    p->isolate = x_calloc(1, sizeof(*p->isolate));
    p->parking = x_calloc(1, sizeof(*p->parking));
    p->parking->pipeline = name;
    p->parking->metrics = parts->metrics;
    p->parking->dead_letter = parts->config->route.on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER;
    p->rows = x_calloc(1, sizeof(*p->rows));
    *p->rows = (HeldRows){.parking = p->parking, .window = p->window, .source = parts->source};
    p->waiting = x_calloc(1, sizeof(*p->waiting));
    p->changing = x_calloc(1, sizeof(*p->changing));
    p->pulse = x_calloc(1, sizeof(*p->pulse));
    p->lines = x_calloc(1, sizeof(*p->lines));
    p->unseen = x_calloc(1, sizeof(*p->unseen));
    p->alarm = x_calloc(1, sizeof(*p->alarm));
    p->wake = event_new(parts->base, -1, 0, on_wake, p);
    p->tick = event_new(parts->base, -1, EV_PERSIST, on_tick, p);
}

Pipeline *pipeline_new(const PipelineParts *parts)
{
    Pipeline *p = x_calloc(1, sizeof(*p));
    pipeline_build(p, parts);
    topics_set_rule(parts->topics, parts->sink->ops->refuse_topic);
    topics_on_forget(parts->topics, pipeline_may_forget_topic, pipeline_forget_topic, p);
    topics_pass_time(parts->topics, clock_monotonic_us());
    pipeline_follow(p, INT64_MAX, INT64_MIN);
    p->parts->source->events = (SourceEvents){
        .arg = p,
        .locked = on_locked,
        .active = on_active,
        .standby = on_standby,
        .batch = on_batch,
        .room = on_room,
        .row_looks = pipeline_row_looks,
        .progress = on_progress,
        .doubt = pipeline_doubt,
        .refused = pipeline_refused,
        .wants_reread = on_wants_reread,
        .lost = on_source_lost,
        .finished = on_finished,
        .drained = on_drained,
    };
    p->parts->encoder->events = (EncoderEvents){.arg = p, .ready = pipeline_on_encoder_ready};
    p->parts->letters->events = (LettersEvents){.arg = p, .settled = pipeline_letter_settled};
    p->parts->sink->events = (SinkEvents){
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
    /* The sink first: it may still read memory of open batches. */
    p->parts->sink->ops->free(p->parts->sink);
    if (p->parts->letters->free != NULL) {
        p->parts->letters->free(p->parts->letters);
    }
    p->parts->source->ops->free(p->parts->source);
    for (Batch *batch; (batch = window_pop(p->window)) != NULL;) {
        batch_free(&batch);
    }
    p->parts->encoder->free(p->parts->encoder);
    parking_clear(p->parking);
    router_free(&p->parts->router);
    topics_free(&p->parts->topics);
    outlet_free(&p->outlet);
    isolate_release(p->isolate);
    trouble_free(&p->trouble);
    broken_free(&p->broken);
    error_clear(&p->unseen->error);
    error_clear(&p->alarm->error);
    void *rest[] = {p->parts,   p->machine,  p->window, p->isolate, p->parking, p->rows,
                    p->waiting, p->changing, p->pulse,  p->lines,   p->unseen,  p->alarm};
    for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++) {
        free(rest[i]);
    }
    free(p);
    *pipeline = NULL;
}

void pipeline_start(Pipeline *p)
{
    struct timeval second = {.tv_sec = 1};
    event_add(p->tick, &second);
    p->parts->source->ops->start(p->parts->source, 0);
}

void pipeline_stop(Pipeline *p)
{
    if (!p->machine->stop_asked) {
        p->machine->stop_asked = true;
        if (event_pending(p->outlet->reopen, EV_TIMEOUT, NULL)) {
            event_active(p->outlet->reopen, 0, 0); /* nobody waits for a back-off while stopping */
        }
        pipeline_input(p, INPUT_STOP);
    }
}

static bool pipeline_is_paused(const Pipeline *p)
{
    return (p->machine->brakes & BRAKE_PAUSED) != 0;
}

void pipeline_pause(Pipeline *p, bool paused)
{
    bool changes = pipeline_is_paused(p) != paused;
    if (!changes && (p->machine->brakes & BRAKE_UNKNOWN) == 0) {
        return;
    }
    machine_brake(p->machine, BRAKE_UNKNOWN, false);
    machine_brake(p->machine, BRAKE_PAUSED, paused);
    p->machine->paused_since = paused ? clock_moment() : (Moment){0};
    p->window->progress_us = clock_monotonic_us(); /* silence counts from here */
    if (changes && p->parts->changed != NULL) {
        p->parts->changed(p->parts->arg, p);
    }
    pipeline_wake(p);
}

PipelineWaiting pipeline_waiting(const Pipeline *p)
{
    const Hold *first = parking_first(p->parking);
    return (PipelineWaiting){
        .events = p->parking->parked + p->parking->in_memory,
        .topics = p->parking->topics > 0 ? p->parking->topics : first != NULL,
        .topic = first != NULL ? first->topic->name : "",
        .reason = first != NULL ? &first->reason : NULL,
        .since_us = first != NULL ? first->since.wall_us : 0,
    };
}

void pipeline_view(const Pipeline *p, PipelineView *ret_view)
{
    const Machine *machine = p->machine;
    PipelineState state = machine_shown(machine->state);
    bool broken = broken_is_on(p->broken) && state < PIPELINE_DRAINING;
    bool rests = !broken && pipeline_is_paused(p) && machine_goes(machine);
    bool lost = machine->state == MACHINE_STARTING || machine->state == MACHINE_ENDING_ALONE;
    bool later = rests && machine->paused_since.monotonic_us > machine->since.monotonic_us;
    *ret_view = (PipelineView){
        .name = p->parts->config->name,
        .state = rests ? PIPELINE_PAUSED : state,
        .since_us = later ? machine->paused_since.wall_us : machine->since.wall_us,
        .lost = machine->begun && p->trouble->error.class == ERROR_RETRY && lost,
        .paused = pipeline_is_paused(p),
        .in_flight_events = p->window->acker.events,
        .in_flight_bytes = p->window->acker.bytes,
        .unmarked_events = p->parts->source->ops->unmarked(p->parts->source),
        .oldest = window_oldest(p->window),
        .last_published_us = p->pulse->last_published_us,
        .published_monotonic_us = p->pulse->published_monotonic_us,
        .events_per_second = p->pulse->rate,
        .error = &p->trouble->error,
        .error_since_us = p->trouble->since.wall_us,
        .error_repeated = p->trouble->repeated,
        .unseen = &p->unseen->error,
        .unseen_since_us = p->unseen->since.wall_us,
        .alarm = pipeline_alarm(p),
        .alarm_since_us = p->alarm->since.wall_us,
        .holder = state == PIPELINE_STANDBY ? p->holder : "",
    };
    if (broken) {
        ret_view->state = PIPELINE_STALLED;
        ret_view->since_us = p->broken->since.wall_us;
        ret_view->error = &p->broken->error;
        ret_view->error_since_us = p->broken->since.wall_us;
        ret_view->error_repeated = p->broken->repeated;
    }
}

const Source *pipeline_source(const Pipeline *p)
{
    return p->parts->source;
}

const Sink *pipeline_sink(const Pipeline *p)
{
    return p->parts->sink;
}

void pipeline_renew(Pipeline *p)
{
    const Sink *sink = p->parts->sink;
    if (sink->ops->renew != NULL) {
        sink->ops->renew(p->parts->sink);
    }
}

const PipelineConfig *pipeline_config(const Pipeline *p)
{
    return p->parts->config;
}

ExitCode pipeline_exit_code(const Pipeline *p)
{
    return p->machine->state == MACHINE_FAILED ? p->trouble->error.exit_code : EXIT_OK;
}

void pipeline_collect(Pipeline *p)
{
    Stats *stats = p->parts->stats;
    PipelineView view;
    pipeline_view(p, &view);
    PipelineWaiting waiting = pipeline_waiting(p);
    *stats->now->in_flight_events = (double)view.in_flight_events;
    *stats->now->in_flight_bytes = (double)view.in_flight_bytes;
    *stats->now->unmarked_events = (double)view.unmarked_events;
    p->parts->source->ops->collect(p->parts->source, stats->now->backlog_events);
    *stats->now->window_events = (double)(view.in_flight_events + view.unmarked_events);
    *stats->now->last_publish = (double)view.last_published_us / 1e6;
    *stats->now->waiting_events = (double)waiting.events;
    *stats->now->waiting_topics = (double)waiting.topics;
    *stats->now->held_rows = (double)p->parking->rows;
    parking_collect(p->parking);
}

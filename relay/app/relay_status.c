/* The /status object and the readiness answer. Keys are stable: scripts rely on them. */
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/relay_internal.h"
#include "base/clock.h"
#include "base/document.h"
#include "base/memory.h"

static bool state_is_ready(PipelineState state)
{
    return state == PIPELINE_RUNNING || state == PIPELINE_STANDBY || state == PIPELINE_PAUSED;
}

/* The others go on, and the relay does its work; but somebody has to know and to act. */
static void add_waiting_reason(const PipelineView *view, const PipelineWaiting *waiting,
                               Text *reason)
{
    text_printf(reason, "pipeline %s: %zu event%s wait%s for topic '%s'", view->name,
                waiting->events, waiting->events == 1 ? "" : "s", waiting->events == 1 ? "s" : "",
                waiting->topic);
    if (waiting->topics > 1) {
        text_printf(reason, " and %zu more", waiting->topics - 1);
    }
    text_printf(reason, "%s: %s: %s",
                view->state == PIPELINE_RUNNING ? ", all others are published" : "",
                error_code_name(waiting->reason->code), error_message(waiting->reason));
    const char *remedy = error_remedy(waiting->reason);
    if (*remedy != '\0') {
        text_printf(reason, "\n  remedy: %s", remedy);
    }
    text_add_char(reason, '\n');
}

bool relay_ready(void *arg, Text *reason)
{
    const Relay *relay = arg;
    bool ready = !relay->end->stopping;
    if (relay->end->stopping) {
        text_add(reason, "the relay is stopping\n");
    }
    AUTO_BUFFER paused = TEXT_EMPTY;
    for (size_t i = 0; i < relay->lanes.count; i++) {
        PipelineView view;
        pipeline_view(relay->lanes.items[i]->pipeline, &view);
        if (view.paused) {
            text_printf(&paused, "pipeline %s is paused", view.name);
            relay_add_pause(relay, i, &paused);
            text_add_char(&paused, '\n');
        }
        PipelineWaiting waiting = pipeline_waiting(relay->lanes.items[i]->pipeline);
        if (waiting.reason != NULL) {
            ready = false;
            add_waiting_reason(&view, &waiting, reason);
        }
        if (view.unseen->class != ERROR_NONE && !view.paused) {
            ready = false;
            text_printf(reason, "pipeline %s: %s: %s\n  remedy: %s\n", view.name,
                        error_code_name(view.unseen->code), error_message(view.unseen),
                        error_own_hint(view.unseen));
        }
        if (view.alarm->class != ERROR_NONE && !view.paused) {
            ready = false;
            text_printf(reason, "pipeline %s: %s: %s\n  remedy: %s\n", view.name,
                        error_code_name(view.alarm->code), error_message(view.alarm),
                        error_own_hint(view.alarm));
        }
        if (state_is_ready(view.state)) {
            continue;
        }
        ready = false;
        bool no_table = view.error->code == CODE_POSTGRES_NO_TABLE;
        text_printf(reason,
                    view.lost && no_table ? "pipeline %s has lost its table"
                    : view.lost           ? "pipeline %s has lost its database"
                                          : "pipeline %s is %s",
                    view.name, pipeline_state_name(view.state));
        if (view.error->class != ERROR_NONE) {
            text_printf(reason, ": %s: %s", error_code_name(view.error->code),
                        error_message(view.error));
            const char *remedy = error_remedy(view.error);
            if (*remedy != '\0') {
                text_printf(reason, "\n  remedy: %s", remedy);
            }
        }
        text_add_char(reason, '\n');
    }
    text_add(reason, text_string(&paused));
    return ready;
}

/* What keeps the pipeline from publishing, else what it has not seen. */
static void set_error(json_t *pipeline, const PipelineView *view)
{
    const Error *err = view->error->class != ERROR_NONE    ? view->error
                       : view->unseen->class != ERROR_NONE ? view->unseen
                                                           : view->alarm;
    if (err->class == ERROR_NONE) {
        document_null(pipeline, "error");
        return;
    }
    json_t *error = document_object(pipeline, "error");
    document_text(error, "code", error_code_name(err->code));
    document_text(error, "class", error_class_name(err->class));
    document_text(error, "message", error_message(err));
    document_text(error, "hint", error_remedy(err));
    document_time(error, "since",
                  err == view->error    ? view->error_since_us
                  : err == view->unseen ? view->unseen_since_us
                                        : view->alarm_since_us);
    document_count(error, "repeated", err == view->error ? (int64_t)view->error_repeated : 1);
    document_count(error, "exit_code", err->exit_code);
}

static void set_waiting(json_t *object, const PipelineWaiting *facts)
{
    if (facts->reason == NULL) {
        document_null(object, "waiting");
        return;
    }
    json_t *waiting = document_object(object, "waiting");
    document_count(waiting, "events", (int64_t)facts->events);
    document_count(waiting, "topics", (int64_t)facts->topics);
    document_text(waiting, "topic", facts->topic);
    document_text(waiting, "code", error_code_name(facts->reason->code));
    document_text(waiting, "message", error_message(facts->reason));
    document_text(waiting, "hint", error_remedy(facts->reason));
    document_time(waiting, "since", facts->since_us);
}

static void set_pipeline(json_t *object, const Relay *relay, size_t index)
{
    static const char *const CAPTURES[] = {
#define CAPTURE(kind, name, make) [CAPTURE_##kind] = name,
#include "config/captures.inc"
#undef CAPTURE
    };
    const Pipeline *pipeline = relay->lanes.items[index]->pipeline;
    const Stats *stats = relay->lanes.items[index]->stats;
    const Source *source = pipeline_source(pipeline);
    PipelineView view;
    pipeline_view(pipeline, &view);
    document_text(object, "name", view.name);
    document_text(object, "capture", CAPTURES[pipeline_config(pipeline)->capture]);
    document_text(object, "state", pipeline_state_name(view.state));
    document_time(object, "since", view.since_us);
    document_bool(object, "database_lost", view.lost);
    document_number(object, "lag_seconds", "%.3f", relay_lag_seconds(relay, index, &view));
    document_count(object, "in_flight_events", (int64_t)view.in_flight_events);
    document_count(object, "in_flight_bytes", (int64_t)view.in_flight_bytes);
    document_count(object, "unmarked_events", (int64_t)view.unmarked_events);
    document_number(object, "events_per_second", "%.1f", view.events_per_second);
    document_count(object, "published_total", (int64_t)*stats->published);
    document_count(object, "dead_lettered_total", (int64_t)stats_dead_lettered(stats));
    document_count(object, "dropped_total", (int64_t)*stats->dropped);
    document_time(object, "last_event_at", view.last_published_us);
    set_error(object, &view);
    PipelineWaiting waiting = pipeline_waiting(pipeline);
    set_waiting(object, &waiting);
    relay_set_oldest(relay, index, &view, object);
    relay_set_watched(relay, index, object);
    document_known(object, "holder", view.holder);
    source->ops->status(source, object);
    objective_status(relay->lanes.items[index]->objective, clock_monotonic_us(),
                     document_object(object, "objective"));
}

/* The pipeline whose connections stand for the relay's: the first that has not ended, as one that
 * has ended keeps none. */
static size_t relay_speaker(const Relay *relay)
{
    for (size_t i = 0; i < relay->lanes.count; i++) {
        PipelineView view;
        pipeline_view(relay->lanes.items[i]->pipeline, &view);
        if (view.state != PIPELINE_FAILED && view.state != PIPELINE_STOPPED) {
            return i;
        }
    }
    return 0;
}

void relay_status(void *arg, Text *json)
{
    const Relay *relay = arg;
    AUTO_BUFFER reason = TEXT_EMPTY;
    AUTO(json_t, document_free) status = json_object();
    document_text(status, "name", relay->config->name);
    document_text(status, "version", OUTBOXD_VERSION);
    document_count(status, "pid", getpid());
    document_number(status, "uptime_seconds", "%.0f",
                    (double)clock_since_us(&relay->started) / 1e6);
    document_time(status, "started_at", relay->started.wall_us);
    document_bool(status, "ready", relay_ready(arg, &reason));
    relay_reload_status(relay, status);
    json_t *pipelines = document_array(status, "pipelines");
    for (size_t i = 0; i < relay->lanes.count; i++) {
        set_pipeline(document_item(pipelines), relay, i);
    }
    if (relay->lanes.count > 0) {
        size_t speaker = relay_speaker(relay);
        json_t *postgres = document_object(status, "postgres");
        document_bool(postgres, "connected",
                      *relay->lanes.items[speaker]->stats->rows->postgres_connected > 0);
        relay_set_postgres(relay, postgres);
        const Sink *sink = pipeline_sink(relay->lanes.items[speaker]->pipeline);
        if (sink->ops->status != NULL) {
            sink->ops->status(sink, status);
        }
    }
    groups_status(relay->groups, status);
    document_write(status, json);
    text_add_char(json, '\n');
}

void relay_collect(void *arg)
{
    Relay *relay = arg;
    if (relay->watch != NULL) {
        watch_collect(relay->watch);
    }
    for (size_t i = 0; i < relay->lanes.count; i++) {
        PipelineView view;
        pipeline_view(relay->lanes.items[i]->pipeline, &view);
        pipeline_collect(relay->lanes.items[i]->pipeline);
        objective_collect(relay->lanes.items[i]->objective, clock_monotonic_us());
        *relay->lanes.items[i]->stats->now->lag_seconds = relay_lag_seconds(relay, i, &view);
        for (PipelineState state = 0; state < PIPELINE_STATE_COUNT; state++) {
            *metrics_gauge(relay->metrics, "outboxd_pipeline_state",
                           "1 for the current state of the pipeline.", "pipeline", view.name,
                           "state", pipeline_state_name(state), NULL) = view.state == state ? 1 : 0;
        }
    }
}

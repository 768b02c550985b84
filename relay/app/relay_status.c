/* The /status object and the readiness answer. Keys are stable: scripts rely on them. */
#include <libpq-fe.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/relay_internal.h"
#include "base/clock.h"
#include "base/log_codes.h"
#include "base/timestamp.h"

static bool state_is_ready(PipelineState state)
{
    return state == PIPELINE_RUNNING || state == PIPELINE_STANDBY || state == PIPELINE_PAUSED;
}

/* The others go on, and the relay does its work; but somebody has to know and to act. */
static void add_waiting_reason(const PipelineView *view, Text *reason)
{
    text_printf(reason, "pipeline %s: %zu event%s wait%s for topic '%s'", view->name,
                view->waiting_events, view->waiting_events == 1 ? "" : "s",
                view->waiting_events == 1 ? "s" : "", view->waiting_topic);
    if (view->waiting_topics > 1) {
        text_printf(reason, " and %zu more", view->waiting_topics - 1);
    }
    text_printf(reason, "%s: %s: %s", view->state == PIPELINE_RUNNING ? ", all others go on" : "",
                error_code_name(view->waiting_reason->code), error_message(view->waiting_reason));
    const char *remedy = error_remedy(view->waiting_reason);
    if (*remedy != '\0') {
        text_printf(reason, "\n  remedy: %s", remedy);
    }
    text_add_char(reason, '\n');
}

bool relay_ready(void *arg, Text *reason)
{
    const Relay *relay = arg;
    bool ready = !relay->stopping;
    if (relay->stopping) {
        text_add(reason, "the relay is stopping\n");
    }
    AUTO_BUFFER paused = TEXT_EMPTY;
    for (size_t i = 0; i < relay->config->pipeline_count; i++) {
        PipelineView view;
        pipeline_view(relay->pipelines[i], &view);
        if (view.paused) {
            text_printf(&paused, "pipeline %s is paused", view.name);
            relay_add_pause(relay, i, &paused);
            text_add_char(&paused, '\n');
        }
        if (view.waiting_reason != NULL) {
            ready = false;
            add_waiting_reason(&view, reason);
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
        text_printf(reason, view.lost ? "pipeline %s has lost its database" : "pipeline %s is %s",
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
static void add_error(Text *json, const PipelineView *view)
{
    const Error *err = view->error->class != ERROR_NONE    ? view->error
                       : view->unseen->class != ERROR_NONE ? view->unseen
                                                           : view->alarm;
    if (err->class == ERROR_NONE) {
        text_add(json, "\"error\":null");
        return;
    }
    text_add(json, "\"error\":{");
    relay_add_text(json, "code", error_code_name(err->code));
    text_add_char(json, ',');
    relay_add_text(json, "class", error_class_name(err->class));
    text_add_char(json, ',');
    relay_add_text(json, "message", error_message(err));
    text_add_char(json, ',');
    relay_add_text(json, "hint", error_remedy(err));
    text_add_char(json, ',');
    relay_add_time(json, "since",
                   err == view->error    ? view->error_since_us
                   : err == view->unseen ? view->unseen_since_us
                                         : view->alarm_since_us);
    text_printf(json, ",\"repeated\":%lld,\"exit_code\":%d}",
                (long long)(err == view->error ? view->error_repeated : 1), (int)err->exit_code);
}

static void add_waiting(Text *json, const PipelineView *view)
{
    if (view->waiting_reason == NULL) {
        text_add(json, "\"waiting\":null");
        return;
    }
    text_printf(json, "\"waiting\":{\"events\":%zu,\"topics\":%zu,", view->waiting_events,
                view->waiting_topics);
    relay_add_text(json, "topic", view->waiting_topic);
    text_add_char(json, ',');
    relay_add_text(json, "code", error_code_name(view->waiting_reason->code));
    text_add_char(json, ',');
    relay_add_text(json, "message", error_message(view->waiting_reason));
    text_add_char(json, ',');
    relay_add_text(json, "hint", error_remedy(view->waiting_reason));
    text_add_char(json, ',');
    relay_add_time(json, "since", view->waiting_since_us);
    text_add_char(json, '}');
}

static void add_pipeline(Text *json, const Relay *relay, size_t index)
{
    static const char *const CAPTURES[] = {"poll", "wal", "tables"};
    const Pipeline *pipeline = relay->pipelines[index];
    const Stats *stats = &relay->stats[index];
    const Source *source = pipeline_source(pipeline);
    PipelineView view;
    pipeline_view(pipeline, &view);
    text_add_char(json, '{');
    relay_add_text(json, "name", view.name);
    text_printf(json, ",\"capture\":\"%s\",\"state\":\"%s\",",
                CAPTURES[pipeline_config(pipeline)->capture], pipeline_state_name(view.state));
    relay_add_time(json, "since", view.since_us);
    text_printf(json, ",\"database_lost\":%s", view.lost ? "true" : "false");
    double lag_seconds = relay_lag_seconds(relay, index, &view);
    text_add(json, ",\"lag_seconds\":");
    isnan(lag_seconds) ? text_add(json, "null") : text_printf(json, "%.3f", lag_seconds);
    text_printf(json, ",\"in_flight_events\":%zu,\"in_flight_bytes\":%zu,", view.in_flight_events,
                view.in_flight_bytes);
    text_printf(json, "\"unmarked_events\":%zu,\"events_per_second\":%.1f,", view.unmarked_events,
                view.events_per_second);
    text_printf(
        json, "\"published_total\":%llu,\"dead_lettered_total\":%llu,\"dropped_total\":%llu,",
        (unsigned long long)*stats->published, (unsigned long long)stats_dead_lettered(stats),
        (unsigned long long)*stats->dropped);
    relay_add_time(json, "last_event_at", view.last_published_us);
    text_add_char(json, ',');
    add_error(json, &view);
    text_add_char(json, ',');
    add_waiting(json, &view);
    text_add_char(json, ',');
    relay_add_oldest(relay, index, &view, json);
    text_add_char(json, ',');
    relay_add_watched(relay, index, json);
    text_add(json, ",\"holder\":");
    text_add_json(json, view.holder[0] != '\0' ? slice_of(view.holder) : SLICE_NULL);
    source->ops->status(source, json);
    text_add(json, ",\"objective\":");
    objective_add_json(relay->objectives[index], clock_monotonic_us(), json);
    text_add_char(json, '}');
}

/* The pipeline whose connections stand for the relay's: the first that has not ended, as one that
 * has ended keeps none. */
static size_t relay_speaker(const Relay *relay)
{
    for (size_t i = 0; i < relay->config->pipeline_count; i++) {
        PipelineView view;
        pipeline_view(relay->pipelines[i], &view);
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
    text_add_char(json, '{');
    relay_add_text(json, "name", relay->config->name);
    text_printf(json, ",\"version\":\"%s\",\"pid\":%d,\"uptime_seconds\":%.0f,", OUTBOXD_VERSION,
                (int)getpid(), (double)clock_since_us(&relay->started) / 1e6);
    relay_add_time(json, "started_at", relay->started.wall_us);
    text_printf(json, ",\"ready\":%s,\"pipelines\":[",
                relay_ready(arg, &reason) ? "true" : "false");
    for (size_t i = 0; i < relay->config->pipeline_count; i++) {
        text_add(json, i > 0 ? "," : "");
        add_pipeline(json, relay, i);
    }
    text_add_char(json, ']');
    if (relay->config->pipeline_count > 0) {
        size_t speaker = relay_speaker(relay);
        bool connected = *relay->stats[speaker].postgres_connected > 0;
        text_printf(json, ",\"postgres\":{\"connected\":%s", connected ? "true" : "false");
        relay_add_postgres(relay, json);
        text_add_char(json, '}');
        const Sink *sink = pipeline_sink(relay->pipelines[speaker]);
        sink->ops->status(sink, json);
    }
    text_add(json, ",\"consumer_groups\":");
    groups_status(relay->groups, json);
    text_add(json, "}\n");
}

void relay_collect(void *arg)
{
    Relay *relay = arg;
    if (relay->watch != NULL) {
        watch_collect(relay->watch);
    }
    for (size_t i = 0; i < relay->config->pipeline_count; i++) {
        PipelineView view;
        pipeline_view(relay->pipelines[i], &view);
        pipeline_collect(relay->pipelines[i]);
        objective_collect(relay->objectives[i], clock_monotonic_us());
        *relay->stats[i].lag_seconds = relay_lag_seconds(relay, i, &view);
        for (PipelineState state = 0; state < PIPELINE_STATE_COUNT; state++) {
            *metrics_gauge(relay->metrics, "outboxd_pipeline_state",
                           "1 for the state that the pipeline is in.", "pipeline", view.name,
                           "state", pipeline_state_name(state), NULL) = view.state == state ? 1 : 0;
        }
    }
}

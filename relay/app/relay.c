#include "app/relay.h"

#include <errno.h>
#include <event2/thread.h>
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "app/relay_internal.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/fatal.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/trim.h"
#include "metrics/notify.h"
#include "metrics/process.h"
#include "token/token.h"

enum { IDLE_CHECK_SECONDS = 3 };

static void relay_on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Relay *relay = arg;
    worker_dispatch(relay->worker);
    relay_reload_look(relay);
}

/* Ending. */

static size_t relay_window(const RelayLane *lane)
{
    PipelineView view;
    pipeline_view(lane->pipeline, &view);
    return lane->over ? 0 : view.in_flight_events + view.unmarked_events;
}

static void relay_on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Relay *relay = arg;
    size_t window = 0;
    for (size_t i = 0; i < relay->lanes.count; i++) {
        window += relay_window(relay->lanes.items[i]);
    }
    for (size_t i = 0; i < relay->reload->leaving.count; i++) {
        window += relay_window(relay->reload->leaving.items[i]);
    }
    log_write(LOG_ERROR, NULL, CODE_DRAIN_INCOMPLETE,
              LOG_FIELDS(log_number("window_events", (long long)window)),
              "draining took longer than shutdown_timeout; no event is lost, up to %zu may be "
              "duplicated",
              window);
    relay_exit_now(EXIT_DRAIN, "DRAIN_INCOMPLETE");
}

static void relay_stop(Relay *relay, const char *why)
{
    if (relay->end->stopping) {
        return;
    }
    relay->end->stopping = true;
    if (relay->end->why[0] == '\0') {
        snprintf(relay->end->why, sizeof(relay->end->why), "%s", why);
    }
    log_write(LOG_INFO, NULL, CODE_STOPPING,
              LOG_FIELDS(log_number("timeout_ms", relay->config->shutdown_timeout_ms)),
              "%s: draining", why);
    notify_send("STOPPING=1\nSTATUS=draining");
    struct timeval tv = {.tv_sec = relay->config->shutdown_timeout_ms / 1000,
                         .tv_usec = relay->config->shutdown_timeout_ms % 1000 * 1000};
    event_add(relay->end->deadline, &tv);
    relay->end->deadline_us = clock_monotonic_us() + relay->config->shutdown_timeout_ms * 1000;
    watch_drain(relay->watch);
    for (size_t i = 0; i < relay->lanes.count; i++) {
        const RelayLane *lane = relay->lanes.items[i];
        if (lane->over && lane->fate != LANE_STAYS) {
            relay_note_exit(relay, lane->pipeline); /* nothing follows it any more */
        }
        if (!lane->over) { /* nor was it begun, if it waited for one that left */
            pipeline_stop(lane->pipeline);
        }
    }
    relay_end_if_idle(relay);
}

static void relay_on_signal(evutil_socket_t number, short what, void *arg)
{
    (void)what;
    Relay *relay = arg;
    if (number == SIGHUP) {
        relay_reload(relay);
        return;
    }
    if (relay->end->stopping) {
        relay_exit_signalled(EXIT_DRAIN, "second signal");
    }
    relay_stop(relay, number == SIGINT ? "SIGINT" : number == SIGQUIT ? "SIGQUIT" : "SIGTERM");
}

static void relay_on_ended(void *arg, Pipeline *pipeline)
{
    Relay *relay = arg;
    RelayLane *lane = relay_lane_of(relay, pipeline);
    if (lane->over) {
        return; /* it was given up, and has ended after all */
    }
    lane->over = true;
    lane->changes = false;
    relay->running--;
    if (lane->fate != LANE_STAYS && !relay->end->stopping) {
        relay_reload_step(relay);
        return;
    }
    ExitCode code = pipeline_exit_code(pipeline);
    relay_note_exit(relay, pipeline);
    if (code != EXIT_OK && relay->config->on_failure == ON_FAILURE_EXIT) {
        relay_stop(relay, "a pipeline failed and on_failure is \"exit\"");
    }
    relay_reload_step(relay); /* it may have been the last that a reload waited for */
    relay_end_if_idle(relay);
}

/* Whether each pipeline that publishes has heard of a broker. */
static bool relay_is_answered(const Relay *relay)
{
    for (size_t i = 0; i < relay->lanes.count; i++) {
        PipelineView view;
        pipeline_view(relay->lanes.items[i]->pipeline, &view);
        if (relay->lanes.items[i]->config->sink == SINK_KAFKA && view.state == PIPELINE_RUNNING &&
            !sink_answers(pipeline_sink(relay->lanes.items[i]->pipeline))) {
            return false;
        }
    }
    return true;
}

/* systemd waits for READY=1, and must not wait for a broker; people read READY, and that it
 * publishes, and take it for true. */
static void relay_tell_ready(Relay *relay)
{
    AUTO_BUFFER reason = TEXT_EMPTY;
    bool ready = relay_ready(relay, &reason);
    bool answered = relay_is_answered(relay);
    const char *status = !ready     ? text_fold(reason.data)
                         : answered ? "publishing"
                                    : "waiting for a Kafka broker to answer";
    if (ready && answered && !relay->told->said) {
        relay->told->said = true;
        log_write(LOG_INFO, NULL, CODE_READY,
                  LOG_FIELDS(log_number("after_ms", clock_since_us(&relay->started) / 1000)),
                  "ready");
    }
    if ((ready || relay->told->sent) && !relay->end->stopping) {
        AUTO_TEXT state = x_format("%sSTATUS=%s", relay->told->sent ? "" : "READY=1\n", status);
        relay->told->sent = true;
        notify_send(state);
    }
}

static void relay_on_changed(void *arg, Pipeline *pipeline)
{
    Relay *relay = arg;
    PipelineView view;
    pipeline_view(pipeline, &view);
    if (relay->watch != NULL && view.state == PIPELINE_RUNNING &&
        !watch_knows_pauses(relay->watch)) {
        watch_hurry(relay->watch); /* PostgreSQL is there, and events wait for the answer */
    } else if (relay->watch != NULL && view.state != PIPELINE_RUNNING) {
        watch_hurry_rows(relay->watch); /* what waits from now on is known at once */
    }
    relay_tell_ready(relay);
}

/* Pauses. */

static void relay_set_pause(Relay *relay, size_t index, bool paused)
{
    PipelineView before;
    pipeline_view(relay->lanes.items[index]->pipeline, &before);
    pipeline_pause(relay->lanes.items[index]->pipeline, paused);
    if (before.paused == paused) {
        return;
    }
    const WatchFacts *facts = watch_facts(relay->watch, index);
    if (paused) {
        log_write(LOG_WARN, before.name, CODE_PIPELINE_PAUSED,
                  LOG_FIELDS(log_text("by", facts->paused_by),
                             log_text("reason", facts->pause_reason),
                             log_number("in_flight", (long long)before.in_flight_events)),
                  "paused: nothing more is read or published until `outboxd resume`");
    } else {
        log_write(LOG_INFO, before.name, CODE_PIPELINE_RESUMED, LOG_NO_FIELDS, "no longer paused");
    }
}

/* Without an answer only those are let go whose own connections work: PostgreSQL is there, and it
 * is the watch that fails. */
static void relay_on_pauses(void *arg, bool known)
{
    Relay *relay = arg;
    for (size_t i = 0; i < relay->lanes.count; i++) {
        PipelineView view;
        pipeline_view(relay->lanes.items[i]->pipeline, &view);
        bool works = view.state == PIPELINE_RUNNING || view.state == PIPELINE_STALLED;
        if (known || (works && !view.paused)) { /* a look that fails takes no pause back */
            relay_set_pause(relay, i, watch_facts(relay->watch, i)->paused);
        }
    }
}

/* Preconditions. */

static void relay_on_doubt(void *arg, Pipeline *pipeline)
{
    Relay *relay = arg;
    (void)pipeline; /* one look is one round trip for all */
    if (relay->watch != NULL) {
        watch_hurry(relay->watch);
    }
}

static void relay_on_preconditions(void *arg, size_t index, const PreconditionLook *look)
{
    Relay *relay = arg;
    const Error *broken = precondition_broken(look);
    pipeline_set_broken(relay->lanes.items[index]->pipeline, broken);
    pipeline_set_alarm(relay->lanes.items[index]->pipeline, precondition_alarm(look));
    if (broken == NULL && !look->pending) {
        pipeline_set_verified(relay->lanes.items[index]->pipeline, look->wal_end, look->identity);
    }
}

static void relay_on_watchdog(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    notify_send("WATCHDOG=1");
}

/* Memory goes back to the system once after each time of work. */
static void relay_on_idle_check(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Relay *relay = arg;
    uint64_t work = 1;
    for (size_t i = 0; i < relay->lanes.count; i++) {
        work += *relay->lanes.items[i]->stats->read + *relay->lanes.items[i]->stats->published +
                *relay->lanes.items[i]->stats->rows->marked;
    }
    if (work == relay->idle->seen && work != relay->idle->trimmed) {
        relay->idle->trimmed = work;
        trim_memory();
    }
    relay->idle->seen = work;
}

/* A standby has nothing to sum up: what it sees is the publisher's. */
static void relay_sum_up(Relay *relay, size_t index, const PipelineView *view, double lag_seconds)
{
    const Stats *stats = relay->lanes.items[index]->stats;
    bool publisher = view->state != PIPELINE_STANDBY && view->state < PIPELINE_STOPPED;
    double backlog = *stats->now->backlog_events;
    SummaryFacts facts = {.published = *stats->published,
                          .marked = *stats->rows->marked,
                          .set_aside = stats_dead_lettered(stats),
                          .waiting = isnan(backlog) || backlog < 0 ? -1 : (int64_t)backlog,
                          .lag_seconds = lag_seconds,
                          .state = pipeline_state_name(view->state)};
    summary_tell(&relay->lanes.items[index]->summary, view->name, &facts, clock_monotonic_us(),
                 publisher ? relay->config->log.summary_interval_ms : 0);
}

static void relay_on_second(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Relay *relay = arg;
    monitor_beat(relay->monitor);
    log_tell_loss();
    for (size_t i = 0; i < relay->lanes.count; i++) {
        PipelineView view;
        pipeline_view(relay->lanes.items[i]->pipeline, &view);
        double lag_seconds = relay_lag_seconds(relay, i, &view);
        objective_observe(relay->lanes.items[i]->objective, clock_monotonic_us(), lag_seconds);
        relay_sum_up(relay, i, &view, lag_seconds);
    }
    relay_reload_look(relay);
}

/* Starting. */

static Status relay_start(Relay *relay, Error *err)
{
    relay->base = event_base_new();
    if (relay->base == NULL) {
        fatal_refused("an event loop", errno);
    }
    relay->worker = worker_new();
    token_attach_all(relay->base);
    relay->metrics = metrics_new();
    process_add_metrics(relay->metrics);
    relay->worker_io = event_new(relay->base, worker_fd(relay->worker), EV_READ | EV_PERSIST,
                                 relay_on_worker, relay);
    event_add(relay->worker_io, NULL);
    static const int SIGNALS[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP};
    for (size_t i = 0; i < sizeof(SIGNALS) / sizeof(SIGNALS[0]); i++) {
        relay->signals[i] = evsignal_new(relay->base, SIGNALS[i], relay_on_signal, relay);
        event_add(relay->signals[i], NULL);
    }
    relay->end->deadline = event_new(relay->base, -1, 0, relay_on_deadline, relay);
    relay->watchdog = event_new(relay->base, -1, EV_PERSIST, relay_on_watchdog, relay);
    relay->idle->check = event_new(relay->base, -1, EV_PERSIST, relay_on_idle_check, relay);
    event_add(relay->idle->check, &(struct timeval){.tv_sec = IDLE_CHECK_SECONDS});
    relay->second = event_new(relay->base, -1, EV_PERSIST, relay_on_second, relay);
    int64_t watchdog_us = notify_watchdog_us();
    if (watchdog_us > 0) {
        struct timeval half = {.tv_sec = watchdog_us / 2 / 1000000,
                               .tv_usec = watchdog_us / 2 % 1000000};
        event_add(relay->watchdog, &half);
    }
    AUTO_TEXT libpq = x_format("%d", PQlibVersion());
    *metrics_gauge(relay->metrics, "outboxd_build_info", "Build and library versions.", "version",
                   OUTBOXD_VERSION, "librdkafka", rd_kafka_version_str(), "libpq", libpq, NULL) = 1;
    metrics_on_collect(relay->metrics, relay_collect, relay);

    relay_reload_begin(relay);
    for (size_t i = 0; i < relay->config->pipeline_count; i++) {
        RelayLane *lane = NULL;
        if (relay_lane_new(relay, i, &lane, err) != OK) {
            return FAILED;
        }
        *vec_add(&relay->lanes) = lane;
    }
    if (relay->config->monitor.listen[0] != '\0') {
        MonitorSources sources = {.arg = relay, .ready = relay_ready, .status = relay_status};
        if (monitor_start(relay->base, relay->config->monitor.listen, relay->metrics, &sources,
                          &relay->monitor, err) != OK) {
            return FAILED;
        }
    }
    for (size_t i = 0; i < relay->lanes.count; i++) {
        relay_lane_start(relay, relay->lanes.items[i]);
    }
    event_add(relay->second, &(struct timeval){.tv_sec = 1});
    return relay_look_anew(relay, err);
}

static void relay_release(Relay *relay)
{
    monitor_stop(&relay->monitor);
    groups_free(&relay->groups);
    worker_free(&relay->worker);
    watch_free(&relay->watch);
    relay_reload_free(relay);
    event_free(relay->worker_io);
    for (size_t i = 0; i < sizeof(relay->signals) / sizeof(relay->signals[0]); i++) {
        event_free(relay->signals[i]);
    }
    event_free(relay->end->deadline);
    event_free(relay->watchdog);
    event_free(relay->idle->check);
    event_free(relay->second);
    metrics_free(&relay->metrics);
    token_close_all();
    arena_trim();
    event_base_free(relay->base);
}

static const RelayHooks HOOKS = {.ended = relay_on_ended,
                                 .changed = relay_on_changed,
                                 .doubt = relay_on_doubt,
                                 .pauses = relay_on_pauses,
                                 .preconditions = relay_on_preconditions,
                                 .stop = relay_stop};

ExitCode relay_run(Config *config, const ConfigOverrides *overrides)
{
    RelayEnd end = {0};
    RelayIdle idle = {0};
    RelayReady told = {0};
    RelayReload reload = {.overrides = overrides, .now = generation_new(config)};
    Relay relay = {.hooks = &HOOKS,
                   .config = config,
                   .started = clock_moment(),
                   .end = &end,
                   .idle = &idle,
                   .told = &told,
                   .reload = &reload};
    AUTO_ERROR err = {0};
    signal(SIGPIPE, SIG_IGN);
    (void)prctl(PR_SET_DUMPABLE, 0); /* secrets are in memory: no core dumps, no ptrace by others */
    srandom((unsigned)(clock_wall_us() ^ getpid()));
    log_configure(config->log.format, config->log.level);
    log_write(LOG_INFO, NULL, CODE_STARTING,
              LOG_FIELDS(log_text("version", OUTBOXD_VERSION), log_number("pid", getpid()),
                         log_number("pipelines", (long long)config->pipeline_count),
                         log_text("file", config->file)),
              "outboxd is starting");
    if (relay_prepare(config, &err) != OK || relay_start(&relay, &err) != OK) {
        log_error(LOG_ERROR, NULL, &err, NULL);
        relay_exit_now(err.exit_code, error_code_name(err.code));
    }
    event_base_dispatch(relay.base);
    if (worker_is_busy(relay.worker)) { /* with a call that may block for seconds */
        relay_exit_now(relay.end->exit_code, relay.end->why);
    }
    relay_release_patiently(&relay, relay_release);
    generation_drop(&reload.now);
    relay_say_stopped(relay.end->exit_code, relay.end->why);
    return relay.end->exit_code;
}

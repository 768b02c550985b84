/* Pipelines that end by a reload, and what follows them.
 *
 * They drain as at SIGTERM, and as long as shutdown_timeout: then the pipeline is given up. Nothing
 * is lost, and what its destination may have may be repeated. The sink closes what it is connected
 * by before anything is freed, as that may take its time. */
#include <string.h>

#include "app/relay_internal.h"
#include "base/log.h"
#include "base/memory.h"

enum {
    TELL_MS = 5000, /* then people are told what is waited for */
};

void relay_renew(Relay *relay, RelayLane *lane, LaneFate fate)
{
    bool ends = lane->fate != LANE_STAYS;
    lane->fate = fate;
    lane->changes = false;
    if (ends) {
        return;
    }
    lane->asked_us = clock_monotonic_us();
    lane->told = false;
    if (lane->over) { /* it had stopped */
        relay_reload_step(relay);
    } else {
        pipeline_stop(lane->pipeline);
    }
}

/* A slot that nobody reads keeps WAL. */
static void renew_say_slot(const Relay *relay, const PipelineConfig *old)
{
    for (size_t i = 0; i < relay->config->pipeline_count; i++) {
        const PipelineConfig *pipeline = &relay->config->pipelines[i];
        if (pipeline_reads_log(pipeline) && strcmp(pipeline->wal.slot, old->wal.slot) == 0) {
            return;
        }
    }
    if (pipeline_reads_log(old)) {
        AUTO_TEXT hint =
            x_format("When you do not need it any more: SELECT pg_drop_replication_slot('%s');",
                     old->wal.slot);
        log_write(LOG_WARN, old->name, CODE_SLOT_UNREAD,
                  LOG_FIELDS(log_text("slot", old->wal.slot), log_text("hint", hint)),
                  "no pipeline of the new configuration reads slot '%s': it retains WAL until "
                  "somebody reads it or drops it",
                  old->wal.slot);
    }
}

static void renew_start(Relay *relay, size_t index)
{
    RelayLane *old = relay->lanes.items[index];
    RelayLane *lane = NULL;
    AUTO_ERROR err = {0};
    if (relay_lane_new(relay, index, &lane, &err) != OK) {
        log_error(LOG_ERROR, old->config->name, &err, "the pipeline stays stopped");
        old->fate = LANE_STAYS;
        old->refused = err.code;
        old->refused_exit = err.exit_code;
        relay_count_failures(relay);
        if (relay->config->on_failure == ON_FAILURE_EXIT) {
            relay->hooks->stop(relay, "a pipeline failed and on_failure is \"exit\"");
        }
        return;
    }
    objective_free(&lane->objective);
    lane->objective = old->objective; /* what was late stays late */
    old->objective = NULL;
    lane->summary = old->summary;
    relay->lanes.items[index] = lane;
    int64_t waited_ms = (clock_monotonic_us() - old->asked_us) / INT64_C(1000);
    relay_lane_free(relay, &old);
    relay_count_failures(relay);
    log_write(LOG_INFO, lane->config->name, CODE_PIPELINE_RELOADED,
              LOG_FIELDS(log_text("how", "restarted"), log_number("waited_ms", waited_ms)),
              "the pipeline starts again with its new configuration");
    relay_lane_start(relay, lane);
    if (watch_knows_pauses(relay->watch)) {
        pipeline_pause(lane->pipeline, watch_facts(relay->watch, index)->paused);
    }
    watch_hurry(relay->watch);
}

static void renew_leave(Relay *relay, size_t index)
{
    RelayLane *old = relay->reload->leaving.items[index];
    vec_remove(&relay->reload->leaving, index, 1);
    log_write(LOG_INFO, old->config->name, CODE_PIPELINE_REMOVED, LOG_NO_FIELDS,
              "the pipeline has ended: it is not in the new configuration");
    relay_lane_free(relay, &old);
    relay_count_failures(relay);
}

/* How long it has taken already decides what is done about it. */
static void renew_hurry(Relay *relay, RelayLane *lane)
{
    int64_t waited_ms = (clock_monotonic_us() - lane->asked_us) / INT64_C(1000);
    bool ends = lane->fate != LANE_STAYS;
    PipelineView view;
    pipeline_view(lane->pipeline, &view);
    if (waited_ms >= TELL_MS && !lane->told) {
        lane->told = true;
        log_write(LOG_WARN, lane->config->name, CODE_RELOAD_WAITS,
                  LOG_FIELDS(log_text("state", pipeline_state_name(view.state)),
                             log_number("in_flight", (long long)view.in_flight_events)),
                  "the new configuration waits: %zu events that may be at the destination are not "
                  "acknowledged",
                  view.in_flight_events);
    }
    if (ends && waited_ms >= relay->config->shutdown_timeout_ms) {
        log_write(LOG_WARN, lane->config->name, CODE_DRAIN_INCOMPLETE,
                  LOG_FIELDS(log_number("window_events",
                                        (long long)(view.in_flight_events + view.unmarked_events))),
                  "draining took longer than shutdown_timeout; no event is lost, up to %zu may be "
                  "duplicated",
                  view.in_flight_events + view.unmarked_events);
        lane->over = true;
        relay->running--;
    }
}

/* A pipeline that leaves still reads the table. It may be this one by its former name. */
static bool renew_is_awaited(const Relay *relay, const RelayLane *lane)
{
    bool awaited = false;
    for (size_t i = 0; i < relay->reload->leaving.count; i++) {
        const RelayLane *other = relay->reload->leaving.items[i];
        awaited |=
            other != lane && strcmp(other->config->outbox.table, lane->config->outbox.table) == 0;
    }
    return awaited;
}

/* True when it may be let go. */
static bool renew_is_due(Relay *relay, RelayLane *lane)
{
    if (!lane->over && (lane->fate != LANE_STAYS || lane->changes)) {
        renew_hurry(relay, lane);
    }
    return lane->fate != LANE_STAYS && lane->over &&
           (lane->fate == LANE_LEAVES || !renew_is_awaited(relay, lane)) &&
           pipeline_close(lane->pipeline);
}

void relay_begin(Relay *relay, RelayLane *lane)
{
    if (!renew_is_awaited(relay, lane)) {
        relay_lane_start(relay, lane);
        return;
    }
    lane->fate = LANE_RENEWS; /* as if it had ended: another takes its place when it may start */
    lane->over = true;
    lane->asked_us = clock_monotonic_us();
}

static void renew_say_done(Relay *relay)
{
    bool busy = relay->reload->leaving.count > 0;
    for (size_t i = 0; i < relay->lanes.count; i++) {
        busy |= relay->lanes.items[i]->changes || relay->lanes.items[i]->fate != LANE_STAYS;
    }
    if (relay->reload->under_way && !busy) {
        relay->reload->under_way = false;
        log_write(LOG_INFO, NULL, CODE_RELOADED,
                  LOG_FIELDS(log_number("took_ms", clock_since_us(&relay->reload->begun) / 1000)),
                  "the new configuration is in effect");
    }
}

void relay_reload_look(Relay *relay)
{
    if (relay->end->stopping) {
        return; /* all ends */
    }
    for (size_t i = relay->reload->leaving.count; i > 0; i--) {
        if (renew_is_due(relay, relay->reload->leaving.items[i - 1])) {
            renew_say_slot(relay, relay->reload->leaving.items[i - 1]->config);
            renew_leave(relay, i - 1);
        }
    }
    for (size_t i = 0; i < relay->lanes.count && !relay->end->stopping; i++) {
        if (renew_is_due(relay, relay->lanes.items[i])) {
            renew_say_slot(relay, relay->lanes.items[i]->config);
            renew_start(relay, i);
        }
    }
    renew_say_done(relay);
    relay_end_if_idle(relay);
}

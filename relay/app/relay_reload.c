/* SIGHUP: the configuration is read again, and what differs is applied.
 *
 * A file that `outboxd check --offline` would refuse, or librdkafka, changes nothing. Else the
 * configuration of now is the new one at once, and each lane goes over to it as its pipeline can:
 * between two batches, with lock and connections kept, where the option table says so; by ending
 * and starting anew else. Another SIGHUP meanwhile is no different: lanes go over to what is new by
 * then.
 *
 * Nothing is compared with what a file said before, but with what each lane runs by. */
#include <stdlib.h>
#include <string.h>

#include "app/relay_internal.h"
#include "app/relay_read.h"
#include "base/clock.h"
#include "base/document.h"
#include "base/log.h"
#include "base/memory.h"
#include "config/change.h"
#include "metrics/notify.h"
#include "sink/kafka/kafka_conf.h"

enum { REASONS_MAX = 20 }; /* that the log names */

static void reload_on_step(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    relay_reload_look(arg);
}

void relay_reload_begin(Relay *relay)
{
    RelayReload *reload = relay->reload;
    reload->step = event_new(relay->base, -1, 0, reload_on_step, relay);
    reload->loaded_wall_us = clock_wall_us();
    reload->fixed = x_strdup("");
#define COUNTER(result)                                                                            \
    metrics_counter(relay->metrics, "outboxd_config_reloads_total",                                \
                    "Reloads of the configuration (SIGHUP), by what became of them.", "result",    \
                    result, NULL)
    reload->applied = COUNTER("applied");
    reload->unchanged = COUNTER("unchanged");
    reload->rejected = COUNTER("refused");
#undef COUNTER
    reload->successful =
        metrics_gauge(relay->metrics, "outboxd_config_last_reload_successful",
                      "1 if the configuration was accepted when it was read last.", NULL);
    reload->success_time =
        metrics_gauge(relay->metrics, "outboxd_config_last_reload_success_timestamp_seconds",
                      "Unix time when a configuration was accepted last.", NULL);
    *reload->successful = 1;
    *reload->success_time = (double)reload->loaded_wall_us / 1e6;
}

void relay_reload_free(Relay *relay)
{
    RelayReload *reload = relay->reload;
    for (size_t i = 0; i < relay->reload->leaving.count; i++) {
        relay_lane_free(relay, &relay->reload->leaving.items[i]);
    }
    for (size_t i = 0; i < relay->lanes.count; i++) {
        relay_lane_free(relay, &relay->lanes.items[i]);
    }
    vec_free(&relay->reload->leaving);
    vec_free(&relay->lanes);
    generation_drop(&relay->reload->watched);
    event_free(reload->step);
    free(reload->refused);
    free(reload->fixed);
}

/* Reading. */

/* A new producer replaces one that works: what librdkafka would refuse is said before. Files that
 * have changed under the same names are not looked at, as one of a pair may come after the other.
 */
static void reload_try_kafka(const Relay *relay, const Config *config, Problems *problems)
{
    const PipelineConfig *pipeline = NULL;
    for (size_t i = 0; i < config->pipeline_count; i++) {
        pipeline = config->pipelines[i].sink == SINK_KAFKA ? &config->pipelines[i] : pipeline;
    }
    AUTO_ERROR err = {0};
    if (pipeline != NULL &&
        change_of_config(relay->config, config, "kafka.", NULL) != CHANGE_NONE &&
        kafka_conf_try(config, pipeline, &err) != OK) {
        problems_add(problems, false, config->file, error_remedy(&err), "%s", error_message(&err));
    }
}

/* NULL: *problems says why not. */
static Config *reload_read(const Relay *relay, Problems *problems)
{
    Config *config = relay_read(relay->reload->overrides, problems);
    for (size_t i = 0; config != NULL && i < config->pipeline_count; i++) {
        AUTO_ERROR err = {0};
        if (relay_lane_try(&config->pipelines[i], &err) != OK) {
            problems_add(problems, false, config->file, error_remedy(&err), "%s",
                         error_message(&err));
        }
    }
    if (config != NULL && problems->errors == 0) {
        reload_try_kafka(relay, config, problems);
    }
    if (problems->errors > 0) {
        config_free(&config);
    }
    return config;
}

static void reload_refuse(Relay *relay, const Problems *problems)
{
    RelayReload *reload = relay->reload;
    size_t said = 0;
    ++*reload->rejected;
    *reload->successful = 0;
    reload->refused_wall_us = clock_wall_us();
    free(reload->refused);
    reload->refused = NULL;
    for (size_t i = 0; i < problems->count && said < REASONS_MAX; i++) {
        const Problem *problem = &problems->items[i];
        if (problem->warning) {
            continue;
        }
        if (said++ == 0) {
            reload->refused = x_format("%s: %s", problem->place, problem->message);
        }
        log_write(LOG_ERROR, NULL, CODE_RELOAD_REFUSED,
                  LOG_FIELDS(log_text("place", problem->place),
                             log_number("problems", (long long)problems->errors),
                             log_text("hint", problem->remedy)),
                  "the new configuration is refused, and nothing changes: %s", problem->message);
    }
}

/* What is new. */

/* Names what differs from the configuration of now; "": nothing. */
static void reload_compare(const Relay *relay, const Config *config, Text *names)
{
    text_add(names, "");
    (void)change_of_config(relay->config, config, "", names);
    for (size_t i = 0; i < config->pipeline_count; i++) {
        const char *name = config->pipelines[i].name;
        const PipelineConfig *before = config_pipeline(relay->config, name);
        if (before == NULL) {
            text_printf(names, "%s+%s", names->length > 0 ? " " : "", name);
        } else {
            (void)change_of_pipeline(before, &config->pipelines[i], names);
        }
    }
    for (size_t i = 0; i < relay->config->pipeline_count; i++) {
        const char *name = relay->config->pipelines[i].name;
        if (config_pipeline(config, name) == NULL) {
            text_printf(names, "%s-%s", names->length > 0 ? " " : "", name);
        }
    }
}

static void reload_note_fixed(Relay *relay, Config *config)
{
    AUTO_BUFFER fixed = TEXT_EMPTY;
    text_add(&fixed, "");
    change_keep_fixed(relay->config, config, &fixed);
    free(relay->reload->fixed);
    relay->reload->fixed = x_strdup(fixed.data);
    if (fixed.length > 0) {
        log_write(LOG_WARN, NULL, CODE_RELOAD_NEEDS_RESTART,
                  LOG_FIELDS(log_text("options", fixed.data)),
                  "these options keep their values until the relay is restarted: %s", fixed.data);
    }
}

static bool reload_any_has_stopped(const Relay *relay)
{
    bool stopped = false;
    for (size_t i = 0; i < relay->lanes.count; i++) {
        stopped |= relay->lanes.items[i]->over && relay->lanes.items[i]->fate == LANE_STAYS;
    }
    return stopped;
}

/* Lanes. */

static bool lanes_have(const Lanes *lanes, const RelayLane *lane)
{
    bool have = false;
    for (size_t i = 0; i < lanes->count; i++) {
        have |= lanes->items[i] == lane;
    }
    return have;
}

/* One for each pipeline of the configuration of now: those that are there, and new ones. */
static Status reload_make_lanes(Relay *relay, Lanes *ret_lanes, Error *err)
{
    for (size_t i = 0; i < relay->config->pipeline_count; i++) {
        const char *name = relay->config->pipelines[i].name;
        RelayLane *lane = relay_lane_named(&relay->lanes, name);
        lane = lane != NULL ? lane : relay_lane_named(&relay->reload->leaving, name);
        if (lane == NULL && relay_lane_new(relay, i, &lane, err) != OK) {
            return FAILED;
        }
        *vec_add(ret_lanes) = lane;
    }
    return OK;
}

static void reload_drop_lanes(Relay *relay, Lanes *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        RelayLane *lane = lanes->items[i];
        if (!lanes_have(&relay->lanes, lane) && !lanes_have(&relay->reload->leaving, lane)) {
            lane->fate = LANE_LEAVES; /* with its series */
            relay_lane_free(relay, &lane);
        }
    }
    vec_free(lanes);
}

/* What the lane runs by, beside what it is to run by. */
static Change reload_change_of_lane(const Relay *relay, const RelayLane *lane, size_t index)
{
    const Config *before = lane->born->config;
    const Config *now = relay->config;
    Change changes[] = {
        change_of_pipeline(lane->config, &now->pipelines[index], NULL),
        change_of_config(before, now, "name", NULL),
        change_of_config(before, now, "database.", NULL),
    };
    bool renews = lane->over; /* an operator has acted: it may work now */
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        renews |= changes[i] == CHANGE_RENEWS;
    }
    return renews ? CHANGE_RENEWS : changes[0];
}

static void reload_lane(Relay *relay, size_t index)
{
    RelayLane *lane = relay->lanes.items[index];
    objective_aim(lane->objective, relay->metrics, relay->config->monitor.lag_objective_ms,
                  relay->config->monitor.lag_target_ratio);
    if (lane->fate != LANE_STAYS) {
        relay_renew(relay, lane, LANE_RENEWS); /* it ends already, and comes back by what is new */
        return;
    }
    Change change = reload_change_of_lane(relay, lane, index);
    if (change == CHANGE_RENEWS) {
        relay_renew(relay, lane, LANE_RENEWS);
        return;
    }
    bool changes = change == CHANGE_LIVE;
    if (changes && !lane->changes) {
        lane->asked_us = clock_monotonic_us();
        lane->told = false;
    }
    lane->changes = changes;
    pipeline_change(lane->pipeline, changes);
}

/* Who connects from now on has the password, the brokers and the properties of now. */
static void reload_connections(const Relay *relay)
{
    for (size_t i = 0; i < relay->lanes.count; i++) {
        const RelayLane *lane = relay->lanes.items[i];
        if (change_of_config(lane->born->config, relay->config, "database.", NULL) == CHANGE_LIVE) {
            change_password(lane->born->config, relay->config);
        }
        if (change_of_config(lane->born->config, relay->config, "kafka.", NULL) == CHANGE_LIVE) {
            change_kafka(lane->born->config, relay->config);
        }
    }
}

/* The series of a slot that no pipeline has any more. */
static void reload_forget_slots(const Relay *relay, const Config *before)
{
    for (size_t i = 0; i < before->pipeline_count; i++) {
        const char *slot = before->pipelines[i].wal.slot;
        bool known = false;
        for (size_t j = 0; j < relay->config->pipeline_count; j++) {
            const PipelineConfig *pipeline = &relay->config->pipelines[j];
            known |= pipeline_reads_log(pipeline) && strcmp(pipeline->wal.slot, slot) == 0;
        }
        if (!known) {
            metrics_remove_labelled(relay->metrics, "slot", slot);
        }
    }
}

static void reload_switch_lanes(Relay *relay, const Lanes *lanes)
{
    const Lanes before[] = {relay->lanes, relay->reload->leaving};
    Lanes leaving = {0};
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        for (size_t j = 0; j < before[i].count; j++) {
            if (!lanes_have(lanes, before[i].items[j])) {
                *vec_add(&leaving) = before[i].items[j];
            }
        }
    }
    vec_free(&relay->lanes);
    vec_free(&relay->reload->leaving);
    relay->lanes = *lanes;
    relay->reload->leaving = leaving;
}

static void reload_go_over(Relay *relay, const Lanes *lanes, const Generation *before)
{
    bool *fresh = x_calloc(lanes->count + 1, sizeof(*fresh));
    AUTO_ERROR err = {0};
    for (size_t i = 0; i < lanes->count; i++) {
        fresh[i] = !lanes_have(&relay->lanes, lanes->items[i]) &&
                   !lanes_have(&relay->reload->leaving, lanes->items[i]);
    }
    reload_switch_lanes(relay, lanes);
    reload_connections(relay);
    if (relay_look_anew(relay, &err) != OK) {
        log_error(LOG_ERROR, NULL, &err, NULL); /* a table's name, which was read before */
    }
    reload_forget_slots(relay, before->config);
    for (size_t i = 0; i < relay->reload->leaving.count; i++) {
        relay_renew(relay, relay->reload->leaving.items[i], LANE_LEAVES);
    }
    for (size_t i = 0; i < relay->lanes.count; i++) {
        if (fresh[i]) {
            relay_begin(relay, relay->lanes.items[i]);
        } else {
            reload_lane(relay, i);
        }
    }
    free(fresh);
}

static void reload_accept(Relay *relay, Config *config, const char *names)
{
    Generation *before = relay->reload->now;
    Lanes lanes = {0};
    AUTO_ERROR err = {0};
    relay->reload->now = generation_new(config);
    relay->config = config;
    if (reload_make_lanes(relay, &lanes, &err) != OK) {
        Problems problems = {0};
        problems_add(&problems, false, config->file, error_remedy(&err), "%s", error_message(&err));
        reload_drop_lanes(relay, &lanes);
        generation_drop(&relay->reload->now);
        relay->reload->now = before;
        relay->config = before->config;
        reload_refuse(relay, &problems);
        problems_free(&problems);
        return;
    }
    ++*relay->reload->applied;
    relay->reload->under_way = true;
    relay->reload->begun = clock_moment();
    log_configure(config->log.format, config->log.level);
    log_write(LOG_INFO, NULL, CODE_RELOADING,
              LOG_FIELDS(log_text("file", config->file), log_text("changed", names)),
              "the new configuration is accepted");
    reload_go_over(relay, &lanes, before);
    generation_drop(&before);
    relay_reload_step(relay);
}

static void reload_take(Relay *relay, Config *config)
{
    AUTO_BUFFER names = TEXT_EMPTY;
    RelayReload *reload = relay->reload;
    reload_note_fixed(relay, config);
    reload_compare(relay, config, &names);
    reload->loaded_wall_us = clock_wall_us();
    *reload->successful = 1;
    *reload->success_time = (double)reload->loaded_wall_us / 1e6;
    free(reload->refused);
    reload->refused = NULL;
    if (names.length > 0 || reload_any_has_stopped(relay)) {
        reload_accept(relay, config, names.data);
        return;
    }
    ++*reload->unchanged;
    config_free(&config);
    log_write(LOG_INFO, NULL, CODE_RELOADED, LOG_FIELDS(log_number("took_ms", 0)),
              "the configuration was read again, and nothing in it has changed");
}

/* Kafka's producers: certificates may be others although their paths are the same. */
static void reload_credentials(const Relay *relay)
{
    for (size_t i = 0; i < relay->lanes.count; i++) {
        const RelayLane *lane = relay->lanes.items[i];
        if (lane->fate == LANE_STAYS && !lane->over) {
            pipeline_renew(lane->pipeline);
        }
    }
}

void relay_reload(Relay *relay)
{
    Problems problems = {0};
    if (relay->end->stopping) {
        return;
    }
    AUTO_TEXT state = x_format("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_monotonic_us());
    notify_send(state);
    Config *config = reload_read(relay, &problems);
    if (config == NULL) {
        reload_refuse(relay, &problems);
    } else {
        reload_take(relay, config);
        reload_credentials(relay);
    }
    problems_free(&problems);
    notify_send("READY=1");
}

void relay_reload_status(const Relay *relay, json_t *status)
{
    const RelayReload *reload = relay->reload;
    json_t *config = document_object(status, "config");
    document_known(config, "file", relay->config->file);
    document_time(config, "loaded_at", reload->loaded_wall_us);
    document_bool(config, "reloading", reload->under_way);
    document_known(config, "restart_needed", reload->fixed);
    if (reload->refused == NULL) {
        document_null(config, "refused");
        return;
    }
    json_t *refused = document_object(config, "refused");
    document_time(refused, "at", reload->refused_wall_us);
    document_text(refused, "reason", reload->refused);
}

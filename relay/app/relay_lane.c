/* Lanes: a pipeline with its parts, and how it goes over to another configuration. */
#include <stdlib.h>
#include <string.h>

#include "app/relay_internal.h"
#include "base/log.h"
#include "base/memory.h"
#include "claim/claim.h"
#include "config/change.h"
#include "config/lists.h"
#include "encode/encode.h"
#include "flow/made.h"
#include "sink/sinks.h"

#define CAPTURE(kind, name, make)                                                                  \
    Status make(const SourceOptions *options, Source **ret_source, Error *err);
#include "config/captures.inc"
#undef CAPTURE

static Status (*const SOURCES[])(const SourceOptions *options, Source **ret_source, Error *err) = {
#define CAPTURE(kind, name, make) [CAPTURE_##kind] = make,
#include "config/captures.inc"
#undef CAPTURE
};

static Status lane_make_pipeline(Relay *relay, RelayLane *lane, Error *err)
{
    const PipelineConfig *config = lane->config;
    PipelineParts parts = {
        .config = config,
        .base = relay->base,
        .stats = lane->stats,
        .metrics = relay->metrics,
        .hold = true,
        .arg = relay,
        .ended = relay->hooks->ended,
        .changed = relay->hooks->changed,
        .doubt = relay->hooks->doubt,
        .boundary = relay_on_boundary,
        .settled = relay_settled,
        .topics = lane->topics,
    };
    SourceOptions source = {.base = relay->base,
                            .worker = relay->worker,
                            .config = lane->born->config,
                            .pipeline = config,
                            .stats = lane->stats,
                            .metrics = relay->metrics};
    SinkOptions sink = {.base = relay->base,
                        .worker = relay->worker,
                        .config = lane->born->config,
                        .pipeline = config,
                        .stats = lane->stats};
    AUTO(Schema, schema_free) schema = schema_of_pipeline(config);
    if (router_new(config, schema, parts.topics, &parts.router, err) != OK ||
        encoder_new(config, schema, &parts.encoder, err) != OK ||
        sink_new(&sink, &parts.sink, err) != OK ||
        SOURCES[config->capture](&source, &parts.source, err) != OK) {
        router_free(&parts.router);
        if (parts.encoder != NULL) {
            parts.encoder->free(parts.encoder);
        }
        if (parts.sink != NULL) {
            parts.sink->ops->free(parts.sink);
        }
        return error_prefix(err, "pipeline '%s'", config->name);
    }
    lane->pipeline = pipeline_new(&parts);
    return OK;
}

Status relay_lane_new(Relay *relay, size_t index, RelayLane **ret_lane, Error *err)
{
    RelayLane *lane = x_calloc(1, sizeof(*lane));
    lane->born = generation_hold(relay->reload->now);
    lane->made_by = generation_hold(relay->reload->now);
    lane->config = &relay->reload->now->config->pipelines[index];
    lane->stats = x_calloc(1, sizeof(*lane->stats));
    stats_init(lane->stats, relay->metrics, lane->config->name);
    lane->objective =
        objective_new(relay->metrics, lane->config->name, relay->config->monitor.lag_objective_ms,
                      relay->config->monitor.lag_target_ratio);
    lane->topics = topics_new(relay->metrics, lane->config->name);
    if (lane->config->capture == CAPTURE_TABLES) {
        topics_allow(lane->topics, TOPICS_MAX_TABLES);
    }
    if (lane_make_pipeline(relay, lane, err) != OK) {
        topics_free(&lane->topics);
        relay_lane_free(relay, &lane);
        return FAILED;
    }
    *ret_lane = lane;
    return OK;
}

void relay_lane_free(Relay *relay, RelayLane **lane)
{
    RelayLane *old = *lane;
    *lane = NULL;
    pipeline_free(&old->pipeline); /* with its topics */
    stats_release(old->stats);
    free(old->stats);
    objective_free(&old->objective);
    if (old->fate == LANE_LEAVES) {
        metrics_remove_labelled(relay->metrics, "pipeline", old->config->name);
    }
    generation_drop(&old->made_by);
    generation_drop(&old->born);
    free(old);
}

void relay_lane_start(Relay *relay, RelayLane *lane)
{
    relay->running++;
    pipeline_start(lane->pipeline);
}

RelayLane *relay_lane_named(const Lanes *lanes, const char *name)
{
    for (size_t i = 0; i < lanes->count; i++) {
        if (strcmp(lanes->items[i]->config->name, name) == 0) {
            return lanes->items[i];
        }
    }
    return NULL;
}

static RelayLane *lane_with(const Lanes *lanes, const Pipeline *pipeline)
{
    for (size_t i = 0; i < lanes->count; i++) {
        if (lanes->items[i]->pipeline == pipeline) {
            return lanes->items[i];
        }
    }
    return NULL;
}

RelayLane *relay_lane_of(const Relay *relay, const Pipeline *pipeline)
{
    RelayLane *lane = lane_with(&relay->lanes, pipeline);
    return lane != NULL ? lane : lane_with(&relay->reload->leaving, pipeline);
}

/* Going over to another configuration. */

void relay_reload_step(Relay *relay)
{
    event_active(relay->reload->step, 0, 0);
}

static Status lane_make_makers(const PipelineConfig *config, Topics *topics, Router **ret_router,
                               Encoder **ret_encoder, Error *err)
{
    AUTO(Schema, schema_free) schema = schema_of_pipeline(config);
    AUTO(Router, router_free) router = NULL;
    if (router_new(config, schema, topics, &router, err) != OK ||
        encoder_new(config, schema, ret_encoder, err) != OK) {
        return error_prefix(err, "pipeline '%s'", config->name);
    }
    *ret_router = router;
    router = NULL;
    return OK;
}

Status relay_lane_try(const PipelineConfig *config, Error *err)
{
    AUTO(Router, router_free) router = NULL;
    Encoder *encoder = NULL;
    Metrics *metrics = metrics_new();
    Topics *topics = topics_new(metrics, config->name);
    Status status = lane_make_makers(config, topics, &router, &encoder, err);
    if (encoder != NULL) {
        encoder->free(encoder);
    }
    router_free(&router);
    topics_free(&topics);
    metrics_free(&metrics);
    return status;
}

/* The new router and encoder read the configuration of now; all others read what they were made
 * by, which gets the values that may change. */
void relay_on_boundary(void *arg, Pipeline *pipeline)
{
    Relay *relay = arg;
    RelayLane *lane = relay_lane_of(relay, pipeline);
    const Config *config = relay->config;
    for (size_t i = 0; i < config->pipeline_count; i++) {
        const PipelineConfig *now = &config->pipelines[i];
        Router *router = NULL;
        Encoder *encoder = NULL;
        AUTO_ERROR err = {0};
        if (strcmp(now->name, lane->config->name) != 0) {
            continue;
        }
        if (lane_make_makers(now, lane->topics, &router, &encoder, &err) != OK) {
            log_error(LOG_ERROR, now->name, &err, "it keeps the configuration that it had");
            continue; /* it was tried before: this does not happen */
        }
        pipeline_make_by(pipeline, router, encoder);
        generation_drop(&lane->made_by);
        lane->made_by = generation_hold(relay->reload->now);
        change_apply(lane->config, now);
    }
    lane->changes = false;
    log_write(LOG_INFO, lane->config->name, CODE_PIPELINE_RELOADED,
              LOG_FIELDS(
                  log_text("how", "live"),
                  log_number("waited_ms", (clock_monotonic_us() - lane->asked_us) / INT64_C(1000))),
              "the pipeline continues with its new configuration; lock and connections are kept");
    relay_reload_step(relay);
}

/* What else reads the configuration. */

static void lane_add_topic(void *arg, Topic *topic)
{
    string_list_add(arg, topic->name);
}

static void lanes_add_topics(void *arg, StringList *names)
{
    const Relay *relay = arg;
    for (size_t i = 0; i < relay->lanes.count; i++) {
        if (relay->lanes.items[i]->config->sink == SINK_KAFKA) {
            topics_each(relay->lanes.items[i]->topics, lane_add_topic, names);
        }
    }
}

Status relay_look_anew(Relay *relay, Error *err)
{
    groups_free(&relay->groups);
    watch_free(&relay->watch);
    generation_drop(&relay->reload->watched);
    relay->reload->watched = generation_hold(relay->reload->now);
    relay->groups = groups_new(&(GroupsOptions){.base = relay->base,
                                                .config = relay->config,
                                                .metrics = relay->metrics,
                                                .arg = relay,
                                                .topics = lanes_add_topics});
    WatchOptions watch = {.base = relay->base,
                          .worker = relay->worker,
                          .config = relay->config,
                          .metrics = relay->metrics,
                          .pauses = relay->hooks->pauses,
                          .preconditions = relay->hooks->preconditions};
    relay_net_options(relay, &watch);
    if (watch_new(&watch, &relay->watch, err) != OK) {
        return FAILED;
    }
    for (size_t i = 0; i < relay->lanes.count; i++) { /* it is said again, if it is still so */
        Pipeline *pipeline = relay->lanes.items[i]->pipeline;
        pipeline_follow(pipeline, INT64_MAX, INT64_MIN);
        pipeline_set_unseen(pipeline, NULL);
    }
    return OK;
}

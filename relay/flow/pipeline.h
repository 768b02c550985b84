/* pipeline: moves the events of one source into one sink, in order, and acknowledges them.
 *
 * Owns the source, sink, encoder, router and all open batches. One loop thread. It is a state
 * machine (the table in pipeline.c); its one way of recovering is the rewind: let what the sink
 * holds settle, keep what is known, go on from the acknowledged position. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "flow/encoder.h"
#include "flow/router.h"
#include "flow/sink.h"
#include "flow/source.h"
#include "flow/stats.h"

typedef enum PipelineState {
    PIPELINE_STARTING,  /* connecting */
    PIPELINE_STANDBY,   /* another relay publishes this outbox */
    PIPELINE_RUNNING,   /* publishing, or nothing to publish */
    PIPELINE_PAUSED,    /* only shown: RUNNING or STALLED, and told to send nothing */
    PIPELINE_STALLED,   /* something outside is wrong; goes on by itself when mended */
    PIPELINE_REWINDING, /* waits for what the sink holds, then goes back */
    PIPELINE_DRAINING,  /* stopping: waits for acknowledgements, marks them */
    PIPELINE_STOPPED,   /* clean */
    PIPELINE_FAILED,    /* a human must act */
    PIPELINE_STATE_COUNT
} PipelineState;

typedef struct Pipeline Pipeline;

typedef struct PipelineParts {
    const PipelineConfig *config;
    struct event_base *base;
    Source *source;
    Sink *sink;
    Encoder *encoder;
    Router *router;
    Topics *topics;
    Stats *stats;
    Metrics *metrics; /* for the series of topics that are waited for; NULL: none */
    bool hold;        /* nothing is read or sent until pipeline_pause() says whether it may be */
    void *arg;
    /** The pipeline does nothing any more: STOPPED or FAILED. Never called from inside a call. */
    void (*ended)(void *arg, Pipeline *pipeline);
    /** The state changed (for READY=1 and /readyz). */
    void (*changed)(void *arg, Pipeline *pipeline);
} PipelineParts;

/* What the status screen and /readyz show. Texts are owned by the pipeline. */
typedef struct PipelineView {
    const char *name;
    PipelineState state;
    int64_t since_us; /* wall clock: when the state was entered */
    bool paused;      /* also while it is starting, standing by or rewinding */
    size_t in_flight_events;
    size_t in_flight_bytes;
    size_t unmarked_events;
    const Event *oldest; /* oldest unsettled event, or NULL; valid until the loop goes on */
    int64_t last_published_us;
    double events_per_second; /* over the last seconds */
    const Error *error;       /* class ERROR_NONE: none */
    int64_t error_since_us;
    int64_t error_repeated;
    const char *holder; /* of the publisher lock, when STANDBY; else "" */
    /* Events whose topic is missing or denied; all others go on meanwhile. */
    size_t waiting_events;
    size_t waiting_topics;
    const char *waiting_topic;   /* the first of them, or "" */
    const Error *waiting_reason; /* of that one, or NULL */
    int64_t waiting_since_us;    /* wall clock: of that one */
    int64_t waiting_oldest_us;   /* least occurred_at of all that wait; EVENT_NO_TIME: not known */
} PipelineView;

/** Takes ownership of the parts (not of base, config and stats). */
Pipeline *pipeline_new(const PipelineParts *parts);
void pipeline_free(Pipeline **pipeline);

void pipeline_start(Pipeline *pipeline);

/** Drain: read nothing more, wait for acknowledgements, mark them, then `ended`. */
void pipeline_stop(Pipeline *pipeline);

/** Paused, it reads and sends nothing more; what is in flight settles and is marked, and lock and
 * connections are kept. Ends the hold of PipelineParts. The same value again changes nothing. */
void pipeline_pause(Pipeline *pipeline, bool paused);

void pipeline_view(const Pipeline *pipeline, PipelineView *ret_view);
const Source *pipeline_source(const Pipeline *pipeline);
const Sink *pipeline_sink(const Pipeline *pipeline);
const PipelineConfig *pipeline_config(const Pipeline *pipeline);

/** EXIT_OK when STOPPED, the error's exit code when FAILED. */
ExitCode pipeline_exit_code(const Pipeline *pipeline);

/** Refreshes the gauges; called before each scrape. */
void pipeline_collect(Pipeline *pipeline);

const char *pipeline_state_name(PipelineState state);

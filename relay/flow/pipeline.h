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
    Letters *letters; /* NULL: those of the source */
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
    /** Something hints that a precondition does not hold any more: look now. NULL: not wanted. */
    void (*doubt)(void *arg, Pipeline *pipeline);
    /** After pipeline_change(), once: no event is on its way, and none comes during the call. Here
     * pipeline_make_by() is called, and what `config` points to may change. Otherwise only inside
     * of the loop's own callbacks. */
    void (*boundary)(void *arg, Pipeline *pipeline);
    /** An event that pipeline_follow() asked for is settled; or any event is parked. May be NULL.
     */
    void (*settled)(void *arg, Pipeline *pipeline, const Event *event);
} PipelineParts;

/* What the status screen and /readyz show. Texts are owned by the pipeline. */
typedef struct PipelineView {
    const char *name;
    PipelineState state;
    int64_t since_us; /* wall clock: when the state was entered */
    bool lost;        /* was connected, and is not: `error` says why, and since when */
    bool paused;      /* also while it is starting, standing by or rewinding */
    size_t in_flight_events;
    size_t in_flight_bytes;
    size_t unmarked_events;
    const Event *oldest; /* oldest unsettled event, or NULL; valid until the loop goes on */
    int64_t last_published_us;
    int64_t published_monotonic_us; /* the same by the other clock; 0: never */
    double events_per_second;       /* over the last seconds */
    const Error *error;             /* class ERROR_NONE: none */
    int64_t error_since_us;
    int64_t error_repeated;
    const Error *unseen; /* pipeline_set_unseen(); class ERROR_NONE: nothing */
    int64_t unseen_since_us;
    const Error *alarm; /* pipeline_set_alarm(), after a lease; class ERROR_NONE: none */
    int64_t alarm_since_us;
    const char *holder; /* of the publisher lock, when STANDBY; else "" */
} PipelineView;

/* Events whose topic is missing or denied, that are behind a row of it which cannot be published
 * (events may be 0 while that is tried again), or for which the encoder has not been ready for
 * long; all others go on meanwhile. Texts are owned by the pipeline. */
typedef struct PipelineWaiting {
    size_t events;
    size_t topics;
    const char *topic;   /* the first of them, or "" */
    const Error *reason; /* of that one; NULL: nothing waits */
    int64_t since_us;    /* wall clock: of that one */
} PipelineWaiting;

/** Takes ownership of the parts (not of base, config and stats). */
Pipeline *pipeline_new(const PipelineParts *parts);
void pipeline_free(Pipeline **pipeline);

void pipeline_start(Pipeline *pipeline);

/** Drain: read nothing more, wait for acknowledgements, mark them, then `ended`. */
void pipeline_stop(Pipeline *pipeline);

/** Paused, it reads and sends nothing more; what is in flight settles and is marked, and lock and
 * connections are kept. Ends the hold of PipelineParts. The same value again changes nothing. */
void pipeline_pause(Pipeline *pipeline, bool paused);

/** Another configuration is there for it (or not any more): it reads nothing more until what it has
 * read is settled, then calls `boundary` and goes on; connections and lock are kept. What cannot
 * be settled now (it is paused, or its topic is not there) goes back to the source and comes again.
 * Only a record that the destination may have is waited for. */
void pipeline_change(Pipeline *pipeline, bool wanted);

/** From `boundary`: how records are made from now on. Takes ownership. */
void pipeline_make_by(Pipeline *pipeline, Router *router, Encoder *encoder);

/** It has ended: its sink lets go of what it is connected by. True once pipeline_free() finds
 * nothing under way any more; call it again until then. */
bool pipeline_close(Pipeline *pipeline);

/** A precondition does not hold any more: nothing is read or sent, what is in flight settles and is
 * marked, and it shows as STALLED with this error. NULL: all of them hold; it goes on by itself.
 * The same again changes nothing. Without effect before it published, or stood by, for the first
 * time: the source judges by itself before its first event. */
void pipeline_set_broken(Pipeline *pipeline, const Error *err);

/** Hands the verdict of a good look to the source (SourceOps.verified). */
void pipeline_set_verified(Pipeline *pipeline, uint64_t wal_end, const char *identity);
/** Events of the table that the source has not seen, though it has caught up: not ready, and said,
 * but publishing goes on. NULL: none any more. */
void pipeline_set_unseen(Pipeline *pipeline, const Error *err);

/** Somebody endangers publishing from outside, who can be ended: said elsewhere. Once that lasts
 * for a lease it is not ready; publishing goes on. NULL: it is over. */
void pipeline_set_alarm(Pipeline *pipeline, const Error *err);

/** From now on `settled` is called for events with these numbers. */
void pipeline_follow(Pipeline *pipeline, int64_t low, int64_t high);

/** True while it publishes, and nothing keeps it from it: what its source does not know now is to
 * be found. */
bool pipeline_publishes(const Pipeline *pipeline);

/** What pipeline and source know of a row: see SourceOps. */
SourceSight pipeline_sight(const Pipeline *pipeline, int64_t seq, Slice event_id,
                           uint64_t insert_lsn, int64_t looked_us);

/** As in SourceOps. */
void pipeline_look_again(Pipeline *pipeline, int64_t seq);
void pipeline_looked(Pipeline *pipeline, const SourceLook *look);

void pipeline_view(const Pipeline *pipeline, PipelineView *ret_view);
PipelineWaiting pipeline_waiting(const Pipeline *pipeline);
const Source *pipeline_source(const Pipeline *pipeline);
const Sink *pipeline_sink(const Pipeline *pipeline);
/** Tells the sink that files with secrets may have changed (SinkOps.renew). */
void pipeline_renew(Pipeline *pipeline);
const PipelineConfig *pipeline_config(const Pipeline *pipeline);

/** EXIT_OK when STOPPED, the error's exit code when FAILED. */
ExitCode pipeline_exit_code(const Pipeline *pipeline);

/** Refreshes the gauges; called before each scrape. */
void pipeline_collect(Pipeline *pipeline);

const char *pipeline_state_name(PipelineState state);

/* What the files of the running program share; nobody else includes this. */
#pragma once

#include <event2/event.h>
#include <jansson.h>

#include "app/summary.h"
#include "base/clock.h"
#include "base/worker.h"
#include "config/config.h"
#include "flow/pipeline.h"
#include "flow/stats.h"
#include "groups/groups.h"
#include "metrics/metrics.h"
#include "metrics/monitor.h"
#include "metrics/objective.h"
#include "watch/watch.h"

/* One pipeline, and what is kept of it. */
typedef struct RelayLane {
    Pipeline *pipeline;
    Topics *topics; /* the pipeline owns them */
    Stats *stats;
    Objective *objective;
    Summary summary;
} RelayLane;

/* How it ends. */
typedef struct RelayEnd {
    bool stopping;
    ExitCode exit_code;
    char why[128];          /* the first reason */
    struct event *deadline; /* of the drain */
    int64_t deadline_us;    /* the same, monotonic; 0: nobody has asked it to stop */
} RelayEnd;

/* When memory goes back to the system. */
typedef struct RelayIdle {
    struct event *check;
    uint64_t seen; /* events read, published and marked so far, plus 1 */
    uint64_t trimmed;
} RelayIdle;

typedef struct Relay {
    const Config *config;
    struct event_base *base;
    Worker *worker;
    Metrics *metrics;
    Monitor *monitor;
    RelayLane *lanes; /* one for each pipeline */
    Groups *groups;   /* NULL: off */
    Watch *watch;
    RelayEnd *end;
    RelayIdle *idle;
    size_t running;
    bool ready_sent; /* to systemd */
    bool ready_said; /* in the log */
    Moment started;
    struct event *worker_io;
    struct event *signals[4];
    struct event *watchdog;
    struct event *second; /* notes the lag for the objective */
} Relay;

/* relay_net.c: what the watch asks of the pipelines, and the other way round */
void relay_net_options(Relay *relay, WatchOptions *options);
/** PipelineParts.settled */
void relay_settled(void *arg, Pipeline *pipeline, const Event *event);

/* relay_limits.c */
/** What the process needs before anything else: descriptors, and what happens when memory is
 * refused. FATAL / OPEN_FILES_LIMIT: there are too few descriptors for this configuration. */
Status relay_prepare(const Config *config, Error *err);

/* relay_end.c */
/** The last line of every run, however it ends. */
void relay_say_stopped(ExitCode code, const char *why);
_Noreturn void relay_exit_now(ExitCode code, const char *why);
_Noreturn void relay_exit_signalled(ExitCode code, const char *why);
/** Releases all: for no longer than what is left of shutdown_timeout, and until a second signal. */
void relay_release_patiently(Relay *relay, void (*release)(Relay *relay));

/* relay_status.c: what /status, /readyz and the gauges say */
bool relay_ready(void *arg, Text *reason);
void relay_status(void *arg, Text *json);
void relay_collect(void *arg);

/* relay_watch.c: the part of it that the watch knows */
/** Age of the oldest unpublished event of a pipeline in seconds, 0 when there is none; NAN when
 * that is not known. */
double relay_lag_seconds(const Relay *relay, size_t index, const PipelineView *view);
/** Sets "oldest" of the pipeline's status object. */
void relay_set_oldest(const Relay *relay, size_t index, const PipelineView *view, json_t *pipeline);
/** Sets "paused", "dead_letters", "oldest_transaction_seconds" and "slot". */
void relay_set_watched(const Relay *relay, size_t index, json_t *pipeline);
/** Sets "server" and "version", as far as known. */
void relay_set_postgres(const Relay *relay, json_t *postgres);
/** Appends "by root@db since 09:12:44: reason" of a paused pipeline. */
void relay_add_pause(const Relay *relay, size_t index, Text *text);

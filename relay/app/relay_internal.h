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

typedef struct Relay {
    const Config *config;
    struct event_base *base;
    Worker *worker;
    Metrics *metrics;
    Monitor *monitor;
    Pipeline **pipelines;
    Topics **topics;        /* of each pipeline, which owns them */
    Groups *groups;         /* NULL: off */
    Stats *stats;           /* one for each pipeline */
    Objective **objectives; /* one for each pipeline */
    Summary *summaries;     /* one for each pipeline */
    Watch *watch;
    size_t running;
    bool stopping;
    bool ready_sent; /* to systemd */
    bool ready_said; /* in the log */
    ExitCode exit_code;
    char why[128]; /* it ends: the first reason */
    Moment started;
    struct event *worker_io;
    struct event *signals[4];
    struct event *deadline; /* of the drain */
    struct event *watchdog;
    struct event *idle_check;
    struct event *second; /* notes the lag for the objective */
    uint64_t work_seen;   /* events read, published and marked so far, plus 1 */
    uint64_t work_trimmed;
} Relay;

/* relay_net.c: what the watch asks of the pipelines, and the other way round */
void relay_net_options(Relay *relay, WatchOptions *options);
/** PipelineParts.settled */
void relay_settled(void *arg, Pipeline *pipeline, const Event *event);

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

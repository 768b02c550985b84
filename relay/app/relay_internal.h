/* What the files of the running program share; nobody else includes this. */
#pragma once

#include <event2/event.h>
#include <jansson.h>

#include "app/generation.h"
#include "app/summary.h"
#include "base/clock.h"
#include "base/vec.h"
#include "base/worker.h"
#include "config/config.h"
#include "flow/pipeline.h"
#include "flow/stats.h"
#include "groups/groups.h"
#include "metrics/metrics.h"
#include "metrics/monitor.h"
#include "metrics/objective.h"
#include "watch/watch.h"

/* What becomes of a lane after a reload. */
typedef enum LaneFate {
    LANE_STAYS,
    LANE_RENEWS, /* its pipeline ends, and starts anew by the configuration of now */
    LANE_LEAVES, /* its pipeline is not in the configuration any more: it ends */
} LaneFate;

/* One pipeline, and what is kept of it. */
typedef struct RelayLane {
    Pipeline *pipeline;
    Topics *topics; /* the pipeline owns them */
    Stats *stats;
    Objective *objective;
    Summary summary;
    PipelineConfig *config; /* in born; what changes while it goes on changes here, too */
    Generation *born;       /* what its source and its sink read */
    Generation *made_by;    /* what its router and its encoder read */
    LaneFate fate;
    bool changes;      /* it goes on by the configuration of now once it is between two batches */
    bool over;         /* its pipeline has ended */
    bool told;         /* that a reload waits for it */
    ErrorCode refused; /* it could not be made anew: why; CODE_NONE */
    ExitCode refused_exit;
    int64_t asked_us; /* monotonic: when a reload asked it to end, or to change */
} RelayLane;

typedef VEC(RelayLane *) Lanes;

/* How it ends. */
typedef struct RelayEnd {
    bool stopping;
    ExitCode exit_code;
    char why[128];          /* the first reason */
    struct event *deadline; /* of the drain */
    int64_t deadline_us;    /* the same, monotonic; 0: nobody has asked it to stop */
} RelayEnd;

/* Who knows already that it is ready. */
typedef struct RelayReady {
    bool sent; /* systemd */
    bool said; /* the log */
} RelayReady;

/* When memory goes back to the system. */
typedef struct RelayIdle {
    struct event *check;
    uint64_t seen; /* events read, published and marked so far, plus 1 */
    uint64_t trimmed;
} RelayIdle;

/* What became of SIGHUP (relay_reload.c). */
typedef struct RelayReload {
    const ConfigOverrides *overrides; /* of the command line */
    Generation *now;                  /* of Relay.config */
    Generation *watched;              /* what watch and groups read */
    Lanes leaving;                    /* of pipelines that are not in the configuration any more */
    struct event *step;               /* lanes that have ended are let go, outside of every call */
    bool under_way;                   /* accepted, and not in effect everywhere yet */
    Moment begun;                     /* the last that was accepted */
    int64_t loaded_wall_us;           /* when the configuration of now was read */
    char *refused;                    /* why the last one was refused; NULL: it was not */
    int64_t refused_wall_us;
    char *fixed;       /* options of the file that need a restart; "": none */
    uint64_t *applied; /* series */
    uint64_t *unchanged;
    uint64_t *rejected;
    double *successful;
    double *success_time;
} RelayReload;

struct Relay;

/* What pipelines and watch tell (relay.c). */
typedef struct RelayHooks {
    void (*ended)(void *arg, Pipeline *pipeline);
    void (*changed)(void *arg, Pipeline *pipeline);
    void (*doubt)(void *arg, Pipeline *pipeline);
    void (*pauses)(void *arg, bool known);
    void (*preconditions)(void *arg, size_t index, const PreconditionLook *look);
    void (*stop)(struct Relay *relay, const char *why);
} RelayHooks;

typedef struct Relay {
    const RelayHooks *hooks;
    const Config *config; /* of now */
    struct event_base *base;
    Worker *worker;
    Metrics *metrics;
    Monitor *monitor;
    Lanes lanes;    /* one for each pipeline of the configuration, in its order */
    Groups *groups; /* NULL: off */
    Watch *watch;
    RelayEnd *end;
    RelayIdle *idle;
    RelayReady *told;
    RelayReload *reload;
    size_t running; /* pipelines that were started and have not ended */
    Moment started;
    struct event *worker_io;
    struct event *signals[4];
    struct event *watchdog;
    struct event *second; /* notes the lag for the objective */
} Relay;

/* relay_end.c */
/** Nothing runs any more, and nothing will: the loop ends. */
void relay_end_if_idle(Relay *relay);
/** The relay exits with what the first pipeline that failed says. */
void relay_note_exit(Relay *relay, const Pipeline *pipeline);
/** Forgets that, but for the pipelines that have failed and stay so. */
void relay_count_failures(Relay *relay);
/** The last line of every run, however it ends. */
void relay_say_stopped(ExitCode code, const char *why);
_Noreturn void relay_exit_now(ExitCode code, const char *why);
_Noreturn void relay_exit_signalled(ExitCode code, const char *why);
/** Releases all: for no longer than what is left of shutdown_timeout, and until a second signal. */
void relay_release_patiently(Relay *relay, void (*release)(Relay *relay));

/* relay_lane.c */
/** Makes the lane of the index-th pipeline of the configuration of now; it is not started. */
Status relay_lane_new(Relay *relay, size_t index, RelayLane **ret_lane, Error *err);
void relay_lane_free(Relay *relay, RelayLane **lane);
void relay_lane_start(Relay *relay, RelayLane *lane);
/** That of a pipeline, also of one that leaves. */
RelayLane *relay_lane_of(const Relay *relay, const Pipeline *pipeline);
/** That with the name, or NULL. */
RelayLane *relay_lane_named(const Lanes *lanes, const char *name);
/** Whether router and encoder can be made by this configuration. */
Status relay_lane_try(const PipelineConfig *config, Error *err);
/** PipelineParts.boundary: the pipeline goes on by the configuration of now. */
void relay_on_boundary(void *arg, Pipeline *pipeline);
/** Lets go of lanes that have ended, soon. */
void relay_reload_step(Relay *relay);
/** Watch and groups, anew by the configuration of now. */
Status relay_look_anew(Relay *relay, Error *err);

/* relay_reload.c */
void relay_reload_begin(Relay *relay);
void relay_reload_free(Relay *relay);
/** SIGHUP. */
void relay_reload(Relay *relay);
/** Sets "config" of /status. */
void relay_reload_status(const Relay *relay, json_t *status);

/* relay_renew.c: lanes that end by a reload */
/** Starts a lane, now or when no pipeline that leaves reads its table any more. */
void relay_begin(Relay *relay, RelayLane *lane);
/** The pipeline ends, and starts anew or leaves. */
void relay_renew(Relay *relay, RelayLane *lane, LaneFate fate);
/** Each second, and whenever something of a lane may have ended. */
void relay_reload_look(Relay *relay);

/* relay_net.c: what the watch asks of the pipelines, and the other way round */
void relay_net_options(Relay *relay, WatchOptions *options);
/** PipelineParts.settled */
void relay_settled(void *arg, Pipeline *pipeline, const Event *event);

/* relay_limits.c */
/** What the process needs before anything else: descriptors, and what happens when memory is
 * refused. FATAL / OPEN_FILES_LIMIT: there are too few descriptors for this configuration. */
Status relay_prepare(const Config *config, Error *err);

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

/* What the files of the pipeline share; nobody else includes this. */
#pragma once

#include "base/clock.h"
#include "base/log_limit.h"
#include "flow/broken.h"
#include "flow/isolate.h"
#include "flow/machine.h"
#include "flow/outlet.h"
#include "flow/parking.h"
#include "flow/pipeline.h"
#include "flow/trouble.h"
#include "flow/window.h"

/* Lines that would come for each event. */
typedef struct Lines {
    LogLimit asides;   /* events set aside */
    LogLimit shadowed; /* headers that were left out */
} Lines;

/* When to look again at what waits (flow/parking.h). */
typedef struct Waiting {
    bool told;               /* `changed` was called with events that wait */
    bool reread_wanted;      /* parked events may go on */
    int64_t reread_at_us;    /* monotonic: not before */
    int64_t look_rows_at_us; /* monotonic: not before */
    size_t look_rows_from;   /* so many of those that are looked at had their turn */
    int64_t
        recount_at_us; /* monotonic: parked rows are read again, to see which are left; 0: none */
} Waiting;

/* How fast it publishes, and when it did last. */
typedef struct Pulse {
    int64_t last_published_us;
    int64_t published_monotonic_us;
    int64_t settle_now_us; /* clocks of this burst of reports; 0: read them */
    int64_t settle_wall_us;
    uint64_t rate_count;
    double rate;
} Pulse;

/* A fact that the watch found. */
typedef struct Notice {
    Error error; /* class ERROR_NONE: none */
    Moment since;
} Notice;

struct Pipeline {
    PipelineParts *parts;
    Machine *machine; /* what it does, and waits for */
    Window *window;   /* what is open */
    Trouble *trouble; /* what is wrong now */
    Broken *broken;   /* what an administrator changed */
    Outlet *outlet;   /* how the sink stands */
    Isolate *isolate; /* refused requests that are taken apart */
    Parking *parking; /* topics whose events wait */
    Waiting *waiting;
    Pulse *pulse;
    Lines *lines;
    Notice *unseen; /* pipeline_set_unseen() */
    Notice *alarm;  /* pipeline_set_alarm() */
    int64_t follow_low;
    int64_t follow_high;
    char holder[160];
    struct event *wake; /* runs pipeline_pump */
    struct event *tick; /* each second */
};

/* What guards and actions of the machine mean. */
extern const MachineOps PIPELINE_MACHINE;

void pipeline_input(Pipeline *pipeline, Input input);

/** Runs pipeline_pump() soon, outside of every call. */
static inline void pipeline_wake(Pipeline *pipeline)
{
    event_active(pipeline->wake, 0, 0);
}

/** Tells that people are shown something else. */
void pipeline_changed(void *arg);

/** Notes what is wrong and logs it, once for each new fact. */
void pipeline_complain(Pipeline *pipeline, const Error *err, bool from_sink);

/** Logs how many lines were held back, when it is time to (or at_once). */
void pipeline_sum_up(Pipeline *pipeline, bool at_once);

/* pipeline_settle.c */
/** Next back-off in ms; the attempt counts up until something goes well. */
int64_t pipeline_backoff_ms(Pipeline *pipeline);
/** Makes every unsettled event PENDING and puts the send cursor on the oldest. */
void pipeline_reset_cursor(Pipeline *pipeline);
/** The first time at once, then with back-off until a record is acknowledged: what makes a producer
 * fail for good (a missing permission) would do so again at once. */
void pipeline_reopen_sink(Pipeline *pipeline);
void pipeline_on_reopen(evutil_socket_t fd, short what, void *arg);
/** What has not left the sink yet comes back; once, until all has settled. */
void pipeline_purge(Pipeline *pipeline);
/** Nothing leaves the sink any more. */
void pipeline_hold_sink(Pipeline *pipeline);
/** The sink was waited for long enough: is its producer dead? */
void pipeline_look_at_sink(Pipeline *pipeline);

/* pipeline_events.c */
/** The bound of waiting for the sink is over. */
void pipeline_time_is_up(Pipeline *pipeline);

/* pipeline_isolate.c */
/** Puts in front of the message which event it is about: place, id, type and key. */
void pipeline_name_event(const Event *event, Error *err);
/** The broker refused a request with this event, now PENDING. */
void pipeline_request_refused(Pipeline *pipeline, Event *event, const Error *err);

/* pipeline_overtaken.c */
/** Everything has settled after a refusal: counts what was overtaken. */
void pipeline_count_overtaken(Pipeline *pipeline);

/* pipeline_broken.c: from the source */
const Error *pipeline_alarm(const Pipeline *p);
void pipeline_doubt(void *arg);
void pipeline_refused(void *arg, const Error *err);
/** Says again, once a minute, what is broken. */
void pipeline_remind_broken(Pipeline *pipeline);

/* pipeline_send.c */
/** The event cannot be published as it is: the policies decide. sent: the broker says so. */
void pipeline_poison(Pipeline *pipeline, Event *event, const Record *record, const Error *err,
                     bool sent);
RouteResult pipeline_make_record(Pipeline *pipeline, Event *event, Record *record, Error *err);
void pipeline_pump(Pipeline *pipeline);
void pipeline_settled(void *arg, Event *event, const Error *err);
void pipeline_aside_done(void *arg, Event *event);

/* pipeline_wait.c: events whose topic is not there */
/** Whether the event must wait, or be set aside, because of its topic: then that is done. err: what
 * the router said of the topic. */
bool pipeline_waits(Pipeline *pipeline, Event *event, const Record *record, const Error *err);
/** The topic's events wait from now on; this one is the first. */
void pipeline_wait(Pipeline *pipeline, Event *event, const Record *record, const Error *reason);
/** The event waits from now on, with the topic that holds it. */
void pipeline_park(Pipeline *pipeline, Event *event, Topic *topic, const Record *record);
/** Asks for the rewind that brings all that is parked again, soon. */
void pipeline_want_reread(Pipeline *pipeline);
/** What waits in memory is sent, or held, again. */
void pipeline_let_go(Pipeline *pipeline);
/** Asks for the rewind that brings parked events again, when that is wanted and it is time. */
void pipeline_reread_when_due(Pipeline *pipeline);
/** Each second: whether what waits takes all the room; what waits still. */
void pipeline_watch_waiting(Pipeline *pipeline);
/** Whether names beyond TOPICS_MAX have to wait still. */
void pipeline_watch_beyond(Pipeline *pipeline);
void pipeline_on_missing(void *arg, Topic *topic, const Error *err);
void pipeline_on_found(void *arg, Topic *topic);
bool pipeline_may_forget_topic(void *arg, const Topic *topic);
/** The topic is about to be freed. */
void pipeline_forget_topic(void *arg, Topic *topic);

/* pipeline_row.c: rows that cannot be published as they are hold their topic */
/** The event is refused, by us or by the broker (sent): its topic, or else its aggregate type,
 * waits from now on. */
void pipeline_hold_row(Pipeline *pipeline, Event *event, const Record *record, const Error *err,
                       bool sent);
/** Whether the event must wait behind such a row; then that is done. */
bool pipeline_waits_for_row(Pipeline *pipeline, Event *event, const Record *record);
/** The event is about to be set aside: what waits for that goes on waiting. True when it was tried
 * before, and told. */
bool pipeline_store_held(Pipeline *pipeline, const Event *event);
/** The event is published, or set aside: if it was what its topic waited for, that is over. */
void pipeline_row_done(Pipeline *pipeline, const Event *event);
void pipeline_aside_refused(void *arg, Event *event, const Error *err);
void pipeline_row_looks(void *arg, EventRow row, uint64_t look);
/** The topic's limits are others: it is tried again. */
void pipeline_try_row(Pipeline *pipeline, Hold *hold);
/** The event waits for another topic now: no other waits for it any more. */
void pipeline_row_moved(Pipeline *pipeline, const Event *event, const Topic *topic);
/** Each second: looks at such rows, and tries them again when it is time. */
void pipeline_watch_held_rows(Pipeline *pipeline, int64_t now_us);

/* pipeline_send.c, shared */
void pipeline_settle(Pipeline *pipeline, Event *event, EventState settled);
void pipeline_set_aside(Pipeline *pipeline, Event *event, const Record *record, const Error *err);

/* What the files of the pipeline share; nobody else includes this. */
#pragma once

#include "base/clock.h"
#include "base/log_limit.h"
#include "flow/broken.h"
#include "flow/held_rows.h"
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
    bool told;             /* `changed` was called with events that wait */
    bool encoder_ready;    /* it said so: what it was waited for is encoded again */
    int64_t encoder_us;    /* monotonic: it is asked again then, whatever it says */
    bool reread_wanted;    /* parked events may go on */
    int64_t reread_at_us;  /* monotonic: not before */
    int64_t recount_at_us; /* monotonic: parked rows are read again, to see which are left; 0: none
                            */
} Waiting;

/* What became of making a record of an event. */
typedef enum Made {
    MADE_WELL,
    MADE_LATER,    /* the encoder is not ready for it */
    MADE_UNROUTED, /* no route, and no topic of the pipeline */
    MADE_BAD,      /* it can never be one */
} Made;

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

/* Another configuration that waits for a boundary (pipeline_change.c). */
typedef struct Changing {
    bool wanted;
    bool rereads;     /* it is in effect; what waits in its rows comes again before anything new */
    int64_t since_us; /* monotonic: wanted */
} Changing;

struct Pipeline {
    PipelineParts *parts;
    Machine *machine; /* what it does, and waits for */
    Window *window;   /* what is open */
    Trouble *trouble; /* what is wrong now */
    Broken *broken;   /* what an administrator changed */
    Outlet *outlet;   /* how the sink stands */
    Isolate *isolate; /* refused requests that are taken apart */
    Parking *parking; /* topics whose events wait */
    HeldRows *rows;   /* rows that hold theirs */
    Waiting *waiting;
    Changing *changing;
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

/* pipeline_overtaken.c */
/** Everything has settled after a refusal: counts what was overtaken. */
void pipeline_count_overtaken(Pipeline *pipeline);

/* pipeline_broken.c: from the source */
const Error *pipeline_alarm(const Pipeline *p);
void pipeline_doubt(void *arg);
void pipeline_refused(void *arg, const Error *err);
/** Says again, once a minute, what is broken. */
void pipeline_remind_broken(Pipeline *pipeline);

/* pipeline_record.c */
/** Puts in front of the message which event it is about: place, id, type and key. */
void pipeline_name_event(const Event *event, Error *err);
/** Routes and encodes; *record is complete as far as that went. */
Made pipeline_make_record(Pipeline *pipeline, Event *event, Record *record, Error *err);
/** The envelope has the names of some of the row's headers: they are left out, and not in silence.
 */
void pipeline_note_shadowed(Pipeline *pipeline, const Event *event, unsigned shadowed);

/* pipeline_isolate.c */
/** The destination refused a request with this event, now PENDING, which is suspected from now on.
 * True: it is proven that the event is bad. */
bool pipeline_is_proven_bad(Pipeline *pipeline, Event *event, const SinkReport *report);

/* pipeline_wait.c: what waits with its topic, and comes again */
/** Sees to it that what nothing is in the way of any more (Again) comes again. */
void pipeline_bring(Pipeline *pipeline, unsigned again);
/** Asks for the rewind that brings all that is parked again, soon. */
void pipeline_want_reread(Pipeline *pipeline);
/** Asks for it when that is wanted and it is time. */
void pipeline_reread_when_due(Pipeline *pipeline);
/** Each second: whether what waits takes all the room; what waits still. */
void pipeline_watch_waiting(Pipeline *pipeline);
/** Whether names beyond TOPICS_MAX have to wait still. */
void pipeline_watch_beyond(Pipeline *pipeline);
/** Something waits for the encoder. */
void pipeline_expect_encoder(Pipeline *pipeline);
/** What waits for it is encoded again. */
void pipeline_ask_encoder(Pipeline *pipeline);
/** Says what the encoder has not been ready for too long, and asks it again now and then. */
void pipeline_watch_encoder(Pipeline *pipeline, int64_t now_us);
void pipeline_on_encoder_ready(void *arg);
/** Looks at rows that hold their topic, and tries them again when it is time. */
void pipeline_watch_held_rows(Pipeline *pipeline, int64_t now_us);
void pipeline_row_looks(void *arg, EventRow row, uint64_t look);
void pipeline_on_missing(void *arg, Topic *topic, TopicFault fault, const Error *err);
void pipeline_on_found(void *arg, Topic *topic);
bool pipeline_may_forget_topic(void *arg, const Topic *topic);
/** The topic is about to be freed. */
void pipeline_forget_topic(void *arg, Topic *topic);

/* pipeline_boundary.c: where another configuration is taken */
/** Nothing new is read before it is in effect. */
bool pipeline_change_waits(const Pipeline *pipeline);
/** Takes it, if one waits and the pipeline is between two batches. */
void pipeline_change_here(Pipeline *pipeline);

/* pipeline_change.c */
/** The same, and sees to it that it comes there. */
void pipeline_change_when_due(Pipeline *pipeline);

/* pipeline_fate.c: what becomes of an event; calls the files above */
void pipeline_settle(Pipeline *pipeline, Event *event, EventState settled);
/** The event is published, or set aside: if it was what its topic waited for, that is over. */
void pipeline_done(Pipeline *pipeline, const Event *event);
/** Whether the event is not to be sent, by what it is or because of its topic: then what becomes of
 * it is done. made, err: what making its record told. */
bool pipeline_stays(Pipeline *pipeline, Event *event, const Record *record, Made made,
                    const Error *err);
/** The topic's events wait from now on; this one is the first. */
void pipeline_hold_topic(Pipeline *pipeline, Event *event, const Record *record,
                         const Error *reason);
/** The event cannot be published as it is: the policies decide. sent: the destination says so. */
void pipeline_poison(Pipeline *pipeline, Event *event, const Record *record, const Error *err,
                     bool sent);
/** The destination refused a request with this event. */
void pipeline_request_refused(Pipeline *pipeline, Event *event, const SinkReport *report);
void pipeline_letter_settled(void *arg, Event *event, ErrorCode reason, const Error *err);

/* pipeline_send.c */
void pipeline_pump(Pipeline *pipeline);
void pipeline_settled(void *arg, Event *event, const SinkReport *report);

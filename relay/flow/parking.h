/* parking: topics whose events wait, and what is known of each.
 *
 * A topic is held for a reason (it is missing, it is denied, there are too many). From then on none
 * of its events is sent, so that none overtakes another; the events of all other topics go on. An
 * event that waits is parked: it is settled for now, leaves memory and waits in its row, which the
 * source remembers. Where the source cannot do that it waits in memory. A hold ends by a rewind:
 * the source reads from the beginning, so every event comes again, in order.
 *
 * A row that is refused for what it is holds its topic, too (HeldRow). Nobody tells when it is
 * mended, so it is tried: a rewind brings all that waits again, with nothing held back; should the
 * row be refused once more, the hold goes on as if it had never ended. What has no topic waits by
 * its aggregate type (topics_of_type).
 *
 * Owned by the pipeline; the topic points at its hold. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log_limit.h"
#include "flow/event.h"
#include "flow/topic.h"

enum {
    PARKING_MISSING_SECONDS = 60, /* so long it must be said before it is believed */
    PARKING_TRY_SECONDS = 5,      /* before a row is tried again; doubled after each try in vain */
};

/* The event that holds its topic, because it cannot be published as it is. */
typedef struct HeldRow {
    int64_t seq;       /* EVENT_NO_SEQ: it has no row */
    uint64_t id;       /* event_id_hash; of a message also its place */
    bool sent;         /* the destination refused it, not we */
    bool letter;       /* its dead letter cannot be stored */
    bool storing;      /* ... and is tried again, with everything behind it held */
    bool trying;       /* all that waited comes again: nothing is held until it is refused again */
    int64_t trying_us; /* monotonic: since then */
    unsigned tries;
    int64_t try_us; /* monotonic: to be tried again, whatever is known of its row */
    bool in_row;    /* it waits in its row: a look at that tells whether it is gone */
    bool untold;    /* ... but no look is possible now */
    bool gone;      /* the last look said so; what was read before it may still bring the event */
    uint64_t look;  /* what its row looked like (SourceEvents.row_looks); 0: not looked at yet */
} HeldRow;

typedef enum HoldKind {
    HOLD_TOPIC,   /* the topic is not there, or not for us, or there are too many of them */
    HOLD_ASIDE,   /* the same for so long that its events become dead letters */
    HOLD_ROW,     /* the topic is well, `row` is not */
    HOLD_ENCODER, /* the encoder is not ready for an event of it */
} HoldKind;

typedef struct Hold {
    Topic *topic;
    HoldKind kind;
    Error reason;
    Moment since;
    int64_t missing_us; /* monotonic: they say it without a break since then; 0: not yet */
    size_t parked;      /* events that wait in their rows */
    size_t in_memory;   /* events that wait in open batches */
    bool over;          /* the topic is there: the next rewind ends the hold */
    bool told;          /* people know of it */
    HeldRow *row;       /* of HOLD_ROW; else NULL */
    double *gauge;      /* outboxd_topic_waiting_events{pipeline,topic}; NULL: not yet */
    struct Hold *next;  /* in the order in which they began */
} Hold;

typedef struct Parking {
    const char *pipeline;
    Metrics *metrics; /* NULL: no series for each topic */
    bool dead_letter; /* on_missing_topic */
    Hold *holds;
    size_t topics; /* with events that wait */
    size_t parked;
    size_t in_memory;
    size_t rows;   /* holds by a row */
    size_t trying; /* of those */
    LogLimit lines;
    int64_t said_us; /* monotonic: "still waiting" */
} Parking;

/** The topic's events wait from now on. The reason is logged, once for each topic. Nothing happens
 * when they wait already. */
Hold *parking_hold(Parking *parking, Topic *topic, const Error *reason);

/** The event is refused for what it is: the topic's events wait from now on. The reason is logged,
 * once for each such event; that it is refused again after it was tried is not. Nothing happens
 * when they wait already. */
Hold *parking_hold_row(Parking *parking, Topic *topic, const Event *event, const Error *reason);

/** The encoder is not ready for an event of the topic, which nothing holds: its events wait from
 * now on, in memory. That is said once it lasts (parking_tell_late). */
Hold *parking_hold_for_encoder(Parking *parking, Topic *topic, const Error *reason);

/** The encoder was ready for an event of the topic, which nothing holds: if it was waited for, that
 * is over. */
void parking_encoded(Parking *parking, Topic *topic);

/** True when something that has waited for the encoder for ENCODER_LATE_SECONDS became known by
 * this: from now on it is said, and shown, and waits in its rows. */
bool parking_tell_late(Parking *parking, int64_t now_us);

/** Nothing is held back any more until the row is refused again: what waited is about to come. */
void parking_try_row(Parking *parking, Hold *hold);

/** The hold ends: its row is mended, or gone. No event waits in a row any more. */
void parking_end_row(Parking *parking, Hold *hold);

/** Whether this is the event that holds the topic. */
bool parking_is_row(const Hold *hold, const Event *event);

/** Events that wait. */
static inline size_t hold_events(const Hold *hold)
{
    return hold->parked + hold->in_memory;
}

/** It is by a row, and all that waited comes again to see whether it is still bad. */
static inline bool hold_is_tried(const Hold *hold)
{
    return hold->kind == HOLD_ROW && hold->row->trying;
}

/** Whether none of the topic's events may be sent now. One that the encoder is not ready for keeps
 * back those behind it as long as it waits; nothing else is known of the topic. */
static inline bool parking_holds(const Topic *topic)
{
    const Hold *hold = topic->hold;
    return hold != NULL && !hold_is_tried(hold) &&
           (hold->kind != HOLD_ENCODER || hold_events(hold) > 0);
}

/** One more event waits: parked in its row, or in memory. */
void parking_add(Parking *parking, Hold *hold, bool parked);

/** The event came back from being parked. */
void parking_remove(Parking *parking, Hold *hold);

/** The destination says it (again). True when that lasts so long that the topic's events become
 * dead letters from now on, if that is the policy: those that wait must be read again. */
bool parking_confirm(Parking *parking, Topic *topic, const Error *reason, int64_t now_us);

/** It does not answer: whatever was said before does not count towards the time. */
void parking_doubt(Parking *parking);

/** The topic is there. True when events of it wait in their rows and must be read again; else the
 * hold has ended. */
bool parking_release(Parking *parking, Topic *topic);

/** No event waits in memory any more: they are all to be sent again, or returned. */
void parking_clear_memory(Parking *parking);

/** The source has forgotten what is parked, and reads all of it again. Holds that are over end. */
void parking_rewound(Parking *parking);

/** Whether events wait for the topic. */
bool parking_needs(const Topic *topic);

/** The topic is about to be freed; no event waits for it. */
void parking_forget(Parking *parking, Topic *topic);

/** Somebody else publishes: nothing is held. */
void parking_clear(Parking *parking);

/** The hold with events that began first and is told, or NULL. */
const Hold *parking_first(const Parking *parking);

/** Says now and then that events still wait. */
void parking_tick(Parking *parking, int64_t now_us);

/** Sets the gauges. */
void parking_collect(const Parking *parking);

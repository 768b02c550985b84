/* parking: topics whose events wait, and what is known of each.
 *
 * A topic is held for a reason (it is missing, it is denied, there are too many). From then on none
 * of its events is sent, so that none overtakes another; the events of all other topics go on. An
 * event that waits is parked: it is settled for now, leaves memory and waits in its row, which the
 * source remembers. Where the source cannot do that it waits in memory. A hold ends by a rewind:
 * the source reads from the beginning, so every event comes again, in order.
 *
 * Owned by the pipeline; the topic points at its hold. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log_limit.h"
#include "flow/event.h"
#include "flow/topic.h"

enum { PARKING_MISSING_SECONDS = 60 }; /* so long the brokers must say it before it is believed */

typedef struct Hold {
    Topic *topic;
    Error reason;
    int64_t since_us;   /* wall clock */
    int64_t missing_us; /* monotonic: they say it without a break since then; 0: not yet */
    size_t parked;      /* events that wait in their rows */
    size_t in_memory;   /* events that wait in open batches */
    bool over;          /* the topic is there: the next rewind ends the hold */
    bool aside;         /* its events become dead letters */
    double *gauge;      /* outboxd_topic_waiting_events{pipeline,topic} */
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
    LogLimit lines;
    int64_t said_us; /* monotonic: "still waiting" */
} Parking;

/** The topic's events wait from now on. The reason is logged, once for each topic. Nothing happens
 * when they wait already. */
Hold *parking_hold(Parking *parking, Topic *topic, const Error *reason);

/** One more event waits: parked in its row, or in memory. */
void parking_add(Parking *parking, Hold *hold, bool parked);

/** The event came back from being parked. */
void parking_remove(Parking *parking, Hold *hold);

/** The brokers say it (again). True when that lasts so long that the topic's events become dead
 * letters from now on, if that is the policy: those that wait must be read again. */
bool parking_confirm(Parking *parking, Topic *topic, const Error *reason, int64_t now_us);

/** No broker answers: whatever was said before does not count towards the time. */
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

/** The hold with events that began first, or NULL. */
const Hold *parking_first(const Parking *parking);

/** Says now and then that events still wait. */
void parking_tick(Parking *parking, int64_t now_us);

/** Sets the gauges. */
void parking_collect(const Parking *parking);

/* isolate: takes a refused request apart, by halves, until what made the broker refuse it stands
 * alone.
 *
 * A destination may accept or refuse the records of one request together. What was refused
 * forms a set: at least one of its events is bad. While there are sets, the pipeline sends groups:
 * a group is a prefix of the events that wait, in order, with at most half of each set (and the
 * last of a set quite alone), and nothing else is in flight. So each answer halves a set, and
 * nothing ever overtakes what waits. About log2(n) requests find one of n.
 *
 * Sets are named by a number in Event.suspect; a number whose set is gone means nothing. Owns no
 * events. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"
#include "flow/event.h"

typedef struct RefusedSet {
    uint32_t id;
    size_t count; /* events that are not settled */
    size_t taken; /* into the present group */
} RefusedSet;

typedef struct Isolate {
    VEC(RefusedSet) sets; /* at most one for each refused request */
    uint32_t last_id;
    uint32_t request; /* for which the newest set was made */
    unsigned careful; /* groups still to be sent after the last refusal */
    bool grouped;     /* what is in flight was sent as a group */
    bool closed;      /* the group takes no more */
    size_t group;     /* events of the present group */
    bool refused;     /* something was, since what was overtaken was counted */
} Isolate;

void isolate_release(Isolate *isolate);

/** Whether to send only groups: there is a set, or there was one a moment ago. Where one record is
 * refused, others like it often follow, and in a group nothing has to be taken back for it. */
static inline bool isolate_active(const Isolate *isolate)
{
    return isolate->sets.count > 0 || isolate->careful > 0;
}

/** The event was in a refused request of this number: it belongs to the set of that request, and
 * what else was suspected with it is cleared. */
void isolate_refused(Isolate *isolate, Event *event, uint32_t request);

/** Whether the refusal of a request of so many events proves that the one at hand is bad: it was
 * alone in it, and nothing of its partition was in flight beside it. */
bool isolate_proves(const Isolate *isolate, uint32_t request_events);

/** The event was found bad without the broker's help: its set has its culprit. */
void isolate_found(Isolate *isolate, Event *event);

/** The event is settled, or about to be set aside: no set waits for it. */
void isolate_settled(Isolate *isolate, Event *event);

/** Nothing is in flight: a new group. One that went well counts towards the end of care. */
void isolate_open_group(Isolate *isolate);

/** Whether the event, the next in order, belongs to the group; false: the group is complete. */
bool isolate_take(Isolate *isolate, const Event *event);

/** What is sent from now on is sent as usual, several requests in flight. */
void isolate_mix(Isolate *isolate);

/** All sets are gone. */
void isolate_clear(Isolate *isolate);

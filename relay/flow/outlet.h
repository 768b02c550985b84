/* outlet: how the sink of a pipeline stands: whether it takes records, what was done to what it
 * holds, and how long that is waited for. Does not own the sink. Loop thread only. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "flow/sink.h"

enum { OUTLET_DEAD_SECONDS = 300 }; /* without a report, with brokers that answer */

typedef struct Outlet {
    Sink *sink;
    bool answered;         /* its destination did, once */
    bool blocked;          /* it said FULL or WAIT */
    bool reopening;        /* it makes a new producer */
    bool purged;           /* until all has settled: what comes back is taken back */
    unsigned reopens;      /* new producers since the last acknowledgement */
    ErrorCode lost_by;     /* why there was the last of them; CODE_NONE: there was none since */
    int64_t settling_us;   /* monotonic: when it was begun to wait for what it holds */
    int64_t hold_until_us; /* monotonic: back-off before sending again */
    struct event *settle;  /* bound of waiting */
    struct event *reopen;  /* back-off before the next new producer */
} Outlet;

Outlet *outlet_new(Sink *sink, struct event_base *base, event_callback_fn on_settle,
                   event_callback_fn on_reopen, void *arg);
void outlet_free(Outlet **outlet);

/** From now on what it holds is waited for. */
void outlet_begin_settling(Outlet *outlet);

/** The bound of waiting. */
void outlet_wait(Outlet *outlet, int64_t ms);
/** Looks again in a while whether it has settled. */
void outlet_wait_on(Outlet *outlet);

/** What has not left yet comes back, until all has settled. False when that was asked for before.
 */
bool outlet_purge(Outlet *outlet);
/** Another relay publishes, or may, and the sink holds nothing. */
void outlet_release(Outlet *outlet);

/** Nothing leaves any more, and nothing is given up: what the broker may have keeps its place in
 * the producer, so that it is not written twice should the lock become ours again with nobody else
 * in between. False: it goes on. */
void outlet_hold(Outlet *outlet, bool hold);

/** It can be held: it knows how, and is not purged. */
bool outlet_can_hold(const Outlet *outlet);

/** Whether its producer is dead, and not only slow: brokers answer, and nothing was reported for
 * OUTLET_DEAD_SECONDS. progress_us: of the last report, monotonic. */
bool outlet_is_dead(const Outlet *outlet, int64_t progress_us);

/** Everything has settled: it may be used again. */
void outlet_settled(Outlet *outlet);

/** It is not used any more. */
void outlet_stop(Outlet *outlet);

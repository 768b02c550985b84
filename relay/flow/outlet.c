#include "flow/outlet.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

enum { SETTLE_MS = 10000 }; /* what waits for the sink looks again so often */

Outlet *outlet_new(Sink *sink, struct event_base *base, event_callback_fn on_settle,
                   event_callback_fn on_reopen, void *arg)
{
    Outlet *outlet = x_calloc(1, sizeof(*outlet));
    outlet->sink = sink;
    outlet->settle = event_new(base, -1, 0, on_settle, arg);
    outlet->reopen = event_new(base, -1, 0, on_reopen, arg);
    return outlet;
}

void outlet_free(Outlet **outlet)
{
    if (*outlet != NULL) {
        event_free((*outlet)->settle);
        event_free((*outlet)->reopen);
        free(*outlet);
        *outlet = NULL;
    }
}

void outlet_begin_settling(Outlet *outlet)
{
    outlet->settling_us = clock_monotonic_us();
}

void outlet_wait(Outlet *outlet, int64_t ms)
{
    event_add(outlet->settle, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

void outlet_wait_on(Outlet *outlet)
{
    outlet_wait(outlet, SETTLE_MS);
}

bool outlet_purge(Outlet *outlet)
{
    if (outlet->purged) {
        return false; /* it takes back all that comes back, until the next send */
    }
    outlet->purged = true;
    outlet->sink->ops->purge(outlet->sink);
    outlet_wait_on(outlet);
    return true;
}

void outlet_release(Outlet *outlet)
{
    if (outlet->sink->ops->release != NULL) {
        outlet->sink->ops->release(outlet->sink);
    }
}

void outlet_hold(Outlet *outlet, bool hold)
{
    outlet->sink->ops->hold(outlet->sink, hold);
    outlet_wait_on(outlet);
}

bool outlet_can_hold(const Outlet *outlet)
{
    return !outlet->purged && outlet->sink->ops->hold != NULL;
}

bool outlet_is_dead(const Outlet *outlet, int64_t progress_us)
{
    int64_t since_us = progress_us > outlet->settling_us ? progress_us : outlet->settling_us;
    int64_t quiet_us = clock_monotonic_us() - since_us;
    return sink_answers(outlet->sink) && quiet_us >= OUTLET_DEAD_SECONDS * INT64_C(1000000);
}

void outlet_settled(Outlet *outlet)
{
    event_del(outlet->settle);
    outlet->blocked = outlet->purged = false;
}

void outlet_stop(Outlet *outlet)
{
    event_del(outlet->settle);
    event_del(outlet->reopen);
}

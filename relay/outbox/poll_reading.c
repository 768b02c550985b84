#include "outbox/poll_reading.h"

#include <stdlib.h>

#include "base/memory.h"
#include "outbox/poll_culprit.h"
#include "outbox/poll_fence.h"
#include "outbox/poll_guard.h"
#include "outbox/poll_pace.h"
#include "outbox/poll_read.h"
#include "outbox/poll_sweep.h"
#include "outbox/poll_wide.h"

void reading_end_fetch(Reading *reading)
{
    intake_release(reading->intake);
    wide_release(reading->wide);
}

void reading_reset(Reading *reading)
{
    reading_end_fetch(reading);
    *reading->fetch = (Fetch){0};
    gaps_reset(reading->gaps);
    fence_reset(reading->fence, true);
    guard_reset(reading->guard);
    known_unpark(reading->known);
    reading->rereading = false;
    culprit_forget_lean(reading->culprit);
    sweep_want(reading->sweep);
    pace_reset(reading->pace);
}

void reading_resume(Reading *reading)
{
    handed_forget(&reading->handed);
    if (reading->foreign) {
        known_free(reading->known);
    }
    reading->foreign = false;
    reading_reset(reading);
}

void reading_take_back(Reading *reading, const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        KnownRow row = reading_row_of(event);
        if (event->state == EVENT_PARKED) {
            known_park(reading->known, row);
        } else if (event_is_settled(event)) {
            known_settle(reading->known, row);
        } else {
            known_drop(reading->known, row);
        }
    }
}

Reading *reading_new(const PipelineConfig *config, Stats *stats)
{
    Reading *reading = x_calloc(1, sizeof(*reading));
    reading->fetch = x_calloc(1, sizeof(*reading->fetch));
    reading->intake = x_calloc(1, sizeof(*reading->intake));
    reading->wide = x_calloc(1, sizeof(*reading->wide));
    reading->guard = x_calloc(1, sizeof(*reading->guard));
    reading->gaps = x_calloc(1, sizeof(*reading->gaps));
    reading->fence = x_calloc(1, sizeof(*reading->fence));
    reading->known = x_calloc(1, sizeof(*reading->known));
    reading->sweep = x_calloc(1, sizeof(*reading->sweep));
    *reading->sweep = (Sweep){.config = config, .stats = stats};
    reading->pace = x_calloc(1, sizeof(*reading->pace));
    reading->pace->config = config;
    reading->culprit = x_calloc(1, sizeof(*reading->culprit));
    gaps_reset(reading->gaps);
    return reading;
}

void reading_free(Reading **reading)
{
    Reading *gone = *reading;
    reading_end_fetch(gone);
    gaps_release(gone->gaps);
    fence_release(gone->fence);
    known_free(gone->known);
    handed_release(&gone->handed);
    culprit_release(gone->culprit);
    free(gone->fetch);
    free(gone->intake);
    free(gone->wide);
    free(gone->guard);
    free(gone->gaps);
    free(gone->fence);
    free(gone->known);
    free(gone->sweep);
    free(gone->pace);
    free(gone->culprit);
    free(gone);
    *reading = NULL;
}

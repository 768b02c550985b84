/* Another configuration for a pipeline that goes on: taken between two batches, when every event
 * that was read is settled, so that each batch is published by one configuration as a whole, and
 * none is published twice or not at all. Reading waits for that, connections and lock are kept.
 *
 * What may not be sent now (a pause, a broken precondition), waits in memory for its topic, or
 * makes no progress, goes back to the source by the rewind that also brings parked events again:
 * then what was sent of a batch counts by the old configuration, and the rest comes by the new one.
 * What the sink holds is waited for in any case: only its report tells whether the destination has
 * it, and taken back it might be there twice.
 *
 * Events that are parked, or held with a row, have been judged by the configuration of before:
 * nothing is held any more, and they come again before anything new is read. */
#include "base/clock.h"
#include "flow/pipeline_internal.h"

enum { CHANGE_PATIENCE_MS = 2000 }; /* then what does not settle by itself goes back */

void pipeline_change(Pipeline *p, bool wanted)
{
    if (p->changing->wanted == wanted) {
        return;
    }
    p->changing->wanted = wanted;
    p->changing->since_us = clock_monotonic_us();
    pipeline_wake(p);
}

void pipeline_make_by(Pipeline *p, Router *router, Encoder *encoder)
{
    encoder->events = p->parts->encoder->events;
    router_free(&p->parts->router);
    p->parts->encoder->free(p->parts->encoder);
    p->parts->router = router;
    p->parts->encoder = encoder;
}

/* What it holds does not become less by itself. */
static bool pipeline_stands(const Pipeline *p)
{
    int64_t waited_us = clock_monotonic_us() - p->changing->since_us;
    return p->machine->brakes != 0 || p->parking->in_memory > 0 ||
           waited_us > CHANGE_PATIENCE_MS * INT64_C(1000);
}

void pipeline_change_when_due(Pipeline *p)
{
    pipeline_change_here(p);
    if (!machine_goes(p->machine)) {
        return; /* it comes back here, or there by its rewind */
    }
    if (p->changing->wanted && window_is_settled(p->window) && pipeline_stands(p)) {
        if (p->trouble->error.code == CODE_WAITING_EVENTS_FULL) {
            trouble_over(p->trouble); /* what takes all the room goes back */
        }
        pipeline_input(p, INPUT_REREAD);
    } else if (p->changing->rereads && !p->changing->wanted && machine_works(p->machine)) {
        p->waiting->reread_wanted = false;
        pipeline_input(p, INPUT_REREAD);
    }
}

bool pipeline_close(Pipeline *p)
{
    Sink *sink = p->parts->sink;
    return sink->ops->close == NULL || sink->ops->close(sink);
}

/* Between two batches: the place where a pipeline takes another configuration (pipeline_change.c
 * sees to it that it comes there). Nothing here gives the machine an input. */
#include "flow/pipeline_internal.h"

bool pipeline_change_waits(const Pipeline *p)
{
    return p->changing->wanted || p->changing->rereads;
}

static bool pipeline_is_between_batches(const Pipeline *p)
{
    return p->window->acker.batches == 0 && window_is_settled(p->window) && !p->outlet->reopening;
}

static void pipeline_change_now(Pipeline *p)
{
    const Source *source = p->parts->source;
    p->changing->wanted = false;
    isolate_clear(p->isolate);
    p->parts->boundary(p->parts->arg, p);
    p->parking->dead_letter =
        p->parts->config->route.on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER;
    parking_clear(p->parking);
    p->waiting->encoder_ready = false;
    p->changing->rereads = source->ops->parked != NULL && source->ops->parked(source) > 0;
    pipeline_wake(p);
}

void pipeline_change_here(Pipeline *p)
{
    if (p->changing->wanted && pipeline_is_between_batches(p) && !machine_is_ending(p->machine)) {
        pipeline_change_now(p);
    }
}

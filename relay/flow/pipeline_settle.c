/* Waiting for what the sink holds: how long, whether it may still leave, when its producer is dead.
 */
#include "base/log.h"
#include "flow/pipeline_internal.h"

void pipeline_purge(Pipeline *p)
{
    if (outlet_purge(p->outlet)) {
        pipeline_wake(p);
    }
}

void pipeline_hold_sink(Pipeline *p)
{
    p->parts->source->wants_proof = true;
    outlet_hold(p->outlet, true);
}

void pipeline_time_is_up(Pipeline *p)
{
    if (p->window->in_flight > 0) {
        pipeline_input(p, INPUT_TIME_UP);
    }
}

void pipeline_look_at_sink(Pipeline *p)
{
    if (!outlet_is_dead(p->outlet, p->window->progress_us)) {
        outlet_wait_on(p->outlet); /* only its reports tell what the broker has */
        return;
    }
    log_write(LOG_WARN, p->parts->config->name, CODE_SINK_DID_NOT_SETTLE,
              LOG_FIELDS(log_number("in_flight", (long long)p->window->in_flight)),
              "the brokers answer, but the producer reported nothing for %d s; making a new one, "
              "duplicates are possible",
              OUTLET_DEAD_SECONDS);
    pipeline_reopen_sink(p);
}

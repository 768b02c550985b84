/* What actions of the machine do to the sink: take back, hold, rewind, make a new producer. Calls
 * nothing that gives the machine an input. */
#include "base/backoff.h"
#include "base/log.h"
#include "flow/pipeline_internal.h"

int64_t pipeline_backoff_ms(Pipeline *p)
{
    const ClaimConfig *claim = &p->parts->config->claim;
    return backoff_next_ms(&p->trouble->attempt, claim->backoff_min_ms, claim->backoff_max_ms);
}

void pipeline_reset_cursor(Pipeline *p)
{
    window_rewind(p->window);
    parking_clear_memory(p->parking);
}

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

void pipeline_on_reopen(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Pipeline *p = arg;
    ++*p->parts->stats->producers_recreated;
    p->parts->sink->ops->reopen(p->parts->sink);
}

void pipeline_reopen_sink(Pipeline *p)
{
    if (p->outlet->reopening) {
        return;
    }
    p->outlet->reopening = true;
    int64_t delay_ms =
        p->outlet->reopens++ == 0 || p->machine->stop_asked ? 0 : pipeline_backoff_ms(p);
    if (delay_ms == 0) {
        pipeline_on_reopen(-1, 0, p);
        return;
    }
    event_add(p->outlet->reopen,
              &(struct timeval){.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000});
}

void pipeline_look_at_sink(Pipeline *p)
{
    if (!outlet_is_dead(p->outlet, p->window->progress_us)) {
        outlet_wait_on(p->outlet); /* only its reports tell what the broker has */
        return;
    }
    log_write(LOG_WARN, p->parts->config->name, CODE_SINK_DID_NOT_SETTLE,
              LOG_FIELDS(log_number("in_flight", (long long)p->window->in_flight)),
              "the brokers answer, but the producer has reported nothing for %d s; replacing it, "
              "duplicates are possible",
              OUTLET_DEAD_SECONDS);
    pipeline_reopen_sink(p);
}

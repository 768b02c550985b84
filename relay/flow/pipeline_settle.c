/* Waiting for what the sink holds: how long, whether it may still leave, when its producer is dead.
 */
#include "base/clock.h"
#include "base/log.h"
#include "flow/pipeline_internal.h"

enum {
    SETTLE_MS = 10000,     /* a rewind that waits for the sink looks again so often */
    SINK_DEAD_MS = 300000, /* with brokers that answer and no report: the producer is dead */
};

static void pipeline_look_after(Pipeline *p, int64_t ms)
{
    event_add(p->settle, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

void pipeline_bound_settling(Pipeline *p)
{
    pipeline_look_after(p, SETTLE_MS);
}

void pipeline_bound_lease(Pipeline *p)
{
    pipeline_look_after(p, p->parts.config->claim.lease_ms);
}

void pipeline_purge(Pipeline *p)
{
    if (p->purged) {
        return; /* it takes back all that comes back, until the next send */
    }
    p->purged = true;
    p->parts.sink->ops->purge(p->parts.sink);
    pipeline_look_after(p, SETTLE_MS);
    pipeline_wake(p);
}

/* What the broker may have keeps its place in the producer, so that it is not written twice should
 * the lock become ours again with nobody else in between. */
void pipeline_hold_sink(Pipeline *p)
{
    p->parts.source->wants_proof = true;
    p->parts.sink->ops->hold(p->parts.sink, true);
    pipeline_look_after(p, SETTLE_MS);
}

void pipeline_time_is_up(Pipeline *p)
{
    if (p->window->in_flight > 0) {
        pipeline_input(p, INPUT_TIME_UP);
    }
}

void pipeline_look_at_sink(Pipeline *p)
{
    int64_t quiet_since_us =
        p->window->progress_us > p->settling_us ? p->window->progress_us : p->settling_us;
    int64_t quiet_us = clock_monotonic_us() - quiet_since_us;
    if (!p->parts.sink->answers || quiet_us < SINK_DEAD_MS * INT64_C(1000)) {
        pipeline_look_after(p, SETTLE_MS); /* only its reports tell what the broker has */
        return;
    }
    log_write(LOG_WARN, p->parts.config->name, CODE_SINK_DID_NOT_SETTLE,
              LOG_FIELDS(log_number("in_flight", (long long)p->window->in_flight)),
              "the brokers answer, but the producer reported nothing for %d s; making a new one, "
              "duplicates are possible",
              SINK_DEAD_MS / 1000);
    pipeline_reopen_sink(p);
}

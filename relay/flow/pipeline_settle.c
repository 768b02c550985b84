/* Waiting for what the sink holds: how long, whether it may still leave, when its producer is dead.
 */
#include "base/clock.h"
#include "base/log.h"
#include "flow/pipeline_internal.h"

enum {
    SETTLE_MS = 10000,     /* a rewind that waits for the sink looks again so often */
    SINK_DEAD_MS = 300000, /* without a report, although the destination answers: it is dead */
};

static void pipeline_look_after(Pipeline *p, int64_t ms)
{
    event_add(p->settle, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

void pipeline_bound_settling(Pipeline *p)
{
    pipeline_look_after(p, SETTLE_MS);
}

/* What has not left yet comes back. */
void pipeline_purge(Pipeline *p)
{
    p->purged = true;
    p->sink_held = false;
    p->parts.sink->ops->purge(p->parts.sink);
    pipeline_look_after(p, SETTLE_MS);
    pipeline_wake(p);
}

/* Nothing leaves any more. What the broker may have keeps its place in the producer, so that it is
 * not written twice should the lock become ours again with nobody else in between. */
static void pipeline_hold_sink(Pipeline *p)
{
    const SinkOps *ops = p->parts.sink->ops;
    if (p->purged || p->sink_held) {
        return;
    }
    if (ops->hold == NULL) {
        pipeline_purge(p);
        return;
    }
    p->sink_held = true;
    p->parts.source->wants_proof = true;
    ops->hold(p->parts.sink, true);
    pipeline_look_after(p, SETTLE_MS);
}

void pipeline_let_sink_go(Pipeline *p)
{
    if (p->sink_held) {
        p->sink_held = false;
        p->parts.sink->ops->hold(p->parts.sink, false);
    }
}

/* The right to publish is over. */
static void pipeline_end_lease(Pipeline *p)
{
    if (p->after >= AFTER_STOP && p->source_lost) {
        if (!p->purged) {
            pipeline_purge(p); /* nobody will try to get the lock back */
        }
    } else {
        pipeline_hold_sink(p);
    }
}

void pipeline_settle_timeout(Pipeline *p)
{
    if (p->state != PIPELINE_REWINDING || p->in_flight == 0) {
        return;
    }
    if (p->unlocked && !p->purged) {
        pipeline_end_lease(p);
        if (p->purged || p->sink_held) {
            return;
        }
    }
    int64_t quiet_since_us = p->progress_us > p->rewind_us ? p->progress_us : p->rewind_us;
    int64_t quiet_us = clock_monotonic_us() - quiet_since_us;
    if (!sink_answers(p->parts.sink) || quiet_us < SINK_DEAD_MS * INT64_C(1000)) {
        pipeline_look_after(p, SETTLE_MS); /* only its reports tell what the broker has */
        return;
    }
    log_write(LOG_WARN, p->parts.config->name, CODE_SINK_DID_NOT_SETTLE,
              LOG_FIELDS(log_number("in_flight", (long long)p->in_flight)),
              "the brokers answer, but the producer has reported nothing for %d s; replacing it, "
              "duplicates are possible",
              SINK_DEAD_MS / 1000);
    pipeline_reopen_sink(p);
}

/* The right to publish ends with the lease. */
void pipeline_bound_lease(Pipeline *p)
{
    bool known =
        p->unlocked; /* and its end is waited for: failing to connect moves it no further */
    p->unlocked = true;
    if (p->parts.source->lease_over || p->sink_held) {
        pipeline_end_lease(p);
    } else if (!known && !p->purged) {
        pipeline_look_after(p, p->parts.config->claim.lease_ms);
    }
}

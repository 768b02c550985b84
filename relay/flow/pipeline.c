/* What the inputs of the machine (flow/machine.h) mean for source, sink and batches: its guards and
 * actions; and what is wrong, and how it is said. */
#include "flow/pipeline.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "flow/pipeline_internal.h"

static const char *const STATE_NAMES[] = {"starting",  "standby",  "running", "paused", "stalled",
                                          "rewinding", "draining", "stopped", "failed"};

const char *pipeline_state_name(PipelineState state)
{
    return STATE_NAMES[state];
}

void pipeline_complain(Pipeline *p, const Error *err, bool from_sink)
{
    bool explained = !from_sink && broken_is_on(p->broken);
    trouble_note(p->trouble, err, from_sink, explained);
}

void pipeline_sum_up(Pipeline *p, bool at_once)
{
    int64_t now_us = clock_monotonic_us();
    trouble_sum_up(p->trouble, now_us, at_once);
    machine_sum_up(p->machine, now_us, at_once);
    int64_t asides = log_limit_due(&p->lines->asides, now_us, at_once);
    if (asides > 0) {
        log_write(LOG_WARN, p->parts->config->name, CODE_EVENT_SET_ASIDE,
                  LOG_FIELDS(log_number("events", asides)),
                  "more events were stored as dead letters; to see them, run: outboxd dead list");
    }
    int64_t shadowed = log_limit_due(&p->lines->shadowed, now_us, at_once);
    if (shadowed > 0) {
        log_write(LOG_WARN, p->parts->config->name, CODE_HEADERS_SHADOWED,
                  LOG_FIELDS(log_number("events", shadowed)),
                  "more events had headers that were left out");
    }
}

/* Guards. */

/* Rows that are, or may be, published and are not marked. */
static size_t pipeline_unmarked(const Pipeline *p)
{
    return p->parts->source->ops->unmarked(p->parts->source) + window_unmarked(p->window);
}

static bool pipeline_guard(const void *arg, Guard guard)
{
    const Pipeline *p = arg;
    const Source *source = p->parts->source;
    switch (guard) {
    case GUARD_UNTROUBLED:
        return !trouble_is_on(p->trouble);
    case GUARD_WELL:
        return !trouble_is_on(p->trouble) || p->window->acker.batches == 0;
    case GUARD_FATAL:
        return p->trouble->error.class == ERROR_FATAL;
    case GUARD_UNMARKED:
        return pipeline_unmarked(p) > 0;
    case GUARD_PURGED:
        return p->outlet->purged;
    case GUARD_SINK_HOLDS:
        return outlet_can_hold(p->outlet);
    case GUARD_LEASE_OVER:
        return source->lease_over && outlet_can_hold(p->outlet);
    case GUARD_OTHERS:
        return source->proof == PROOF_OTHERS;
    case GUARD_UNPROVEN:
        return source->proof != PROOF_ALONE;
    case GUARD_ALWAYS:
    case GUARD_COUNT:
        break;
    }
    return true;
}

/* Actions: becoming the publisher. */

static void act_activate(Pipeline *p)
{
    bool quiet = trouble_is_on(p->trouble) && !p->trouble->said;
    p->holder[0] = '\0';
    const Source *source = p->parts->source;
    if (source->ops->parked == NULL || source->ops->parked(source) == 0) {
        parking_rewound(p->parking);
        p->waiting->reread_wanted = false;
        p->changing->rereads = false;
    }
    trouble_over(p->trouble);
    p->parts->sink->ops->open(p->parts->sink);
    if (!quiet) {
        log_write(LOG_INFO, p->parts->config->name, CODE_PIPELINE_ACTIVE, LOG_NO_FIELDS,
                  "this relay is now the publisher");
    }
    pipeline_wake(p);
}

static void act_stand_by(Pipeline *p)
{
    parking_clear(p->parking);
    trouble_over(p->trouble);
    outlet_release(p->outlet);
}

static void act_recover(Pipeline *p)
{
    trouble_over(p->trouble);
    pipeline_wake(p);
}

static void act_resume(Pipeline *p)
{
    p->parts->source->ops->resume(p->parts->source);
}

static void act_restart(Pipeline *p)
{
    ++*p->parts->stats->reconnects;
    p->parts->source->ops->start(p->parts->source, pipeline_backoff_ms(p));
}

/* Actions: what the sink holds is waited for. */

static void pipeline_begin_settling(Pipeline *p)
{
    outlet_begin_settling(p->outlet);
    pipeline_wake(p);
}

static void act_resend(Pipeline *p)
{
    *p->parts->stats->rewinds += !p->isolate->grouped; /* else a step of taking apart */
    pipeline_begin_settling(p);
    pipeline_purge(p);
}

static void act_reread(Pipeline *p)
{
    ++*p->parts->stats->rewinds;
    pipeline_begin_settling(p);
    outlet_wait_on(p->outlet);
}

static void act_fail(Pipeline *p)
{
    pipeline_begin_settling(p);
    pipeline_purge(p);
}

/* The right to publish ends with the lease: what the sink holds may leave until then. The bound is
 * set when the lock is lost, and not again while connecting to the server fails: each attempt would
 * move the end of a lease that the server does not prolong. It is set anew when the lock was ours
 * in between. A source that knows that its lease is over already says so with `lost`; a sink that
 * can be held is held then (GUARD_LEASE_OVER), any other is purged. Once it is purged there is
 * nothing to bound, as nothing leaves. */
static void act_bound_lease(Pipeline *p)
{
    if (p->parts->source->lease_over) {
        pipeline_purge(p);
    } else if (!p->outlet->purged) {
        outlet_wait(p->outlet, p->parts->config->claim.lease_ms);
    }
    pipeline_wake(p);
}

/* As above, while the bound of before counts. */
static void act_keep_lease(Pipeline *p)
{
    if (p->parts->source->lease_over) {
        pipeline_purge(p);
    }
    pipeline_wake(p);
}

static void act_restart_leased(Pipeline *p)
{
    act_bound_lease(p);
    act_restart(p);
}

static void act_restart_again(Pipeline *p)
{
    if (p->parts->sink->ops->hold == NULL) {
        act_keep_lease(p);
    }
    act_restart(p);
    pipeline_wake(p);
}

static void act_restart_held(Pipeline *p)
{
    pipeline_hold_sink(p);
    act_restart(p);
    pipeline_wake(p);
}

static void act_lose_source(Pipeline *p)
{
    ++*p->parts->stats->rewinds;
    pipeline_begin_settling(p);
    act_restart_leased(p);
}

static void act_lose_and_hold(Pipeline *p)
{
    ++*p->parts->stats->rewinds;
    pipeline_begin_settling(p);
    act_restart_held(p);
}

static void act_wait_locked(Pipeline *p)
{
    p->parts->source->wants_proof = false;
    outlet_wait_on(p->outlet);
    pipeline_wake(p);
}

static void act_let_go(Pipeline *p)
{
    outlet_hold(p->outlet, false);
    act_wait_locked(p);
}

static void act_take_back(Pipeline *p)
{
    pipeline_purge(p);
    act_wait_locked(p);
}

/* Actions: everything has settled. */

/* What may have been written and goes back unsettled will be sent again, as new events: counted
 * now. */
static void pipeline_count_replays(Pipeline *p, const Batch *batch)
{
    for (size_t i = 0; batch->unsettled > 0 && i < batch->count; i++) {
        *p->parts->stats->replayed +=
            batch->events[i]->replayed && !event_is_settled(batch->events[i]);
    }
}

/* Gives every open batch back to the source: what is settled will be marked, the rest read again.
 */
static void pipeline_return_batches(Pipeline *p)
{
    window_unpark(p->window, p->parking);
    isolate_clear(p->isolate);
    for (Batch *batch; (batch = window_pop(p->window)) != NULL;) {
        pipeline_count_replays(p, batch);
        p->parts->source->ops->ack(p->parts->source, batch);
    }
}

/* The rewind itself: where what follows a failure goes on from. All reports of what was sent are
 * in, and the dead letters on their way are stored or taken back, so no event is anybody else's:
 * each is settled, or to be sent again. The send cursor goes back to the oldest open batch, over
 * events that are settled already, so what is sent next is the first of each key that is not
 * published, and the order of keys holds. An event that is still SENT here belongs to a producer
 * that is gone: its outcome is unknown for ever, it may come twice, and it is counted
 * (Event.replayed). From here there are two ways. With the source fine the batches stay in memory
 * and are sent from there: they are not given back, and their rows are not read again. Else every
 * batch goes back to the source, which remembers what is acknowledged and reads the rest again. */
static void pipeline_rewind(Pipeline *p)
{
    outlet_settled(p->outlet);
    pipeline_reset_cursor(p);
}

static void act_go_on(Pipeline *p)
{
    pipeline_rewind(p);
    pipeline_count_overtaken(p);
    trouble_over(p->trouble); /* with an error there is no record that could say so */
    pipeline_wake(p);
}

static void act_go_on_slowly(Pipeline *p)
{
    pipeline_rewind(p);
    pipeline_count_overtaken(p);
    p->outlet->hold_until_us = clock_monotonic_us() + pipeline_backoff_ms(p) * 1000;
    pipeline_wake(p);
}

static void act_read_again(Pipeline *p)
{
    pipeline_rewind(p);
    p->parts->source->ops->reread(p->parts->source);
    pipeline_return_batches(p);
    parking_rewound(p->parking);
    pipeline_change_here(p);
    p->changing->rereads = false;
    pipeline_wake(p);
}

static void act_return(Pipeline *p)
{
    pipeline_rewind(p);
    pipeline_return_batches(p);
    pipeline_change_here(p);
    outlet_release(p->outlet); /* whoever has the lock now may publish */
}

static void act_return_resume(Pipeline *p)
{
    act_return(p);
    act_resume(p);
}

static void act_return_standby(Pipeline *p)
{
    act_return(p);
    parking_clear(p->parking);
}

/* Actions: the end. */

static void act_drain(Pipeline *p)
{
    p->parts->source->ops->drain(p->parts->source);
}

static void act_return_drain(Pipeline *p)
{
    act_return(p);
    act_drain(p);
}

static void act_return_drain_resume(Pipeline *p)
{
    act_return_drain(p);
    act_resume(p);
}

static void act_stop_sending(Pipeline *p)
{
    window_stop_sending(p->window);
    pipeline_wake(p);
}

static void act_end(Pipeline *p)
{
    event_del(p->tick);
    outlet_stop(p->outlet);
    pipeline_sum_up(p, true);
    pipeline_wake(p); /* reports `ended` outside of every call */
}

static void act_end_undone(Pipeline *p)
{
    error_set(&p->trouble->error, CODE_DRAIN_INCOMPLETE,
              "the connection to PostgreSQL was lost while %zu rows were in flight or not marked; "
              "they will be duplicated",
              pipeline_unmarked(p));
    log_error(LOG_WARN, p->parts->config->name, &p->trouble->error, NULL);
    act_end(p);
}

static void act_return_end(Pipeline *p)
{
    act_return(p);
    act_end(p);
}

static void act_return_end_undone(Pipeline *p)
{
    act_end_undone(p); /* first: it counts what is published */
    act_return(p);
}

static void act_nothing(Pipeline *p)
{
    (void)p;
}

static void (*const ACTIONS[])(Pipeline *p) = {
    [ACTION_NOTHING] = act_nothing,
    [ACTION_RESUME] = act_resume,
    [ACTION_ACTIVATE] = act_activate,
    [ACTION_STAND_BY] = act_stand_by,
    [ACTION_RECOVER] = act_recover,
    [ACTION_STOP_SENDING] = act_stop_sending,
    [ACTION_DRAIN] = act_drain,
    [ACTION_LOOK] = pipeline_wake,
    [ACTION_RESEND] = act_resend,
    [ACTION_REREAD] = act_reread,
    [ACTION_FAIL] = act_fail,
    [ACTION_LOSE_SOURCE] = act_lose_source,
    [ACTION_LOSE_AND_HOLD] = act_lose_and_hold,
    [ACTION_RESTART] = act_restart,
    [ACTION_RESTART_LEASED] = act_restart_leased,
    [ACTION_RESTART_AGAIN] = act_restart_again,
    [ACTION_RESTART_HELD] = act_restart_held,
    [ACTION_BOUND_LEASE] = act_bound_lease,
    [ACTION_KEEP_LEASE] = act_keep_lease,
    [ACTION_PURGE] = pipeline_purge,
    [ACTION_HOLD] = pipeline_hold_sink,
    [ACTION_LOOK_AT_SINK] = pipeline_look_at_sink,
    [ACTION_WAIT_LOCKED] = act_wait_locked,
    [ACTION_LET_GO] = act_let_go,
    [ACTION_TAKE_BACK] = act_take_back,
    [ACTION_GO_ON] = act_go_on,
    [ACTION_GO_ON_SLOWLY] = act_go_on_slowly,
    [ACTION_READ_AGAIN] = act_read_again,
    [ACTION_RETURN] = act_return,
    [ACTION_RETURN_RESUME] = act_return_resume,
    [ACTION_RETURN_STANDBY] = act_return_standby,
    [ACTION_RETURN_DRAIN] = act_return_drain,
    [ACTION_RETURN_DRAIN_RESUME] = act_return_drain_resume,
    [ACTION_RETURN_END] = act_return_end,
    [ACTION_RETURN_END_UNDONE] = act_return_end_undone,
    [ACTION_END] = act_end,
    [ACTION_END_UNDONE] = act_end_undone,
};
static_assert(sizeof(ACTIONS) / sizeof(ACTIONS[0]) == ACTION_COUNT, "each action is done");

static void pipeline_act(void *arg, Action action)
{
    ACTIONS[action](arg);
}

void pipeline_changed(void *arg)
{
    Pipeline *p = arg;
    if (p->parts->changed != NULL) {
        p->parts->changed(p->parts->arg, p);
    }
}

const MachineOps PIPELINE_MACHINE = {
    .guard = pipeline_guard, .act = pipeline_act, .changed = pipeline_changed};

void pipeline_input(Pipeline *p, Input input)
{
    machine_input(p->machine, input);
}

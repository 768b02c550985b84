/* The pipeline's life: states, what each input does in each of them, and the rewind.
 *
 *   STARTING ─active─▶ RUNNING ◀─healed─ STALLED        STANDBY: the source waits for the lock
 *      ▲                  │ ▲──trouble────▶ │
 *      │ restart          ▼ resend          ▼
 *      └────────────── REWINDING: wait until the sink holds nothing ──fatal──▶ FAILED
 *   stop: RUNNING ─▶ DRAINING: sink settles, source marks ─▶ STOPPED
 *
 * After failed deliveries the sink is purged: nothing may overtake them. When the source is lost,
 * it is not: what the sink holds may have been written by the broker, and only its report tells;
 * taken back, it would be sent twice. The source connects again meanwhile and takes the lock, so
 * that nobody else publishes, and waits for resume(). If the lock is not ours again within the
 * lease, the sink is held: nothing leaves it any more, nothing is given up. It goes on when the
 * lock is ours and the source's history proves that nobody else published; it is purged if somebody
 * did, or may have. A producer is replaced only when it is dead, never because it is slow.
 */
#include "flow/pipeline.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "flow/pipeline_internal.h"

enum { SAID_AGAIN_SECONDS = 60 }; /* the same fact of one trouble is not logged more often */

static const char *const STATE_NAMES[] = {"starting",  "standby",  "running", "paused", "stalled",
                                          "rewinding", "draining", "stopped", "failed"};

const char *pipeline_state_name(PipelineState state)
{
    return STATE_NAMES[state];
}

void pipeline_wake(Pipeline *p)
{
    event_active(p->wake, 0, 0);
}

static void pipeline_enter(Pipeline *p, PipelineState state)
{
    if (p->state == state) {
        return;
    }
    p->state = state;
    p->since = clock_moment();
    if (p->parts.changed != NULL) {
        p->parts.changed(p->parts.arg, p);
    }
}

int64_t pipeline_backoff_ms(Pipeline *p)
{
    int64_t delay = p->parts.config->claim.backoff_min_ms;
    for (unsigned i = 0; i < p->attempt && delay < p->parts.config->claim.backoff_max_ms; i++) {
        delay *= 2;
    }
    if (delay > p->parts.config->claim.backoff_max_ms) {
        delay = p->parts.config->claim.backoff_max_ms;
    }
    p->attempt++;
    int64_t half = delay / 2;
    return half + (int64_t)((double)random() / (double)RAND_MAX * (double)(delay - half));
}

/* Whether this fact was logged within SAID_AGAIN_SECONDS; if not, notes that it is now. */
static bool pipeline_said(Pipeline *p, const Error *err)
{
    uint64_t fact = error_hash(err);
    int64_t now_us = clock_monotonic_us();
    Said *oldest = &p->said[0];
    for (Said *said = p->said; said < p->said + SAID_MAX; said++) {
        if (said->fact == fact && now_us - said->at_us < SAID_AGAIN_SECONDS * INT64_C(1000000)) {
            return true;
        }
        if (said->fact == fact || said->at_us < oldest->at_us) {
            oldest = said;
        }
    }
    *oldest = (Said){.fact = fact, .at_us = now_us};
    return false;
}

/* What a server that is away says in turns: one restart is a farewell, a refusal and a plea to
 * wait.
 */
static bool error_is_away(const Error *err)
{
    static const ErrorCode CODES[] = {
        CODE_POSTGRES_UNREACHABLE, CODE_POSTGRES_CONNECTION_LOST, CODE_POSTGRES_CONNECTION,
        CODE_POSTGRES_SILENT,      CODE_POSTGRES_NOT_SENT,        CODE_POSTGRES_SHUTDOWN,
        CODE_POSTGRES_CRASH,       CODE_POSTGRES_STARTING,        CODE_SERVER_STOPPING,
    };
    for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++) {
        if (err->code == CODES[i]) {
            return true;
        }
    }
    return false;
}

void pipeline_complain(Pipeline *p, const Error *err, bool from_sink)
{
    bool same = p->error.class == err->class && error_same(&p->error, err);
    p->error_repeated++;
    if (same) {
        return;
    }
    if (p->error.class == ERROR_FATAL) { /* what stops the pipeline stays its reason */
        if (!pipeline_said(p, err)) {
            log_error(LOG_WARN, p->parts.config->name, err, NULL);
        }
        return;
    }
    if (p->error.class == ERROR_NONE) {
        p->error_since = clock_moment();
        p->error_said = false;
    }
    bool same_outage = p->error_said && error_is_away(&p->error) && error_is_away(err);
    error_copy(&p->error, err);
    p->error_from_sink = from_sink;
    p->error_repeated = 1;
    bool fatal = err->class == ERROR_FATAL;
    bool explained = !from_sink && p->broken.class != ERROR_NONE;
    if (!fatal && (explained || same_outage || pipeline_said(p, err))) {
        return;
    }
    p->error_logged_us = clock_monotonic_us();
    if (!fatal && !log_limit_take(&p->trouble_lines, p->error_logged_us)) {
        return;
    }
    p->error_said = true;
    log_error(fatal ? LOG_ERROR : LOG_WARN, p->parts.config->name, err,
              fatal ? "this pipeline stops" : "waiting, retrying automatically");
}

void pipeline_recovered(Pipeline *p)
{
    if (p->error.class == ERROR_NONE) {
        return;
    }
    int64_t after_ms = clock_since_us(&p->error_since) / 1000;
    if (p->error_said) { /* else nobody read what this would be the end of */
        log_write(LOG_INFO, p->parts.config->name, CODE_PIPELINE_RECOVERED,
                  LOG_FIELDS(log_text("was", error_code_name(p->error.code)),
                             log_number("after_ms", after_ms)),
                  "publishing again");
    }
    p->last_trouble = p->error.code;
    error_clear(&p->error);
    p->attempt = 0;
    memset(p->said, 0, sizeof(p->said));
}

void pipeline_sum_up(Pipeline *p, bool at_once)
{
    int64_t now_us = clock_monotonic_us();
    int64_t troubles = log_limit_due(&p->trouble_lines, now_us, at_once);
    if (troubles > 0) {
        bool now = p->error.class != ERROR_NONE;
        log_write(
            LOG_WARN, p->parts.config->name, CODE_PIPELINE_UNSTEADY,
            LOG_FIELDS(log_number("times", troubles),
                       log_text("last", error_code_name(now ? p->error.code : p->last_trouble))),
            "publishing failed and recovered repeatedly%s%s",
            now ? "; not yet recovered from: " : "", now ? error_message(&p->error) : "");
    }
    int64_t asides = log_limit_due(&p->aside_lines, now_us, at_once);
    if (asides > 0) {
        log_write(LOG_WARN, p->parts.config->name, CODE_EVENT_SET_ASIDE,
                  LOG_FIELDS(log_number("events", asides)),
                  "more events were stored as dead letters; to see them, run: outboxd dead list");
    }
    int64_t shadowed = log_limit_due(&p->shadowed_lines, now_us, at_once);
    if (shadowed > 0) {
        log_write(LOG_WARN, p->parts.config->name, CODE_HEADERS_SHADOWED,
                  LOG_FIELDS(log_number("events", shadowed)),
                  "more events had headers that were left out");
    }
}

/* Actions of the table. */

static void act_nothing(Pipeline *p)
{
    (void)p;
}

static void act_activate(Pipeline *p)
{
    p->connected = true;
    bool quiet = p->error.class != ERROR_NONE && !p->error_said;
    p->holder[0] = '\0';
    const Source *source = p->parts.source;
    if (source->ops->parked == NULL || source->ops->parked(source) == 0) {
        parking_rewound(&p->parking);
        p->reread_wanted = false;
    }
    pipeline_recovered(p);
    p->parts.sink->ops->open(p->parts.sink);
    if (!quiet) {
        log_write(LOG_INFO, p->parts.config->name, CODE_PIPELINE_ACTIVE, LOG_NO_FIELDS,
                  "this relay is now the publisher");
    }
    pipeline_wake(p);
}

static void act_standby(Pipeline *p)
{
    p->connected = true;
    parking_clear(&p->parking);
    pipeline_recovered(p);
}

static void act_healed(Pipeline *p)
{
    pipeline_recovered(p);
    pipeline_wake(p);
}

static void pipeline_rewind(Pipeline *p, AfterRewind after)
{
    if (after > p->after) {
        p->after = after;
    }
    p->rewind_us = clock_monotonic_us();
    pipeline_purge(p);
}

static void act_resend(Pipeline *p)
{
    *p->parts.stats->rewinds += !p->isolate.grouped; /* else a step of taking apart */
    pipeline_rewind(p, AFTER_RESEND);
}

/* What the sink holds settles, and is not taken back: nothing is wrong with it. */
static void act_reread(Pipeline *p)
{
    ++*p->parts.stats->rewinds;
    p->purged = false;
    p->after = AFTER_REREAD;
    p->rewind_us = clock_monotonic_us();
    pipeline_bound_settling(p);
    pipeline_wake(p);
}

void pipeline_forget_aside(Pipeline *p)
{
    for (Batch *batch = p->acker.oldest; batch != NULL; batch = batch->newer) {
        for (size_t i = 0; i < batch->count; i++) {
            if (batch->events[i]->state == EVENT_ASIDE_BUSY) {
                batch->events[i]->state = EVENT_PENDING;
            }
        }
    }
    p->aside_busy = 0;
}

static void pipeline_start_source(Pipeline *p)
{
    p->source_lost = false;
    ++*p->parts.stats->reconnects;
    p->parts.source->ops->start(p->parts.source, pipeline_backoff_ms(p));
}

static void act_restart_source(Pipeline *p)
{
    p->locked = false;
    pipeline_start_source(p);
}

static void act_source_lost(Pipeline *p)
{
    ++*p->parts.stats->rewinds;
    p->after = AFTER_RESTART;
    p->purged = false;
    p->rewind_us = clock_monotonic_us();
    pipeline_bound_lease(p);
    act_restart_source(p);
    pipeline_wake(p);
}

/* What may have been written and goes back unsettled will be sent again, as new events: counted
 * now. */
static void pipeline_count_replays(Pipeline *p, const Batch *batch)
{
    for (size_t i = 0; batch->unsettled > 0 && i < batch->count; i++) {
        *p->parts.stats->replayed +=
            batch->events[i]->replayed && !event_is_settled(batch->events[i]);
    }
}

/* Gives every open batch back to the source: what is settled will be marked, the rest read again.
 */
static void pipeline_return_batches(Pipeline *p)
{
    pipeline_unpark(p);
    p->sending = NULL;
    isolate_clear(&p->isolate);
    for (Batch *batch; (batch = acker_pop(&p->acker)) != NULL;) {
        pipeline_count_replays(p, batch);
        p->parts.source->ops->ack(p->parts.source, batch);
    }
}

static void act_resume(Pipeline *p)
{
    p->locked = false;
    p->parts.source->ops->resume(p->parts.source);
}

/* The lock is ours again: only what the sink holds is still to be waited for. */
static void act_locked(Pipeline *p)
{
    p->locked = true;
    p->standby = false;
    p->unlocked = false;
    p->parts.source->wants_proof = false;
    SourceProof proof = p->parts.source->proof;
    bool others = proof == PROOF_OTHERS || (proof == PROOF_NONE && p->sink_held);
    if (others && !p->purged) {
        pipeline_purge(p);
    }
    pipeline_let_sink_go(p);
    pipeline_bound_settling(p);
    pipeline_wake(p);
}

static void act_taken(Pipeline *p)
{
    if (!p->standby) {
        p->standby = true;
        pipeline_purge(p);
    }
}

static void pipeline_end(Pipeline *p, PipelineState state)
{
    event_del(p->tick);
    event_del(p->settle);
    event_del(p->reopen);
    pipeline_sum_up(p, true);
    pipeline_enter(p, state);
    pipeline_wake(p); /* reports `ended` outside of every call */
}

static void act_drain(Pipeline *p)
{
    /* Events that were not sent yet stay unpublished; those in the sink are waited for. */
    p->sending = NULL;
    pipeline_wake(p);
}

static void act_drain_source(Pipeline *p)
{
    pipeline_return_batches(p);
    p->parts.source->ops->drain(p->parts.source);
}

static void act_fail(Pipeline *p)
{
    pipeline_rewind(p, AFTER_FAIL);
}

static void act_failed(Pipeline *p)
{
    pipeline_end(p, PIPELINE_FAILED);
}

/* Rows that are, or may be, published and are not marked. */
static size_t pipeline_unmarked(const Pipeline *p)
{
    size_t rows = p->parts.source->ops->unmarked(p->parts.source) + p->in_flight;
    for (const Batch *batch = p->acker.oldest; batch != NULL; batch = batch->newer) {
        rows += batch->count - batch->unsettled;
    }
    return rows;
}

static void act_lost_while_draining(Pipeline *p)
{
    size_t unmarked = pipeline_unmarked(p);
    if (unmarked > 0 && p->error.class != ERROR_FATAL) {
        error_set(&p->error, CODE_DRAIN_INCOMPLETE,
                  "the connection to PostgreSQL was lost while %zu rows were in flight or not "
                  "marked; they will be duplicated",
                  unmarked);
        log_error(LOG_WARN, p->parts.config->name, &p->error, NULL);
    }
    pipeline_end(p, p->error.class == ERROR_FATAL ? PIPELINE_FAILED : PIPELINE_STOPPED);
}

/* After a rewind, everything the sink held has settled. */
static void act_rewound(Pipeline *p)
{
    event_del(p->settle);
    AfterRewind after = p->after;
    bool locked = p->locked;
    bool standby = p->standby;
    p->after = AFTER_RESEND;
    p->blocked = p->purged = p->sink_held = p->locked = p->unlocked = p->standby = false;
    switch (after) {
    case AFTER_RESEND:
        pipeline_reset_cursor(p);
        pipeline_count_overtaken(p);
        if (p->acker.batches == 0) {
            pipeline_recovered(p); /* no record is there whose acknowledgement could say so */
        }
        pipeline_enter(p, p->error.class == ERROR_NONE ? PIPELINE_RUNNING : PIPELINE_STALLED);
        if (p->error.class != ERROR_NONE) {
            p->hold_until_us = clock_monotonic_us() + pipeline_backoff_ms(p) * 1000;
        }
        pipeline_wake(p);
        break;
    case AFTER_REREAD:
        pipeline_reset_cursor(p);
        p->parts.source->ops->reread(p->parts.source);
        pipeline_return_batches(p);
        parking_rewound(&p->parking);
        pipeline_enter(p, p->error.class == ERROR_NONE ? PIPELINE_RUNNING : PIPELINE_STALLED);
        pipeline_wake(p);
        break;
    case AFTER_RESTART:
        pipeline_reset_cursor(p);
        pipeline_return_batches(p);
        if (standby) {
            parking_clear(&p->parking);
        }
        pipeline_enter(p, standby ? PIPELINE_STANDBY : PIPELINE_STARTING);
        if (locked) {
            act_resume(p);
        }
        break;
    case AFTER_STOP:
    case AFTER_FAIL:
        pipeline_reset_cursor(p);
        pipeline_return_batches(p);
        if (p->source_lost) {
            act_lost_while_draining(p);
        } else {
            pipeline_enter(p, PIPELINE_DRAINING);
            p->parts.source->ops->drain(p->parts.source);
            if (locked && !p->source_lost) {
                act_resume(p);
            }
        }
        break;
    }
}

static void act_purge(Pipeline *p)
{
    if (p->purged) {
        return; /* it takes back all that comes back, until the next send */
    }
    p->purged = true;
    p->sink_held = false;
    p->parts.sink->ops->purge(p->parts.sink);
}

static void act_fatal_while_draining(Pipeline *p)
{
    if (p->source_lost) {
        act_lost_while_draining(p);
    } /* else of the sink, and we are stopping anyway */
}

static void act_drained(Pipeline *p)
{
    pipeline_end(p, p->error.class == ERROR_FATAL ? PIPELINE_FAILED : PIPELINE_STOPPED);
}

static void act_after_stop(Pipeline *p)
{
    if (p->after < AFTER_STOP) {
        p->after = AFTER_STOP;
    }
    pipeline_wake(p);
}

static void act_after_fail(Pipeline *p)
{
    p->after = AFTER_FAIL;
    pipeline_wake(p);
}

/* While we wait for the sink: connect at once, or, when stopping anyway, not again. */
static void act_after_restart(Pipeline *p)
{
    p->locked = false;
    p->standby = false;
    pipeline_bound_lease(p);
    if (p->after < AFTER_STOP) {
        p->after = AFTER_RESTART;
        pipeline_start_source(p);
    }
    pipeline_wake(p);
}

static void act_stop_source(Pipeline *p)
{
    p->parts.source->ops->drain(p->parts.source);
}

#define KEEP PIPELINE_STATE_COUNT /* stay in the present state */

typedef struct Transition {
    PipelineState from;
    Input input;
    PipelineState to;
    void (*action)(Pipeline *p);
    const char *why;
} Transition;

/* What is not in the table is ignored, which is said for each input where it can come late. */
static const Transition TRANSITIONS[] = {
    {PIPELINE_STARTING, INPUT_LOCKED, KEEP, act_resume, "got the lock, nothing to wait for"},
    {PIPELINE_STARTING, INPUT_ACTIVE, PIPELINE_RUNNING, act_activate, "publishes from now on"},
    {PIPELINE_STARTING, INPUT_STANDBY, PIPELINE_STANDBY, act_standby, "another relay publishes"},
    {PIPELINE_STARTING, INPUT_SOURCE_LOST, KEEP, act_restart_source, "try again, with back-off"},
    {PIPELINE_STARTING, INPUT_FATAL, PIPELINE_FAILED, act_failed, "cannot ever start"},
    {PIPELINE_STARTING, INPUT_STOP, PIPELINE_DRAINING, act_stop_source,
     "marks what it still knows"},

    {PIPELINE_STANDBY, INPUT_LOCKED, KEEP, act_resume, "the other one is gone"},
    {PIPELINE_STANDBY, INPUT_ACTIVE, PIPELINE_RUNNING, act_activate, "take-over"},
    {PIPELINE_STANDBY, INPUT_SOURCE_LOST, PIPELINE_STARTING, act_restart_source, "reconnect"},
    {PIPELINE_STANDBY, INPUT_FATAL, PIPELINE_FAILED, act_failed, "cannot ever start"},
    {PIPELINE_STANDBY, INPUT_STOP, PIPELINE_DRAINING, act_stop_source, "nothing is in flight"},

    {PIPELINE_RUNNING, INPUT_TROUBLE, PIPELINE_STALLED, act_nothing, "wait, say so once"},
    {PIPELINE_RUNNING, INPUT_RESEND, PIPELINE_REWINDING, act_resend, "the sink gave events back"},
    {PIPELINE_RUNNING, INPUT_REREAD, PIPELINE_REWINDING, act_reread, "parked events may go on"},
    {PIPELINE_RUNNING, INPUT_SOURCE_LOST, PIPELINE_REWINDING, act_source_lost, "lock is gone"},
    {PIPELINE_RUNNING, INPUT_FATAL, PIPELINE_REWINDING, act_fail, "settle and mark, then stop"},
    {PIPELINE_RUNNING, INPUT_STOP, PIPELINE_DRAINING, act_drain, "asked to"},

    {PIPELINE_STALLED, INPUT_HEALED, PIPELINE_RUNNING, act_healed, "an acknowledgement came"},
    {PIPELINE_STALLED, INPUT_RESEND, PIPELINE_REWINDING, act_resend, "the sink gave events back"},
    {PIPELINE_STALLED, INPUT_REREAD, PIPELINE_REWINDING, act_reread, "parked events may go on"},
    {PIPELINE_STALLED, INPUT_SOURCE_LOST, PIPELINE_REWINDING, act_source_lost, "lock is gone"},
    {PIPELINE_STALLED, INPUT_FATAL, PIPELINE_REWINDING, act_fail, "settle and mark, then stop"},
    {PIPELINE_STALLED, INPUT_STOP, PIPELINE_DRAINING, act_drain, "asked to"},

    {PIPELINE_REWINDING, INPUT_SETTLED, KEEP, act_rewound, "go back and on"},
    {PIPELINE_REWINDING, INPUT_RESEND, KEEP, act_purge, "nothing may overtake what failed"},
    {PIPELINE_REWINDING, INPUT_LOCKED, KEEP, act_locked, "nobody else publishes: wait"},
    {PIPELINE_REWINDING, INPUT_STANDBY, KEEP, act_taken, "another relay publishes: withdraw"},
    {PIPELINE_REWINDING, INPUT_SOURCE_LOST, KEEP, act_after_restart, "connect again"},
    {PIPELINE_REWINDING, INPUT_FATAL, KEEP, act_after_fail, "an operator must act"},
    {PIPELINE_REWINDING, INPUT_STOP, KEEP, act_after_stop, "asked to"},

    {PIPELINE_DRAINING, INPUT_SETTLED, KEEP, act_drain_source, "all reports are in: mark"},
    {PIPELINE_DRAINING, INPUT_LOCKED, KEEP, act_resume, "only to mark what is left"},
    {PIPELINE_DRAINING, INPUT_RESEND, KEEP, act_purge, "nothing may overtake what failed"},
    {PIPELINE_DRAINING, INPUT_DRAINED, KEEP, act_drained, "all is marked"},
    {PIPELINE_DRAINING, INPUT_SOURCE_LOST, KEEP, act_lost_while_draining, "cannot mark any more"},
    {PIPELINE_DRAINING, INPUT_FATAL, KEEP, act_fatal_while_draining, "cannot mark, or never mind"},
};

void pipeline_input(Pipeline *p, Input input)
{
    for (size_t i = 0; i < sizeof(TRANSITIONS) / sizeof(TRANSITIONS[0]); i++) {
        const Transition *row = &TRANSITIONS[i];
        if (row->from == p->state && row->input == input) {
            if (row->to != KEEP) {
                pipeline_enter(p, row->to);
            }
            row->action(p);
            return;
        }
    }
}

/* Events that wait with their topic, because it is not there, or not for us, or because of a row of
 * it: what of them comes again, and when. All others go on meanwhile.
 *
 * Where the source can, they are parked: settled for now, so that their batch is acknowledged and
 * they leave memory; the source remembers their rows. When the topic is there, one rewind makes the
 * source read from the beginning, so the order of each key in each topic is kept by construction.
 */
#include "base/clock.h"
#include "flow/pipeline_internal.h"

enum {
    REREAD_SECONDS = 5,    /* between two rewinds: topics that come back one by one share one */
    RECOUNT_SECONDS = 300, /* rows that wait are read again, as somebody may have deleted them, */
    RECOUNT_ROW_US = 3000, /* ... and so much later for each of them */
    ENCODER_SECONDS = 30,  /* an encoder that says nothing is asked again */
};

/* Those that wait in memory are sent now, in their order; the sink keeps what it holds. */
static void pipeline_let_go(Pipeline *p)
{
    window_let_go(p->window, machine_goes(p->machine));
    parking_clear_memory(p->parking);
    pipeline_wake(p);
}

/* What takes all the room is about to leave. */
static void pipeline_empty(Pipeline *p)
{
    pipeline_let_go(p);
    if (p->machine->state == MACHINE_STALLED &&
        p->trouble->error.code == CODE_WAITING_EVENTS_FULL) {
        pipeline_input(p, INPUT_HEALED);
    }
}

void pipeline_want_reread(Pipeline *p)
{
    p->waiting->reread_wanted = true;
    pipeline_wake(p);
}

void pipeline_bring(Pipeline *p, unsigned again)
{
    if ((again & AGAIN_FROM_MEMORY) != 0) {
        pipeline_let_go(p);
    }
    if ((again & AGAIN_FROM_ROWS) != 0) {
        pipeline_want_reread(p);
    }
}

void pipeline_reread_when_due(Pipeline *p)
{
    if (!p->waiting->reread_wanted || !machine_works(p->machine)) {
        return;
    }
    int64_t now_us = clock_monotonic_us();
    if (now_us < p->waiting->reread_at_us) {
        return; /* the next second will look again */
    }
    p->waiting->reread_wanted = false;
    p->waiting->reread_at_us = now_us + REREAD_SECONDS * INT64_C(1000000);
    p->waiting->recount_at_us = 0;
    if (p->trouble->error.code == CODE_WAITING_EVENTS_FULL) {
        trouble_over(p->trouble);
    }
    pipeline_input(p, INPUT_REREAD);
}

void pipeline_on_missing(void *arg, Topic *topic, TopicFault fault, const Error *err)
{
    Pipeline *p = arg;
    /* Who may write no topic at all may be refused as a whole: then no event comes so far as to be
     * held. */
    if (p->machine->state == MACHINE_STALLED && fault == TOPIC_DENIED &&
        p->outlet->lost_by != CODE_NONE && p->trouble->error.code == p->outlet->lost_by) {
        pipeline_complain(p, err, true);
    }
    if (!parking_confirm(p->parking, topic, err, clock_monotonic_us())) {
        return;
    }
    if (topic->hold->parked > 0) {
        pipeline_want_reread(p);
    } else {
        pipeline_empty(p);
    }
}

/* The encoder. */

void pipeline_expect_encoder(Pipeline *p)
{
    int64_t now_us = clock_monotonic_us();
    if (p->waiting->encoder_us <= now_us) {
        p->waiting->encoder_us = now_us + ENCODER_SECONDS * INT64_C(1000000);
    }
}

void pipeline_ask_encoder(Pipeline *p)
{
    unsigned again = AGAIN_NOTHING;
    for (const Hold *hold = p->parking->holds; hold != NULL; hold = hold->next) {
        if (hold->kind == HOLD_ENCODER && hold_events(hold) > 0) {
            again |= hold->parked > 0 ? AGAIN_FROM_ROWS : AGAIN_FROM_MEMORY;
        }
    }
    p->waiting->encoder_ready = false;
    pipeline_bring(p, again);
}

/* What is told from now on leaves memory by being encoded once more. What is parked already comes
 * again by the recount. */
void pipeline_watch_encoder(Pipeline *p, int64_t now_us)
{
    bool late = parking_tell_late(p->parking, now_us);
    if (late || now_us >= p->waiting->encoder_us) {
        p->waiting->encoder_us = now_us + ENCODER_SECONDS * INT64_C(1000000);
        for (const Hold *hold = p->parking->holds; hold != NULL; hold = hold->next) {
            if (hold->kind == HOLD_ENCODER && hold->in_memory > 0) {
                pipeline_bring(p, AGAIN_FROM_MEMORY);
                return;
            }
        }
    }
}

void pipeline_on_encoder_ready(void *arg)
{
    Pipeline *p = arg;
    p->waiting->encoder_ready = true;
    pipeline_wake(p);
}

/* The topic. */

void pipeline_on_found(void *arg, Topic *topic)
{
    Pipeline *p = arg;
    if (topic->hold != NULL && topic->hold->kind == HOLD_ENCODER) {
        return; /* it was not the topic that was missing */
    }
    bool in_memory = topic->hold != NULL && topic->hold->in_memory > 0;
    if (topic->hold != NULL && topic->hold->kind == HOLD_ROW) {
        pipeline_bring(p, held_rows_try(p->rows, topic->hold));
        return;
    }
    if (parking_release(p->parking, topic)) {
        pipeline_want_reread(p);
    } else if (in_memory) {
        pipeline_empty(p);
    }
}

bool pipeline_may_forget_topic(void *arg, const Topic *topic)
{
    (void)arg;
    return !parking_needs(topic);
}

void pipeline_forget_topic(void *arg, Topic *topic)
{
    Pipeline *p = arg;
    parking_forget(p->parking, topic);
    if (p->parts->sink->ops->forget != NULL) {
        p->parts->sink->ops->forget(p->parts->sink, topic);
    }
}

/* Names beyond TOPICS_MAX: no broker tells of them, so the clock does. */
void pipeline_watch_beyond(Pipeline *p)
{
    for (Hold *hold = p->parking->holds, *next; hold != NULL; hold = next) {
        next = hold->next;
        if (!hold->topic->beyond) {
            continue;
        }
        if (topics_have_room(p->parts->topics)) {
            pipeline_on_found(p, hold->topic);
        } else {
            AUTO_ERROR reason = error_of(&hold->reason);
            pipeline_on_missing(p, hold->topic, TOPIC_ABSENT, &reason);
        }
        return; /* there is one */
    }
}

/* Rows that wait may be deleted by somebody who gives their topic up; nobody tells us. */
static void pipeline_watch_rows(Pipeline *p, int64_t now_us)
{
    if (p->parking->parked == 0) {
        p->waiting->recount_at_us = 0;
    } else if (p->waiting->recount_at_us == 0) {
        int64_t rows_us = (int64_t)p->parking->parked * RECOUNT_ROW_US;
        p->waiting->recount_at_us = now_us + RECOUNT_SECONDS * INT64_C(1000000) + rows_us;
    } else if (now_us >= p->waiting->recount_at_us) {
        pipeline_want_reread(p);
    }
}

/* Nothing moves any more because of what waits in memory. */
static void pipeline_watch_full(Pipeline *p)
{
    const Hold *first = parking_first(p->parking);
    const PipelineConfig *config = p->parts->config;
    size_t window = (size_t)config->limits.in_flight_events;
    size_t least =
        (size_t)config->limits.batch_events < window ? (size_t)config->limits.batch_events : 1;
    bool room =
        p->window->acker.events + least <= window && /* a source may wait for that of a batch */
        p->window->acker.bytes < (size_t)config->limits.in_flight_bytes;
    const Source *source = p->parts->source;
    bool reads_on = source->ops->reads_on == NULL || source->ops->reads_on(source);
    if (first == NULL || p->parking->in_memory == 0 || p->window->in_flight > 0 ||
        (room && reads_on) || !machine_works(p->machine) || trouble_is_on(p->trouble)) {
        return;
    }
    AUTO_ERROR err = {0};
    error_set(&err, CODE_WAITING_EVENTS_FULL,
              "%zu events wait in memory for their topic %s, so nothing more is read: %s: %s",
              p->parking->in_memory,
              reads_on ? "and use all the memory allowed"
                       : "and must be published before the WAL that follows",
              error_code_name(first->reason.code), error_message(&first->reason));
    error_hint(&err, "%s", error_own_hint(&first->reason));
    pipeline_complain(p, &err, true);
    pipeline_input(p, INPUT_TROUBLE);
}

void pipeline_row_looks(void *arg, EventRow row, uint64_t look)
{
    Pipeline *p = arg;
    pipeline_bring(p, held_rows_look(p->rows, row, look));
}

void pipeline_watch_held_rows(Pipeline *p, int64_t now_us)
{
    if (held_rows_are(p->rows) && machine_works(p->machine)) {
        pipeline_bring(p, held_rows_watch(p->rows, now_us));
    }
}

void pipeline_watch_waiting(Pipeline *p)
{
    int64_t now_us = clock_monotonic_us();
    topics_pass_time(p->parts->topics, now_us);
    bool waiting = parking_first(p->parking) != NULL;
    if (waiting != p->waiting->told) {
        p->waiting->told = waiting;
        pipeline_changed(p);
    }
    if (p->parking->holds == NULL && !p->waiting->reread_wanted) {
        return;
    }
    pipeline_watch_beyond(p);
    pipeline_watch_encoder(p, now_us);
    pipeline_watch_full(p);
    pipeline_watch_rows(p, now_us);
    pipeline_watch_held_rows(p, now_us);
    parking_tick(p->parking, now_us);
    pipeline_reread_when_due(p);
}

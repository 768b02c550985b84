/* The source of the rig: it does what the test says, and remembers what came back. */
#include <string.h>

#include "rig.h"

static void source_start(Source *source, int64_t delay_ms)
{
    RigSource *s = (RigSource *)source;
    s->starts++;
    s->last_delay_ms = delay_ms;
}

static void source_resume(Source *source)
{
    RigSource *s = (RigSource *)source;
    s->resumes++;
    s->last_acked = -1;
    s->parked_count = rig.seen.parked = 0;
}

static bool source_may_park(const Source *source, const Event *event)
{
    (void)event;
    return ((const RigSource *)source)->may_park;
}

static bool source_reads_on(const Source *source)
{
    return !((const RigSource *)source)->stands;
}

static size_t source_parked(const Source *source)
{
    return ((const RigSource *)source)->parked_count;
}

static void source_reread(Source *source)
{
    RigSource *s = (RigSource *)source;
    s->rereads++;
    s->parked_count = rig.seen.parked = 0;
}

static void source_ack(Source *source, Batch *batch)
{
    RigSource *s = (RigSource *)source;
    cr_assert_gt((int64_t)batch->position, s->last_acked, "acknowledged out of order");
    s->last_acked = (int64_t)batch->position;
    s->acked_batches++;
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event->state == EVENT_PARKED) {
            s->parked[s->parked_count++] = event->seq;
        } else if (event_is_settled(event)) {
            s->published[s->published_count++] = event->seq;
        } else {
            s->unsettled[s->unsettled_count++] = event->seq;
        }
    }
    batch_free(&batch);
}

static bool source_look_at_rows(Source *source, const EventRow *rows, size_t count)
{
    RigSource *s = (RigSource *)source;
    memcpy(s->looked_at, rows, count * sizeof(*rows));
    s->looked_at_count = count;
    s->looks++;
    return !s->untold;
}

static void letters_take(Letters *letters, Event *event, const Record *record, const Error *reason)
{
    (void)letters;
    RigSource *s = &rig.source;
    s->aside[s->aside_count++] = event;
    s->aside_record = *record;
    error_copy(&s->aside_reason, reason);
}

static bool source_may_publish(Source *source)
{
    RigSource *s = (RigSource *)source;
    s->checks++;
    return s->may_publish;
}

static void source_wake(Source *source)
{
    ((RigSource *)source)->wakes++;
}

static void source_verified(Source *source, uint64_t wal_end, const char *identity)
{
    cr_assert_str_not_empty(identity);
    ((RigSource *)source)->verified = wal_end;
}

static void source_drain(Source *source)
{
    ((RigSource *)source)->drains++;
}

static size_t source_unmarked(const Source *source)
{
    return ((const RigSource *)source)->unmarked;
}

static void source_collect(const Source *source, double *ret_backlog)
{
    *ret_backlog = ((const RigSource *)source)->backlog;
}

static void source_status(const Source *source, json_t *json)
{
    (void)source;
    (void)json;
}

static void source_free(Source *source)
{
    (void)source;
}

const Letters RIG_LETTERS = {.take = letters_take, .of_source = true};

const SourceOps RIG_SOURCE = {
    .start = source_start,
    .resume = source_resume,
    .ack = source_ack,
    .may_publish = source_may_publish,
    .wake = source_wake,
    .verified = source_verified,
    .drain = source_drain,
    .unmarked = source_unmarked,
    .collect = source_collect,
    .may_park = source_may_park,
    .parked = source_parked,
    .look_at_rows = source_look_at_rows,
    .reread = source_reread,
    .reads_on = source_reads_on,
    .status = source_status,
    .free = source_free,
};

void rig_locked(void)
{
    rig.source.source.events.locked(rig.source.source.events.arg);
    rig_turn();
}

void rig_active(void)
{
    rig.source.source.events.active(rig.source.source.events.arg);
    rig_turn();
}

void rig_standby(void)
{
    rig.source.source.events.standby(rig.source.source.events.arg, "relay-2");
    rig_turn();
}

void rig_take_over(void)
{
    rig_locked();
    rig_active();
}

void rig_drained(void)
{
    rig.source.source.events.drained(rig.source.source.events.arg);
    rig_turn();
}

void rig_source_lost(ErrorClass class)
{
    rig_source_lost_by(class, CODE_POSTGRES_SHUTDOWN);
}

void rig_source_lost_by(ErrorClass class, ErrorCode code)
{
    AUTO_ERROR err = rig_error(class, code);
    err.exit_code = EXIT_POSTGRES;
    rig.source.aside_count = 0;
    rig.source.source.events.lost(rig.source.source.events.arg, &err);
    rig_turn();
}

static Event *rig_take_aside(void)
{
    cr_assert_gt(rig.source.aside_count, 0);
    Event *event = rig.source.aside[0];
    rig.source.aside_count--;
    memmove(rig.source.aside, rig.source.aside + 1, rig.source.aside_count * sizeof(Event *));
    return event;
}

void rig_aside_refused(void)
{
    AUTO_ERROR err = rig_error(ERROR_FATAL, CODE_POSTGRES_PRIVILEGE);
    Event *event = rig_take_aside();
    rig.source.letters.events.settled(rig.source.letters.events.arg, event,
                                      rig.source.aside_reason.code, &err);
    rig_turn();
}

void rig_aside_done(void)
{
    Event *event = rig_take_aside();
    rig.source.letters.events.settled(rig.source.letters.events.arg, event,
                                      rig.source.aside_reason.code, NULL);
    rig_turn();
}

bool rig_has_room(void)
{
    size_t events = 0;
    size_t bytes = 0;
    return rig.source.source.events.room(rig.source.source.events.arg, rig.source.unmarked, &events,
                                         &bytes);
}

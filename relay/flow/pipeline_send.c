/* The way of an event through the pipeline: route, encode, send, settle, or set aside. */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "flow/pipeline_internal.h"
#include "flow/refusal.h"

enum {
    PUMP_EVENTS_MAX = 1000, /* then the loop gets its turn */
    CLOCK_EVERY = 16,       /* reports between two looks at the clocks */
};

static bool pipeline_sends(const Pipeline *p)
{
    return machine_works(p->machine) && !p->outlet->blocked && p->window->sending != NULL;
}

void pipeline_settle(Pipeline *p, Event *event, EventState settled)
{
    isolate_settled(p->isolate, event);
    batch_settle(event, settled);
    bool waits = settled == EVENT_PARKED && p->parts->settled != NULL;
    bool follows = event->seq >= p->follow_low && event->seq <= p->follow_high;
    if (waits || (settled != EVENT_PARKED && follows)) {
        p->parts->settled(p->parts->arg, p, event);
    }
}

/* At most so many bytes of a value, and no part of a character at the end. */
static Slice shown(Slice value)
{
    return value.data == NULL
               ? SLICE_LITERAL("")
               : (Slice){.data = value.data, .length = utf8_cut(value.data, value.length, 80)};
}

void pipeline_name_event(const Event *event, Error *err)
{
    char place[64];
    if (event->seq != EVENT_NO_SEQ) {
        snprintf(place, sizeof(place), "seq %lld", (long long)event->seq);
    } else {
        snprintf(place, sizeof(place), "of the transaction at %X/%X",
                 (unsigned)(event->commit_lsn >> 32), (unsigned)event->commit_lsn);
    }
    Slice id = shown(event_field(event, FIELD_EVENT_ID));
    Slice type = shown(event_field(event, FIELD_EVENT_TYPE));
    Slice key = shown(event_field(event, FIELD_AGGREGATE_ID));
    error_prefix(err, "event %s, event_id %.*s, type '%.*s', key '%.*s'", place, SLICE_ARG(id),
                 SLICE_ARG(type), SLICE_ARG(key));
}

static void pipeline_fail(Pipeline *p, const Event *event, const Error *err)
{
    AUTO_ERROR fatal = error_of(err);
    fatal.class = ERROR_FATAL;
    pipeline_name_event(event, &fatal);
    pipeline_complain(p, &fatal, false);
    pipeline_input(p, INPUT_FATAL);
}

static const char NO_EVENT[] =
    "Find out who writes such messages, and stop everyone else: outboxd migrate --guard-messages. "
    "outboxd dead list shows the dead letter, which can only be discarded.";

/* Whether the id can be typed as an argument. */
static bool aside_is_shown(Slice id)
{
    for (size_t i = 0; i < id.length; i++) {
        if (!isalnum((unsigned char)id.data[i]) && strchr("._-", id.data[i]) == NULL) {
            return false;
        }
    }
    return id.length > 0 && id.length < 80 && id.data[0] != '-';
}

void pipeline_set_aside(Pipeline *p, Event *event, const Record *record, const Error *err)
{
    isolate_found(p->isolate, event);
    bool again = pipeline_store_held(p, event);
    window_aside(p->window, event);
    event->aside_reason = (uint8_t)reason_of(err->code);
    if (!again && log_limit_take(&p->lines->asides, clock_monotonic_us())) {
        LogField seq =
            event->seq != EVENT_NO_SEQ ? log_number("seq", event->seq) : log_text("seq", "none");
        Slice id = event_field(event, FIELD_EVENT_ID);
        char event_id[80];
        snprintf(event_id, sizeof(event_id), "%.*s",
                 (int)utf8_cut(id.data, id.length, sizeof(event_id) - 1),
                 id.data != NULL ? id.data : "");
        AUTO_TEXT hint = x_format("outboxd dead show %s prints all of it. Fix the cause, then "
                                  "requeue the event by the number that this command shows.",
                                  event_id);
        log_write(LOG_WARN, p->parts->config->name, CODE_EVENT_SET_ASIDE,
                  LOG_FIELDS(seq, log_text("event_id", event_id),
                             log_text("reason", error_code_name(err->code)),
                             log_text("hint", err->code == CODE_MESSAGE_MALFORMED ? NO_EVENT
                                              : aside_is_shown(id)                ? hint
                                                                                  : "")),
                  "%s; writing the event to the dead-letter table", error_message(err));
    }
    p->parts->source->ops->set_aside(p->parts->source, event, record, err);
}

/* The event can never be published as it is: the policies of the configuration decide. Not of a
 * message: any role may write one, and no row is there to be mended, so it holds nobody up. */
void pipeline_poison(Pipeline *p, Event *event, const Record *record, const Error *err, bool sent)
{
    if (event->message && err->class == ERROR_POISON) {
        AUTO_ERROR placed = error_of(err);
        error_prefix(&placed, "message %llu of the transaction that commits at %X/%X",
                     (unsigned long long)event->ordinal, (unsigned)(event->commit_lsn >> 32),
                     (unsigned)event->commit_lsn);
        pipeline_set_aside(p, event, record, &placed);
        return;
    }
    bool stop = p->parts->config->on_poison == ON_POISON_STOP;
    if (err->class == ERROR_FATAL) {
        pipeline_fail(p, event, err);
    } else if (stop) {
        pipeline_hold_row(p, event, record, err, sent);
    } else if (!pipeline_waits_for_row(p, event, record)) {
        pipeline_set_aside(p, event, record, err);
    }
}

static void pipeline_unrouted(Pipeline *p, Event *event, const Record *record, const Error *err)
{
    switch (p->parts->config->route.on_unrouted) {
    case ON_UNROUTED_STOP:
        pipeline_hold_row(p, event, record, err, false);
        break;
    case ON_UNROUTED_DROP:
        ++*p->parts->stats->dropped;
        pipeline_settle(p, event, EVENT_DROPPED);
        break;
    case ON_UNROUTED_DEAD_LETTER:
        pipeline_set_aside(p, event, record, err);
        break;
    }
}

/* Routes and encodes; *record is complete as far as that went. */
RouteResult pipeline_make_record(Pipeline *p, Event *event, Record *record, Error *err)
{
    *record = (Record){0};
    Arena *arena = &event->batch->arena;
    RouteResult routed = router_route(p->parts->router, event, arena, record, err);
    AUTO_ERROR encode_error = {0};
    if (p->parts->encoder->encode(p->parts->encoder, event, arena, record, &encode_error) != OK &&
        routed == ROUTE_OK) {
        error_copy(err, &encode_error);
        return ROUTE_POISON;
    }
    if (event->retimed) {
        record->timestamp_ms = 0;
    }
    if (event->refusal != NULL) { /* whatever the routes say: they did not see all of it */
        error_copy(err, &event->refusal->error);
        return ROUTE_POISON;
    }
    return routed;
}

/* The envelope has the names of some of the row's headers: they are left out, and not in silence.
 */
static void pipeline_note_shadowed(Pipeline *p, const Event *event, unsigned shadowed)
{
    *p->parts->stats->headers_shadowed += shadowed;
    if (log_limit_take(&p->lines->shadowed, clock_monotonic_us())) {
        LogField seq =
            event->seq != EVENT_NO_SEQ ? log_number("seq", event->seq) : log_text("seq", "none");
        log_write(LOG_WARN, p->parts->config->name, CODE_HEADERS_SHADOWED,
                  LOG_FIELDS(seq, log_number("headers", shadowed)),
                  "headers of this event have the same names as headers of the envelope and were "
                  "left out");
    }
}

/* Sends one event; false when the sink takes no more for now or the pipeline changed its mind. */
static bool pipeline_send(Pipeline *p, Event *event)
{
    Record record;
    AUTO_ERROR err = {0};
    RouteResult routed = pipeline_make_record(p, event, &record, &err);
    if (pipeline_waits_for_row(p, event, &record)) {
        return pipeline_sends(p);
    }
    if (routed == ROUTE_NONE) {
        pipeline_unrouted(p, event, &record, &err);
        return pipeline_sends(p);
    }
    if (routed == ROUTE_POISON) {
        pipeline_poison(p, event, &record, &err, false);
        return pipeline_sends(p);
    }
    if (pipeline_waits(p, event, &record, &err)) {
        return pipeline_sends(p);
    }
    /* First, because a sink may settle inside send(). */
    window_send(p->window, event, record.topic);
    event->attempts++;
    SendResult result = p->parts->sink->ops->send(p->parts->sink, &record, event, &err);
    if (result == SEND_OK) {
        if (event->replayed) {
            ++*p->parts->stats->replayed;
            event->replayed = false;
        }
        if (record.shadowed > 0 && event->attempts == 1) {
            pipeline_note_shadowed(p, event, record.shadowed);
        }
        return pipeline_sends(p);
    }
    window_take(p->window, event);
    if (result == SEND_POISON) {
        pipeline_poison(p, event, &record, &err, false);
        return pipeline_sends(p);
    }
    event->attempts--; /* not even tried */
    if (result == SEND_HELD) {
        pipeline_wait(p, event, &record, &err);
        return pipeline_sends(p);
    }
    p->outlet->blocked = true;
    return false;
}

/* True when nothing may be sent now although the sink would take it. */
static bool pipeline_holds(Pipeline *p, int64_t now_us)
{
    if (now_us >= p->outlet->hold_until_us) {
        return false;
    }
    /* Each time: any wake-up in between took the timer with it. */
    int64_t rest_us = p->outlet->hold_until_us - now_us;
    event_add(p->wake,
              &(struct timeval){.tv_sec = rest_us / 1000000, .tv_usec = rest_us % 1000000});
    return true;
}

/* While a refused request is taken apart: whether a group may be sent now. */
static bool pipeline_open_group(Pipeline *p)
{
    if (!isolate_active(p->isolate)) {
        isolate_mix(p->isolate);
        return true;
    }
    if (p->window->in_flight > 0) {
        return false;
    }
    isolate_open_group(p->isolate);
    return true;
}

static void pipeline_send_some(Pipeline *p)
{
    int64_t now_us = clock_monotonic_us();
    int sent = 0;
    bool groups = isolate_active(p->isolate);
    if (!pipeline_open_group(p)) {
        return;
    }
    for (; sent < PUMP_EVENTS_MAX && pipeline_sends(p) && !pipeline_holds(p, now_us); sent++) {
        Event *event = window_next(p->window);
        if (event == NULL || (groups && !isolate_take(p->isolate, event))) {
            break;
        }
        if (sent % 32 == 0) {
            now_us = clock_monotonic_us();
            if (!p->parts->source->ops->may_publish(p->parts->source)) {
                break; /* the source reports `lost` by itself */
            }
        }
        if (p->window->in_flight == 0) {
            p->window->progress_us = now_us;
        }
        event->sent_at_us = now_us;
        if (!pipeline_send(p, event)) {
            break;
        }
        FAILPOINT("producing");
    }
    if (sent > 0 && p->parts->sink->ops->flush != NULL) {
        p->parts->sink->ops->flush(p->parts->sink);
    }
    if (sent == PUMP_EVENTS_MAX && pipeline_sends(p) && !groups) {
        /* By the timer: what is activated from a callback runs before the loop looks at sockets. */
        event_add(p->wake, &(struct timeval){0});
    }
}

void pipeline_pump(Pipeline *p)
{
    p->pulse->settle_now_us = 0; /* a burst of reports is over */
    pipeline_send_some(p);
    FAILPOINT("settled");
    for (Batch *batch;
         p->machine->state != MACHINE_FAILED && (batch = window_pop_done(p->window)) != NULL;) {
        p->parts->source->ops->ack(p->parts->source, batch);
    }
    if (machine_waits(p->machine) && window_is_settled(p->window) && !p->outlet->reopening) {
        pipeline_input(p, INPUT_SETTLED);
    }
    pipeline_reread_when_due(p);
    if (machine_goes(p->machine)) {
        p->parts->source->ops->wake(p->parts->source);
    }
}

static void pipeline_say_first(const Pipeline *p, const Event *event)
{
    LogField seq =
        event->seq != EVENT_NO_SEQ ? log_number("seq", event->seq) : log_text("seq", "none");
    log_write(LOG_INFO, p->parts->config->name, CODE_FIRST_PUBLISHED,
              LOG_FIELDS(seq, log_text("topic", event->topic->name)), "first event published");
}

static void pipeline_published(Pipeline *p, Event *event)
{
    Stats *stats = p->parts->stats;
    if (p->pulse->settle_now_us == 0 || *stats->published % CLOCK_EVERY == 0) {
        p->pulse->settle_now_us =
            clock_monotonic_us(); /* reports come in bursts within a millisecond */
        p->pulse->settle_wall_us = clock_wall_us();
    }
    int64_t now_us = p->pulse->settle_now_us;
    int64_t wall_us = p->pulse->settle_wall_us;
    pipeline_settle(p, event, EVENT_PUBLISHED);
    if (++*stats->published == 1) {
        pipeline_say_first(p, event);
    }
    ++*event->topic->published;
    *stats->published_bytes += event_field(event, FIELD_AGGREGATE_ID).length +
                               event_field(event, FIELD_PAYLOAD).length +
                               event_field(event, FIELD_PAYLOAD_BYTES).length;
    histogram_observe_us(stats->produce_latency, now_us - event->sent_at_us);
    if (event->occurred_at_us != EVENT_NO_TIME) {
        histogram_observe_us(stats->publish_latency, wall_us - event->occurred_at_us);
    }
    p->window->progress_us = now_us;
    p->pulse->last_published_us = wall_us;
    p->pulse->published_monotonic_us = now_us;
    if (trouble_is_on(p->trouble) && p->machine->state == MACHINE_STALLED &&
        (p->machine->brakes & BRAKE_REJECTED) == 0) {
        pipeline_input(p, INPUT_HEALED);
    }
    pipeline_row_done(p, event);
    p->trouble->attempt = 0;
    p->outlet->reopens = 0;
}

void pipeline_settled(void *arg, Event *event, const Error *err)
{
    Pipeline *p = arg;
    window_take(p->window, event);
    if (err == NULL) {
        pipeline_published(p, event);
        pipeline_wake(p);
        return;
    }
    pipeline_wake(p);
    bool going = machine_goes(p->machine);
    if (err->code == CODE_SINK_PURGED) {
        if (going) { /* a purge that came late took what was sent after it */
            pipeline_input(p, INPUT_RESEND);
        }
        return; /* we asked for it */
    }
    topics_count_failed(p->parts->topics, event->topic, reason_of(err->code));
    if (err->class == ERROR_POISON) {
        pipeline_request_refused(p, event, err);
        return;
    }
    bool waits = err->code == CODE_KAFKA_TOPIC_DENIED; /* the sink will not take it again */
    if (going && !waits) {
        pipeline_complain(p, err, true);
    }
    pipeline_input(p, INPUT_RESEND);
}

void pipeline_aside_done(void *arg, Event *event)
{
    Pipeline *p = arg;
    if (!window_aside_over(p->window, event)) {
        return; /* a rewind took it back; the row stays unpublished and is looked at again */
    }
    pipeline_settle(p, event, EVENT_ASIDE);
    ++*p->parts->stats->dead_lettered[event->aside_reason];
    pipeline_row_done(p, event);
    pipeline_wake(p);
}

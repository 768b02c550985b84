/* The way of an event through the pipeline: made a record, sent, published. What becomes of one
 * that is not simply sent is decided in pipeline_fate.c. */
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "flow/pipeline_internal.h"

enum {
    PUMP_EVENTS_MAX = 1000, /* then the loop gets its turn */
    CLOCK_EVERY = 16,       /* reports between two looks at the clocks */
};

static bool pipeline_sends(const Pipeline *p)
{
    return machine_works(p->machine) && !p->outlet->blocked && p->window->sending != NULL;
}

/* Sends one event; false when the sink takes no more for now or the pipeline changed its mind. */
static bool pipeline_send(Pipeline *p, Event *event)
{
    Record record;
    AUTO_ERROR err = {0};
    Made made = pipeline_make_record(p, event, &record, &err);
    if (pipeline_stays(p, event, &record, made, &err)) {
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
        pipeline_hold_topic(p, event, &record, &err);
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
    if (p->waiting->encoder_ready) {
        pipeline_ask_encoder(p);
    }
    pipeline_change_when_due(p);
    pipeline_send_some(p);
    FAILPOINT("settled");
    for (Batch *batch;
         p->machine->state != MACHINE_FAILED && (batch = window_pop_done(p->window)) != NULL;) {
        p->parts->source->ops->ack(p->parts->source, batch);
    }
    pipeline_change_when_due(p);
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
    pipeline_done(p, event);
    p->trouble->attempt = 0;
    p->outlet->reopens = 0;
    p->outlet->lost_by = CODE_NONE;
}

void pipeline_settled(void *arg, Event *event, const SinkReport *report)
{
    Pipeline *p = arg;
    window_take(p->window, event);
    if (report == NULL) {
        pipeline_published(p, event);
        pipeline_wake(p);
        return;
    }
    pipeline_wake(p);
    bool going = machine_goes(p->machine);
    if (report->verdict == SINK_TOOK_BACK) {
        if (going) { /* a purge that came late took what was sent after it */
            pipeline_input(p, INPUT_RESEND);
        }
        return; /* we asked for it */
    }
    topics_count_failed(p->parts->topics, event->topic, reason_of(report->error->code));
    switch (report->verdict) {
    case SINK_REFUSED:
    case SINK_REFUSED_TIME:
        pipeline_request_refused(p, event, report);
        return;
    case SINK_FAILED:
        if (going) {
            pipeline_complain(p, report->error, true);
        }
        break;
    case SINK_DENIES_TOPIC: /* it will be held when it is sent again */
    case SINK_TOOK_BACK:
        break;
    }
    pipeline_input(p, INPUT_RESEND);
}

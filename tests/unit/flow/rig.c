#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "stub/given_schema.h"

enum { RIG_WAIT_US = 10000000, RIG_TURNS_MAX = 1000 };

Rig rig;
static struct {
    size_t sent;
    size_t published;
    size_t unsettled;
    size_t parked;
} seen; /* by the last assertion */

/* The source. */

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
    s->parked_count = seen.parked = 0;
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
    s->parked_count = seen.parked = 0;
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

static void source_set_aside(Source *source, Event *event, const Record *record,
                             const Error *reason)
{
    RigSource *s = (RigSource *)source;
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

static double source_backlog(const Source *source)
{
    return ((const RigSource *)source)->backlog;
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

static const SourceOps SOURCE_OPS = {
    .start = source_start,
    .resume = source_resume,
    .ack = source_ack,
    .set_aside = source_set_aside,
    .may_publish = source_may_publish,
    .wake = source_wake,
    .verified = source_verified,
    .drain = source_drain,
    .unmarked = source_unmarked,
    .backlog = source_backlog,
    .may_park = source_may_park,
    .parked = source_parked,
    .look_at_rows = source_look_at_rows,
    .reread = source_reread,
    .reads_on = source_reads_on,
    .status = source_status,
    .free = source_free,
};

/* The sink. */

static void sink_open(Sink *sink)
{
    ((RigSink *)sink)->opens++;
}

static SendResult sink_send(Sink *sink, const Record *record, Event *event, Error *err)
{
    RigSink *s = (RigSink *)sink;
    SendResult result = s->next;
    s->attempts++;
    s->next = SEND_OK;
    if (event->seq == s->poison_seq) {
        error_set(err, CODE_RECORD_TOO_LARGE, "too large");
        return SEND_POISON;
    }
    if (s->missing != NULL && strcmp(record->topic->name, s->missing) == 0) {
        error_set(err, CODE_KAFKA_TOPIC_UNKNOWN, "test: KAFKA_TOPIC_UNKNOWN");
        return SEND_HELD;
    }
    if (result != SEND_OK) {
        error_copy(err, &s->next_error);
        return result;
    }
    snprintf(s->topic, sizeof(s->topic), "%s", record->topic->name);
    s->sent[s->sent_count++] = event->seq;
    if (s->settle_at_once) {
        s->sink.events.settled(s->sink.events.arg, event, NULL);
    } else {
        s->held[s->held_count++] = event;
    }
    return SEND_OK;
}

static void sink_flush(Sink *sink)
{
    ((RigSink *)sink)->flushes++;
}

static void sink_purge(Sink *sink)
{
    RigSink *s = (RigSink *)sink;
    s->purges++;
    AUTO_ERROR purged = rig_error(ERROR_RETRY, CODE_SINK_PURGED);
    while (s->purge_at_once && s->held_count > 0) {
        Event *event = s->held[--s->held_count];
        s->sink.events.settled(s->sink.events.arg, event, &purged);
    }
}

static void sink_release(Sink *sink)
{
    RigSink *s = (RigSink *)sink;
    cr_assert_eq(s->held_count, 0, "something is in it");
    s->releases++;
}

static void sink_hold(Sink *sink, bool hold)
{
    RigSink *s = (RigSink *)sink;
    s->holds += hold;
    s->held_back = hold;
}

static void sink_reopen(Sink *sink)
{
    ((RigSink *)sink)->reopens++;
}

static void sink_status(const Sink *sink, json_t *json)
{
    (void)sink;
    (void)json;
}

static void sink_free(Sink *sink)
{
    (void)sink;
}

static bool sink_connected(const Sink *sink)
{
    return ((const RigSink *)sink)->answers;
}

static void sink_silent(const Sink *sink, int seconds, Error *err)
{
    (void)sink;
    error_set(err, CODE_KAFKA_NO_ACKNOWLEDGEMENT, "no acknowledgement from Kafka for %d s",
              seconds);
    (void)error_advise(err);
}

static const SinkOps SINK_OPS = {
    .answers = sink_connected,
    .silent = sink_silent,
    .open = sink_open,
    .send = sink_send,
    .flush = sink_flush,
    .purge = sink_purge,
    .release = sink_release,
    .hold = sink_hold,
    .reopen = sink_reopen,
    .status = sink_status,
    .free = sink_free,
};

/* The encoder. */

static Status encoder_encode(const Encoder *encoder, const Event *event, Arena *arena,
                             Record *record, Error *err)
{
    (void)encoder;
    (void)arena;
    record->value = event->row[FIELD_PAYLOAD];
    if (!slice_is_null(event->row[FIELD_HEADERS])) {
        return error_set(err, CODE_HEADERS_INVALID, "no headers");
    }
    return OK;
}

static void encoder_free(Encoder *encoder)
{
    (void)encoder;
}

/* The rig. */

static void on_ended(void *arg, Pipeline *pipeline)
{
    (void)arg;
    (void)pipeline;
    rig.ended++;
}

static void on_doubt(void *arg, Pipeline *pipeline)
{
    (void)arg;
    (void)pipeline;
    rig.doubts++;
}

static void on_changed(void *arg, Pipeline *pipeline)
{
    (void)arg;
    (void)pipeline;
    rig.changes++;
}

void rig_prepare(void)
{
    static RouteConfig route = {.event_type = GIVEN("order.*"),
                                .topic = GIVEN("${aggregate_type}.events")};
    error_clear(&rig.source.aside_reason);
    error_clear(&rig.sink.next_error);
    memset(&rig, 0, sizeof(rig));
    rig.config = given_pipeline();
    rig.config.route.rules = &route;
    rig.config.route.rule_count = 1;
    rig.config.route.topic = GIVEN(""); /* other types are unrouted */
    rig.source.source.ops = &SOURCE_OPS;
    rig.source.may_publish = true;
    rig.source.last_acked = -1;
    rig.sink.sink.ops = &SINK_OPS;
    rig.sink.poison_seq = -1;
    memset(&seen, 0, sizeof(seen));
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
}

void rig_begin(void)
{
    static Encoder encoder = {.encode = encoder_encode, .free = encoder_free};
    rig.base = event_base_new();
    rig.metrics = metrics_new();
    stats_init(&rig.stats, rig.metrics, "orders");
    PipelineParts parts = {.config = &rig.config,
                           .base = rig.base,
                           .source = &rig.source.source,
                           .sink = &rig.sink.sink,
                           .encoder = &encoder,
                           .topics = topics_new(rig.metrics, "orders"),
                           .stats = &rig.stats,
                           .hold = rig.hold,
                           .ended = on_ended,
                           .changed = on_changed,
                           .doubt = on_doubt};
    cr_assert_eq(
        router_new(&rig.config, given_schema_of(&rig.config), parts.topics, &parts.router, NULL),
        OK);
    rig.pipeline = pipeline_new(&parts);
    pipeline_start(rig.pipeline);
}

void rig_run(void)
{
    rig_begin();
    rig_take_over();
    rig_assert_state(PIPELINE_RUNNING);
}

void rig_end(void)
{
    pipeline_free(&rig.pipeline);
    event_base_free(rig.base);
    metrics_free(&rig.metrics);
}

void rig_turn(void)
{
    for (int i = 0; i < RIG_TURNS_MAX; i++) {
        event_base_loop(rig.base, EVLOOP_NONBLOCK);
        if (event_base_get_num_events(rig.base, EVENT_BASE_COUNT_ACTIVE) == 0) {
            return;
        }
    }
    cr_assert_fail("the loop spins");
}

void rig_wait(const size_t *count, size_t least)
{
    int64_t deadline_us = clock_monotonic_us() + RIG_WAIT_US;
    while (*count < least) {
        event_base_loop(rig.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        cr_assert_lt(clock_monotonic_us(), deadline_us, "waited in vain");
    }
}

void rig_batch(const char *rows)
{
    Batch *batch = batch_new();
    batch->position = (uint64_t)rig.source.next_position++;
    for (const char *at = rows; *at != '\0';) {
        char *end = NULL;
        Event *event = batch_add(batch, given_schema(0));
        event->seq = strtoll(at, &end, 10);
        event->row[FIELD_AGGREGATE_ID] =
            arena_copy(&batch->arena, (Slice){.data = end, .length = 1});
        event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("order");
        event->row[FIELD_EVENT_TYPE] = SLICE_LITERAL("order.placed");
        event->row[FIELD_PAYLOAD] = SLICE_LITERAL("{}");
        for (end++; *end == '!' || *end == '?' || *end == '+' || *end == ' '; end++) {
            if (*end == '!') {
                event->row[FIELD_HEADERS] = SLICE_LITERAL("[]");
            } else if (*end == '?') {
                event->row[FIELD_EVENT_TYPE] = SLICE_LITERAL("unknown");
            } else if (*end == '+') {
                event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("other");
            }
        }
        batch->bytes += 100;
        at = end;
    }
    rig.source.source.events.batch(rig.source.source.events.arg, batch);
    rig_turn();
}

void rig_settle(int64_t seq, const Error *err)
{
    RigSink *s = &rig.sink;
    for (size_t i = 0; i < s->held_count; i++) {
        if (s->held[i]->seq == seq) {
            Event *event = s->held[i];
            memmove(s->held + i, s->held + i + 1, (s->held_count - i - 1) * sizeof(Event *));
            s->held_count--;
            s->sink.events.settled(s->sink.events.arg, event, err);
            rig_turn();
            return;
        }
    }
    cr_assert_fail("the sink does not hold seq %lld", (long long)seq);
}

void rig_settle_all(void)
{
    while (rig.sink.held_count > 0) {
        rig_settle(rig.sink.held[0]->seq, NULL);
    }
}

static Event *rig_take_held(int64_t seq)
{
    RigSink *s = &rig.sink;
    for (size_t i = 0; i < s->held_count; i++) {
        Event *event = s->held[i];
        if (event->seq == seq) {
            s->held_count--;
            memmove(s->held + i, s->held + i + 1, (s->held_count - i) * sizeof(Event *));
            return event;
        }
    }
    cr_assert_fail("the sink does not hold seq %lld", (long long)seq);
    return NULL;
}

static void rig_answer(const char *seqs, const Error *err)
{
    Event *events[RIG_EVENTS_MAX];
    uint32_t count = 0;
    char *end = NULL;
    for (const char *at = seqs; *at != '\0'; at = end) {
        events[count++] = rig_take_held(strtoll(at, &end, 10));
    }
    rig.sink.requests += err != NULL;
    for (size_t i = 0; i < count; i++) {
        if (err != NULL) {
            events[i]->request = rig.sink.requests;
            events[i]->request_events = count;
        }
        rig.sink.sink.events.settled(rig.sink.sink.events.arg, events[i], err);
    }
    rig_turn();
}

void rig_accept(const char *seqs)
{
    rig_answer(seqs, NULL);
}

void rig_refuse(const char *seqs)
{
    AUTO_ERROR err = rig_error(ERROR_POISON, CODE_RECORD_REFUSED);
    rig_answer(seqs, &err);
}

Error rig_error(ErrorClass class, ErrorCode code)
{
    Error err = {0};
    error_set_as(&err, class, EXIT_KAFKA, code, "test: %s", error_code_name(code));
    return err;
}

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

void rig_stop(void)
{
    pipeline_stop(rig.pipeline);
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

void rig_sink_lost(ErrorClass class)
{
    AUTO_ERROR err = rig_error(class, CODE_KAFKA_PRODUCER_FATAL);
    rig.sink.held_count = 0;
    rig.sink.sink.events.lost(rig.sink.sink.events.arg, &err);
    rig_turn();
}

void rig_reopened(void)
{
    rig.sink.held_count = 0;
    rig.sink.sink.events.reopened(rig.sink.sink.events.arg);
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
    rig.source.source.events.aside_refused(rig.source.source.events.arg, event, &err);
    rig_turn();
}

void rig_aside_done(void)
{
    Event *event = rig_take_aside();
    rig.source.source.events.aside(rig.source.source.events.arg, event);
    rig_turn();
}

void rig_trouble(ErrorClass class)
{
    AUTO_ERROR err = rig_error(class, CODE_KAFKA_UNREACHABLE);
    rig.sink.sink.events.trouble(rig.sink.sink.events.arg, &err);
    rig_turn();
}

void rig_healed(void)
{
    rig.sink.sink.events.healed(rig.sink.sink.events.arg);
    rig_turn();
}

void rig_ready(void)
{
    rig.sink.sink.events.ready(rig.sink.sink.events.arg);
    rig_turn();
}

static Topic *rig_topic(const char *name)
{
    Topic *topic = NULL;
    Topics *topics = rig.pipeline->parts->topics;
    cr_assert_eq(topics_get(topics, slice_of(name), &topic, NULL), OK);
    return topic;
}

void rig_missing(const char *topic)
{
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig.sink.sink.events.missing(rig.sink.sink.events.arg, rig_topic(topic), &err);
    rig_turn();
}

void rig_found(const char *topic)
{
    rig.sink.sink.events.found(rig.sink.sink.events.arg, rig_topic(topic));
    rig_turn();
}

static void assert_seqs(const char *what, const int64_t *seqs, size_t *from, size_t count,
                        const char *expected)
{
    Text text = TEXT_EMPTY;
    for (; *from < count; ++*from) {
        text_printf(&text, "%s%lld", text.length > 0 ? " " : "", (long long)seqs[*from]);
    }
    cr_assert_str_eq(text_string(&text), expected, "%s: %s, not %s", what, text_string(&text),
                     expected);
    text_free(&text);
}

void rig_assert_sent(const char *expected)
{
    assert_seqs("sent", rig.sink.sent, &seen.sent, rig.sink.sent_count, expected);
}

void rig_assert_acked(const char *expected)
{
    assert_seqs("acknowledged", rig.source.published, &seen.published, rig.source.published_count,
                expected);
}

void rig_assert_returned(const char *expected)
{
    assert_seqs("returned", rig.source.unsettled, &seen.unsettled, rig.source.unsettled_count,
                expected);
}

void rig_assert_parked(const char *expected)
{
    assert_seqs("parked", rig.source.parked, &seen.parked, rig.source.parked_count, expected);
}

void rig_assert_state(PipelineState state)
{
    PipelineView view;
    pipeline_view(rig.pipeline, &view);
    cr_assert_eq(view.state, state, "%s, not %s", pipeline_state_name(view.state),
                 pipeline_state_name(state));
}

void rig_assert_error(ErrorCode code)
{
    PipelineView view;
    pipeline_view(rig.pipeline, &view);
    cr_assert_eq(view.error->code, code);
}

uint64_t rig_failed(Reason reason)
{
    return *metrics_counter(rig.metrics, "outboxd_events_failed_total", "Failed deliveries.",
                            "pipeline", "orders", "topic", "order.events", "reason",
                            reason_name(reason), NULL);
}

#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "stub/clock.h"
#include "stub/given_schema.h"

enum { RIG_WAIT_US = 10000000, RIG_TURNS_MAX = 1000 };

Rig rig;

/* The encoder. */

static EncodeResult encoder_encode(Encoder *encoder, const Event *event, Arena *arena,
                                   Record *record, Error *err)
{
    (void)encoder;
    (void)arena;
    record->value = event->row[FIELD_PAYLOAD];
    rig.encoder.asked++;
    for (size_t i = 0; i < rig.encoder.unready_count; i++) {
        if (rig.encoder.unready[i] == event->seq) {
            error_set_as(err, ERROR_RETRY, EXIT_KAFKA, CODE_NOT_BUILT,
                         "the schema is not here yet");
            return ENCODE_WAIT;
        }
    }
    if (!slice_is_null(event->row[FIELD_HEADERS])) {
        error_set(err, CODE_HEADERS_INVALID, "no headers");
        return ENCODE_POISON;
    }
    return ENCODE_OK;
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

/* The encoder is the rig's own: it stays. */
static void on_boundary(void *arg, Pipeline *pipeline)
{
    (void)arg;
    Router *router = NULL;
    rig.boundaries++;
    if (rig.next_topic != NULL) {
        rig.config.route.rules[0].topic = GIVEN(rig.next_topic);
    }
    cr_assert_eq(router_new(&rig.config, given_schema_of(&rig.config), pipeline->parts->topics,
                            &router, NULL),
                 OK);
    pipeline_make_by(pipeline, router, &rig.encoder.encoder);
}

void rig_unready(const char *seqs)
{
    char *end = NULL;
    rig.encoder.unready_count = 0;
    for (const char *at = seqs; *at != '\0'; at = end) {
        rig.encoder.unready[rig.encoder.unready_count++] = strtoll(at, &end, 10);
    }
}

void rig_encoder_ready(void)
{
    rig.encoder.encoder.events.ready(rig.encoder.encoder.events.arg);
    rig_turn();
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
    rig.source.source.ops = &RIG_SOURCE;
    rig.source.letters = RIG_LETTERS;
    rig.source.source.letters = &rig.source.letters;
    rig.source.may_publish = true;
    rig.source.last_acked = -1;
    rig.sink.sink.ops = &RIG_SINK;
    rig.sink.poison_seq = -1;
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
}

void rig_begin(void)
{
    rig.encoder.encoder = (Encoder){.encode = encoder_encode, .free = encoder_free};
    rig.base = event_base_new();
    rig.metrics = metrics_new();
    stats_init(&rig.stats, rig.metrics, "orders");
    PipelineParts parts = {.config = &rig.config,
                           .base = rig.base,
                           .source = &rig.source.source,
                           .sink = &rig.sink.sink,
                           .letters = rig.letters,
                           .encoder = &rig.encoder.encoder,
                           .topics = topics_new(rig.metrics, "orders"),
                           .stats = &rig.stats,
                           .hold = rig.hold,
                           .ended = on_ended,
                           .changed = on_changed,
                           .boundary = on_boundary,
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
    stats_release(&rig.stats);
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
    int64_t deadline_us = clock_real_us() + RIG_WAIT_US;
    while (*count < least) {
        clock_turn(rig.base);
        cr_assert_lt(clock_real_us(), deadline_us, "waited in vain");
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

Error rig_error(ErrorClass class, ErrorCode code)
{
    Error err = {0};
    error_set_as(&err, class, EXIT_KAFKA, code, "test: %s", error_code_name(code));
    return err;
}

void rig_stop(void)
{
    pipeline_stop(rig.pipeline);
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
    assert_seqs("sent", rig.sink.sent, &rig.seen.sent, rig.sink.sent_count, expected);
}

void rig_assert_acked(const char *expected)
{
    assert_seqs("acknowledged", rig.source.published, &rig.seen.published,
                rig.source.published_count, expected);
}

void rig_assert_returned(const char *expected)
{
    assert_seqs("returned", rig.source.unsettled, &rig.seen.unsettled, rig.source.unsettled_count,
                expected);
}

void rig_assert_parked(const char *expected)
{
    assert_seqs("parked", rig.source.parked, &rig.seen.parked, rig.source.parked_count, expected);
}

PipelineWaiting rig_waiting(void)
{
    return pipeline_waiting(rig.pipeline);
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

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "encode/encode.h"
#include "encode/limits.h"
#include "flow/batch.h"
#include "sink/kafka/kafka_record.h"
#include "stub/given.h"
#include "stub/given_schema.h"
#include "stub/random.h"

static PipelineConfig config;
static Encoder *encoder;
static Batch *batch;
static Event *event;
static Record record;
static Error err;

static void begin(void)
{
    config = given_pipeline();
    batch = batch_new();
    event = batch_add(batch, given_schema(2));
}

static void end(void)
{
    if (encoder != NULL) {
        encoder->free(encoder);
    }
    batch_free(&batch);
}

TestSuite(encode, .init = begin, .fini = end);

static void fill(void)
{
    event->seq = 4711;
    event->occurred_at_us = INT64_C(1795252364120000); /* 2026-11-21T09:12:44.12Z */
    event->row[FIELD_EVENT_ID] = SLICE_LITERAL("0193-id");
    event->row[FIELD_EVENT_TYPE] = SLICE_LITERAL("order.placed");
    event->row[FIELD_EVENT_VERSION] = SLICE_LITERAL("2");
    event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("order");
    event->row[FIELD_AGGREGATE_ID] = SLICE_LITERAL("o-7");
    event->row[FIELD_AGGREGATE_VERSION] = SLICE_LITERAL("11");
    event->row[FIELD_PAYLOAD] = SLICE_LITERAL("{\"total\": 12.50}");
    event->row[FIELD_CORRELATION_ID] = SLICE_LITERAL("corr");
    event->row[FIELD_CAUSATION_ID] = SLICE_LITERAL("cause");
    event->row[FIELD_TRACEPARENT] = SLICE_LITERAL("00-aa-bb-01");
    event->row[FIELD_HEADERS] = SLICE_LITERAL("{\"channel\": \"web\"}");
}

static Status encode(void)
{
    if (encoder == NULL) {
        cr_assert_eq(encoder_new(&config, given_schema_of(&config), &encoder, &err), OK, "%s",
                     error_message(&err));
    }
    record = (Record){0};
    return encoder->encode(encoder, event, &batch->arena, &record, &err) == ENCODE_OK ? OK : FAILED;
}

/* Headers as "name=value" lines; a null value as "name". */
static void assert_headers(const char *expected)
{
    cr_assert_eq(encode(), OK, "%s", error_message(&err));
    Text text = TEXT_EMPTY;
    for (size_t i = 0; i < record.header_count; i++) {
        const RecordHeader *header = &record.headers[i];
        text_add_slice(&text, header->name);
        if (!slice_is_null(header->value)) {
            text_add_char(&text, '=');
            text_add_slice(&text, header->value);
        }
        text_add_char(&text, '\n');
    }
    cr_assert_str_eq(text_string(&text), expected, "%s", text_string(&text));
    text_free(&text);
}

static Slice header(const char *name)
{
    cr_assert_eq(encode(), OK, "%s", error_message(&err));
    for (size_t i = 0; i < record.header_count; i++) {
        if (slice_equal(record.headers[i].name, slice_of(name))) {
            return record.headers[i].value;
        }
    }
    return SLICE_NULL;
}

Test(encode, cloudevents_of_a_full_row)
{
    fill();
    assert_headers("ce_specversion=1.0\n"
                   "ce_id=0193-id\n"
                   "ce_source=/shop/orders\n"
                   "ce_type=order.placed\n"
                   "ce_subject=o-7\n"
                   "ce_time=2026-11-21T09:12:44.12Z\n"
                   "content-type=application/json\n"
                   "ce_correlationid=corr\n"
                   "ce_causationid=cause\n"
                   "ce_aggregatetype=order\n"
                   "ce_aggregateversion=11\n"
                   "ce_eventversion=2\n"
                   "traceparent=00-aa-bb-01\n"
                   "channel=web\n");
}

Test(encode, plain_of_a_full_row)
{
    fill();
    config.encode.headers = HEADERS_PLAIN;
    assert_headers("event_id=0193-id\n"
                   "event_type=order.placed\n"
                   "event_version=2\n"
                   "aggregate_type=order\n"
                   "aggregate_id=o-7\n"
                   "aggregate_version=11\n"
                   "occurred_at=2026-11-21T09:12:44.12Z\n"
                   "content_type=application/json\n"
                   "correlation_id=corr\n"
                   "causation_id=cause\n"
                   "traceparent=00-aa-bb-01\n"
                   "channel=web\n");
}

Test(encode, a_null_column_makes_no_header)
{
    assert_headers("ce_specversion=1.0\nce_source=/shop/orders\n");
}

Test(encode, a_plain_row_of_nulls_has_no_header)
{
    config.encode.headers = HEADERS_PLAIN;
    assert_headers("");
}

Test(encode, an_empty_column_makes_an_empty_header)
{
    config.encode.headers = HEADERS_PLAIN;
    event->row[FIELD_CORRELATION_ID] = SLICE_LITERAL("");
    assert_headers("correlation_id=\n");
}

Test(encode, the_value_is_the_payload_itself)
{
    fill();
    cr_assert_eq(encode(), OK);
    cr_assert_eq(record.value.data, event->row[FIELD_PAYLOAD].data, "not even copied");
    cr_assert_eq(record.value.length, event->row[FIELD_PAYLOAD].length);
}

Test(encode, null_is_a_tombstone_and_jsonb_null_a_value)
{
    fill();
    event->row[FIELD_PAYLOAD] = SLICE_NULL;
    cr_assert(slice_is_null(header("content-type")), "a tombstone has no content");
    cr_assert(slice_is_null(record.value));
    event->row[FIELD_PAYLOAD] = SLICE_LITERAL("null");
    cr_assert(slice_equal(header("content-type"), SLICE_LITERAL("application/json")));
    cr_assert(slice_equal(record.value, SLICE_LITERAL("null")));
}

Test(encode, bytes_are_sent_as_they_are)
{
    fill();
    event->row[FIELD_PAYLOAD] = SLICE_NULL;
    event->row[FIELD_PAYLOAD_BYTES] = (Slice){.data = "\0\xFF\n", .length = 3};
    cr_assert(slice_equal(header("content-type"), SLICE_LITERAL("application/octet-stream")));
    cr_assert_eq(record.value.length, 3);
    cr_assert_eq(memcmp(record.value.data, "\0\xFF\n", 3), 0);
    event->row[FIELD_PAYLOAD_BYTES] = SLICE_LITERAL("");
    cr_assert(slice_equal(header("content-type"), SLICE_LITERAL("application/octet-stream")));
    cr_assert_not(slice_is_null(record.value));
    cr_assert_eq(record.value.length, 0);
}

Test(encode, the_content_type_of_the_row_wins)
{
    const Slice type = SLICE_LITERAL("application/avro");
    fill();
    event->row[FIELD_CONTENT_TYPE] = type;
    cr_assert(slice_equal(header("content-type"), type));
    event->row[FIELD_PAYLOAD] = SLICE_NULL;
    cr_assert(slice_equal(header("content-type"), type), "of a tombstone, too");
}

Test(encode, header_columns_come_before_the_row_s_headers_and_the_position_last)
{
    static char *extras[] = {GIVEN("tenant"), GIVEN("region")};
    config.encode.headers = HEADERS_PLAIN;
    config.outbox.header_columns = (StringList){.items = extras, .count = 2};
    config.encode.position_headers = true;
    event->seq = INT64_MIN;
    event->row[FIELD_EVENT_ID] = SLICE_LITERAL("1");
    event->row[FIELD_HEADERS] = SLICE_LITERAL("{\"a\":1,\"b\":null}");
    event->row[FIELD_COUNT + 1] = SLICE_LITERAL("eu");
    assert_headers("event_id=1\nregion=eu\na=1\nb\noutboxd_seq=-9223372036854775808\n");
}

Test(encode, the_timestamp_is_when_it_occurred_in_ms)
{
    static const struct {
        int64_t us;
        int64_t ms;
    } CASES[] = {
        {INT64_C(1795252364120999), INT64_C(1795252364120)},
        {999, 0}, /* 0 means: the time of publishing */
        {0, 0},
        {-1000000, 0}, /* Kafka has no times before 1970 */
        {EVENT_NO_TIME, 0},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        event->occurred_at_us = CASES[i].us;
        cr_assert_eq(encode(), OK);
        cr_assert_eq(record.timestamp_ms, CASES[i].ms, "%lld gave %lld", (long long)CASES[i].us,
                     (long long)record.timestamp_ms);
    }
    config.encode.timestamp = TIMESTAMP_PUBLISH;
    event->occurred_at_us = INT64_C(1795252364120999);
    cr_assert_eq(encode(), OK);
    cr_assert_eq(record.timestamp_ms, 0);
    cr_assert_not(slice_is_null(header("ce_time")), "the header still tells");
}

Test(encode, occurred_at_keeps_microseconds_and_may_be_long_ago)
{
    static const struct {
        int64_t us;
        const char *text;
    } CASES[] = {
        {INT64_C(1795252364123456), "2026-11-21T09:12:44.123456Z"},
        {0, "1970-01-01T00:00:00Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
        {INT64_C(951782400000000), "2000-02-29T00:00:00Z"},
        {INT64_C(-62135596800000000), "0001-01-01T00:00:00Z"},
        {INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        event->occurred_at_us = CASES[i].us;
        Slice text = header("ce_time");
        cr_assert(slice_equal(text, slice_of(CASES[i].text)), "%.*s", SLICE_ARG(text));
    }
    event->occurred_at_us = EVENT_NO_TIME;
    cr_assert(slice_is_null(header("ce_time")), "infinity is no time");
    event->occurred_at_us = INT64_C(-62135596800000001);
    cr_assert(slice_is_null(header("ce_time")), "RFC 3339 knows no year before 1");
    event->occurred_at_us = INT64_C(253402300800000000);
    cr_assert(slice_is_null(header("ce_time")), "nor one of five digits");
}

Test(encode, invalid_headers_are_poison_and_the_rest_of_the_record_is_there)
{
    fill();
    event->row[FIELD_HEADERS] = SLICE_LITERAL("[1]");
    cr_assert_eq(encode(), FAILED);
    cr_assert_eq(err.class, ERROR_POISON);
    cr_assert_eq(err.code, CODE_HEADERS_INVALID);
    cr_assert(slice_equal(record.value, event->row[FIELD_PAYLOAD]));
    cr_assert_geq(record.header_count, 13);
}

/* Upper and lower case, since readers of CloudEvents do not tell them apart; "ce_tenant" is an
 * extension of the user's own. */
Test(encode, the_envelope_wins_over_headers_of_the_row)
{
    fill();
    event->row[FIELD_CAUSATION_ID] = SLICE_NULL;
    event->row[FIELD_HEADERS] = SLICE_LITERAL(
        "{\"ce_id\": \"x\", \"CE_Type\": \"x\", \"content-type\": \"x\", \"traceparent\": null,"
        " \"ce_causationid\": \"x\", \"outboxd_seq\": 1, \"ce_tenant\": \"acme\", \"ce\": 1,"
        " \"event_id\": \"mine\", \"\": 2}");
    cr_assert(slice_equal(header("ce_id"), SLICE_LITERAL("0193-id")));
    cr_assert(slice_equal(header("ce_tenant"), SLICE_LITERAL("acme")));
    cr_assert(slice_equal(header("event_id"), SLICE_LITERAL("mine")));
    cr_assert_eq(record.header_count, 12 + 4, "%zu", record.header_count);
    cr_assert_eq(record.shadowed, 6, "%u", record.shadowed);
}

Test(encode, the_plain_envelope_wins_too)
{
    config.encode.headers = HEADERS_PLAIN;
    fill();
    event->row[FIELD_HEADERS] = SLICE_LITERAL(
        "{\"Event_ID\": \"x\", \"occurred_at\": 1, \"content_type\": \"x\", \"ce_id\": \"mine\","
        " \"content-type\": \"mine\", \"aggregate\": 1}");
    cr_assert(slice_equal(header("event_id"), SLICE_LITERAL("0193-id")));
    cr_assert(slice_equal(header("ce_id"), SLICE_LITERAL("mine")));
    cr_assert_eq(record.header_count, 11 + 3, "%zu", record.header_count);
    cr_assert_eq(record.shadowed, 3, "%u", record.shadowed);
}

/* The promise of encode/limits.h: what the SQL counts is never less than what is sent. */
Test(encode, the_record_is_within_what_emit_counts)
{
    static char source[LIMIT_SOURCE_BYTES + 1];
    memset(source, 's', LIMIT_SOURCE_BYTES);
    Random random = random_new(7);
    for (int round = 0; round < 2000; round++) {
        Arena arena = {0};
        Encoder *mine = NULL;
        PipelineConfig pipeline = config;
        pipeline.encode.source = round % 2 == 0 ? source : GIVEN("/shop/orders");
        pipeline.encode.headers = round % 3 == 0 ? HEADERS_PLAIN : HEADERS_CLOUDEVENTS;
        pipeline.encode.position_headers = round % 5 != 0;
        cr_assert_eq(encoder_new(&pipeline, given_schema_of(&pipeline), &mine, &err), OK);
        size_t most[FIELD_COUNT] = {[FIELD_EVENT_ID] = 36,
                                    [FIELD_EVENT_TYPE] = LIMIT_TYPE_BYTES,
                                    [FIELD_EVENT_VERSION] = 11,
                                    [FIELD_AGGREGATE_TYPE] = LIMIT_TYPE_BYTES,
                                    [FIELD_AGGREGATE_ID] = LIMIT_KEY_BYTES,
                                    [FIELD_AGGREGATE_VERSION] = 20,
                                    [FIELD_PAYLOAD] = 100000,
                                    [FIELD_CONTENT_TYPE] = LIMIT_CONTENT_TYPE_BYTES,
                                    [FIELD_CORRELATION_ID] = LIMIT_ID_BYTES,
                                    [FIELD_CAUSATION_ID] = LIMIT_ID_BYTES,
                                    [FIELD_TRACEPARENT] = LIMIT_TRACEPARENT_BYTES};
        size_t counted = LIMIT_ENVELOPE_BYTES;
        for (int field = 0; field < FIELD_COUNT; field++) {
            size_t length = round < 4 ? most[field] : random_below(&random, most[field] + 1);
            event->row[field] = SLICE_NULL;
            if (most[field] > 0 && (round < 4 || random_below(&random, 8) != 0)) {
                char *bytes = arena_alloc(&arena, length + 1);
                memset(bytes, 'x', length);
                event->row[field] = (Slice){.data = bytes, .length = length};
                bool stated = field != FIELD_EVENT_ID && field != FIELD_EVENT_VERSION &&
                              field != FIELD_AGGREGATE_VERSION;
                counted += (field == FIELD_AGGREGATE_ID ? 2 : 1) * (stated ? length : 0);
            }
        }
        Text json = TEXT_EMPTY;
        size_t members = random_below(&random, RECORD_HEADERS_MAX + 1);
        text_add_char(&json, '{');
        for (size_t i = 0; i < members; i++) {
            text_printf(&json, "%s\"h%zu\": %s", i > 0 ? ", " : "", i,
                        random_below(&random, 2) == 0 ? "\"\"" : "1");
        }
        text_add_char(&json, '}');
        event->row[FIELD_HEADERS] = (Slice){.data = json.data, .length = json.length};
        counted += json.length;
        event->occurred_at_us = INT64_C(1795252364123456);
        event->commit_lsn = round % 7 == 0 ? 0 : UINT64_MAX;
        event->ordinal = UINT64_MAX;
        event->seq = INT64_MAX;
        record = (Record){.key = event->row[FIELD_AGGREGATE_ID]};
        cr_assert_eq(mine->encode(mine, event, &arena, &record, &err), OK, "%s",
                     error_message(&err));
        size_t sent = kafka_record_bytes(&record);
        cr_assert_leq(sent, counted, "round %d: %zu bytes sent, %zu counted", round, sent, counted);
        text_free(&json);
        mine->free(mine);
        arena_release(&arena);
    }
}

Test(encode, many_headers_fit)
{
    Text json = TEXT_EMPTY;
    for (int i = 0; i < RECORD_HEADERS_MAX; i++) {
        text_printf(&json, "%s\"h%d\":%d", i == 0 ? "{" : ",", i, i);
    }
    text_add_char(&json, '}');
    fill();
    event->row[FIELD_HEADERS] = (Slice){.data = json.data, .length = json.length};
    cr_assert(slice_equal(header("h0"), SLICE_LITERAL("0")));
    cr_assert(slice_equal(header("h255"), SLICE_LITERAL("255")));
    cr_assert_eq(record.header_count, 13 + RECORD_HEADERS_MAX);
    text_free(&json);
}

Test(encode, debezium_headers_are_refused_until_they_are_built)
{
    config.encode.headers = HEADERS_DEBEZIUM;
    cr_assert_eq(encoder_new(&config, given_schema_of(&config), &encoder, &err), FAILED);
    cr_assert_null(encoder);
    cr_assert_eq(err.code, CODE_NOT_BUILT);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
}

Test(encode, a_row_of_another_table_is_encoded_by_what_its_columns_are)
{
    static char *names[] = {GIVEN("id"), GIVEN("total"), GIVEN("status")};
    AUTO(Schema, schema_free) orders = schema_new("shop.orders", 3);
    for (size_t i = 0; i < 3; i++) {
        orders->columns[i].name = names[i];
    }
    orders->field[FIELD_EVENT_ID] = 0;
    orders->field[FIELD_PAYLOAD] = 1;
    config.outbox.header_columns = (StringList){.items = names + 1, .count = 2};
    cr_assert_eq(encoder_new(&config, orders, &encoder, &err), OK, "%s", error_message(&err));
    event = batch_add(batch, orders);
    event->row[0] = SLICE_LITERAL("7");
    event->row[1] = SLICE_LITERAL("12.50");
    event->row[2] = SLICE_LITERAL("paid");
    cr_assert_eq(encode(), OK, "%s", error_message(&err));
    cr_assert(slice_equal(record.value, SLICE_LITERAL("12.50")));
    static const char *const EXPECTED[][2] = {{"ce_specversion", "1.0"},
                                              {"ce_id", "7"},
                                              {"ce_source", "/shop/orders"},
                                              {"content-type", "application/json"},
                                              {"total", "12.50"},
                                              {"status", "paid"}};
    cr_assert_eq(record.header_count, sizeof(EXPECTED) / sizeof(EXPECTED[0]));
    for (size_t i = 0; i < record.header_count; i++) {
        cr_expect(slice_equal(record.headers[i].name, slice_of(EXPECTED[i][0])), "%s",
                  EXPECTED[i][0]);
        cr_expect(slice_equal(record.headers[i].value, slice_of(EXPECTED[i][1])), "%s",
                  EXPECTED[i][0]);
    }
    batch_free(&batch);
}

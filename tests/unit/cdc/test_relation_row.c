/* A row of the stream: what an event gets of each column, and what is refused. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "base/timestamp.h"
#include "flow/refusal.h"
#include "relation_rig.h"

Test(relation, every_column_finds_its_field_by_name)
{
    static const char *const NAMES[] = {
        [FIELD_SEQ] = "seq",
        [FIELD_EVENT_ID] = "event_id",
        [FIELD_EVENT_TYPE] = "event_type",
        [FIELD_EVENT_VERSION] = "event_version",
        [FIELD_AGGREGATE_TYPE] = "aggregate_type",
        [FIELD_AGGREGATE_ID] = "aggregate_id",
        [FIELD_AGGREGATE_VERSION] = "aggregate_version",
        [FIELD_PAYLOAD] = "payload",
        [FIELD_PAYLOAD_BYTES] = "payload_bytes",
        [FIELD_CONTENT_TYPE] = "content_type",
        [FIELD_CORRELATION_ID] = "correlation_id",
        [FIELD_CAUSATION_ID] = "causation_id",
        [FIELD_TRACEPARENT] = "traceparent",
        [FIELD_HEADERS] = "headers",
        [FIELD_TOPIC] = "topic",
        [FIELD_OCCURRED_AT] = "occurred_at",
        "region",
        "published_at",
        "tenant",
    };
    enum { COLUMNS = sizeof(NAMES) / sizeof(NAMES[0]) };
    for (size_t turn = 0; turn < COLUMNS; turn++) { /* in whatever order the table has them */
        BuildColumn columns[COLUMNS];
        Slice values[COLUMNS];
        for (size_t i = 0; i < COLUMNS; i++) {
            size_t at = (i + turn) % COLUMNS;
            columns[at] = (BuildColumn){NAMES[i], TEXT};
            values[at] = i == FIELD_SEQ           ? SLICE_LITERAL("-12")
                         : i == FIELD_OCCURRED_AT ? SLICE_LITERAL("2000-01-01 00:00:01.5+00")
                         : strcmp(NAMES[i], "published_at") == 0 ? BUILD_NULL
                                                                 : slice_of(NAMES[i]);
        }
        cr_assert_eq(told_put(OUTBOX, "outbox", "event", columns, COLUMNS), OK, "%s",
                     error_message(&told.err));
        Event *event = NULL;
        cr_assert_eq(told_read_row(values, COLUMNS, &event), OK, "%s", error_message(&told.err));
        cr_assert_eq(event->seq, -12);
        cr_assert_eq(event->occurred_at_us, TIMESTAMP_POSTGRES_EPOCH_US + 1500000);
        cr_assert(slice_is_null(event->row[FIELD_SEQ]));
        cr_assert(slice_is_null(event->row[FIELD_OCCURRED_AT]));
        for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
            told_assert_slice(event->row[field], slice_of(NAMES[field]), NAMES[field]);
        }
        told_assert_slice(event->row[FIELD_COUNT], SLICE_LITERAL("tenant"), "first header column");
        told_assert_slice(event->row[FIELD_COUNT + 1], SLICE_LITERAL("region"),
                          "second header column");
        cr_assert_eq(event->batch, told.batch);
    }
    cr_assert_eq(told.batch->count, COLUMNS);
    cr_assert_eq(told.batch->unsettled, COLUMNS);
}

Test(relation, names_follow_the_configuration)
{
    static const BuildColumn DEBEZIUM[] = {
        {"id", TEXT},   {"aggregatetype", TEXT}, {"aggregateid", TEXT},
        {"type", TEXT}, {"payload", JSONB},      {"event_id", TEXT},
    };
    told.pipeline.outbox.on_publish = ON_PUBLISH_KEEP; /* without seq */
    told.pipeline.outbox.columns[FIELD_EVENT_ID] = GIVEN("id");
    told.pipeline.outbox.columns[FIELD_EVENT_TYPE] = GIVEN("type");
    told.pipeline.outbox.columns[FIELD_AGGREGATE_TYPE] = GIVEN("aggregatetype");
    told.pipeline.outbox.columns[FIELD_AGGREGATE_ID] = GIVEN("aggregateid");
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", DEBEZIUM, 6), OK, "%s",
                 error_message(&told.err));
    const Slice values[] = {SLICE_LITERAL("1"),      SLICE_LITERAL("order"), SLICE_LITERAL("42"),
                            SLICE_LITERAL("placed"), SLICE_LITERAL("{}"),    SLICE_LITERAL("no")};
    Event *event = NULL;
    cr_assert_eq(told_read_row(values, 6, &event), OK, "%s", error_message(&told.err));
    told_assert_slice(event->row[FIELD_EVENT_ID], SLICE_LITERAL("1"), "event_id");
    told_assert_slice(event->row[FIELD_EVENT_TYPE], SLICE_LITERAL("placed"), "event_type");
    told_assert_slice(event->row[FIELD_AGGREGATE_TYPE], SLICE_LITERAL("order"), "aggregate_type");
    told_assert_slice(event->row[FIELD_AGGREGATE_ID], SLICE_LITERAL("42"), "aggregate_id");
    cr_assert_eq(event->seq, EVENT_NO_SEQ);
    cr_assert_eq(event->occurred_at_us, EVENT_NO_TIME);
}

Test(relation, null_and_empty_are_two_things)
{
    told_put_with("topic", TEXT);
    cr_assert(slice_is_null(told_read_with(BUILD_NULL)->row[FIELD_TOPIC]));
    Slice empty = told_read_with(SLICE_LITERAL(""))->row[FIELD_TOPIC];
    cr_assert_not(slice_is_null(empty));
    cr_assert_eq(empty.length, 0);
}

typedef struct Printed {
    uint32_t type;
    Slice sent; /* by the type's output function */
    Slice cast; /* column::text, as PostgreSQL 13 to 18 print it */
} Printed;

#define SENT(type, sent, cast)                                                                     \
    {                                                                                              \
        type, {"" sent, sizeof(sent) - 1},                                                         \
        {                                                                                          \
            "" cast, sizeof(cast) - 1                                                              \
        }                                                                                          \
    }

static const Printed PRINTED[] = {
    SENT(BOOL, "t", "true"),
    SENT(BOOL, "f", "false"),
    SENT(BPCHAR, "EU   ", "EU"),
    SENT(BPCHAR, "a b ", "a b"),
    SENT(BPCHAR, "    ", ""),
    SENT(BPCHAR, "x\t ", "x\t"),
    SENT(TEXT, "t", "t"),
    SENT(TEXT, "EU   ", "EU   "),
    SENT(INT4, "-5", "-5"),
    SENT(JSONB, "{\"a\": 1}", "{\"a\": 1}"),
    SENT(INET, "10.0.0.1", "10.0.0.1/32"),
    SENT(INET, "10.0.0.1/8", "10.0.0.1/8"),
    SENT(INET, "::1", "::1/128"),
    SENT(INET, "::ffff:10.0.0.1", "::ffff:10.0.0.1/128"),
    SENT(INET, "fe80::/10", "fe80::/10"),
    SENT(CIDR, "10.0.0.0/8", "10.0.0.0/8"),
    SENT(CIDR, "10.0.0.1/32", "10.0.0.1/32"),
    SENT(BYTEA, "\\x00ff", "\\x00ff"), /* bytea::text, with bytea_output = hex */
};

Test(relation, a_column_reads_as_its_cast_to_text_prints_it)
{
    for (size_t i = 0; i < sizeof(PRINTED) / sizeof(PRINTED[0]); i++) {
        const Printed *printed = &PRINTED[i];
        told_put_with("tenant", printed->type);
        told_assert_slice(told_read_with(printed->sent)->row[FIELD_COUNT], printed->cast,
                          printed->sent.data);
        told_put_with("aggregate_version", printed->type);
        told_assert_slice(told_read_with(printed->sent)->row[FIELD_AGGREGATE_VERSION],
                          printed->cast, printed->sent.data);
    }
}

Test(relation, payload_bytes_are_the_bytes)
{
    told_put_with("payload_bytes", BYTEA);
    told_assert_slice(told_read_with(SLICE_LITERAL("\\x"))->row[FIELD_PAYLOAD_BYTES],
                      SLICE_LITERAL(""), "none");
    told_assert_slice(told_read_with(SLICE_LITERAL("\\x00ff5CaB0a"))->row[FIELD_PAYLOAD_BYTES],
                      SLICE_LITERAL("\0\xff\\\xab\n"), "bytes");
    cr_assert(slice_is_null(told_read_with(BUILD_NULL)->row[FIELD_PAYLOAD_BYTES]));
}

Test(relation, a_column_may_serve_twice)
{
    char *items[] = {GIVEN("aggregate_id"), GIVEN("payload_bytes")};
    told.pipeline.outbox.header_columns.items = items;
    told_put_with("payload_bytes", BYTEA);
    const Event *event = told_read_with(SLICE_LITERAL("\\x00ff"));
    told_assert_slice(event->row[FIELD_AGGREGATE_ID], SLICE_LITERAL("42"), "key");
    told_assert_slice(event->row[FIELD_COUNT], SLICE_LITERAL("42"), "header");
    told_assert_slice(event->row[FIELD_PAYLOAD_BYTES], SLICE_LITERAL("\0\xff"), "bytes");
    told_assert_slice(event->row[FIELD_COUNT + 1], SLICE_LITERAL("\\x00ff"), "their text");
    told.pipeline.outbox.columns[FIELD_EVENT_ID] = GIVEN("seq");
    told_put_with("payload_bytes", BYTEA);
    event = told_read_with(BUILD_NULL);
    told_assert_slice(event->row[FIELD_EVENT_ID], SLICE_LITERAL("7"), "id");
    cr_assert_eq(event->seq, 7);
}

Test(relation, a_domain_reads_as_the_type_below_it)
{
    told_put_type(20001, "", "bool");
    told_put_type(20002, "", "bpchar");
    told_put_type(20003, "pg_catalog", "inet");
    told_put_type(20004, "", "bytea");
    told_put_type(20005, "shop", "bool"); /* an enum of that name */
    told_put_with("tenant", 20001);
    told_assert_slice(told_read_with(SLICE_LITERAL("t"))->row[FIELD_COUNT], SLICE_LITERAL("true"),
                      "bool");
    told_put_with("tenant", 20002);
    told_assert_slice(told_read_with(SLICE_LITERAL("EU  "))->row[FIELD_COUNT], SLICE_LITERAL("EU"),
                      "char");
    told_put_with("tenant", 20003);
    told_assert_slice(told_read_with(SLICE_LITERAL("::1"))->row[FIELD_COUNT],
                      SLICE_LITERAL("::1/128"), "inet");
    told_put_with("tenant", 20005);
    told_assert_slice(told_read_with(SLICE_LITERAL("t"))->row[FIELD_COUNT], SLICE_LITERAL("t"),
                      "enum");
    told_put_with("payload_bytes", 20004);
    told_assert_slice(told_read_with(SLICE_LITERAL("\\x00ff"))->row[FIELD_PAYLOAD_BYTES],
                      SLICE_LITERAL("\0\xff"), "bytes");
    told_put_type(20001, "", "bpchar"); /* a stream that begins again tells anew */
    told_put_with("tenant", 20001);
    told_assert_slice(told_read_with(SLICE_LITERAL("t "))->row[FIELD_COUNT], SLICE_LITERAL("t"),
                      "replaced");
}

static void assert_row_refused(const Slice *values, size_t count, const char *what)
{
    size_t before = told.batch->count;
    Event *event = NULL;
    error_clear(&told.err);
    cr_assert_eq(told_read_row(values, count, &event), FAILED, "%s", what);
    cr_assert_eq(told.err.code, CODE_PG_PROTOCOL, "%s", what);
    cr_assert_eq(told.err.class, ERROR_RETRY, "%s", what);
    cr_assert_null(event, "%s", what);
    cr_assert_eq(told.batch->count, before, "%s: half an event stays", what);
    cr_assert_eq(told.batch->unsettled, before, "%s", what);
}

static void assert_refused(Slice value, const char *what)
{
    const Slice values[] = {ENVELOPE_VALUES, value};
    assert_row_refused(values, ENVELOPE_COLUMNS + 1, what);
}

Test(relation, payload_bytes_that_are_no_hexadecimal_digits_are_an_error)
{
    told_put_with("payload_bytes", BYTEA);
    told_read_with(SLICE_LITERAL("\\xaa")); /* stays as it is */
    const Slice bad[] = {SLICE_LITERAL(""),       SLICE_LITERAL("\\"),    SLICE_LITERAL("\\x0"),
                         SLICE_LITERAL("\\x0g"),  SLICE_LITERAL("\\x@0"), SLICE_LITERAL("abcd"),
                         SLICE_LITERAL("\\000a"), SLICE_LITERAL("/x00"),  SLICE_LITERAL("\\X00")};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_refused(bad[i], bad[i].data);
    }
    told_assert_slice(told.batch->events[0]->row[FIELD_PAYLOAD_BYTES], SLICE_LITERAL("\xaa"),
                      "before");
}

Test(relation, a_row_of_another_number_of_columns_is_an_error)
{
    const Slice values[] = {ENVELOPE_VALUES, SLICE_LITERAL("one more")};
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK);
    assert_row_refused(values, ENVELOPE_COLUMNS + 1, "more");
    assert_row_refused(values, ENVELOPE_COLUMNS - 1, "less");
    assert_row_refused(values, 0, "none");
    Event *event = NULL;
    cr_assert_eq(told_read_row(values, ENVELOPE_COLUMNS, &event), OK);
}

/* An insert brings whole rows as text. Were it otherwise, NULL would be a lie. */
Test(relation, a_value_that_was_not_sent_is_not_null)
{
    told_put_with("payload_bytes", BYTEA);
    assert_refused(BUILD_UNCHANGED, "unchanged");
    assert_refused(BUILD_BINARY, "binary");
    told_put_with("tenant", TEXT);
    assert_refused(BUILD_UNCHANGED, "unchanged header column");
    told_put_with("a_column_of_theirs", TEXT);
    cr_assert_eq(told_read_with(BUILD_UNCHANGED)->seq, 7, "nobody reads it");
}

static const struct {
    const char *sent;
    bool valid;
    int64_t seq;
} SEQS[] = {
    {"0", true, 0},
    {"-0", true, 0},
    {"12", true, 12},
    {"-12", true, -12},
    {"9223372036854775807", true, INT64_MAX},
    {"-9223372036854775807", true, INT64_MIN + 1},
    {"9223372036854775808", false, 0},
    {"-9223372036854775809", false, 0},
    {"99999999999999999999", false, 0},
    {"", false, 0},
    {"-", false, 0},
    {"+1", false, 0},
    {"1.5", false, 0},
    {" 1", false, 0},
    {"NaN", false, 0},
};

Test(relation, sequence_numbers_are_read_whole_or_not_at_all)
{
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK);
    for (size_t i = 0; i < sizeof(SEQS) / sizeof(SEQS[0]); i++) {
        Slice values[] = {ENVELOPE_VALUES};
        values[0] = slice_of(SEQS[i].sent);
        if (!SEQS[i].valid) {
            assert_row_refused(values, ENVELOPE_COLUMNS, SEQS[i].sent);
            continue;
        }
        Event *event = NULL;
        cr_assert_eq(told_read_row(values, ENVELOPE_COLUMNS, &event), OK, "%s", SEQS[i].sent);
        cr_assert_eq(event->seq, SEQS[i].seq, "%s", SEQS[i].sent);
    }
}

Test(relation, a_time_that_cannot_be_told_is_none)
{
    told_put_with("occurred_at", TIMESTAMPTZ);
    cr_assert_eq(told_read_with(SLICE_LITERAL("infinity"))->occurred_at_us, EVENT_NO_TIME);
    cr_assert_eq(told_read_with(SLICE_LITERAL("soon"))->occurred_at_us, EVENT_NO_TIME);
    cr_assert_eq(told_read_with(BUILD_NULL)->occurred_at_us, EVENT_NO_TIME);
    cr_assert_eq(told_read_with(SLICE_LITERAL("2000-01-01 00:00:00+00"))->occurred_at_us,
                 TIMESTAMP_POSTGRES_EPOCH_US);
}

/* As libpq hands it out: a buffer of its own. */
static char *hex_of(size_t bytes_count)
{
    char *hex = x_malloc(2 * bytes_count + 2);
    memset(hex, '6', 2 * bytes_count + 2);
    memcpy(hex, "\\x", 2);
    return hex;
}

Test(relation, a_row_over_the_limit_is_refused_as_it_was_sent)
{
    enum { COUNT = 100000 };
    told.pipeline.limits.event_bytes = COUNT;
    told_put_with("payload_bytes", BYTEA);
    AUTO_TEXT hex = hex_of(COUNT);
    Event *event = told_read_with((Slice){.data = hex, .length = 2 * COUNT + 2});
    cr_assert_not_null(event->refusal);
    cr_assert_not(event->refusal->partial);
    cr_assert_eq(event->refusal->count, 1);
    cr_assert(event->refusal->values[0].hex);
    cr_assert_eq(event->refusal->values[0].bytes.length, 2 * COUNT + 2);
    cr_assert(slice_is_null(event->row[FIELD_PAYLOAD_BYTES]));
    told_assert_slice(event->row[FIELD_AGGREGATE_ID], SLICE_LITERAL("42"), "what is small stays");
}

Test(relation, a_bytea_that_only_its_text_makes_large_is_decoded)
{
    enum { COUNT = 100000 };
    told.pipeline.limits.event_bytes = COUNT + 100;
    told_put_with("payload_bytes", BYTEA);
    AUTO_TEXT hex = hex_of(COUNT);
    Event *event = told_read_with((Slice){.data = hex, .length = 2 * COUNT + 2});
    cr_assert_null(event->refusal);
    cr_assert_eq(event->row[FIELD_PAYLOAD_BYTES].length, COUNT);
    cr_assert_eq(event->row[FIELD_PAYLOAD_BYTES].data[COUNT - 1], 'f');
}

Test(relation, a_large_row_keeps_the_buffer_that_it_came_in)
{
    enum { COUNT = 100000 };
    told.pipeline.limits.event_bytes = COUNT;
    told_put_with("correlation_id", TEXT);
    bool known = false;
    const Relation *relation = relations_find(&told.relations, OUTBOX, &known);
    AUTO_TEXT hex = hex_of(COUNT);
    const Slice values[] = {ENVELOPE_VALUES, {.data = hex, .length = COUNT + 1}};
    text_clear(&told.bytes);
    build_insert(&told.bytes, OUTBOX, values, ENVELOPE_COLUMNS + 1);
    char *buffer = x_malloc(told.bytes.length);
    memcpy(buffer, told.bytes.data, told.bytes.length);
    PgOutputReader reader = {.protocol = 1};
    PgOutput message;
    Slice slice = {.data = buffer, .length = told.bytes.length};
    cr_assert_eq(pgoutput_read(&reader, slice, &message, &told.err), OK);
    Event *event = NULL;
    const char *begin_of = buffer;
    cr_assert_eq(relation_read_row(relation, &message.change.new_tuple, &buffer, told.batch, &event,
                                   &told.err),
                 OK);
    cr_assert_null(buffer, "the batch has it");
    const char *value = event->refusal->values[0].bytes.data;
    cr_assert(value > begin_of && value < begin_of + told.bytes.length);
}

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "base/timestamp.h"
#include "cdc/relation.h"
#include "flow/refusal.h"
#include "stub/given.h"
#include "stub/given_schema.h"
#include "stub/libpq.h"
#include "stub/pgoutput_build.h"

/* pg_type.dat */
enum {
    BOOL = 16,
    BYTEA = 17,
    INT8 = 20,
    INT4 = 23,
    TEXT = 25,
    CIDR = 650,
    INET = 869,
    BPCHAR = 1042,
    TIMESTAMPTZ = 1184,
    JSONB = 3802,
    OUTBOX = 16400, /* the table */
};

static PipelineConfig pipeline;
static OutboxTable table;
static Tree tree;
static Relations relations;
static Batch *batch;
static Text bytes; /* of the last message */
static Error err;
static char *header_columns[] = {GIVEN("tenant"), GIVEN("region")};

static void begin(void)
{
    pipeline = given_pipeline();
    pipeline.outbox.header_columns.items = header_columns;
    pipeline.outbox.header_columns.count = 2;
    table = (OutboxTable){.config = &pipeline};
    relations = (Relations){.tree = &tree,
                            .table = &table,
                            .table_oid = OUTBOX,
                            .schema = x_strdup("outbox"),
                            .name = x_strdup("event")};
    batch = batch_new();
    error_clear(&err);
}

static void end(void)
{
    relations_release(&relations);
    tree_release(&tree);
    batch_free(&batch);
    text_free(&bytes);
}

TestSuite(relation, .init = begin, .fini = end);

static const BuildColumn ENVELOPE[] = {
    {"seq", INT8},          {"event_id", TEXT}, {"event_type", TEXT}, {"aggregate_type", TEXT},
    {"aggregate_id", TEXT}, {"payload", JSONB},
};
enum { ENVELOPE_COLUMNS = sizeof(ENVELOPE) / sizeof(ENVELOPE[0]) };

static Status put(uint32_t id, const char *schema, const char *name, const BuildColumn *columns,
                  size_t count)
{
    text_clear(&bytes);
    build_relation(&bytes, id, schema, name, columns, count);
    PgOutputReader reader = {.protocol = 1};
    PgOutput message;
    Slice slice = {.data = bytes.data, .length = bytes.length};
    cr_assert_eq(pgoutput_read(&reader, slice, &message, &err), OK, "%s", error_message(&err));
    table.schema = given_schema_of(&pipeline);
    return relations_put(&relations, &message.relation, &err);
}

/* The envelope and one more column. */
static void put_with(const char *column, uint32_t type)
{
    BuildColumn columns[ENVELOPE_COLUMNS + 1];
    memcpy(columns, ENVELOPE, sizeof(ENVELOPE));
    columns[ENVELOPE_COLUMNS] = (BuildColumn){column, type};
    cr_assert_eq(put(OUTBOX, "outbox", "event", columns, ENVELOPE_COLUMNS + 1), OK, "%s",
                 error_message(&err));
}

/* Reads from memory that is gone afterwards. */
static Status read_row(const Slice *values, size_t count, Event **ret_event)
{
    bool known = false;
    const Relation *relation = relations_find(&relations, OUTBOX, &known);
    cr_assert(known && relation != NULL);
    text_clear(&bytes);
    build_insert(&bytes, OUTBOX, values, count);
    PgOutputReader reader = {.protocol = 1};
    PgOutput message;
    Slice slice = {.data = bytes.data, .length = bytes.length};
    cr_assert_eq(pgoutput_read(&reader, slice, &message, &err), OK, "%s", error_message(&err));
    Status status =
        relation_read_row(relation, &message.change.new_tuple, NULL, batch, ret_event, &err);
    memset(bytes.data, '#', bytes.length);
    return status;
}

#define ENVELOPE_VALUES                                                                            \
    SLICE_LITERAL("7"), SLICE_LITERAL("id"), SLICE_LITERAL("placed"), SLICE_LITERAL("order"),      \
        SLICE_LITERAL("42"), SLICE_LITERAL("{}")

/* The event of the envelope and one more value. */
static Event *read_with(Slice value)
{
    Event *event = NULL;
    const Slice values[] = {ENVELOPE_VALUES, value};
    cr_assert_eq(read_row(values, ENVELOPE_COLUMNS + 1, &event), OK, "%s", error_message(&err));
    return event;
}

static void assert_slice(Slice value, Slice expected, const char *what)
{
    cr_assert(slice_equal(value, expected), "%s: '%.*s', not '%.*s'", what, SLICE_ARG(value),
              SLICE_ARG(expected));
}

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
        cr_assert_eq(put(OUTBOX, "outbox", "event", columns, COLUMNS), OK, "%s",
                     error_message(&err));
        Event *event = NULL;
        cr_assert_eq(read_row(values, COLUMNS, &event), OK, "%s", error_message(&err));
        cr_assert_eq(event->seq, -12);
        cr_assert_eq(event->occurred_at_us, TIMESTAMP_POSTGRES_EPOCH_US + 1500000);
        cr_assert(slice_is_null(event->row[FIELD_SEQ]));
        cr_assert(slice_is_null(event->row[FIELD_OCCURRED_AT]));
        for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
            assert_slice(event->row[field], slice_of(NAMES[field]), NAMES[field]);
        }
        assert_slice(event->row[FIELD_COUNT], SLICE_LITERAL("tenant"), "first header column");
        assert_slice(event->row[FIELD_COUNT + 1], SLICE_LITERAL("region"), "second header column");
        cr_assert_eq(event->batch, batch);
    }
    cr_assert_eq(batch->count, COLUMNS);
    cr_assert_eq(batch->unsettled, COLUMNS);
}

Test(relation, names_follow_the_configuration)
{
    static const BuildColumn DEBEZIUM[] = {
        {"id", TEXT},   {"aggregatetype", TEXT}, {"aggregateid", TEXT},
        {"type", TEXT}, {"payload", JSONB},      {"event_id", TEXT},
    };
    pipeline.outbox.on_publish = ON_PUBLISH_KEEP; /* without seq */
    pipeline.outbox.columns[FIELD_EVENT_ID] = GIVEN("id");
    pipeline.outbox.columns[FIELD_EVENT_TYPE] = GIVEN("type");
    pipeline.outbox.columns[FIELD_AGGREGATE_TYPE] = GIVEN("aggregatetype");
    pipeline.outbox.columns[FIELD_AGGREGATE_ID] = GIVEN("aggregateid");
    cr_assert_eq(put(OUTBOX, "outbox", "event", DEBEZIUM, 6), OK, "%s", error_message(&err));
    const Slice values[] = {SLICE_LITERAL("1"),      SLICE_LITERAL("order"), SLICE_LITERAL("42"),
                            SLICE_LITERAL("placed"), SLICE_LITERAL("{}"),    SLICE_LITERAL("no")};
    Event *event = NULL;
    cr_assert_eq(read_row(values, 6, &event), OK, "%s", error_message(&err));
    assert_slice(event->row[FIELD_EVENT_ID], SLICE_LITERAL("1"), "event_id");
    assert_slice(event->row[FIELD_EVENT_TYPE], SLICE_LITERAL("placed"), "event_type");
    assert_slice(event->row[FIELD_AGGREGATE_TYPE], SLICE_LITERAL("order"), "aggregate_type");
    assert_slice(event->row[FIELD_AGGREGATE_ID], SLICE_LITERAL("42"), "aggregate_id");
    cr_assert_eq(event->seq, EVENT_NO_SEQ);
    cr_assert_eq(event->occurred_at_us, EVENT_NO_TIME);
}

Test(relation, null_and_empty_are_two_things)
{
    put_with("topic", TEXT);
    cr_assert(slice_is_null(read_with(BUILD_NULL)->row[FIELD_TOPIC]));
    Slice empty = read_with(SLICE_LITERAL(""))->row[FIELD_TOPIC];
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
        put_with("tenant", printed->type);
        assert_slice(read_with(printed->sent)->row[FIELD_COUNT], printed->cast, printed->sent.data);
        put_with("aggregate_version", printed->type);
        assert_slice(read_with(printed->sent)->row[FIELD_AGGREGATE_VERSION], printed->cast,
                     printed->sent.data);
    }
}

Test(relation, payload_bytes_are_the_bytes)
{
    put_with("payload_bytes", BYTEA);
    assert_slice(read_with(SLICE_LITERAL("\\x"))->row[FIELD_PAYLOAD_BYTES], SLICE_LITERAL(""),
                 "none");
    assert_slice(read_with(SLICE_LITERAL("\\x00ff5CaB0a"))->row[FIELD_PAYLOAD_BYTES],
                 SLICE_LITERAL("\0\xff\\\xab\n"), "bytes");
    cr_assert(slice_is_null(read_with(BUILD_NULL)->row[FIELD_PAYLOAD_BYTES]));
}

Test(relation, a_column_may_serve_twice)
{
    char *items[] = {GIVEN("aggregate_id"), GIVEN("payload_bytes")};
    pipeline.outbox.header_columns.items = items;
    put_with("payload_bytes", BYTEA);
    const Event *event = read_with(SLICE_LITERAL("\\x00ff"));
    assert_slice(event->row[FIELD_AGGREGATE_ID], SLICE_LITERAL("42"), "key");
    assert_slice(event->row[FIELD_COUNT], SLICE_LITERAL("42"), "header");
    assert_slice(event->row[FIELD_PAYLOAD_BYTES], SLICE_LITERAL("\0\xff"), "bytes");
    assert_slice(event->row[FIELD_COUNT + 1], SLICE_LITERAL("\\x00ff"), "their text");
    pipeline.outbox.columns[FIELD_EVENT_ID] = GIVEN("seq");
    put_with("payload_bytes", BYTEA);
    event = read_with(BUILD_NULL);
    assert_slice(event->row[FIELD_EVENT_ID], SLICE_LITERAL("7"), "id");
    cr_assert_eq(event->seq, 7);
}

static void put_type(uint32_t id, const char *schema, const char *name)
{
    PgOutputType type = {.id = id, .schema = slice_of(schema), .name = slice_of(name)};
    AUTO_ERROR none = {0};
    cr_assert_eq(relations_put_type(&relations, &type, &none), OK);
}

Test(relation, a_domain_reads_as_the_type_below_it)
{
    put_type(20001, "", "bool");
    put_type(20002, "", "bpchar");
    put_type(20003, "pg_catalog", "inet");
    put_type(20004, "", "bytea");
    put_type(20005, "shop", "bool"); /* an enum of that name */
    put_with("tenant", 20001);
    assert_slice(read_with(SLICE_LITERAL("t"))->row[FIELD_COUNT], SLICE_LITERAL("true"), "bool");
    put_with("tenant", 20002);
    assert_slice(read_with(SLICE_LITERAL("EU  "))->row[FIELD_COUNT], SLICE_LITERAL("EU"), "char");
    put_with("tenant", 20003);
    assert_slice(read_with(SLICE_LITERAL("::1"))->row[FIELD_COUNT], SLICE_LITERAL("::1/128"),
                 "inet");
    put_with("tenant", 20005);
    assert_slice(read_with(SLICE_LITERAL("t"))->row[FIELD_COUNT], SLICE_LITERAL("t"), "enum");
    put_with("payload_bytes", 20004);
    assert_slice(read_with(SLICE_LITERAL("\\x00ff"))->row[FIELD_PAYLOAD_BYTES],
                 SLICE_LITERAL("\0\xff"), "bytes");
    put_type(20001, "", "bpchar"); /* a stream that begins again tells anew */
    put_with("tenant", 20001);
    assert_slice(read_with(SLICE_LITERAL("t "))->row[FIELD_COUNT], SLICE_LITERAL("t"), "replaced");
}

Test(relation, a_column_that_is_told_twice_counts_once)
{
    BuildColumn columns[ENVELOPE_COLUMNS * 8];
    for (size_t i = 0; i < ENVELOPE_COLUMNS * 8; i++) {
        columns[i] = ENVELOPE[i % ENVELOPE_COLUMNS];
    }
    cr_assert_eq(put(OUTBOX, "outbox", "event", columns, ENVELOPE_COLUMNS * 8), OK);
}

static void assert_row_refused(const Slice *values, size_t count, const char *what)
{
    size_t before = batch->count;
    Event *event = NULL;
    error_clear(&err);
    cr_assert_eq(read_row(values, count, &event), FAILED, "%s", what);
    cr_assert_eq(err.code, CODE_PG_PROTOCOL, "%s", what);
    cr_assert_eq(err.class, ERROR_RETRY, "%s", what);
    cr_assert_null(event, "%s", what);
    cr_assert_eq(batch->count, before, "%s: half an event stays", what);
    cr_assert_eq(batch->unsettled, before, "%s", what);
}

static void assert_refused(Slice value, const char *what)
{
    const Slice values[] = {ENVELOPE_VALUES, value};
    assert_row_refused(values, ENVELOPE_COLUMNS + 1, what);
}

Test(relation, payload_bytes_that_are_no_hexadecimal_digits_are_an_error)
{
    put_with("payload_bytes", BYTEA);
    read_with(SLICE_LITERAL("\\xaa")); /* stays as it is */
    const Slice bad[] = {SLICE_LITERAL(""),       SLICE_LITERAL("\\"),    SLICE_LITERAL("\\x0"),
                         SLICE_LITERAL("\\x0g"),  SLICE_LITERAL("\\x@0"), SLICE_LITERAL("abcd"),
                         SLICE_LITERAL("\\000a"), SLICE_LITERAL("/x00"),  SLICE_LITERAL("\\X00")};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_refused(bad[i], bad[i].data);
    }
    assert_slice(batch->events[0]->row[FIELD_PAYLOAD_BYTES], SLICE_LITERAL("\xaa"), "before");
}

Test(relation, a_row_of_another_number_of_columns_is_an_error)
{
    const Slice values[] = {ENVELOPE_VALUES, SLICE_LITERAL("one more")};
    cr_assert_eq(put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK);
    assert_row_refused(values, ENVELOPE_COLUMNS + 1, "more");
    assert_row_refused(values, ENVELOPE_COLUMNS - 1, "less");
    assert_row_refused(values, 0, "none");
    Event *event = NULL;
    cr_assert_eq(read_row(values, ENVELOPE_COLUMNS, &event), OK);
}

/* An insert brings whole rows as text. Were it otherwise, NULL would be a lie. */
Test(relation, a_value_that_was_not_sent_is_not_null)
{
    put_with("payload_bytes", BYTEA);
    assert_refused(BUILD_UNCHANGED, "unchanged");
    assert_refused(BUILD_BINARY, "binary");
    put_with("tenant", TEXT);
    assert_refused(BUILD_UNCHANGED, "unchanged header column");
    put_with("a_column_of_theirs", TEXT);
    cr_assert_eq(read_with(BUILD_UNCHANGED)->seq, 7, "nobody reads it");
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
    cr_assert_eq(put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK);
    for (size_t i = 0; i < sizeof(SEQS) / sizeof(SEQS[0]); i++) {
        Slice values[] = {ENVELOPE_VALUES};
        values[0] = slice_of(SEQS[i].sent);
        if (!SEQS[i].valid) {
            assert_row_refused(values, ENVELOPE_COLUMNS, SEQS[i].sent);
            continue;
        }
        Event *event = NULL;
        cr_assert_eq(read_row(values, ENVELOPE_COLUMNS, &event), OK, "%s", SEQS[i].sent);
        cr_assert_eq(event->seq, SEQS[i].seq, "%s", SEQS[i].sent);
    }
}

Test(relation, a_time_that_cannot_be_told_is_none)
{
    put_with("occurred_at", TIMESTAMPTZ);
    cr_assert_eq(read_with(SLICE_LITERAL("infinity"))->occurred_at_us, EVENT_NO_TIME);
    cr_assert_eq(read_with(SLICE_LITERAL("soon"))->occurred_at_us, EVENT_NO_TIME);
    cr_assert_eq(read_with(BUILD_NULL)->occurred_at_us, EVENT_NO_TIME);
    cr_assert_eq(read_with(SLICE_LITERAL("2000-01-01 00:00:00+00"))->occurred_at_us,
                 TIMESTAMP_POSTGRES_EPOCH_US);
}

Test(relation, a_column_that_an_event_needs_stops_us_when_it_is_gone)
{
    for (size_t gone = 0; gone < ENVELOPE_COLUMNS; gone++) {
        BuildColumn columns[ENVELOPE_COLUMNS];
        memcpy(columns, ENVELOPE, sizeof(columns));
        columns[gone].name = "renamed";
        error_clear(&err);
        cr_assert_eq(put(OUTBOX, "outbox", "event", columns, ENVELOPE_COLUMNS), FAILED, "%s",
                     ENVELOPE[gone].name);
        cr_assert_eq(err.code, CODE_COLUMN_MISSING);
        cr_assert_eq(err.class, ERROR_FATAL);
        cr_assert_not_null(strstr(error_message(&err), ENVELOPE[gone].name), "%s",
                           error_message(&err));
        cr_assert_not_null(strstr(error_own_hint(&err), ENVELOPE[gone].name), "%s",
                           error_own_hint(&err));
        cr_assert_not_null(
            strstr(error_own_hint(&err), "has the column again: `outboxd run --new-slot`"));
    }
    cr_assert_eq(put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK);
}

Test(relation, a_column_that_is_configured_away_is_not_missed)
{
    pipeline.outbox.columns[FIELD_AGGREGATE_ID] = GIVEN("");
    pipeline.outbox.columns[FIELD_AGGREGATE_TYPE] = GIVEN("");
    cr_assert_eq(put(OUTBOX, "outbox", "event", ENVELOPE, 3), FAILED, "payload is missed");
    static const BuildColumn COLUMNS[] = {
        {"seq", INT8}, {"event_id", TEXT}, {"event_type", TEXT}, {"payload", JSONB}};
    cr_assert_eq(put(OUTBOX, "outbox", "event", COLUMNS, 4), OK, "%s", error_message(&err));
}

Test(relation, payload_bytes_are_needed_when_there_is_no_payload)
{
    pipeline.outbox.columns[FIELD_PAYLOAD] = GIVEN("");
    static const BuildColumn COLUMNS[] = {{"seq", INT8},          {"event_id", TEXT},
                                          {"event_type", TEXT},   {"aggregate_type", TEXT},
                                          {"aggregate_id", TEXT}, {"payload_bytes", BYTEA}};
    cr_assert_eq(put(OUTBOX, "outbox", "event", COLUMNS, 6), OK, "%s", error_message(&err));
    cr_assert_eq(put(OUTBOX, "outbox", "event", COLUMNS, 5), FAILED);
    cr_assert_eq(err.code, CODE_COLUMN_MISSING);
    cr_assert_not_null(strstr(error_own_hint(&err), "columns.payload_bytes"), "%s",
                       error_own_hint(&err));
}

Test(relation, the_outbox_is_known_by_number_or_by_name)
{
    bool known = true;
    cr_assert_null(relations_find(&relations, 1, &known));
    cr_assert_not(known);
    cr_assert_eq(put(1, "outbox", "other", NULL, 0), OK, "its columns are nobody's business");
    cr_assert_null(relations_find(&relations, 1, &known));
    cr_assert(known);
    cr_assert_eq(put(2, "other", "event", NULL, 0), OK);
    cr_assert_null(relations_find(&relations, 2, &known));
    cr_assert_eq(put(OUTBOX, "moved", "renamed", ENVELOPE, ENVELOPE_COLUMNS), OK);
    cr_assert_not_null(relations_find(&relations, OUTBOX, &known));
    cr_assert_eq(put(3, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK, "made again");
    cr_assert_not_null(relations_find(&relations, 3, &known));
    relations_reset(&relations);
    cr_assert_null(relations_find(&relations, OUTBOX, &known));
    cr_assert_not(known);
}

Test(relation, a_relation_replaces_what_was_known_of_its_table)
{
    put_with("tenant", TEXT);
    assert_slice(read_with(SLICE_LITERAL("first"))->row[FIELD_COUNT], SLICE_LITERAL("first"),
                 "tenant");
    put_with("region", TEXT);
    Event *event = read_with(SLICE_LITERAL("second"));
    cr_assert(slice_is_null(event->row[FIELD_COUNT]));
    assert_slice(event->row[FIELD_COUNT + 1], SLICE_LITERAL("second"), "region");
    cr_assert_eq(relations.count, 1);
    cr_assert_eq(put(OUTBOX, "outbox", "event", ENVELOPE, 3), FAILED);
    put_with("tenant", BOOL);
    assert_slice(read_with(SLICE_LITERAL("t"))->row[FIELD_COUNT], SLICE_LITERAL("true"), "tenant");
}

/* Leaves: what the server says of them is a row of tree_add_query(), made here by hand. */

enum { LEAF = 16401, STRANGER = 16500 };

static bool must_ask(uint32_t id, const char *name, const BuildColumn *columns, size_t count)
{
    text_clear(&bytes);
    build_relation(&bytes, id, "parts", name, columns, count);
    PgOutputReader reader = {.protocol = 1};
    PgOutput message;
    Slice slice = {.data = bytes.data, .length = bytes.length};
    cr_assert_eq(pgoutput_read(&reader, slice, &message, &err), OK, "%s", error_message(&err));
    table.schema = given_schema_of(&pipeline);
    return relations_must_ask(&relations, &message.relation);
}

static bool is_ours(uint32_t id)
{
    bool known = false;
    const Relation *relation = relations_find(&relations, id, &known);
    cr_assert(known);
    return relation != NULL;
}

static bool answer(const char *members, bool divided, const char *generated, bool stranger,
                   uint32_t asked, bool fits)
{
    PGresult *result =
        stub_result(NULL, "members", members != NULL ? members : STUB_NULL, "divided",
                    divided ? "t" : "f", "generated", generated != NULL ? generated : STUB_NULL,
                    "stranger", stranger ? "t" : "f", NULL);
    bool detached = tree_read(&tree, result, asked, fits);
    PQclear(result);
    return detached;
}

static void given_no_other_columns(void)
{
    given_columns_needed(pipeline.outbox.columns);
    pipeline.outbox.header_columns.count = 0;
}

Test(relation, a_relation_of_ours_without_a_column_that_is_used_is_asked_about)
{
    cr_assert(must_ask(OUTBOX, "event", ENVELOPE, ENVELOPE_COLUMNS));
    given_no_other_columns();
    cr_assert_not(must_ask(OUTBOX, "event", ENVELOPE, ENVELOPE_COLUMNS));
}

Test(relation, a_leaf_is_the_outbox_whatever_its_name_and_order_of_columns)
{
    given_no_other_columns();
    BuildColumn turned[ENVELOPE_COLUMNS];
    for (size_t i = 0; i < ENVELOPE_COLUMNS; i++) {
        turned[i] = ENVELOPE[ENVELOPE_COLUMNS - 1 - i];
    }
    answer("16401,16402", true, NULL, false, 0, false);
    cr_assert_not(must_ask(LEAF, "event_2026_01", turned, ENVELOPE_COLUMNS));
    cr_assert_eq(put(LEAF, "parts", "event_2026_01", turned, ENVELOPE_COLUMNS), OK);
    cr_assert(is_ours(LEAF));
}

Test(relation, an_unknown_relation_is_asked_about_once_unless_it_could_be_ours)
{
    static const BuildColumn INVOICE[] = {{"id", INT8}, {"total", INT4}};
    given_no_other_columns();
    cr_assert(must_ask(STRANGER, "invoice", INVOICE, 2));
    cr_assert(must_ask(LEAF, "event_1", ENVELOPE, ENVELOPE_COLUMNS));
    answer(NULL, true, NULL, true, STRANGER, false);
    cr_assert_not(must_ask(STRANGER, "invoice", INVOICE, 2));
    cr_assert_eq(put(STRANGER, "public", "invoice", INVOICE, 2), OK);
    cr_assert_not(is_ours(STRANGER));
    answer(NULL, true, NULL, true, LEAF, true);
    cr_assert(must_ask(LEAF, "event_1", ENVELOPE, ENVELOPE_COLUMNS), "it may be attached by now");
    answer("16401", true, NULL, true, LEAF, true);
    cr_assert_not(must_ask(LEAF, "event_1", ENVELOPE, ENVELOPE_COLUMNS));
}

Test(relation, a_leaf_that_was_detached_is_ours_still)
{
    answer("16401", true, NULL, false, 0, false);
    answer(NULL, true, NULL, false, 0, false);
    cr_assert(tree_has(&tree, LEAF), "it was a part while we looked");
    tree_release(&tree);
    cr_assert(answer(NULL, true, NULL, false, LEAF, true),
              "nothing else brings it into the stream");
    cr_assert(tree_has(&tree, LEAF));
}

Test(relation, a_relation_that_the_publication_names_otherwise_is_none_of_ours)
{
    cr_assert_not(answer(NULL, true, NULL, true, LEAF, true));
    cr_assert_not(tree_has(&tree, LEAF));
    cr_assert_not(answer(NULL, false, NULL, false, LEAF, true), "the outbox has no parts");
    cr_assert_not(answer(NULL, true, NULL, false, LEAF, false), "it lacks what an event needs");
    cr_assert_not(tree_has(&tree, LEAF));
    cr_assert(tree_has_stranger(&tree, LEAF));
}

Test(relation, a_generated_column_that_is_used_and_not_sent_stops)
{
    answer(NULL, false, "\ntenant\nother\n", false, 0, false);
    cr_assert_eq(put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), FAILED);
    cr_assert_eq(err.code, CODE_COLUMN_GENERATED);
    cr_assert_eq(err.class, ERROR_FATAL);
    cr_assert_not_null(strstr(error_message(&err), "'tenant'"), "%s", error_message(&err));
    put_with("tenant", TEXT); /* from 18 on it may be sent */
    answer(NULL, false, "\nten\nother\n", false, 0, false);
    cr_assert_eq(put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK);
}

Test(relation, a_list_of_members_that_is_none_is_survived)
{
    answer("x", true, NULL, false, 0, false);
    answer(",", true, NULL, false, 0, false);
    answer("16401,", true, NULL, false, 0, false);
    cr_assert(tree_has(&tree, LEAF));
    cr_assert_eq(tree.members.count, 1);
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
    pipeline.limits.event_bytes = COUNT;
    put_with("payload_bytes", BYTEA);
    AUTO_TEXT hex = hex_of(COUNT);
    Event *event = read_with((Slice){.data = hex, .length = 2 * COUNT + 2});
    cr_assert_not_null(event->refusal);
    cr_assert_not(event->refusal->partial);
    cr_assert_eq(event->refusal->count, 1);
    cr_assert(event->refusal->values[0].hex);
    cr_assert_eq(event->refusal->values[0].bytes.length, 2 * COUNT + 2);
    cr_assert(slice_is_null(event->row[FIELD_PAYLOAD_BYTES]));
    assert_slice(event->row[FIELD_AGGREGATE_ID], SLICE_LITERAL("42"), "what is small stays");
}

Test(relation, a_bytea_that_only_its_text_makes_large_is_decoded)
{
    enum { COUNT = 100000 };
    pipeline.limits.event_bytes = COUNT + 100;
    put_with("payload_bytes", BYTEA);
    AUTO_TEXT hex = hex_of(COUNT);
    Event *event = read_with((Slice){.data = hex, .length = 2 * COUNT + 2});
    cr_assert_null(event->refusal);
    cr_assert_eq(event->row[FIELD_PAYLOAD_BYTES].length, COUNT);
    cr_assert_eq(event->row[FIELD_PAYLOAD_BYTES].data[COUNT - 1], 'f');
}

Test(relation, a_large_row_keeps_the_buffer_that_it_came_in)
{
    enum { COUNT = 100000 };
    pipeline.limits.event_bytes = COUNT;
    put_with("correlation_id", TEXT);
    bool known = false;
    const Relation *relation = relations_find(&relations, OUTBOX, &known);
    AUTO_TEXT hex = hex_of(COUNT);
    const Slice values[] = {ENVELOPE_VALUES, {.data = hex, .length = COUNT + 1}};
    text_clear(&bytes);
    build_insert(&bytes, OUTBOX, values, ENVELOPE_COLUMNS + 1);
    char *buffer = x_malloc(bytes.length);
    memcpy(buffer, bytes.data, bytes.length);
    PgOutputReader reader = {.protocol = 1};
    PgOutput message;
    Slice slice = {.data = buffer, .length = bytes.length};
    cr_assert_eq(pgoutput_read(&reader, slice, &message, &err), OK);
    Event *event = NULL;
    const char *begin_of = buffer;
    cr_assert_eq(
        relation_read_row(relation, &message.change.new_tuple, &buffer, batch, &event, &err), OK);
    cr_assert_null(buffer, "the batch has it");
    const char *value = event->refusal->values[0].bytes.data;
    cr_assert(value > begin_of && value < begin_of + bytes.length);
}

/* Bounds: a server, or what stands in between, may tell of anything. */

static size_t relation_bytes(void)
{
    return relations.stranger_count * sizeof(*relations.strangers) +
           relations.type_count * 2 * sizeof(uint32_t);
}

Test(relation, tables_of_others_are_forgotten_in_their_turn_and_stay_others)
{
    BuildColumn column = {"id", INT8};
    for (uint32_t id = 1; id <= RELATIONS_STRANGERS_MAX + 10; id++) {
        if (id != OUTBOX) {
            relations_put(&relations,
                          &(PgOutputRelation){.id = id + 100000,
                                              .schema = SLICE_LITERAL("public"),
                                              .name = SLICE_LITERAL("other")},
                          &err);
        }
    }
    cr_assert_eq(relations.count, 0);
    cr_assert_eq(relations.stranger_count, RELATIONS_STRANGERS_MAX);
    cr_assert_leq(relation_bytes(), 300000);
    bool known = false;
    cr_assert_null(relations_find(&relations, 100001, &known));
    cr_assert(known, "forgotten, and no violation of the protocol");
    cr_assert_eq(put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK);
    cr_assert_not_null(relations_find(&relations, OUTBOX, &known), "ours is never forgotten");
    cr_assert_eq(put(300, "public", "another", &column, 1), OK);
    relations_reset(&relations);
    cr_assert_null(relations_find(&relations, 100001, &known));
    cr_assert_not(known, "a new stream");
}

Test(relation, more_tables_of_ours_than_anybody_has_are_a_violation_of_the_protocol)
{
    Status status = OK;
    uint32_t id = 1;
    for (; status == OK && id <= RELATIONS_MAX + 1; id++) { /* all by the name */
        status = put(id + 100000, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS);
    }
    cr_assert_eq(status, FAILED);
    cr_assert_eq(id, RELATIONS_MAX + 2);
    cr_assert_eq(err.code, CODE_PG_PROTOCOL);
    cr_assert_eq(err.class, ERROR_RETRY);
    cr_assert_not_null(strstr(error_message(&err), "more than 16384 tables"), "%s",
                       error_message(&err));
    cr_assert_eq(put(100001, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK, "told again");
}

Test(relation, types_that_are_not_converted_are_not_kept_and_the_others_are_bounded)
{
    for (uint32_t id = 1; id <= 1000000; id += 7) {
        put_type(id + 20000, "public", "mood");
    }
    cr_assert_eq(relations.type_count, 0);
    put_type(20000, "", "bool");
    cr_assert_eq(relations.type_count, 1);
    put_type(20000, "public", "mood"); /* made anew */
    cr_assert_eq(relations.type_count, 0);
    for (uint32_t id = 1; id <= RELATIONS_TYPES_MAX; id++) {
        put_type(id + 20000, "", "bool");
    }
    PgOutputType type = {.id = 10, .schema = SLICE_LITERAL(""), .name = SLICE_LITERAL("bool")};
    cr_assert_eq(relations_put_type(&relations, &type, &err), FAILED);
    cr_assert_eq(err.code, CODE_PG_PROTOCOL);
}

Test(relation, more_partitions_than_are_kept_are_a_violation_of_the_protocol)
{
    Text members = TEXT_EMPTY;
    for (uint32_t oid = TREE_MEMBERS_MAX + 5; oid > 0; oid--) {
        text_printf(&members, "%s%u,%u", members.length > 0 ? "," : "", oid + 50000, oid + 50000);
    }
    PGresult *row = stub_result("", "members", members.data, NULL);
    (void)tree_read(&tree, row, 0, false);
    cr_assert(tree.full);
    cr_assert_eq(tree.members.count, TREE_MEMBERS_MAX);
    cr_assert(tree_has(&tree, 50000 + TREE_MEMBERS_MAX / 2));
    cr_assert_eq(put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), FAILED);
    cr_assert_eq(err.code, CODE_PG_PROTOCOL);
    PQclear(row);
    text_free(&members);
}

Test(relation, strangers_that_were_asked_about_are_bounded)
{
    PGresult *row = stub_result("", "members", STUB_NULL, "stranger", "t", NULL);
    for (uint32_t oid = 1; oid <= TREE_STRANGERS_MAX + 3; oid++) {
        cr_assert_not(tree_read(&tree, row, oid + 60000, false));
    }
    cr_assert_eq(tree.strangers.count, TREE_STRANGERS_MAX);
    cr_assert_not(tree_has_stranger(&tree, 60001), "it is asked about again");
    cr_assert(tree_has_stranger(&tree, 60000 + TREE_STRANGERS_MAX + 3));
    PQclear(row);
    row = stub_result("", "members", "60100", "stranger", STUB_NULL, NULL);
    (void)tree_read(&tree, row, 0, false);
    cr_assert(tree_has(&tree, 60100));
    cr_assert_not(tree_has_stranger(&tree, 60100));
    PQclear(row);
}

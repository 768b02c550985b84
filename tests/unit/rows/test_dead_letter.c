#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "flow/batch.h"
#include "flow/refusal.h"
#include "rows/dead_letter.h"
#include "stub/given.h"
#include "stub/given_schema.h"
#include "stub/random.h"

static PipelineConfig config;
static Batch *batch;
static Event *event;
static Record record;
static Error reason;
static DeadLetter letter;

static void begin(void)
{
    config = given_pipeline();
    letter.ascii_only = letter.foreign = false;
    batch = batch_new();
    event = batch_add(batch, given_schema(2));
    event->seq = 42;
    error_set(&reason, CODE_RECORD_TOO_LARGE, "the record takes %d bytes", 2000000);
    error_hint(&reason, "Raise max.message.bytes.");
}

static void end(void)
{
    dead_letter_release(&letter);
    batch_free(&batch);
}

TestSuite(dead_letter, .init = begin, .fini = end);

static void build(void)
{
    dead_letter_build(&letter, "\"outbox\".\"dead_letter\"", &config, event, &record, &reason);
}

static json_t *json_param(int param)
{
    json_error_t error;
    json_t *json = json_loads(letter.values[param], JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    cr_assert_not_null(json, "%s: %s", error.text, letter.values[param]);
    return json;
}

static void assert_member(const json_t *json, const char *name, const char *expected)
{
    const json_t *member = json_object_get(json, name);
    cr_assert_not_null(member, "no '%s'", name);
    if (expected == NULL) {
        cr_assert(json_is_null(member), "%s", name);
    } else {
        cr_assert_str_eq(json_string_value(member), expected);
    }
}

Test(dead_letter, the_statement_has_a_place_for_each_parameter)
{
    build();
    static const char BEGIN[] = "INSERT INTO \"outbox\".\"dead_letter\" (";
    cr_assert_eq(strncmp(letter.sql, BEGIN, sizeof(BEGIN) - 1), 0);
    char place[8];
    for (int i = 1; i <= DEAD_LETTER_PARAMS; i++) {
        snprintf(place, sizeof(place), "$%d", i);
        cr_assert_not_null(strstr(letter.sql, place), "%s", place);
    }
    cr_assert_null(strstr(letter.sql, "$14"));
}

Test(dead_letter, odd_bytes_are_replaced_in_texts_and_kept_in_bytes)
{
    record = (Record){.key = SLICE_LITERAL("caf\xE9"), .value = SLICE_LITERAL("\xFF\0")};
    event->row[FIELD_EVENT_ID] = SLICE_LITERAL("id\xE9");
    event->row[FIELD_PAYLOAD] = SLICE_LITERAL("{\"a\":\"caf\xE9\"}");
    RecordHeader header = {.name = SLICE_LITERAL("na\xEFve"), .value = SLICE_LITERAL("\xE2\x82")};
    record.headers = &header;
    record.header_count = 1;
    build();
    cr_assert_str_eq(letter.values[2], "id\xEF\xBF\xBD");
    json_t *json = json_param(3);
    assert_member(json, "payload", "{\"a\":\"caf\xEF\xBF\xBD\"}");
    json_decref(json);
    cr_assert_eq(letter.count, DEAD_LETTER_PARAMS + 2, "and their bytes stand apart");
    cr_assert_not_null(strstr(letter.sql, "ARRAY['event_id', 'payload']::text[]"), "%s",
                       letter.sql);
    cr_assert_not_null(strstr(letter.sql, "ARRAY[$14::bytea, $15::bytea]::bytea[]"));
    cr_assert(letter.lengths[14] == 12 &&
              memcmp(letter.values[14], "{\"a\":\"caf\xE9\"}", 12) == 0);
    cr_assert(letter.lengths[5] == 4 && memcmp(letter.values[5], "caf\xE9", 4) == 0);
    cr_assert(letter.lengths[6] == 2 && memcmp(letter.values[6], "\xFF\0", 2) == 0);
    json = json_param(7);
    assert_member(json_array_get(json, 0), "name", "na\xEF\xBF\xBDve");
    assert_member(json_array_get(json, 0), "value", "\xEF\xBF\xBD\xEF\xBF\xBD");
    json_decref(json);
}

Test(dead_letter, what_came_from_the_wal_says_where_it_stands)
{
    build();
    json_t *json = json_param(3);
    cr_assert_null(json_object_get(json, "lsn"), "it is found by its row");
    json_decref(json);
    dead_letter_release(&letter);
    event->seq = EVENT_NO_SEQ;
    event->commit_lsn = UINT64_C(0x1A0000002B);
    event->ordinal = 3;
    build();
    json = json_param(3);
    cr_assert(json_is_null(json_object_get(json, "seq")));
    assert_member(json, "lsn", "1A/2B");
    cr_assert_eq(json_integer_value(json_object_get(json, "ordinal")), 3);
    json_decref(json);
}

Test(dead_letter, a_reason_of_any_length_is_whole)
{
    char long_name[2000];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(long_name, 'x', shift);
        for (size_t i = shift; i + 4 <= sizeof(long_name); i += 3) {
            memcpy(long_name + i, "\xE2\x82\xAC", 4);
        }
        error_set(&reason, CODE_TOPIC_NAME_INVALID, "'%s'", long_name);
        error_prefix(&reason, "%s", long_name);
        error_hint(&reason, "%s", long_name);
        build();
        cr_assert_null(strstr(letter.values[9], "\xEF\xBF\xBD"), "%s", letter.values[9]);
        AUTO_TEXT whole = x_format("%1$s: '%1$s'. %1$s", long_name);
        cr_assert_str_eq(letter.values[9], whole);
        dead_letter_release(&letter);
    }
}

Test(dead_letter, a_database_that_is_not_utf8_gets_reasons_and_headers_in_ascii)
{
    RecordHeader header = {.name = SLICE_LITERAL("price"),
                           .value = SLICE_LITERAL("8 \xE2\x82\xAC")};
    record.headers = &header;
    record.header_count = 1;
    event->row[FIELD_AGGREGATE_ID] = SLICE_LITERAL("caf\xC3\xA9");
    error_set(&reason, CODE_RECORD_TOO_LARGE, "'\xC3\xA9'");
    letter.ascii_only = true;
    build();
    json_t *json = json_param(7);
    assert_member(json_array_get(json, 0), "value", "8 ?");
    json_decref(json);
    json = json_param(3);
    assert_member(json, "aggregate_id", "caf\xC3\xA9"); /* it came from there */
    json_decref(json);
    cr_assert_eq(strncmp(letter.values[9], "'?'", 3), 0);
}

Test(dead_letter, characters_that_the_database_lacks_stand_apart)
{
    event->row[FIELD_EVENT_ID] = SLICE_LITERAL("id \xE2\x82\xAC");
    event->row[FIELD_AGGREGATE_ID] = SLICE_LITERAL("8 \xE2\x82\xAC");
    event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("order");
    letter.ascii_only = letter.foreign = true;
    build();
    cr_assert_str_eq(letter.values[2], "id ?");
    json_t *json = json_param(3);
    assert_member(json, "aggregate_id", "8 ?");
    assert_member(json, "aggregate_type", "order");
    json_decref(json);
    cr_assert_eq(letter.count, DEAD_LETTER_PARAMS + 2);
    cr_assert_str_eq(letter.names[DEAD_LETTER_PARAMS + 1], "aggregate_id");
    cr_assert_arr_eq(letter.values[DEAD_LETTER_PARAMS + 1], "8 \xE2\x82\xAC", 5);
    cr_assert(letter.whole);
    for (int param = 0; param < DEAD_LETTER_PARAMS; param++) {
        for (const char *c = letter.values[param]; c != NULL && *c != '\0'; c++) {
            cr_assert_lt((unsigned char)*c, 0x80, "parameter %d", param);
        }
    }
}

Test(dead_letter, says_what_was_refused_and_why)
{
    Topic topic = {.name = GIVEN("orders.events")};
    record = (Record){.topic = &topic, .key = SLICE_LITERAL("o-7"), .timestamp_ms = 1500};
    event->row[FIELD_EVENT_ID] = SLICE_LITERAL("0193");
    event->attempts = 3;
    build();
    static const struct {
        int param;
        const char *value;
    } EXPECTED[] = {{0, "orders"},  {1, "42"},
                    {2, "0193"},    {4, "orders.events"},
                    {8, "1500"},    {9, "the record takes 2000000 bytes. Raise max.message.bytes."},
                    {10, "poison"}, {11, "RECORD_TOO_LARGE"},
                    {12, "3"}};
    for (size_t i = 0; i < sizeof(EXPECTED) / sizeof(EXPECTED[0]); i++) {
        cr_assert_str_eq(letter.values[EXPECTED[i].param], EXPECTED[i].value);
        cr_assert_eq(letter.formats[EXPECTED[i].param], 0);
    }
}

Test(dead_letter, what_is_unknown_is_null)
{
    build();
    cr_assert_null(letter.values[2], "event_id");
    cr_assert_null(letter.values[4], "topic");
    cr_assert_null(letter.values[5], "key");
    cr_assert_null(letter.values[6], "value");
    cr_assert_null(letter.values[8], "timestamp");
    cr_assert_str_eq(letter.values[12], "1", "an event that was never sent was tried once");
}

Test(dead_letter, key_and_value_are_bytes)
{
    record.key = SLICE_LITERAL("");
    record.value = (Slice){.data = "\0\xFF", .length = 2};
    build();
    cr_assert_not_null(letter.values[5]);
    cr_assert_eq(letter.lengths[5], 0);
    cr_assert_eq(letter.formats[5], 1);
    cr_assert_eq(letter.lengths[6], 2);
    cr_assert_eq(letter.formats[6], 1);
    cr_assert_eq(memcmp(letter.values[6], "\0\xFF", 2), 0);
}

Test(dead_letter, the_event_is_json_with_every_column)
{
    static char *extras[] = {GIVEN("tenant"), GIVEN("re\"gion"), GIVEN("topic")};
    batch_free(&batch);
    batch = batch_new();
    event = batch_add(batch, given_schema(3));
    event->seq = 42;
    config.outbox.header_columns = (StringList){.items = extras, .count = 3};
    event->row[FIELD_PAYLOAD] = SLICE_LITERAL("{\"a\": \"\\u00e4\"}");
    event->row[FIELD_AGGREGATE_ID] = SLICE_LITERAL("line\nquote\" back\\");
    event->row[FIELD_PAYLOAD_BYTES] = (Slice){.data = "\0\x7F\xFF", .length = 3};
    event->occurred_at_us = 1500000;
    event->row[FIELD_COUNT + 1] = SLICE_LITERAL("eu");
    event->row[FIELD_COUNT + 2] = SLICE_LITERAL("not the topic");
    build();
    json_t *json = json_param(3);
    cr_assert_eq(json_integer_value(json_object_get(json, "seq")), 42);
    assert_member(json, "event_id", NULL);
    assert_member(json, "payload", "{\"a\": \"\\u00e4\"}");
    assert_member(json, "aggregate_id", "line\nquote\" back\\");
    assert_member(json, "payload_bytes", "\\x007fff");
    assert_member(json, "occurred_at", "1970-01-01T00:00:01.5Z");
    const json_t *columns = json_object_get(json, DEAD_LETTER_HEADER_COLUMNS);
    assert_member(columns, "tenant", NULL);
    assert_member(columns, "re\"gion", "eu");
    assert_member(columns, "topic", "not the topic");
    cr_assert_eq(json_object_size(columns), 3);
    assert_member(json, "topic", NULL);
    cr_assert_eq(json_object_size(json), FIELD_COUNT + 1);
    json_decref(json);
}

Test(dead_letter, bytes_that_are_null_or_empty_differ)
{
    build();
    json_t *json = json_param(3);
    assert_member(json, "payload_bytes", NULL);
    assert_member(json, "occurred_at", NULL);
    json_decref(json);
    dead_letter_release(&letter);
    event->row[FIELD_PAYLOAD_BYTES] = SLICE_LITERAL("");
    build();
    json = json_param(3);
    assert_member(json, "payload_bytes", "\\x");
    json_decref(json);
}

Test(dead_letter, headers_keep_their_order_and_repeats)
{
    RecordHeader headers[] = {{SLICE_LITERAL("a"), SLICE_LITERAL("1")},
                              {SLICE_LITERAL("a"), SLICE_NULL},
                              {SLICE_LITERAL(""), SLICE_LITERAL("\"")}};
    record.headers = headers;
    record.header_count = 3;
    build();
    json_t *json = json_param(7);
    cr_assert_eq(json_array_size(json), 3);
    assert_member(json_array_get(json, 0), "name", "a");
    assert_member(json_array_get(json, 0), "value", "1");
    assert_member(json_array_get(json, 1), "value", NULL);
    assert_member(json_array_get(json, 2), "name", "");
    assert_member(json_array_get(json, 2), "value", "\"");
    json_decref(json);
    dead_letter_release(&letter);
    record.header_count = 0;
    build();
    cr_assert_str_eq(letter.values[7], "[]");
}

Test(dead_letter, no_bytes_make_invalid_json_or_one_that_jsonb_refuses)
{
    uint64_t first = 1;
    uint64_t count = 2000;
    random_seeds(&first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        Random random = random_new(seed);
        char noise[64];
        for (size_t i = 0; i < sizeof(noise); i++) {
            noise[i] = (char)random_below(&random, random_chance(&random, 50) ? 256 : 40);
        }
        RecordHeader header;
        Slice *places[] = {&event->row[FIELD_PAYLOAD], &event->row[FIELD_AGGREGATE_ID],
                           &event->row[FIELD_PAYLOAD_BYTES], &header.name, &header.value};
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
            size_t from = random_below(&random, 32);
            *places[i] = (Slice){.data = noise + from, .length = random_below(&random, 64 - from)};
        }
        record.headers = &header;
        record.header_count = 1;
        build();
        for (int param = 3; param <= 7; param += 4) {
            json_t *json = json_param(param);
            json_decref(json);
            cr_assert_null(strstr(letter.values[param], "\\u0000"),
                           "seed %lu: jsonb holds no NUL: %s", (unsigned long)seed,
                           letter.values[param]);
        }
        dead_letter_release(&letter);
    }
}

static OutboxTable *outbox;

static void build_copy(void)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(table_new(&config, &outbox, &err), OK, "%s", error_message(&err));
    dead_letter_build_copy(&letter, "outbox.dead_letter", outbox, event, &record, &reason);
    table_free(&outbox);
}

Test(dead_letter, the_server_copies_the_row_by_number_and_event_id)
{
    event->row[FIELD_EVENT_ID] = SLICE_LITERAL("0193");
    event->row[FIELD_PAYLOAD] = SLICE_LITERAL("{\"not\":\"sent\"}");
    config.outbox.columns[FIELD_CORRELATION_ID] = GIVEN("it's \"x\"");
    build_copy();
    cr_assert_eq(letter.count, DEAD_LETTER_PARAMS + 1);
    cr_assert_str_eq(letter.values[1], "42");
    cr_assert_str_eq(letter.values[3], "4194304");
    cr_assert_str_eq(letter.values[13], "0193");
    for (int i = 0; i < letter.count; i++) {
        cr_assert(letter.values[i] == NULL || strstr(letter.values[i], "sent") == NULL);
    }
    cr_assert_not_null(strstr(letter.sql,
                              "FROM \"outbox\".\"event\" WHERE \"seq\" = $2::bigint AND "
                              "CASE WHEN pg_catalog.right($14::text, 8) = '...(cut)' THEN "));
    cr_assert_not_null(strstr(letter.sql, " ELSE \"event_id\"::text = $14::text END LIMIT 1"));
    cr_assert_not_null(strstr(letter.sql, "\"it's \"\"x\"\"\"::text AS v10"), "%s", letter.sql);
    cr_assert_not_null(strstr(letter.sql, "convert_to(v10, 'UTF8')"));
    cr_assert_not_null(strstr(letter.sql, "'payload_bytes'"));
}

Test(dead_letter, only_what_has_a_row_and_a_name_is_copied)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(table_new(&config, &outbox, &err), OK);
    event->row[FIELD_EVENT_ID] = SLICE_LITERAL("0193");
    cr_assert(dead_letter_has_row(event, outbox, false));
    refusal_set_odd_text(event, FIELD_PAYLOAD);
    cr_assert_not(dead_letter_has_row(event, outbox, true), "shown best from here");
    event->refusal->partial = true;
    cr_assert(dead_letter_has_row(event, outbox, true), "nobody else has its values");
    event->seq = EVENT_NO_SEQ;
    cr_assert_not(dead_letter_has_row(event, outbox, false));
    table_free(&outbox);
}

Test(dead_letter, large_values_go_once_and_as_they_are)
{
    char *big = malloc(DEAD_LETTER_NEAR_BYTES + 1);
    cr_assert_not_null(big);
    memset(big, 'x', DEAD_LETTER_NEAR_BYTES + 1);
    event->row[FIELD_CORRELATION_ID] = (Slice){.data = big, .length = DEAD_LETTER_NEAR_BYTES + 1};
    Refusal *refusal = refusal_new(event, 1);
    refusal->values[refusal->count++] =
        (RefusedValue){.target = FIELD_PAYLOAD_BYTES, .hex = true, .bytes = SLICE_LITERAL("\\x00")};
    record.value = event->row[FIELD_CORRELATION_ID];
    build();
    cr_assert_eq(letter.count, DEAD_LETTER_PARAMS + 2);
    cr_assert_eq((const void *)letter.values[13], (const void *)big);
    cr_assert_eq(letter.lengths[13], DEAD_LETTER_NEAR_BYTES + 1);
    cr_assert_not_null(strstr(letter.sql, "ARRAY['correlation_id', 'payload_bytes']::text[], "
                                          "ARRAY[$14::bytea, $15::text::bytea]::bytea[], true)"),
                       "%s", letter.sql);
    cr_assert_eq(letter.lengths[6], DEAD_LETTER_VALUE_BYTES, "what is shown is cut");
    json_t *json = json_param(3);
    assert_member(json, "correlation_id", NULL);
    json_decref(json);
    dead_letter_release(&letter);
    refusal->partial = true;
    build();
    cr_assert_not_null(strstr(letter.sql, ", false)"), "it is not whole");
    free(big);
}

#include <criterion/criterion.h>
#include <string.h>

#include "dead/dead_requeue.h"
#include "rows/table.h"
#include "stub/given.h"

static PipelineConfig config;
static DeadInsert insert;
static Error err;

static void begin(void)
{
    config = given_pipeline();
    config.outbox.table = GIVEN("outbox.event");
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        bool kept = i == FIELD_SEQ || i == FIELD_EVENT_ID || i == FIELD_EVENT_TYPE ||
                    i == FIELD_AGGREGATE_ID || i == FIELD_PAYLOAD || i == FIELD_PAYLOAD_BYTES ||
                    i == FIELD_OCCURRED_AT || i == FIELD_PUBLISHED_AT;
        config.outbox.columns[i] = kept ? config.outbox.columns[i] : GIVEN("");
    }
    config.outbox.columns[FIELD_AGGREGATE_TYPE] = GIVEN("Kind of \"it\"");
}

static void end(void)
{
    dead_insert_free(&insert);
}

TestSuite(dead_requeue, .init = begin, .fini = end);

static uint32_t absent;

static Status build(const char *event)
{
    return dead_insert_build(&config, absent, event, NULL, &insert, &err);
}

Test(dead_requeue, every_column_that_was_kept_is_set_under_its_own_name)
{
    cr_assert_eq(
        build("{\"seq\": 42, \"event_id\": \"0193\", \"event_type\": \"a\", "
              "\"event_version\": null, \"aggregate_type\": \"b\", \"aggregate_id\": null, "
              "\"payload\": \"{\\\"x\\\": 1.50}\", \"payload_bytes\": \"\\\\x00\", "
              "\"occurred_at\": \"2026-02-03T04:05:06.789Z\"}"),
        OK);
    cr_assert_str_eq(insert.sql,
                     "INSERT INTO \"outbox\".\"event\" (\"event_id\", \"event_type\", "
                     "\"Kind of \"\"it\"\"\", \"aggregate_id\", \"payload\", \"payload_bytes\", "
                     "\"occurred_at\") VALUES ($1, $2, $3, $4, $5, $6, $7)");
    cr_assert_eq(insert.count, 7);
    cr_assert_str_eq(insert.values[0], "0193");
    cr_assert_null(insert.values[3], "SQL NULL, not a default");
    cr_assert_str_eq(insert.values[4], "{\"x\": 1.50}");
    cr_assert_str_eq(insert.values[5], "\\x00");
    cr_assert_str_eq(insert.values[6], "2026-02-03T04:05:06.789Z");
}

Test(dead_requeue, header_columns_go_back_once)
{
    cr_assert_eq(build("{\"event_type\": \"a\", \"header_columns\": {\"tenant\": \"eu\", "
                       "\"re\\\"gion\": null, \"aggregate_id\": \"7\", \"published_at\": \"x\", "
                       "\"seq\": \"9\"}}"),
                 OK);
    cr_assert_not_null(strstr(insert.sql, ", \"tenant\", \"re\"\"gion\") VALUES"), "%s",
                       insert.sql);
    cr_assert_eq(insert.count, 9);
    cr_assert_str_eq(insert.values[7], "eu");
    cr_assert_null(insert.values[8]);
}

Test(dead_requeue, a_value_without_a_column_is_refused_by_name)
{
    cr_assert_eq(build("{\"event_type\": \"a\", \"traceparent\": \"00-\"}"), FAILED);
    cr_assert_eq(err.code, CODE_DEAD_LETTER_COLUMN);
    cr_assert_eq(err.class, ERROR_POISON);
    cr_assert_not_null(strstr(error_message(&err), "traceparent"));
    cr_assert_not_null(strstr(error_own_hint(&err), "columns.traceparent"));
}

Test(dead_requeue, a_column_that_an_adopted_table_does_not_have_is_left_out)
{
    absent = TABLE_COLUMN(FIELD_EVENT_VERSION) | TABLE_COLUMN(FIELD_OCCURRED_AT);
    cr_assert_eq(build("{\"event_type\": \"a\", \"event_version\": null}"), OK);
    cr_assert_null(strstr(insert.sql, "event_version"));
    cr_assert_null(strstr(insert.sql, "occurred_at"));
    dead_insert_free(&insert);
    cr_assert_eq(build("{\"event_type\": \"a\", \"event_version\": \"2\"}"), FAILED);
    cr_assert_eq(err.code, CODE_DEAD_LETTER_COLUMN);
}

Test(dead_requeue, what_is_no_event_is_refused)
{
    static const char *const NONE[] = {
        NULL, "", "[]", "null", "{}", "{\"event_type\": null}", "{\"event_type\": 7}"};
    for (size_t i = 0; i < sizeof(NONE) / sizeof(NONE[0]); i++) {
        cr_assert_eq(build(NONE[i]), FAILED, "%zu", i);
        cr_assert_eq(err.code, CODE_DEAD_LETTER_NO_EVENT);
    }
}

Test(dead_requeue, a_table_name_that_is_none_is_refused)
{
    config.outbox.table = GIVEN("a.b.c.d");
    cr_assert_eq(build("{\"event_type\": \"a\"}"), FAILED);
    cr_assert_eq(err.code, CODE_TABLE_NAME_INVALID);
}

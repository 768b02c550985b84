/* Columns that the table does not have: which are absent, and which are missing. */
#include <criterion/criterion.h>
#include <string.h>

#include "rows/precondition.h"
#include "stub/libpq_internal.h"
#include "unit/rows/precondition_rig.h"

/* `present` as the query says it. */
static PreconditionLook look_at_columns(PipelineConfig *pipeline, OutboxTable *table,
                                        const char *present, bool ours)
{
    char *values[6] = {GIVEN("4242"),  GIVEN("r"), (char *)present, ours ? GIVEN("t") : GIVEN("f"),
                       GIVEN("event"), GIVEN("0")};
    struct pg_result result = {.status = PGRES_TUPLES_OK,
                               .rows = 1,
                               .columns = 6,
                               .names = {GIVEN("table_oid"), GIVEN("kind"), GIVEN("present"),
                                         GIVEN("ours"), GIVEN("table_name"), GIVEN("i")},
                               .values = values};
    table->config = pipeline;
    PreconditionLook ret = {0};
    precondition_read(table, &result, 0, PRECONDITION_RUNNING, &ret);
    return ret;
}

#define FIVE_COLUMNS "+++-++-+---------" /* and seq: Debezium's, with another name for each */

Test(precondition, a_default_column_that_the_table_does_not_have_is_absent)
{
    for (Capture capture = CAPTURE_POLL; capture <= CAPTURE_WAL; capture++) {
        PipelineConfig pipeline = given_outbox(&(Given){.capture = capture});
        pipeline.outbox.on_publish = ON_PUBLISH_DELETE;
        OutboxTable table = {0};
        PreconditionLook ret = look_at_columns(&pipeline, &table, FIVE_COLUMNS, false);
        cr_expect_eq(ret.fault_count, 0, "%s",
                     ret.fault_count > 0 ? error_message(&ret.faults[0].error) : "");
        uint32_t absent = TABLE_COLUMN(FIELD_EVENT_VERSION) |
                          TABLE_COLUMN(FIELD_AGGREGATE_VERSION) | TABLE_COLUMN(FIELD_PUBLISHED_AT);
        for (int field = FIELD_PAYLOAD_BYTES; field <= FIELD_OCCURRED_AT; field++) {
            absent |= TABLE_COLUMN(field);
        }
        cr_expect_eq(ret.absent, absent, "%x", ret.absent);
        precondition_release(&ret);
    }
}

Test(precondition, a_column_that_something_rests_on_is_missing)
{
    static const struct {
        const char *present;
        const char *needs; /* in the message; NULL: it is absent */
        uint32_t named;
        bool fixed; /* topic and key are no templates */
        bool ours;
        bool seen; /* it was there at an earlier look */
        OnPublish on_publish;
    } CASES[] = {
        {.present = "-++++++++++++++++", .needs = "\"seq\" (the relay identifies rows by it)"},
        {.present = "+-+++++++++++++++", .needs = "\"event_id\" (consumers"},
        {.present = "++-++++++++++++++", .needs = "\"event_type\" (every event"},
        {.present = "++++-++++++++++++", .needs = "(the topic ${aggregate_type}.events needs it)"},
        {.present = "+++++-+++++++++++", .needs = "(the key ${aggregate_id} needs it)"},
        {.present = "++++--+++++++++++", .fixed = true},
        {.present = "+++++++--++++++++", .needs = "\"payload\" (it is the record's value"},
        {.present = "+++++++-+++++++++"},
        {.present = "++++++++-++++++++"},
        {.present = "++++++++++++++-++"},
        {.present = "++++++++++++++++-", .needs = "(on_publish = \"mark\" sets it)"},
        {.present = "++++++++++++++++-", .on_publish = ON_PUBLISH_DELETE},
        {.present = "+++++++++++++-+++",
         .needs = "(the configuration names it)",
         .named = TABLE_COLUMN(FIELD_HEADERS)},
        {.present = "+++++++++++++-+++", .needs = "(outboxd migrate created it)", .ours = true},
        {.present = "+++++++++++++-+++",
         .needs = "(it existed when this relay started)",
         .seen = true},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        PipelineConfig pipeline = given_outbox(&(Given){.capture = CAPTURE_POLL});
        pipeline.outbox.on_publish = CASES[i].on_publish;
        pipeline.outbox.columns_named = CASES[i].named;
        if (CASES[i].fixed) {
            pipeline.route.topic = GIVEN("orders");
            pipeline.route.key = GIVEN("");
        }
        OutboxTable table = {.looked_at = CASES[i].seen};
        PreconditionLook ret = look_at_columns(&pipeline, &table, CASES[i].present, CASES[i].ours);
        cr_expect_eq(ret.fault_count, CASES[i].needs != NULL ? 1 : 0, "%zu: %zu", i,
                     ret.fault_count);
        cr_expect(CASES[i].needs != NULL || ret.absent != 0, "%zu", i);
        if (ret.fault_count > 0 && CASES[i].needs != NULL) {
            cr_expect_eq(ret.faults[0].error.code, CODE_COLUMN_MISSING);
            cr_expect_not_null(strstr(error_message(&ret.faults[0].error), CASES[i].needs),
                               "%zu: %s", i, error_message(&ret.faults[0].error));
        }
        precondition_release(&ret);
    }
}

Test(precondition, a_column_that_comes_later_is_taken_up)
{
    PipelineConfig pipeline = given_outbox(&(Given){.capture = CAPTURE_POLL});
    OutboxTable *table = NULL;
    cr_assert_eq(table_new(&pipeline, &table, NULL), OK);
    PreconditionLook ret = look_at_columns(&pipeline, table, "+++++++++++++-+++", false);
    cr_expect_not(precondition_take_columns(&ret, table));
    cr_expect_null(strstr(table->select_list, "\"headers\""));
    cr_expect_not(table_has(table, FIELD_HEADERS));
    precondition_release(&ret);
    ret = look_at_columns(&pipeline, table, "+++++++++++++++++", false);
    cr_expect(precondition_take_columns(&ret, table));
    cr_expect_not_null(strstr(table->select_list, "\"headers\"::text"));
    cr_expect(table_has(table, FIELD_HEADERS));
    precondition_release(&ret);
    table_free(&table);
}

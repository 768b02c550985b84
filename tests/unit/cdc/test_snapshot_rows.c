/* Which row of a snapshot is the first, and which the last. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cdc/snapshot_rows.h"
#include "flow/made.h"
#include "stub/given.h"
#include "stub/libpq.h"

enum { TABLES = 3, INT4 = 23 };

static PipelineConfig pipeline;
static MappingConfig mapping = {
    .table = GIVEN("public.*"), .topic = GIVEN(""), .filter = GIVEN("")};
static Schema *schema;
static ChangeReader *changes;
static SnapshotTables tables;
static SnapshotRows *rows;
static Text seen; /* "table:id=marker", in the order in which they went out */
static size_t batches;

/* The value between two texts of the payload. */
static void add_between(Slice payload, const char *from, const char *to)
{
    AUTO_TEXT text = x_strndup(payload.data, payload.length);
    const char *at = strstr(text, from);
    cr_assert_not_null(at, "%s", text);
    at += strlen(from);
    text_append(&seen, at, (size_t)(strstr(at, to) - at));
}

static void on_batch(void *arg, Batch *batch)
{
    (void)arg;
    batches++;
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        text_add(&seen, seen.length > 0 ? " " : "");
        if (event->refusal != NULL) {
            text_add(&seen, "refused");
            continue;
        }
        Slice payload = event->row[FIELD_PAYLOAD];
        add_between(payload, "\"table\":\"", "\"");
        text_add(&seen, ":");
        add_between(payload, "\"after\":{\"id\":", "}");
        text_add(&seen, "=");
        add_between(payload, "\"snapshot\":\"", "\"");
    }
    cr_expect_eq(batch->events[0]->commit_lsn, 0);
    cr_expect_eq(batch->events[0]->seq, EVENT_NO_SEQ);
    tables.items.items[snapshot_rows_table(batch)].out--;
    batch_free(&batch);
}

static void read_fact(PGresult *result)
{
    AUTO_ERROR err = {0};
    cr_assert(captured_read(change_reader_captured(changes), result, &err));
    cr_assert_eq(err.class, ERROR_NONE, "%s", error_message(&err));
    PQclear(result);
}

static void know_table(uint32_t oid, const char *name)
{
    AUTO_ERROR err = {0};
    AUTO_TEXT number = x_format("%u", oid);
    read_fact(stub_result(NULL, "oid", number, "nspname", "public", "relname", name, "relreplident",
                          "d", "attnum", "1", "attname", "id", "atttypid", "23", "atttypmod", "-1",
                          "attnotnull", "t", "default", STUB_NULL, "attidentity", "",
                          "attgenerated", "", "in_key", "1", "indisprimary", "t", NULL));
    const ChangeColumn id = {.name = SLICE_LITERAL("id"), .type = INT4, .modifier = -1};
    cr_assert_eq(captured_set(change_reader_captured(changes), &mapping,
                              &(ChangeRelation){.oid = oid, .columns = &id, .count = 1}, &err),
                 OK, "%s", error_message(&err));
}

static void begin(void)
{
    static const char *const NAMES[TABLES] = {"a", "b", "c"};
    stub_reset(NULL, NULL);
    pipeline = given_pipeline();
    pipeline.capture = CAPTURE_TABLES;
    pipeline.tables.topic_prefix = GIVEN("shop");
    pipeline.tables.mappings = &mapping;
    pipeline.tables.mapping_count = 1;
    pipeline.limits.batch_events = 100;
    schema = schema_of_made("public.a");
    changes = change_reader_new(&pipeline, schema, NULL);
    change_reader_begin(changes, "shop");
    read_fact(stub_result(NULL, "oid", "23", "nspname", "pg_catalog", "typname", "int4", "typtype",
                          "b", "typbasetype", "0", "typtypmod", "-1", "element", "0", "typdelim",
                          ",", "labels", STUB_NULL, NULL));
    for (uint32_t i = 0; i < TABLES; i++) {
        know_table(11 + i, NAMES[i]);
        *vec_add(&tables.items) = (SnapshotTable){.oid = 11 + i,
                                                  .schema = x_strdup("public"),
                                                  .name = x_strdup(NAMES[i]),
                                                  .sql = x_strdup(NAMES[i])};
    }
    rows = snapshot_rows_new(&(SnapshotRowsParts){.pipeline = &pipeline,
                                                  .schema = schema,
                                                  .changes = changes,
                                                  .tables = &tables,
                                                  .deliver = on_batch});
    snapshot_rows_set_place(rows, &(ChangePlace){.lsn = 100, .committed_at_us = 5, .xid = 7});
}

static void end(void)
{
    snapshot_rows_free(&rows);
    snapshot_tables_clear(&tables);
    change_reader_free(&changes);
    schema_free(&schema);
    text_free(&seen);
}

TestSuite(snapshot_rows, .init = begin, .fini = end);

static void take(size_t table, const char *row)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(snapshot_rows_take(rows, table, slice_of(row), &err), OK, "%s",
                 error_message(&err));
}

static void end_table(size_t table)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(snapshot_rows_end_table(rows, table, &err), OK);
}

static void finish(void)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(snapshot_rows_finish(rows, &err), OK);
    for (size_t i = 0; i < TABLES; i++) {
        cr_expect_eq(tables.items.items[i].out, 0, "table %zu", i);
    }
}

#define EXPECT_SEEN(text) cr_expect_str_eq(text_string(&seen), text)

Test(snapshot_rows, tables_one_after_the_other)
{
    take(0, "1\n");
    take(0, "2\n");
    take(0, "3\n");
    end_table(0);
    take(1, "4\n");
    end_table(1);
    take(2, "5\n");
    take(2, "6\n");
    end_table(2);
    finish();
    EXPECT_SEEN("a:1=first a:2=true a:3=last_in_data_collection b:4=last_in_data_collection "
                "c:5=first_in_data_collection c:6=last");
    cr_expect_eq(tables.items.items[0].rows, 3);
    cr_expect_eq(tables.items.items[0].bytes, 6);
}

Test(snapshot_rows, the_last_row_is_that_of_the_last_table_that_has_any)
{
    take(0, "1\n");
    take(0, "2\n");
    end_table(0);
    end_table(1);
    end_table(2);
    EXPECT_SEEN("a:1=first");
    cr_expect_eq(tables.items.items[0].out, 1, "its last row is held");
    finish();
    EXPECT_SEEN("a:1=first a:2=last");
}

Test(snapshot_rows, a_single_row_is_the_last)
{
    take(1, "1\n");
    end_table(1);
    finish();
    EXPECT_SEEN("b:1=last");
}

Test(snapshot_rows, without_rows_there_is_no_event)
{
    end_table(0);
    finish();
    EXPECT_SEEN("");
    cr_expect_eq(batches, 0);
}

Test(snapshot_rows, tables_side_by_side_have_one_first_and_one_last)
{
    take(0, "1\n");
    take(1, "2\n");
    take(1, "3\n");
    take(0, "4\n");
    end_table(0);
    take(1, "5\n");
    end_table(1);
    finish();
    EXPECT_SEEN("a:1=first a:4=last_in_data_collection b:2=first_in_data_collection b:3=true "
                "b:5=last");
}

Test(snapshot_rows, there_is_no_first_if_the_first_table_is_empty)
{
    end_table(0);
    take(1, "1\n");
    take(1, "2\n");
    end_table(1);
    take(2, "3\n");
    take(2, "4\n");
    end_table(2);
    finish();
    EXPECT_SEEN("b:1=first_in_data_collection b:2=last_in_data_collection "
                "c:3=first_in_data_collection c:4=last");
}

Test(snapshot_rows, a_table_that_is_read_again_begins_again)
{
    take(0, "1\n");
    take(0, "2\n");
    end_table(0); /* given up */
    take(0, "1\n");
    take(0, "2\n");
    end_table(0);
    finish();
    EXPECT_SEEN("a:1=first a:2=last_in_data_collection a:1=first_in_data_collection a:2=last");
}

Test(snapshot_rows, what_is_held_of_a_table_with_other_columns_goes_out_as_it_was_read)
{
    AUTO_ERROR err = {0};
    take(0, "1\n");
    end_table(0);
    cr_assert_eq(snapshot_rows_release(rows, 0, &err), OK);
    EXPECT_SEEN("a:1=first");
    cr_expect_eq(tables.items.items[0].out, 0);
}

Test(snapshot_rows, batches_end_at_their_limit)
{
    pipeline.limits.batch_events = 2;
    for (int i = 0; i < 5; i++) {
        take(0, "1\n");
    }
    cr_expect_eq(batches, 2);
    end_table(0);
    finish();
    cr_expect_eq(batches, 3);
}

Test(snapshot_rows, a_value_that_is_none_of_its_type_is_refused_alone)
{
    take(0, "x\n");
    take(0, "2\n");
    end_table(0);
    finish();
    EXPECT_SEEN("refused a:2=last");
}

Test(snapshot_rows, what_is_no_row_of_copy_names_the_table)
{
    AUTO_ERROR err = {0};
    take(0, "1\t2\n");
    cr_assert_eq(snapshot_rows_take(rows, 0, slice_of("2\n"), &err), FAILED);
    cr_expect_eq(err.code, CODE_PG_PROTOCOL);
    cr_expect_not_null(strstr(error_message(&err), "snapshot of a"));
}

Test(snapshot_rows, what_is_forgotten_does_not_go_out)
{
    take(0, "1\n");
    take(0, "2\n");
    snapshot_rows_forget(rows);
    cr_expect_eq(batches, 0);
}

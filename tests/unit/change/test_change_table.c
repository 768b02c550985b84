/* Tables at which Debezium stops, values that cannot be, and labels newer than the schema. */
#include <criterion/criterion.h>
#include <string.h>

#include "table_rig.h"

static Rig *rig;

static void begin(void)
{
    rig = rig_new(false);
}

static void end(void)
{
    rig_free(&rig);
}

TestSuite(change_table, .init = begin, .fini = end);

static void expect_after(const RigColumn *columns, const char *const *row, const char *after)
{
    cr_assert_eq(rig_table(rig, columns, NULL), OK, "%s", error_message(&rig->err));
    cr_assert_eq(rig_change(rig, 'c', NULL, row), OK, "%s", error_message(&rig->err));
    cr_expect_str_eq(rig_between(rig, "\"after\":", ",\"source\""), after);
}

Test(change_table, names_that_differ_by_case_are_two_columns)
{
    const RigColumn columns[] = {
        {"a", 23, 0, true, 1, NULL}, {"A", RIG_TEXT, 0, false, 0, NULL}, {.name = NULL}};
    const char *row[] = {"1", "x"};
    expect_after(columns, row, "{\"a\":1,\"A\":\"x\"}");
}

Test(change_table, a_table_without_columns_has_rows)
{
    const RigColumn columns[] = {{.name = NULL}};
    const char *row[] = {NULL};
    expect_after(columns, row, "{}");
    cr_expect_str_eq(rig_text(rig->records.items[0].key), "(none)");
    rig_free(&rig);
    rig = rig_new(true);
    cr_assert_eq(rig_table(rig, columns, NULL), OK);
    cr_expect_not_null(strstr(text_string(&rig->table->value_head),
                              "{\"type\":\"struct\",\"fields\":[],"
                              "\"optional\":true,"));
}

Test(change_table, a_domain_over_an_enum_is_that_enum)
{
    const RigColumn columns[] = {{"f", RIG_FEELING, 0, false, 0, NULL}, {.name = NULL}};
    const char *row[] = {"sad"};
    expect_after(columns, row, "{\"f\":\"sad\"}");
    rig_free(&rig);
    rig = rig_new(true);
    cr_assert_eq(rig_table(rig, columns, NULL), OK);
    cr_expect_not_null(strstr(text_string(&rig->table->value_head),
                              "\"parameters\":{\"allowed\":\"sad,ok\"},"
                              "\"field\":\"f\""));
}

Test(change_table, quotes_of_a_name_stay_where_the_name_without_them_is_taken)
{
    const RigColumn alone[] = {{"\"q\"", 23, 0, false, 0, NULL}, {.name = NULL}};
    const char *row[] = {"1", "2"};
    expect_after(alone, row, "{\"q\":1}");
    const RigColumn both[] = {
        {"q", 23, 0, false, 0, NULL}, {"\"q\"", 23, 0, false, 0, NULL}, {.name = NULL}};
    expect_after(both, row, "{\"q\":1,\"\\\"q\\\"\":2}");
}

/* PostgreSQL 18 sends them when the publication says publish_generated_columns = stored. */
Test(change_table, a_generated_column_that_is_sent_is_a_column)
{
    const RigColumn columns[] = {
        {"id", 23, 0, true, 1, NULL}, {"twice", 23, 0, false, 0, NULL}, {.name = NULL}};
    cr_assert_eq(rig_table(rig, columns, NULL), OK);
    rig->catalog.tables.items[0].columns.items[1].generated = true;
    ChangeColumn given[] = {{SLICE_LITERAL("id"), 23, -1}, {SLICE_LITERAL("twice"), 23, -1}};
    change_table_free(&rig->table);
    cr_assert_eq(change_table_new(&(ChangeTables){&rig->catalog, &rig->modes, "p", "d"}, NULL,
                                  &(ChangeRelation){5000, given, 2}, &rig->out, &rig->table,
                                  &rig->err),
                 OK);
    const char *row[] = {"1", "2"};
    cr_assert_eq(rig_change(rig, 'c', NULL, row), OK);
    cr_expect_str_eq(rig_between(rig, "\"after\":", ",\"source\""), "{\"id\":1,\"twice\":2}");
}

static void expect_unreadable(uint32_t type, bool not_null, const char *value, const char *message,
                              const char *remedy)
{
    const RigColumn columns[] = {{"v", type, 0, not_null, 0, NULL}, {.name = NULL}};
    const char *row[] = {value};
    cr_assert_eq(rig_table(rig, columns, NULL), OK);
    cr_assert_eq(rig_change(rig, 'c', NULL, row), FAILED);
    cr_expect_eq(rig->err.class, ERROR_POISON);
    cr_expect_eq(rig->err.code, CODE_CHANGE_UNREADABLE);
    cr_expect_str_eq(error_message(&rig->err), message);
    cr_expect_not_null(strstr(error_remedy(&rig->err), remedy), "%s", error_remedy(&rig->err));
}

Test(change_table, a_text_that_is_no_value_is_told_without_it)
{
    expect_unreadable(23, false, "SECRET",
                      "table 'shop.item', column 'v': the text of the value is none of its type",
                      "Look at the row");
    expect_unreadable(790, false, "1.234,56 \xe2\x82\xac",
                      "table 'shop.item', column 'v': the text of the value is none of its type",
                      "set lc_monetary to 'C'");
}

/* Debezium stops there, too. */
Test(change_table, a_value_that_no_record_can_have_is_never_a_zero)
{
    expect_unreadable(1700, true, "NaN",
                      "table 'shop.item', column 'v': records have nothing for this value, and the "
                      "column may not be NULL",
                      "decimal = \"string\"");
    const int32_t two = (6 << 16 | 2) + 4;
    const RigColumn columns[] = {{"v", 1700, two, true, 0, "1.5"}, {.name = NULL}};
    const char *row[] = {"NaN"};
    expect_after(columns, row, "{\"v\":\"AJY=\"}");
}

/* Debezium stops there. */
Test(change_table, a_value_that_was_not_sent_is_never_a_zero)
{
    expect_unreadable(1700, true, RIG_UNSENT,
                      "table 'shop.item', column 'v': PostgreSQL did not send the value, since the "
                      "UPDATE left it as it was, and its type has nothing that stands for it",
                      "REPLICA IDENTITY FULL");
    const RigColumn columns[] = {{"v", 1700, 0, false, 0, NULL}, {.name = NULL}};
    const char *unsent[] = {RIG_UNSENT};
    expect_after(columns, unsent, "{\"v\":null}");
    const char *old[] = {"1"};
    cr_assert_eq(rig_change(rig, 'u', old, unsent), OK);
    cr_expect_str_eq(rig_between(rig, "\"after\":", ",\"source\""),
                     "{\"v\":{\"scale\":0,\"value\":\"AQ==\"}}");
}

static const RigColumn MOODS[] = {
    {"m", RIG_MOOD, 0, false, 0, NULL}, {"ms", RIG_MOODS, 0, false, 0, NULL}, {.name = NULL}};

static void expect_stale(const char *label, const char *list)
{
    const char *row[] = {label, list};
    cr_assert_eq(rig_change(rig, 'c', NULL, row), FAILED, "%s %s", label, list);
    cr_expect_eq(rig->err.class, ERROR_RETRY);
    cr_expect_eq(rig->err.code, CODE_CHANGE_SCHEMA_STALE);
}

static Status ask(const char *label)
{
    const char *row[] = {label, NULL};
    Slice after[] = {slice_of(row[0]), SLICE_NULL};
    const ChangeRow change = {.op = 'c', .new_row = after, .place = &rig->place, .asked = true};
    return change_event_row(rig->events, rig->table, &change, &rig->arena, &rig->records,
                            &rig->err);
}

Test(change_table, a_label_that_the_schema_lacks_asks_for_the_catalog)
{
    rig_free(&rig);
    rig = rig_new(true);
    cr_assert_eq(rig_table(rig, MOODS, NULL), OK);
    const char *known[] = {"ok", "{sad,ok}"};
    cr_assert_eq(rig_change(rig, 'c', NULL, known), OK);
    expect_stale("wild", NULL);
    expect_stale("o", NULL);
    expect_stale("", NULL);
    expect_stale("ok", "{ok,wild}");
    rig_label(rig, "sad,ok,wild");
    cr_assert_eq(rig_table(rig, MOODS, NULL), OK);
    const char *new[] = {"wild", "{wild}"};
    cr_assert_eq(rig_change(rig, 'c', NULL, new), OK);
    cr_expect_not_null(strstr(rig_text(rig->records.items[0].value), "sad,ok,wild"));
}

Test(change_table, a_label_that_the_catalog_lacks_too_is_asked_for_once)
{
    rig_free(&rig);
    rig = rig_new(true);
    cr_assert_eq(rig_table(rig, MOODS, NULL), OK);
    expect_stale("renamed", NULL);
    cr_assert_eq(ask("renamed"), OK);
    cr_expect_str_eq(rig_between(rig, "\"after\":", ",\"source\""),
                     "{\"m\":\"renamed\",\"ms\":null}");
    const char *again[] = {"renamed", NULL};
    cr_assert_eq(rig_change(rig, 'c', NULL, again), OK);
    expect_stale("another", NULL);
}

Test(change_table, labels_are_nothing_to_ask_for_without_schemas)
{
    const char *row[] = {"wild", "{wild}"};
    expect_after(MOODS, row, "{\"m\":\"wild\",\"ms\":[\"wild\"]}");
}

Test(change_table, a_table_that_the_catalog_lacks_is_asked_for)
{
    ChangeTable *table = NULL;
    cr_assert_eq(change_table_new(&(ChangeTables){&rig->catalog, &rig->modes, "p", "d"}, NULL,
                                  &(ChangeRelation){4, NULL, 0}, &rig->out, &table, &rig->err),
                 FAILED);
    cr_expect_eq(rig->err.class, ERROR_RETRY);
    cr_expect_eq(rig->err.code, CODE_CHANGE_SCHEMA_STALE);
}

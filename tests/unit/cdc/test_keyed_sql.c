/* The statements that find rows of tables by their keys. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cdc/keyed_sql.h"
#include "stub/given.h"
#include "stub/libpq.h"

enum { INT4 = 23, TEXT = 25, ITEM = 16400 };

static ChangeTableColumn columns[] = {
    {.name = GIVEN("id"), .type_oid = INT4},
    {.name = GIVEN("no te"), .type_oid = TEXT},
    {.name = GIVEN("body"), .type_oid = TEXT},
};
static ChangeTable item = {
    .oid = ITEM, .name = GIVEN("public.item"), .count = 3, .columns = columns};
static KeyedQuestion question;
static KeyedFound found;
static Text sql;

static void begin(void)
{
    stub_reset(NULL, NULL);
    KeyedTable *table = vec_add(&question.tables);
    *table = (KeyedTable){.table = &item};
    *vec_add(&table->key) = 0;
    *vec_add(&table->columns) = 2;
}

static void end(void)
{
    keyed_question_clear(&question);
    keyed_found_clear(&found);
    text_free(&sql);
}

TestSuite(keyed_sql, .init = begin, .fini = end);

static const KeyedTable *asked(void)
{
    return &question.tables.items[0];
}

/* One column of what the server tells. */
static bool tell(const char *oid, const char *column, const char *type_oid, const char *type,
                 const char *divided)
{
    PGresult *result =
        stub_result(NULL, "keyed_oid", oid, "divided", divided, "table_sql", "public.item",
                    "column_name", column, "column_sql", column, "atttypid", type_oid,
                    "column_type", type, "column_same", "OPERATOR(public.=)", NULL);
    bool read = keyed_read_description(result, asked(), &found);
    PQclear(result);
    return read;
}

/* A table that is as it was. */
static void find(bool divided)
{
    found = (KeyedFound){.name = strdup("public.item"),
                         .divided = divided,
                         .columns = calloc(3, sizeof(KeyedColumn)),
                         .count = 3};
    found.columns[0] = (KeyedColumn){strdup("id"), strdup("integer"), strdup("OPERATOR(public.=)")};
    found.columns[1] =
        (KeyedColumn){strdup("\"no te\""), strdup("text"), strdup("OPERATOR(public.=)")};
    found.columns[2] = (KeyedColumn){strdup("body"), strdup("text"), strdup("OPERATOR(public.=)")};
}

Test(keyed_sql, a_description_asks_for_all_tables_at_once)
{
    ChangeTable other = {.oid = 7};
    *vec_add(&question.tables) = (KeyedTable){.table = &other};
    keyed_add_description(&question, &sql);
    cr_expect_not_null(strstr(sql.data, "'{16400,7}'"), "%s", sql.data);
}

Test(keyed_sql, what_is_no_description_is_left_alone)
{
    PGresult *result = stub_result(NULL, KEYED_SNAPSHOT, "5:9:", NULL);
    find(false);
    cr_expect(!keyed_read_description(result, asked(), &found));
    cr_expect_str_eq(found.name, "public.item");
    PQclear(result);
}

Test(keyed_sql, a_column_is_found_by_name_and_type)
{
    cr_assert(tell("16400", "body", "25", "text", "f"));
    cr_expect_str_eq(found.name, "public.item");
    cr_expect_str_eq(found.columns[2].sql, "body");
    cr_expect_str_eq(found.columns[2].type, "text");
    cr_expect_null(found.columns[0].sql);
    cr_expect(!keyed_is_readable(asked(), &found), "its key is not there");
    cr_assert(tell("16400", "body", "1043", "character varying", "t"));
    cr_expect_null(found.columns[2].sql, "another type");
    cr_expect(found.divided);
    cr_assert(tell("16401", "body", "25", "text", "f"));
    cr_expect_null(found.name, "another table");
    cr_expect(!keyed_is_readable(asked(), &found));
}

Test(keyed_sql, a_table_is_readable_with_its_key_and_one_column)
{
    find(false);
    cr_expect(keyed_is_readable(asked(), &found));
    free(found.columns[2].sql);
    found.columns[2].sql = NULL;
    cr_expect(!keyed_is_readable(asked(), &found));
    *vec_add(&question.tables.items[0].columns) = 1;
    cr_expect(keyed_is_readable(asked(), &found));
    free(found.columns[0].sql);
    found.columns[0].sql = NULL;
    cr_expect(!keyed_is_readable(asked(), &found));
}

Test(keyed_sql, all_rows_are_read_by_one_statement_that_keeps_their_places)
{
    const Slice first[] = {SLICE_LITERAL("1"), SLICE_LITERAL("it's"), SLICE_NULL};
    const Slice second[] = {SLICE_LITERAL("-2"), SLICE_LITERAL("\\x"), SLICE_NULL};
    KeyedTable *table = &question.tables.items[0];
    *vec_add(&table->key) = 1;
    *vec_add(&table->rows) = first;
    *vec_add(&table->rows) = second;
    find(false);
    keyed_add_read(asked(), &found, &sql);
    cr_expect_str_eq(
        sql.data,
        "COPY (SELECT k.n, t.body FROM ONLY public.item t JOIN (VALUES"
        " (0, '1'::integer, 'it''s'::text), (1, '-2'::integer, '\\x'::text))"
        " AS k (n, k0, k1) ON t.id OPERATOR(public.=) k.k0 AND t.\"no te\" OPERATOR(public.=)"
        " k.k1 WHERE"
        " pg_catalog.to_regclass('public.item') = 16400::pg_catalog.oid) TO STDOUT");
}

Test(keyed_sql, rows_that_the_filter_does_not_mean_are_not_there)
{
    const Slice row[] = {SLICE_LITERAL("1"), SLICE_NULL, SLICE_NULL};
    *vec_add(&question.tables.items[0].rows) = row;
    question.tables.items[0].filter = "n > 3 OR k0";
    find(false);
    keyed_add_read(asked(), &found, &sql);
    cr_expect_not_null(
        strstr(sql.data, " FROM (SELECT * FROM ONLY public.item WHERE (n > 3 OR k0)) t JOIN"), "%s",
        sql.data);
}

Test(keyed_sql, a_column_that_is_gone_is_null_and_partitions_are_read_by_their_root)
{
    const Slice row[] = {SLICE_LITERAL("1"), SLICE_NULL, SLICE_NULL};
    KeyedTable *table = &question.tables.items[0];
    *vec_add(&table->columns) = 1;
    *vec_add(&table->rows) = row;
    find(true);
    free(found.columns[1].sql);
    found.columns[1].sql = NULL;
    keyed_add_read(asked(), &found, &sql);
    cr_expect_not_null(strstr(sql.data, "SELECT k.n, t.body, NULL FROM public.item t"), "%s",
                       sql.data);
}

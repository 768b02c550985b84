/* Dead letters of changes that were asked for: which rows they name. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/requeue_letters.h"
#include "stub/given.h"
#include "stub/libpq.h"

static ChangeTableColumn columns[] = {
    {.name = GIVEN("id")}, {.name = GIVEN("day")}, {.name = GIVEN("note")}};
static ChangeTable item = {.oid = 16400, .count = 3, .columns = columns};
static RequeueLetters letters;
static KeyedTable asked;
static Text sql;

static void begin(void)
{
    stub_reset(NULL, NULL);
}

static void end(void)
{
    requeue_letters_clear(&letters);
    vec_free(&asked.key);
    vec_free(&asked.columns);
    vec_free(&asked.rows);
    text_free(&sql);
}

TestSuite(requeue_letters, .init = begin, .fini = end);

static void add(int64_t id, const char *key)
{
    *vec_add(&letters.items) = (RequeueLetter){.id = id, .key = x_strdup(key)};
}

static const RequeueLetter *letter(size_t at)
{
    return &letters.items.items[at];
}

Test(requeue_letters, the_answer_to_the_look_tells_table_and_key)
{
    PGresult *result =
        stub_result(NULL, "requeued_id", "17", "table_schema", "public", "table_name", "item",
                    "row_key", "{\"id\": \"4\"}", "table_oid", "16400", NULL);
    cr_assert(requeue_read_look(result, &letters));
    PQclear(result);
    cr_assert_eq(letters.items.count, 1);
    cr_expect_eq(letters.table, 16400);
    cr_expect_str_eq(letters.name, "public.item");
    cr_expect_eq(letter(0)->id, 17);
    cr_expect_str_eq(letter(0)->key, "{\"id\": \"4\"}");
    result = stub_result(NULL, "other", "17", NULL);
    cr_expect(!requeue_read_look(result, &letters));
    cr_expect_eq(letters.items.count, 1);
    PQclear(result);
}

Test(requeue_letters, those_that_were_put_off_come_behind_all_others)
{
    const int64_t kept[] = {3, 5};
    requeue_add_look("outbox.dead_letter", "p",
                     &(RequeueLater){.put_off = 17, .kept = kept, .kept_count = 2}, &sql);
    cr_expect_not_null(strstr(sql.data, " AND d.id <> ALL ('{3,5}'::bigint[])"), "%s", sql.data);
    cr_expect_not_null(strstr(sql.data, "SELECT d.id, d.id <= 17 AS late,"), "%s", sql.data);
    cr_expect_not_null(strstr(sql.data, "ORDER BY late, d.id LIMIT 20) a"), "%s", sql.data);
    cr_expect_not_null(strstr(sql.data, " ORDER BY a.late, a.id"), "%s", sql.data);
}

Test(requeue_letters, a_table_that_is_gone_has_no_number)
{
    PGresult *result =
        stub_result(NULL, "requeued_id", "17", "table_schema", "public", "table_name", "item",
                    "row_key", "{}", "table_oid", STUB_NULL, NULL);
    cr_assert(requeue_read_look(result, &letters));
    cr_expect_eq(letters.table, 0);
    PQclear(result);
}

Test(requeue_letters, the_texts_of_a_key_stand_at_its_columns)
{
    add(1, "{\"day\":\"2024-02-29\",\"id\":\"it's\"}");
    requeue_ask(&letters, &item, &asked);
    cr_assert_eq(asked.rows.count, 1);
    cr_assert_eq(asked.key.count, 2);
    cr_expect_eq(asked.columns.count, 3, "every column is read");
    cr_expect(slice_equal(asked.rows.items[0][0], slice_of("it's")));
    cr_expect(slice_equal(asked.rows.items[0][1], slice_of("2024-02-29")));
    cr_expect(slice_is_null(asked.rows.items[0][2]));
}

Test(requeue_letters, keys_of_other_columns_are_for_another_round)
{
    add(1, "{\"id\":\"1\"}");
    add(2, "{\"id\":\"1\",\"day\":\"x\"}");
    add(3, "{\"day\":\"x\"}");
    add(4, "{\"id\":\"\"}");
    requeue_ask(&letters, &item, &asked);
    cr_expect_eq(asked.rows.count, 2);
    cr_expect(letter(1)->other && letter(2)->other);
    cr_expect_null(letter(1)->values);
    cr_expect_not_null(letter(3)->values);
}

Test(requeue_letters, a_key_that_the_table_does_not_have_is_not_asked_about)
{
    add(1, "{\"gone\":\"1\"}");
    add(2, "{\"id\":null}");
    add(3, "{}");
    add(4, "");
    requeue_ask(&letters, &item, &asked);
    cr_expect_eq(asked.rows.count, 0);
    for (size_t i = 0; i < 4; i++) {
        cr_expect_null(letter(i)->values);
        cr_expect(!letter(i)->other);
    }
}

Test(requeue_letters, letters_end_only_while_they_are_asked_for)
{
#define ASKED "WHERE requeued_at IS NOT NULL AND id = ANY ("
    const int64_t ids[] = {4, 11};
    requeue_add_ends(
        "outbox.dead_letter",
        &(RequeueEnds){.over = ids, .over_count = 1, .refused = ids + 1, .refused_count = 1}, &sql);
    cr_expect_str_eq(sql.data,
                     "DELETE FROM outbox.dead_letter " ASKED "'{4}'::bigint[]); UPDATE "
                     "outbox.dead_letter SET requeued_at = NULL " ASKED "'{11}'::bigint[]); SELECT "
                     "id AS kept_id FROM outbox.dead_letter " ASKED "'{4}'::bigint[]) UNION SELECT "
                     "id FROM outbox.dead_letter " ASKED "'{11}'::bigint[])");
}

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rows/mark_sql.h"
#include "stub/given.h"

static PipelineConfig config;
static OutboxTable *table;
static MarkSql mark;
static MarkQueue queue;
static Text sql;

static void begin(void)
{
    config = given_pipeline();
}

static void end(void)
{
    table_free(&table);
    mark_queue_release(&queue);
    text_free(&sql);
}

TestSuite(mark_sql, .init = begin, .fini = end);

static void make(const char *id_type)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(table_new(&config, &table, &err), OK, "%s", error_message(&err));
    mark = (MarkSql){.table = table, .touches_rows = true};
    mark_sql_read_id_type(&mark, id_type);
}

static void assert_prepared(const char *expected)
{
    text_clear(&sql);
    mark_sql_add_prepare(&mark, &sql);
    cr_assert_eq(strncmp(text_string(&sql), expected, strlen(expected)), 0, "%s",
                 text_string(&sql));
}

static void assert_has(const char *part)
{
    text_clear(&sql);
    mark_sql_add_prepare(&mark, &sql);
    cr_assert_not_null(strstr(text_string(&sql), part), "%s", text_string(&sql));
}

#define UPDATE                                                                                     \
    "UPDATE \"outbox\".\"event\" AS r SET \"published_at\" = pg_catalog.clock_timestamp()"

Test(mark_sql, a_uuid_is_compared_by_its_place_in_the_array)
{
    make("uuid");
    assert_prepared(
        "DEALLOCATE ALL; PREPARE outboxd_mark (bigint[], pg_catalog.uuid[], tid) AS " UPDATE
        " WHERE r.\"seq\" = ANY($1) AND r.\"event_id\" IS NOT DISTINCT FROM"
        " ($2)[pg_catalog.width_bucket(r.\"seq\"::bigint, $1)]; ");
}

Test(mark_sql, another_type_is_compared_as_itself_or_as_text)
{
    make("character varying(36)");
    assert_prepared(
        "DEALLOCATE ALL; PREPARE outboxd_mark (bigint[], pg_catalog.text[], tid) AS " UPDATE
        " FROM unnest($1, $2) AS given(seq, id) WHERE r.\"seq\" = ANY($1) AND r.\"seq\""
        " = given.seq AND r.\"event_id\" IS NOT DISTINCT FROM"
        " given.id::character varying(36); ");
    table_free(&table);
    make(NULL);
    assert_prepared(
        "DEALLOCATE ALL; PREPARE outboxd_mark (bigint[], pg_catalog.text[], tid) AS " UPDATE
        " FROM unnest($1, $2) AS given(seq, id) WHERE r.\"seq\" = ANY($1) AND r.\"seq\""
        " = given.seq AND CASE WHEN");
    assert_has(" ELSE r.\"event_id\"::text IS NOT DISTINCT FROM given.id END; ");
}

/* The cast to its own type would fail for what was cut. */
Test(mark_sql, an_id_that_was_cut_is_compared_by_its_beginning)
{
    static const char *const LONG[] = {"text", "bytea", "character varying",
                                       "character varying(20000)"};
    for (size_t i = 0; i < sizeof(LONG) / sizeof(LONG[0]); i++) {
        make(LONG[i]);
        assert_has(" AND CASE WHEN pg_catalog.right(given.id, 8) = '...(cut)' THEN"
                   " coalesce(r.\"event_id\"::text = given.id OR"
                   " (pg_catalog.octet_length(r.\"event_id\"::text) > 16384 AND"
                   " pg_catalog.left(r.\"event_id\"::text, pg_catalog.length(given.id) - 8)"
                   " || '...(cut)' = given.id), false) ELSE r.\"event_id\" IS NOT DISTINCT FROM"
                   " given.id::");
        text_clear(&sql);
        mark_sql_add_replaced_query(&mark, &sql);
        cr_assert_not_null(strstr(text_string(&sql), " AND NOT CASE WHEN"), "%s",
                           text_string(&sql));
        cr_assert_null(strstr(text_string(&sql), " IS DISTINCT FROM"), "%s", text_string(&sql));
        table_free(&table);
    }
}

Test(mark_sql, without_a_column_the_number_alone_counts)
{
    config.outbox.columns[FIELD_EVENT_ID] = GIVEN("");
    config.outbox.on_publish = ON_PUBLISH_DELETE;
    make(NULL);
    cr_assert_not(mark_sql_add_id_query(&mark, &sql), "nothing to ask");
    assert_prepared(
        "DEALLOCATE ALL; PREPARE outboxd_mark (bigint[], pg_catalog.text[], tid) AS DELETE FROM"
        " \"outbox\".\"event\" AS r WHERE r.\"seq\" = ANY($1); ");
}

Test(mark_sql, numbers_that_follow_each_other_are_read_in_one_walk_and_no_other_is_hit)
{
    make("uuid");
    assert_has("; PREPARE outboxd_mark_run (bigint[], pg_catalog.uuid[], tid) AS " UPDATE
               " WHERE r.\"seq\" BETWEEN ($1)[1] AND ($1)[pg_catalog.array_upper($1, 1)] AND"
               " r.\"seq\" = ($1)[pg_catalog.width_bucket(r.\"seq\"::bigint, $1)] AND"
               " r.\"event_id\" IS NOT DISTINCT FROM"
               " ($2)[pg_catalog.width_bucket(r.\"seq\"::bigint, $1)]; ");
    table_free(&table);
    make("bigint"); /* the join leaves the others out */
    assert_has("; PREPARE outboxd_mark_run (bigint[], pg_catalog.text[], tid) AS " UPDATE
               " FROM unnest($1, $2) AS given(seq, id) WHERE r.\"seq\" BETWEEN ($1)[1] AND"
               " ($1)[pg_catalog.array_upper($1, 1)] AND r.\"seq\" = given.seq AND r.\"event_id\""
               " IS NOT DISTINCT FROM given.id::bigint; ");
    table_free(&table);
    config.outbox.columns[FIELD_EVENT_ID] = GIVEN("");
    make(NULL);
    assert_has("; PREPARE outboxd_mark_run (bigint[], pg_catalog.text[], tid) AS " UPDATE
               " WHERE r.\"seq\" BETWEEN ($1)[1] AND ($1)[pg_catalog.array_upper($1, 1)] AND"
               " r.\"seq\" = ($1)[pg_catalog.width_bucket(r.\"seq\"::bigint, $1)]; ");
}

/* `count` rows from `first` on, `step` apart. */
static const char *statement_for(int64_t first, int64_t step, size_t count)
{
    mark_queue_release(&queue);
    for (size_t i = 0; i < count; i++) {
        mark_queue_add(&queue, first + (int64_t)i * step, SLICE_NULL, 0);
    }
    mark_queue_choose(&queue, count);
    const MarkRow *const *rows = mark_queue_chosen(&queue, &count);
    return mark_sql_statement(rows, count);
}

Test(mark_sql, many_numbers_close_together_are_marked_in_one_walk)
{
    cr_assert_str_eq(statement_for(7, 1, 1000), "outboxd_mark_run");
    cr_assert_str_eq(statement_for(-500, 2, 1000), "outboxd_mark_run", "every other one");
    cr_assert_str_eq(statement_for(7, 3, 1000), "outboxd_mark", "others lie between");
    cr_assert_str_eq(statement_for(7, 1, 10), "outboxd_mark", "few");
    cr_assert_str_eq(statement_for(INT64_MIN + 1, INT64_MAX / 25, 50), "outboxd_mark");
    cr_assert_str_eq(statement_for(7, 1, 0), "outboxd_mark", "a position alone");
}

Test(mark_sql, what_touches_no_rows_is_prepared_once)
{
    make(NULL);
    mark.touches_rows = false;
    mark.with_position = true;
    mark.row_table = "outbox.position";
    mark.row_key = "pipeline = 'orders'";
    text_clear(&sql);
    mark_sql_add_prepare(&mark, &sql);
    cr_assert_null(strstr(text_string(&sql), "outboxd_mark_run"), "%s", text_string(&sql));
}

Test(mark_sql, deleting_joins_by_using)
{
    config.outbox.on_publish = ON_PUBLISH_DELETE;
    make("bigint");
    assert_has("AS DELETE FROM \"outbox\".\"event\" AS r USING unnest($1, $2) AS given(seq, id)"
               " WHERE ");
    assert_has("IS NOT DISTINCT FROM given.id::bigint");
}

Test(mark_sql, hostile_names_stay_names)
{
    config.outbox.table = GIVEN("\"we\"\"ird\".\"t; DROP\"");
    config.outbox.columns[FIELD_SEQ] = GIVEN("s\"eq");
    config.outbox.columns[FIELD_EVENT_ID] = GIVEN("i\"d'");
    config.outbox.columns[FIELD_PUBLISHED_AT] = GIVEN("p\" = NULL; --");
    make("uuid");
    assert_prepared(
        "DEALLOCATE ALL; PREPARE outboxd_mark (bigint[], pg_catalog.uuid[], tid) AS UPDATE"
        " \"we\"\"ird\".\"t; DROP\" AS r SET \"p\"\" = NULL; --\" ="
        " pg_catalog.clock_timestamp() WHERE r.\"s\"\"eq\" = ANY($1) AND r.\"i\"\"d'\""
        " IS NOT DISTINCT FROM ($2)[pg_catalog.width_bucket(r.\"s\"\"eq\"::bigint,"
        " $1)]; ");
    mark.table_oid = 4242;
    text_clear(&sql);
    cr_assert(mark_sql_add_id_query(&mark, &sql));
    cr_assert_not_null(strstr(text_string(&sql), "a.attrelid = 4242 AND a.attname = 'i\"d'''"),
                       "%s", text_string(&sql));
}

Test(mark_sql, the_row_that_proves_the_history_is_locked_by_the_mark_and_raised_behind_it)
{
    make("uuid");
    mark.row_table = "outbox.publisher";
    mark.row_key = "table_id = 4242";
    mark.generation = "G";
    assert_has("AND EXISTS (SELECT FROM outbox.publisher AS p WHERE p.ctid = $3 AND p.generation ="
               " 'G' FOR NO KEY UPDATE); PREPARE ");
    assert_has("; PREPARE outboxd_mark_row (tid) AS UPDATE outbox.publisher AS p SET writes ="
               " p.writes + 1,");
    assert_has(" WHERE p.table_id = 4242 AND p.ctid = $1 AND p.generation = 'G' RETURNING p.ctid;");
    cr_assert_str_eq(mark_sql_then(&mark), "outboxd_mark_row");
    mark.with_position = true; /* one statement, which moves it */
    cr_assert_null(mark_sql_then(&mark));
    mark.with_position = false;
    mark.row_table = NULL; /* there is none */
    cr_assert_null(mark_sql_then(&mark));
}

Test(mark_sql, a_position_is_committed_with_all_its_rows_or_not_at_all)
{
    make("uuid");
    mark.with_position = true;
    mark.row_table = "outbox.position";
    mark.row_key = "pipeline = 'orders'";
    assert_has("DEALLOCATE ALL; PREPARE outboxd_mark (bigint[], pg_catalog.uuid[], tid, pg_lsn, "
               "pg_lsn, bigint, bigint)");
    assert_has("told AS (SELECT NOT EXISTS (SELECT FROM missing) AND greatest($4, $5, '0/0') <="
               " pg_catalog.pg_current_wal_insert_lsn() AS whole)");
    assert_has("backfill_seq = coalesce($7, p.backfill_seq)");
    assert_has("SET lsn = CASE WHEN (SELECT told.whole FROM told) THEN greatest(p.lsn, $4) ELSE"
               " p.lsn END");
    assert_has("writes = p.writes + 1");
    assert_has("WHERE p.pipeline = 'orders' RETURNING");
    mark.generation = "G";
    assert_has("WHERE p.pipeline = 'orders' AND p.ctid = $3 AND p.generation = 'G' RETURNING");
    mark.touches_rows = false;
    text_clear(&sql);
    mark_sql_add_prepare(&mark, &sql);
    cr_assert_null(strstr(text_string(&sql), "missing"), "%s", text_string(&sql));
    cr_assert_null(strstr(text_string(&sql), "published_at"), "%s", text_string(&sql));
    assert_has("WITH told AS (SELECT greatest($4, $5, '0/0') <=");
}

Test(mark_sql, a_table_may_have_another_name_by_now)
{
    make("uuid");
    mark.table_oid = 4242;
    mark.row_table = "outbox.publisher";
    mark.row_key = "table_id = 4242";
    table_rename(table, "outbox.\"event's\"");
    assert_has("UPDATE outbox.\"event's\" AS r SET");
    assert_has(" AND pg_catalog.to_regclass('outbox.\"event''s\"')::pg_catalog.oid = 4242; "
               "PREPARE outboxd_mark_run");
    assert_has("WHERE p.table_id = 4242 AND"
               " pg_catalog.to_regclass('outbox.\"event''s\"')::pg_catalog.oid = 4242 RETURNING");
    text_clear(&sql);
    mark_sql_add_replaced_query(&mark, &sql);
    cr_assert_not_null(strstr(text_string(&sql), " FROM outbox.\"event's\" AS r WHERE r.\"seq\" ="
                                                 " ANY($1) AND r.\"event_id\" IS DISTINCT FROM"),
                       "%s", text_string(&sql));
    table_rename(table, NULL);
    assert_has("UPDATE \"outbox\".\"event\" AS r SET");
}

/* Arrays, after array_send(). */

static uint32_t u32(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static char *ids(int *ret_length)
{
    size_t count = 0;
    mark_queue_choose(&queue, 100);
    const MarkRow *const *rows = mark_queue_chosen(&queue, &count);
    return mark_sql_ids(&mark, rows, count, ret_length);
}

Test(mark_sql, each_digit_of_a_uuid_counts_and_whatever_is_none_makes_an_id_that_no_row_has)
{
    static const char DIGITS[] = "0123456789abcdef";
    static const char NIL[16];
    make("uuid");
    for (size_t at = 0; at < 36; at++) {
        if (at == 8 || at == 13 || at == 18 || at == 23) {
            continue;
        }
        for (int c = 1; c < 256; c++) {
            char text[37];
            char expected[33] = "";
            int length = 0;
            snprintf(text, sizeof(text), "%s", "01234567-89ab-cdef-fedc-ba9876543210");
            text[at] = (char)c;
            mark_queue_release(&queue);
            mark_queue_add(&queue, 1, slice_of(text), 0);
            char *bytes = ids(&length);
            if (strchr(DIGITS, c) == NULL) {
                cr_assert_eq(memcmp(bytes + 24, NIL, 16), 0, "place %zu, byte %d", at, c);
            } else {
                for (size_t i = 0; i < 16; i++) {
                    snprintf(expected + 2 * i, 3, "%02x", (unsigned char)bytes[24 + i]);
                }
                text_clear(&sql);
                text_printf(&sql, "%.8s-%.4s-%.4s-%.4s-%s", expected, expected + 8, expected + 12,
                            expected + 16, expected + 20);
                cr_assert_str_eq(text_string(&sql), text);
            }
            free(bytes);
        }
    }
}

Test(mark_sql, event_ids_are_sent_as_bytes_or_text_and_null_is_null)
{
    int length = 0;
    make("uuid");
    mark_queue_add(&queue, 1, SLICE_LITERAL("00112233-4455-6677-8899-aabbccddeeff"), 0);
    mark_queue_add(&queue, 2, SLICE_NULL, 0);
    mark_queue_add(&queue, 3, SLICE_LITERAL("no uuid"), 0);
    char *bytes = ids(&length);
    cr_assert_eq(length, 20 + 20 + 4 + 20);
    cr_assert_eq(u32(bytes + 4), 1, "there are NULLs");
    cr_assert_eq(u32(bytes + 8), 2950);
    cr_assert_eq(u32(bytes + 12), 3);
    cr_assert_eq(u32(bytes + 20), 16);
    cr_assert_eq(
        memcmp(bytes + 24, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xAA\xBB\xCC\xDD\xEE\xFF", 16),
        0);
    cr_assert_eq(u32(bytes + 40), UINT32_MAX);
    static const char NIL[16];
    cr_assert_eq(memcmp(bytes + 48, NIL, 16), 0);
    free(bytes);
    table_free(&table);
    make("text");
    bytes = ids(&length);
    cr_assert_eq(length, 20 + 4 + 36 + 4 + 4 + 7);
    cr_assert_eq(u32(bytes + 8), 25);
    cr_assert_eq(memcmp(bytes + length - 7, "no uuid", 7), 0);
    free(bytes);
    config.outbox.columns[FIELD_EVENT_ID] = GIVEN("");
    table_free(&table);
    make(NULL);
    cr_assert_null(ids(&length));
}

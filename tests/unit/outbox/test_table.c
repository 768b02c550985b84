#include <criterion/criterion.h>
#include <string.h>

#include "base/text.h"
#include "outbox/fetch_sql.h"
#include "rows/table.h"
#include "stub/given.h"

static PipelineConfig config;
static OutboxTable *table;
static Gaps gaps;
static Error err;

static void begin(void)
{
    config = given_pipeline();
    gaps_reset(&gaps);
}

static void end(void)
{
    table_free(&table);
    gaps_release(&gaps);
}

TestSuite(table, .init = begin, .fini = end);

static void make(void)
{
    cr_assert_eq(table_new(&config, &table, &err), OK, "%s", error_message(&err));
}

static void assert_fetch(const char *expected)
{
    Text sql = TEXT_EMPTY;
    free(table->select_list); /* its text is a test of its own */
    table->select_list = strdup("COLUMNS");
    fetch_add_sql(table, &gaps, 50, &sql);
    cr_assert_str_eq(text_string(&sql), expected, "%s", text_string(&sql));
    text_free(&sql);
}

Test(table, columns_are_cast_and_in_the_order_of_rows)
{
    make();
    cr_assert_str_eq(table->name, "\"outbox\".\"event\"");
    cr_assert_str_eq(
        table->select_list,
        "\"seq\"::bigint, \"occurred_at\"::timestamptz, \"event_id\"::text, \"event_type\"::text, "
        "\"event_version\"::text, \"aggregate_type\"::text, \"aggregate_id\"::text, "
        "\"aggregate_version\"::text, \"payload\"::text, \"payload_bytes\"::bytea, "
        "\"content_type\"::text, \"correlation_id\"::text, \"causation_id\"::text, "
        "\"traceparent\"::text, \"headers\"::text, \"topic\"::text");
    cr_assert_eq(table->extra_count, 0);
}

Test(table, adopted_columns_have_their_own_names_or_are_null)
{
    static char *extras[] = {GIVEN("Tenant Id"), GIVEN("region")};
    config.outbox.table = GIVEN("Shop.\"OutBox\"");
    config.outbox.columns[FIELD_EVENT_ID] = GIVEN("id");
    config.outbox.columns[FIELD_AGGREGATE_TYPE] = GIVEN("aggregatetype");
    config.outbox.columns[FIELD_EVENT_VERSION] = GIVEN("");
    config.outbox.columns[FIELD_PAYLOAD_BYTES] = GIVEN("");
    config.outbox.columns[FIELD_OCCURRED_AT] = GIVEN("");
    config.outbox.header_columns = (StringList){.items = extras, .count = 2};
    make();
    cr_assert_str_eq(table->name, "\"shop\".\"OutBox\"");
    cr_assert_not_null(strstr(table->select_list, "\"seq\"::bigint, NULL::timestamptz, "
                                                  "\"id\"::text, \"event_type\"::text, NULL::text, "
                                                  "\"aggregatetype\"::text"));
    cr_assert_not_null(strstr(table->select_list, "\"payload\"::text, NULL::bytea, "));
    cr_assert_not_null(
        strstr(table->select_list, "\"topic\"::text, \"Tenant Id\"::text, \"region\"::text"));
    cr_assert_eq(table->extra_count, 2);
}

Test(table, hostile_names_stay_names)
{
    static char *extras[] = {GIVEN("a\"; DROP TABLE x; --")};
    config.outbox.table = GIVEN("\"we\"\"ird\".\"t; DROP\"");
    config.outbox.columns[FIELD_SEQ] = GIVEN("s\"eq");
    config.outbox.columns[FIELD_PUBLISHED_AT] = GIVEN("p\" = NULL; --");
    config.outbox.header_columns = (StringList){.items = extras, .count = 1};
    make();
    cr_assert_str_eq(table->name, "\"we\"\"ird\".\"t; DROP\"");
    cr_assert_str_eq(table->seq, "\"s\"\"eq\"");
    cr_assert_not_null(strstr(table->select_list, ", \"a\"\"; DROP TABLE x; --\"::text"));
    cr_assert_str_eq(table->unpublished, " AND \"p\"\" = NULL; --\" IS NULL");
}

Test(table, a_name_that_is_none_is_refused)
{
    config.outbox.table = GIVEN("a.b.c");
    cr_assert_eq(table_new(&config, &table, &err), FAILED);
    cr_assert_null(table);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
}

Test(table, the_first_fetch_reads_from_the_beginning)
{
    make();
    assert_fetch("COPY (SELECT COLUMNS FROM \"outbox\".\"event\" AS o WHERE \"seq\" > "
                 "-9223372036854775808 AND \"published_at\" IS NULL ORDER BY o.\"seq\" LIMIT 50) "
                 "TO STDOUT (FORMAT binary); ");
}

Test(table, a_table_without_published_at_has_only_unpublished_rows)
{
    config.outbox.columns[FIELD_PUBLISHED_AT] = GIVEN("");
    config.outbox.on_publish = ON_PUBLISH_DELETE;
    make();
    assert_fetch("COPY (SELECT COLUMNS FROM \"outbox\".\"event\" AS o WHERE \"seq\" > "
                 "-9223372036854775808 ORDER BY o.\"seq\" LIMIT 50) "
                 "TO STDOUT (FORMAT binary); ");
}

#define RANGES(lows, highs)                                                                        \
    "COPY ((SELECT hit.* FROM unnest('{" lows "}'::bigint[], '{" highs                             \
    "}'::bigint[]) AS gap(low, high) CROSS JOIN LATERAL (SELECT COLUMNS FROM \"outbox\".\"event\"" \
    " AS o WHERE \"seq\" BETWEEN gap.low AND gap.high AND \"published_at\" IS NULL ORDER BY "      \
    "o.\"seq\" "                                                                                   \
    "LIMIT 50) AS hit LIMIT 50) UNION ALL (SELECT COLUMNS FROM \"outbox\".\"event\" AS o WHERE "   \
    "\"seq\" > "
#define BEYOND(top)                                                                                \
    top " AND \"published_at\" IS NULL ORDER BY o.\"seq\" LIMIT 50) LIMIT 50) TO STDOUT (FORMAT "  \
        "binary); "

Test(table, gaps_are_read_before_what_lies_beyond_the_top)
{
    make();
    gaps_see(&gaps, 5);
    gaps_see(&gaps, 9);
    assert_fetch(RANGES("-9223372036854775807,6", "4,8") BEYOND("9"));
}

#define EVENT_ID                                                                                   \
    "CASE WHEN pg_catalog.octet_length(\"event_id\"::text) > 65536 THEN "                          \
    "pg_catalog.left(\"event_id\"::text, 256) || '...(cut)' ELSE \"event_id\"::text END"
#define KEYS(from, lows, highs)                                                                    \
    "COPY ((SELECT hit.* FROM unnest('{" lows "}'::bigint[], '{" highs                             \
    "}'::bigint[]) AS gap(low, high) CROSS JOIN LATERAL (SELECT \"seq\"::bigint, " EVENT_ID        \
    " FROM \"outbox\".\"event\" AS o WHERE \"seq\" BETWEEN gap.low AND gap.high AND "              \
    "\"published_at\" IS NULL ORDER BY o.\"seq\" LIMIT 7) AS hit LIMIT 7) UNION ALL (SELECT "      \
    "\"seq\"::bigint, " EVENT_ID " FROM \"outbox\".\"event\" AS o WHERE \"seq\" > " from           \
    " AND \"published_at\" IS NULL ORDER BY o.\"seq\" LIMIT 7) LIMIT 7) TO STDOUT (FORMAT "        \
    "binary); "
#define ALL_KEYS(from)                                                                             \
    "COPY (SELECT \"seq\"::bigint, " EVENT_ID " FROM \"outbox\".\"event\" AS o WHERE \"seq\" "     \
    "> " from                                                                                      \
    " AND \"published_at\" IS NULL ORDER BY o.\"seq\" LIMIT 7) TO STDOUT (FORMAT binary); "

static void assert_keys(int64_t from, const char *expected)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    fetch_add_keys_sql(table, &gaps, from, 7, &sql);
    cr_assert_str_eq(text_string(&sql), expected, "%s", text_string(&sql));
}

Test(table, a_page_of_keys_begins_where_the_last_one_ended)
{
    make();
    assert_keys(INT64_MIN, ALL_KEYS("-9223372036854775808"));
    assert_keys(8, ALL_KEYS("7"));
    gaps_see(&gaps, 5);
    gaps_see(&gaps, 9);
    gaps_see(&gaps, 12);
    assert_keys(INT64_MIN, KEYS("12", "-9223372036854775807,6,10", "4,8,11"));
    assert_keys(7, KEYS("12", "7,10", "8,11"));
    assert_keys(11, KEYS("12", "11", "11"));
    assert_keys(12, ALL_KEYS("12"));
    assert_keys(20, ALL_KEYS("19"));
}

Test(table, a_table_without_event_ids_has_null_ones)
{
    config.outbox.columns[FIELD_EVENT_ID] = GIVEN("");
    make();
    AUTO_BUFFER sql = TEXT_EMPTY;
    fetch_add_keys_sql(table, &gaps, INT64_MIN, 7, &sql);
    cr_assert_not_null(strstr(sql.data, "(SELECT \"seq\"::bigint, NULL::text FROM "), "%s",
                       sql.data);
}

Test(table, chosen_rows_are_read_by_number)
{
    make();
    free(table->select_list);
    table->select_list = strdup("COLUMNS");
    AUTO_BUFFER sql = TEXT_EMPTY;
    fetch_add_chosen_sql(table, (KnownRow[]){{.seq = -3}, {.seq = 8}}, 2, LEAN_NONE, &sql);
    cr_assert_str_eq(sql.data,
                     "COPY (SELECT COLUMNS FROM \"outbox\".\"event\" AS o WHERE \"seq\" = "
                     "ANY('{-3,8}'::bigint[]) AND \"published_at\" IS NULL ORDER BY "
                     "o.\"seq\") TO STDOUT (FORMAT binary); ");
}

Test(table, sizes_are_looked_at_before_values)
{
    config.limits.event_bytes = 1000;
    config.outbox.columns[FIELD_TOPIC] = GIVEN("");
    make();
    cr_assert_not_null(strstr(table->select_list, "CASE WHEN pg_column_size(\"payload\") <= 8000 "
                                                  "THEN \"payload\"::text END"));
    cr_assert_not_null(
        strstr(table->rows_begin, "CASE WHEN NOT large OR octet_length(v6) <= 65536 THEN v6 END"));
    cr_assert_not_null(strstr(table->rows_begin, "SELECT *, total > 1000 OR "
                                                 "coalesce(octet_length(v1) > 65536, false) AS "
                                                 "large FROM "),
                       "%s", table->rows_begin);
    cr_assert_not_null(strstr(table->rows_begin, "coalesce(octet_length(v7), s7, 0) + "
                                                 "coalesce(octet_length(v8), 0) + "));
    cr_assert_not_null(strstr(table->rows_begin,
                              "SELECT v0, v15, CASE WHEN pg_catalog.octet_length(v1::text) > 65536 "
                              "THEN pg_catalog.left(v1::text, 256) || '...(cut)' ELSE v1::text "
                              "END, "));
    cr_assert_null(strstr(table->rows_begin, "octet_length(v14)"), "there is no such column");
    Text sql = TEXT_EMPTY;
    const Gaps unseen = {.top = INT64_MIN, .low = INT64_MIN};
    fetch_add_sql(table, &unseen, 5, &sql);
    cr_assert_eq(strncmp(sql.data, "COPY (SELECT v0, v15, CASE WHEN", 31), 0, "%s", sql.data);
    cr_assert_not_null(strstr(sql.data, " LIMIT 5 OFFSET 0) AS a(v0, v15, v1, "));
    cr_assert_not_null(strstr(sql.data, ", s7, s13) OFFSET 0) AS b) AS c) TO STDOUT"), "%s",
                       sql.data);
    text_free(&sql);
}

Test(table, a_row_that_cannot_be_read_comes_without_its_bodies_or_with_its_name_alone)
{
    config.limits.event_bytes = 1000;
    Text sql = TEXT_EMPTY;
    make();
    fetch_add_chosen_sql(table, (KnownRow[]){{.seq = 8}}, 1, LEAN_BODIES, &sql);
    cr_assert_not_null(strstr(sql.data, "left(\"aggregate_id\"::text, 16384)"));
    cr_assert_null(strstr(sql.data, "\"payload\""));
    cr_assert_null(strstr(sql.data, "\"headers\""));
    text_clear(&sql);
    fetch_add_chosen_sql(table, (KnownRow[]){{.seq = 8}}, 1, LEAN_NAME, &sql);
    cr_assert_not_null(strstr(sql.data, EVENT_ID ", NULL::text"));
    cr_assert_null(strstr(sql.data, "aggregate_id"));
    text_free(&sql);
}

Test(table, rows_that_are_known_to_be_small_are_read_without_a_look_at_their_sizes)
{
    make();
    cr_assert_not(table_may_be_small(table), "any size is allowed");
    table_free(&table);
    config.limits.event_bytes = 64 * 1024;
    make();
    cr_assert_not(table_may_be_small(table), "a page may hold more, compressed");
    table_free(&table);
    config.limits.event_bytes = 8 * 1024 * 1024;
    make();
    cr_assert(table_may_be_small(table));
    Text sql = TEXT_EMPTY;
    const Gaps unseen = {.top = INT64_MIN, .low = INT64_MIN};
    fetch_add_small_sql(table, &unseen, 5, &sql);
    cr_assert_null(strstr(sql.data, "total"), "%s", sql.data);
    cr_assert_null(strstr(sql.data, "pg_column_size"), "%s", sql.data);
    const char *id = strstr(sql.data, "octet_length(v1) > 65536 THEN substring(v1, 1, -1)");
    cr_assert_not_null(id, "it names the row whole, or sizes are looked at: %s", sql.data);
    const char *payload = strstr(id + 1, "octet_length(v");
    cr_assert_not_null(payload, "a text of megabytes takes a few bytes of a jsonb: %s", sql.data);
    const char *headers = strstr(payload + 1, "octet_length(v");
    cr_assert_not_null(headers, "%s", sql.data);
    cr_assert_null(strstr(headers + 1, "octet_length(v"), "%s", sql.data);
    cr_assert_eq(strncmp(headers + 16, ") > 1048576 THEN substring(v", 28), 0, "%s", headers);
    cr_assert_not_null(
        strstr(sql.data, " IS NULL AND (SELECT pg_catalog.pg_relation_size(c.reltoastrelid) = 0 AND"
                         " NOT c.relhassubclass FROM pg_catalog.pg_class AS c WHERE c.relkind ="
                         " 'r' AND c.oid = pg_catalog.to_regclass('\"outbox\".\"event\"'))"
                         " ORDER BY"),
        "%s", sql.data);
    text_free(&sql);
}

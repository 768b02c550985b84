#include <criterion/criterion.h>
#include <string.h>

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
    cr_assert_eq(table_new(&config, &table, &err), OK, "%s", err.message);
}

static void assert_fetch(int64_t sweep_below, const char *expected)
{
    Text sql = TEXT_EMPTY;
    free(table->select_list); /* its text is a test of its own */
    table->select_list = strdup("COLUMNS");
    fetch_add_sql(table, &gaps, sweep_below, 50, &sql);
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
    config.table = GIVEN("Shop.\"OutBox\"");
    config.columns.event_id = GIVEN("id");
    config.columns.aggregate_type = GIVEN("aggregatetype");
    config.columns.event_version = GIVEN("");
    config.columns.payload_bytes = GIVEN("");
    config.columns.occurred_at = GIVEN("");
    config.header_columns = (StringList){.items = extras, .count = 2};
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
    config.table = GIVEN("\"we\"\"ird\".\"t; DROP\"");
    config.columns.seq = GIVEN("s\"eq");
    config.columns.published_at = GIVEN("p\" = NULL; --");
    config.header_columns = (StringList){.items = extras, .count = 1};
    make();
    cr_assert_str_eq(table->name, "\"we\"\"ird\".\"t; DROP\"");
    cr_assert_str_eq(table->seq, "\"s\"\"eq\"");
    cr_assert_not_null(strstr(table->select_list, ", \"a\"\"; DROP TABLE x; --\"::text"));
    cr_assert_str_eq(table->unpublished, " AND \"p\"\" = NULL; --\" IS NULL");
}

Test(table, a_name_that_is_none_is_refused)
{
    config.table = GIVEN("a.b.c");
    cr_assert_eq(table_new(&config, &table, &err), FAILED);
    cr_assert_null(table);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
}

Test(table, the_first_fetch_reads_from_the_beginning)
{
    make();
    assert_fetch(INT64_MIN,
                 "COPY (SELECT COLUMNS FROM \"outbox\".\"event\" WHERE \"seq\" > "
                 "-9223372036854775808 AND \"published_at\" IS NULL ORDER BY \"seq\" LIMIT 50) "
                 "TO STDOUT (FORMAT binary); ");
}

Test(table, a_table_without_published_at_has_only_unpublished_rows)
{
    config.columns.published_at = GIVEN("");
    config.on_publish = ON_PUBLISH_DELETE;
    make();
    assert_fetch(INT64_MIN, "COPY (SELECT COLUMNS FROM \"outbox\".\"event\" WHERE \"seq\" > "
                            "-9223372036854775808 ORDER BY \"seq\" LIMIT 50) "
                            "TO STDOUT (FORMAT binary); ");
}

#define RANGES(lows, highs)                                                                        \
    "COPY ((SELECT hit.* FROM unnest('{" lows "}'::bigint[], '{" highs                             \
    "}'::bigint[]) AS gap(low, high) CROSS JOIN LATERAL (SELECT COLUMNS FROM \"outbox\".\"event\"" \
    " WHERE \"seq\" BETWEEN gap.low AND gap.high AND \"published_at\" IS NULL ORDER BY \"seq\" "   \
    "LIMIT 50) AS hit LIMIT 50) UNION ALL (SELECT COLUMNS FROM \"outbox\".\"event\" WHERE "        \
    "\"seq\" > "
#define BEYOND(top)                                                                                \
    top " AND \"published_at\" IS NULL ORDER BY \"seq\" LIMIT 50) LIMIT 50) TO STDOUT (FORMAT "    \
        "binary); "

Test(table, gaps_are_read_before_what_lies_beyond_the_top)
{
    make();
    gaps_see(&gaps, 5);
    gaps_see(&gaps, 9);
    assert_fetch(INT64_MIN, RANGES("-9223372036854775808,6", "4,8") BEYOND("9"));
}

Test(table, a_sweep_reads_below_the_bound_first)
{
    make();
    gaps_see(&gaps, 5);
    gaps_see(&gaps, 9);
    gaps_drop(&gaps, 5);
    assert_fetch(6, RANGES("-9223372036854775808,6", "5,8") BEYOND("9"));
    gaps_drop(&gaps, 9);
    assert_fetch(10, RANGES("-9223372036854775808", "9") BEYOND("9"));
}

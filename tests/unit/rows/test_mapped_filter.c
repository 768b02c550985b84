/* The questions about the filter of a mapping, and what follows from the answers of a server. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "pg/sqlstate.h"
#include "rows/mapped_filter.h"
#include "rows/mapped_script.h"
#include "stub/given.h"
#include "stub/libpq_internal.h"

static MappingConfig mapping;
static PipelineConfig pipeline;
static MappedTable table;
static MappedFilter filter;

#define COLUMNS                                                                                    \
    "id\037NULL::integer\037true\036\"No "                                                         \
    "te\"\037NULL::text\037false\036status\037NULL::text\037false"

static void begin(void)
{
    mapping = (MappingConfig){.table = GIVEN("shop.a"),
                              .filter = GIVEN("status <> 'x'"),
                              .operations = OPERATION_CREATE | OPERATION_UPDATE | OPERATION_DELETE};
    pipeline = (PipelineConfig){.name = GIVEN("orders"),
                                .wal.publication = GIVEN("p"),
                                .tables = {.mappings = &mapping, .mapping_count = 1}};
    table = (MappedTable){.schema = GIVEN("shop"),
                          .name = GIVEN("A"),
                          .sql = GIVEN("shop.\"A\""),
                          .usable = true,
                          .logged = true,
                          .filter = &filter};
    filter = (MappedFilter){.fit = MAPPED_UNASKED, .columns = GIVEN(COLUMNS)};
}

TestSuite(mapped_filter, .init = begin);

/* An answer: a plan, or the SQLSTATE of an error. */
typedef struct Reply {
    const char *question; /* what it must contain */
    const char *plan;     /* two lines with ; between */
    const char *state;
} Reply;

#define NO_ROW "Result;  One-Time Filter: false"

static void answer(FilterTest *test, const Reply *reply)
{
    char line[2][80] = {"", ""};
    char *values[] = {line[0], line[1]};
    struct pg_result result = {.status = PGRES_TUPLES_OK,
                               .rows = 2,
                               .columns = 1,
                               .names = {GIVEN("QUERY PLAN")},
                               .values = values};
    if (reply->state != NULL) {
        AUTO_ERROR err = {0};
        sqlstate_fill(reply->state, "no such thing", &err);
        cr_assert_eq(filter_test_refused(test, &err), OK);
        return;
    }
    const char *end = strchrnul(reply->plan, ';');
    snprintf(line[0], sizeof(line[0]), "%.*s", (int)(end - reply->plan), reply->plan);
    snprintf(line[1], sizeof(line[1]), "%s", *end != '\0' ? end + 1 : "");
    filter_test_take(test, &result);
}

/* Replies up to the first without question; all must be asked for. */
static void expect(const Reply *replies, ErrorCode code, const char *message, const char *hint)
{
    AUTO(FilterTest, filter_test_free) test = filter_test_new(&pipeline, &table);
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO_ERROR err = {0};
    size_t i = 0;
    for (; filter_test_next(test, &sql); i++) {
        cr_assert_not_null(replies[i].question, "not awaited: %s", sql.data);
        cr_expect(strstr(sql.data, replies[i].question), "%s", sql.data);
        cr_expect(strncmp(sql.data, "EXPLAIN (COSTS OFF) SELECT FROM (SELECT ", 40) == 0);
        answer(test, &replies[i]);
        text_clear(&sql);
    }
    cr_expect_null(replies[i].question, "not asked: %s", replies[i].question);
    cr_expect_eq(filter_test_judge(test, &err), code == CODE_NONE ? OK : FAILED, "%s",
                 error_message(&err));
    cr_expect_eq(err.code, code);
    cr_expect(strstr(error_message(&err), message), "%s", error_message(&err));
    cr_expect(strstr(error_own_hint(&err), hint), "%s", error_own_hint(&err));
    cr_expect(code == CODE_NONE || (err.class == ERROR_FATAL && err.exit_code == EXIT_POSTGRES));
}

#define ROW_OF_ALL                                                                                 \
    "(SELECT NULL::integer AS id, NULL::text AS \"No te\", NULL::text AS status OFFSET 0) AS "     \
    "\"A\" WHERE "

Test(mapped_filter, one_that_fits_is_put_where_updates_are)
{
    expect((const Reply[]){{ROW_OF_ALL "status <> 'x'", .plan = "a"},
                           {ROW_OF_ALL "(status <> 'x')", .plan = "a"},
                           {"((status <> 'x') IS NOT TRUE) AND (((status <> 'x') IS NOT TRUE) IS "
                            "NOT TRUE)",
                            .plan = NO_ROW},
                           {"(SELECT NULL::integer AS id OFFSET 0) AS", .plan = "a"},
                           {0}},
           CODE_NONE, "", "");
    cr_expect_eq(filter.fit, MAPPED_FITS);
}

Test(mapped_filter, a_column_outside_of_the_identity_is_named)
{
    const Reply replies[] = {
        {"WHERE status", .plan = "a"},
        {"WHERE (status", .plan = "a"},
        {"IS NOT TRUE", .plan = NO_ROW},
        {"(SELECT NULL::integer AS id OFFSET 0)", .state = "42703"},
        {"(SELECT NULL::integer AS id, NULL::text AS status OFFSET 0)", .plan = "a"},
        {"(SELECT NULL::integer AS id, NULL::text AS \"No te\" OFFSET 0)", .state = "42703"},
        {0}};
    expect(replies, CODE_MAPPED_FILTER, "uses columns outside of its replica identity (status)",
           "ALTER TABLE shop.\"A\" REPLICA IDENTITY FULL;");
    cr_expect_eq(filter.fit, MAPPED_OUTSIDE);
    mapping.operations = OPERATION_CREATE; /* it goes where only inserts are */
    expect(replies, CODE_NONE, "", "");
    table.entries[MAPPED_FIRST] = GIVEN("1:1"); /* it is where updates are, without a filter */
    table.sends = OPERATION_UPDATE;
    expect(replies, CODE_MAPPED_FILTER, "uses columns outside", "");
}

Test(mapped_filter, what_postgresql_takes_as_no_row_filter_is_refused)
{
    expect((const Reply[]){{"WHERE status", .state = "42601"}, {0}}, CODE_MAPPED_FILTER,
           "PostgreSQL cannot use the filter of shop.\"A\": status <> 'x': no such thing",
           "Correct filter");
    cr_expect_eq(filter.fit, MAPPED_UNFIT);
    expect((const Reply[]){{"WHERE status", .state = "08P01"}, {0}}, CODE_MAPPED_FILTER,
           "no such thing", "");
    expect((const Reply[]){{"WHERE status", .plan = "a"}, {"WHERE (", .state = "22P02"}, {0}},
           CODE_MAPPED_FILTER, "no such thing", "Correct filter");
    expect((const Reply[]){{"WHERE status", .plan = "a"},
                           {"WHERE (", .plan = "a"},
                           {"IS NOT TRUE", .plan = "Subquery Scan;  Filter: random()"},
                           {0}},
           CODE_MAPPED_FILTER, "not immutable", "Correct filter");
}

/* Without a replica identity, it may use any column: it is published nowhere but with inserts. */
Test(mapped_filter, without_an_identity_no_column_is_outside)
{
    table.usable = false;
    expect((const Reply[]){{"WHERE status", .plan = "a"},
                           {"WHERE (", .plan = "a"},
                           {"IS NOT TRUE", .plan = NO_ROW},
                           {0}},
           CODE_NONE, "", "");
}

Test(mapped_filter, the_same_plan_is_the_same_filter)
{
    table.usable = false;
    table.entries[MAPPED_FIRST] = table.entries[MAPPED_SECOND] = GIVEN("1:1");
    filter.has[MAPPED_FIRST] = GIVEN("(status <> 'x'::text)");
    filter.has[MAPPED_SECOND] = GIVEN("status <> 'x'");
    const Reply replies[] = {{"WHERE status", .plan = "a"},
                             {"WHERE (", .plan = "a"},
                             {"WHERE ((status <> 'x'::text))", .plan = "a"},
                             {"WHERE (status <> 'x')", .plan = "b"}, /* the very text */
                             {0}};
    expect(replies, CODE_NONE, "", "");
}

Test(mapped_filter, another_one_or_none_is_renewed)
{
    const Reply none[] = {{"WHERE status", .plan = "a"},
                          {"WHERE (", .plan = "a"},
                          {"IS NOT TRUE", .plan = NO_ROW},
                          {0}};
    const Reply other[] = {{"WHERE status", .plan = "a"},
                           {"WHERE (", .plan = "a"},
                           {"WHERE ((id > 3))", .plan = "b"},
                           {"IS NOT TRUE", .plan = NO_ROW},
                           {0}};
    table.usable = false;
    table.entries[MAPPED_FIRST] = GIVEN("1:1");
    expect(none, CODE_PUBLICATION_FILTER,
           "publication \"p\" publishes shop.\"A\" without the filter of the mapping",
           "BEGIN; ALTER PUBLICATION \"p\" DROP TABLE ONLY shop.\"A\"; ALTER PUBLICATION \"p\" ADD "
           "TABLE ONLY shop.\"A\" WHERE (status <> 'x'); COMMIT;");
    filter.has[MAPPED_FIRST] = GIVEN("(id > 3)");
    expect(other, CODE_PUBLICATION_FILTER,
           "another row filter than the mapping's: it has (id > 3), the mapping has status <> 'x'",
           "exit code 4");
    filter.has[MAPPED_FIRST] = NULL;
    table.entries[MAPPED_FIRST] = GIVEN("1:1.2");
    expect(none, CODE_PUBLICATION_FILTER, "contains all tables, or all of a schema",
           "names its tables");
}

/* What is not about the filter: a connection that breaks, a time-out. */
Test(mapped_filter, other_errors_tell_nothing_of_it)
{
    static const char *const STATES[] = {"57014", "08006", "55P03", "XX000"};
    for (size_t i = 0; i < sizeof(STATES) / sizeof(STATES[0]); i++) {
        AUTO(FilterTest, filter_test_free) test = filter_test_new(&pipeline, &table);
        AUTO_BUFFER sql = TEXT_EMPTY;
        AUTO_ERROR err = {0};
        cr_assert(filter_test_next(test, &sql));
        sqlstate_fill(STATES[i], "gone", &err);
        cr_expect_eq(filter_test_refused(test, &err), FAILED, "%s", STATES[i]);
    }
}

/* A server that lies: columns that are none, answers without a question. */
Test(mapped_filter, answers_that_are_none_are_survived)
{
    static const char *const NONE[] = {"",       "\036",         "a",
                                       "a\037b", "\037\037\037", "a\037b\037true\036"};
    for (size_t i = 0; i < sizeof(NONE) / sizeof(NONE[0]); i++) {
        filter.columns = (char *)NONE[i];
        AUTO(FilterTest, filter_test_free) test = filter_test_new(&pipeline, &table);
        AUTO_BUFFER sql = TEXT_EMPTY;
        const Reply refused = {.state = "42703"};
        const Reply plan = {.plan = NO_ROW};
        for (size_t n = 0; filter_test_next(test, &sql); n++) {
            cr_assert_lt(n, 10);
            answer(test, n < 3 ? &plan : &refused);
            struct pg_result again = {.status = PGRES_TUPLES_OK};
            filter_test_take(test, &again);
        }
    }
}

/* The SQL that makes or extends the publications has the filter; one that is of no use is nowhere.
 */
Test(mapped_filter, it_is_in_the_script)
{
    static const struct {
        MappedFit fit;
        bool usable;
        unsigned operations;
        const char *first;
        const char *second;
    } CASES[] = {
        {MAPPED_FITS, true, OPERATION_UPDATE, " FOR TABLE ONLY t WHERE (status <> 'x')", ""},
        {MAPPED_FITS, false, OPERATION_UPDATE, "", " FOR TABLE ONLY t WHERE (status <> 'x')"},
        {MAPPED_OUTSIDE, true, OPERATION_UPDATE, "", ""},
        {MAPPED_OUTSIDE, true, OPERATION_CREATE, "", " FOR TABLE ONLY t WHERE (status <> 'x')"},
        {MAPPED_UNFIT, true, OPERATION_UPDATE, "", ""},
        {MAPPED_UNASKED, true, OPERATION_UPDATE, "", ""},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        MappedFilter known = {.fit = CASES[i].fit};
        MappedTable one = {
            .sql = GIVEN("t"), .logged = true, .usable = CASES[i].usable, .filter = &known};
        Mapped mapped = {.tables = {.items = &one, .count = 1, .capacity = 1}};
        AUTO_BUFFER script = TEXT_EMPTY;
        mapping.operations = CASES[i].operations;
        AUTO_TEXT wanted =
            x_format("CREATE PUBLICATION \"p\"%s WITH (publish_via_partition_root = true);\n"
                     "CREATE PUBLICATION \"p_inserts\"%s WITH (publish = 'insert, truncate', "
                     "publish_via_partition_root = true);\n",
                     CASES[i].first, CASES[i].second);
        mapped_script_add_publications(&pipeline, &mapped, &script);
        cr_expect_str_eq(script.data, wanted);
    }
}

/* Only inserts of it were published, until it got a replica identity. */
Test(mapped_filter, a_table_that_could_change_is_added_with_it)
{
    MappedTable one = {
        .sql = GIVEN("t"), .logged = true, .usable = true, .entries = {NULL, GIVEN("1:1")}};
    Mapped mapped = {.tables = {.items = &one, .count = 1, .capacity = 1},
                     .publications = {{.identity = GIVEN("1")}, {.identity = GIVEN("2")}}};
    AUTO_BUFFER script = TEXT_EMPTY;
    mapped_script_add_publications(&pipeline, &mapped, &script);
    cr_expect_str_eq(script.data,
                     "ALTER PUBLICATION \"p\" ADD TABLE ONLY t WHERE (status <> 'x');\n");
    text_clear(&script);
    mapping.operations = OPERATION_CREATE;
    mapped_script_add_publications(&pipeline, &mapped, &script);
    cr_expect_eq(script.length, 0);
}

/* The same rows as in the stream, which has PostgreSQL's text of the filter; what is in no log has
 * only that of the configuration. */
Test(mapped_filter, a_snapshot_reads_by_the_text_of_the_publication)
{
    cr_expect_str_eq(mapped_row_filter(&pipeline, &table), "status <> 'x'");
    filter.has[MAPPED_SECOND] = GIVEN("(status <> 'x'::text)");
    cr_expect_str_eq(mapped_row_filter(&pipeline, &table), "(status <> 'x'::text)");
    filter.has[MAPPED_FIRST] = GIVEN("(id > 3)");
    cr_expect_str_eq(mapped_row_filter(&pipeline, &table), "(id > 3)");
    mapping.filter = GIVEN("");
    table.filter = NULL;
    cr_expect_null(mapped_row_filter(&pipeline, &table));
}

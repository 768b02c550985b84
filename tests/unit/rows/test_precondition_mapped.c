/* The list for capture = "tables": what the server counts of the mapped tables, and what is said.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "rows/precondition.h"
#include "rows/precondition_some.h"
#include "stub/libpq_internal.h"
#include "unit/rows/precondition_rig.h"

Test(precondition_mapped, everything_in_order_is_no_fault)
{
    for (PreconditionReader reader = PRECONDITION_START; reader <= PRECONDITION_CHECK;
         reader = (PreconditionReader)(reader * 2)) {
        given_expect(&(Given){.capture = CAPTURE_TABLES, .reader = reader}, CODE_NONE, false, "");
    }
}

/* The table of the claim is outbox.position: nothing that an outbox must have is asked of it. */
Test(precondition_mapped, what_is_of_an_outbox_is_not_judged)
{
    static const char *const CASES[][2] = {
        {"present", "-----------------"},
        {"readable", "-----------------"},
        {"types", "text/"},
        {"published_not_null", "t"},
        {"updates", "f"},
        {"deletes", "f"},
        {"claims", "f"},
        {"covers_root", "f"},
        {"inserts", "f"},
        {"cache", "20"},
        {"increment", "-1"},
        {"rules", "u!stay"},
        {"kind", "v"},
        {"breaking", "p"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        given_expect(&(Given){.capture = CAPTURE_TABLES,
                              .column = CASES[i][0],
                              .value = CASES[i][1],
                              .reader = PRECONDITION_START},
                     CODE_NONE, false, "");
    }
}

typedef struct Case {
    const char *column;
    const char *value;
    ErrorCode code;
    const char *remedy;
    bool warning; /* at the start, and for check */
    const char *also;
    const char *also_value;
} Case;

static void expect_case(const Case *given, PreconditionReader reader, bool warning)
{
    given_expect(&(Given){.capture = CAPTURE_TABLES,
                          .column = given->column,
                          .value = given->value,
                          .also = given->also,
                          .also_value = given->also_value,
                          .reader = reader},
                 given->code, warning, given->remedy);
}

/* The same whether it runs or not. */
Test(precondition_mapped, server_rights_and_slot)
{
    static const Case CASES[] = {
        {.column = "wal_level",
         .value = "replica",
         .code = CODE_WAL_LEVEL,
         .remedy = "ALTER SYSTEM SET wal_level = 'logical';"},
        {.column = "table_oid",
         .value = NULL,
         .code = CODE_POSTGRES_NO_TABLE,
         .remedy = "outboxd migrate"},
        {.column = "position",
         .value = NULL,
         .code = CODE_NO_POSITION_TABLE,
         .remedy = "outboxd migrate"},
        {.column = "positions",
         .value = "f",
         .code = CODE_RIGHT_POSITION,
         .remedy = "GRANT SELECT, INSERT, UPDATE ON outbox.position"},
        {.column = "own_hidden_in",
         .value = "outbox.position",
         .code = CODE_ROW_SECURITY,
         .remedy = "ALTER ROLE shop_relay BYPASSRLS",
         .also = "own_unhide",
         .also_value = "ALTER TABLE x"},
        {.column = "unlogged",
         .value = "outbox.position",
         .code = CODE_TABLE_UNLOGGED,
         .remedy = "ALTER TABLE x SET LOGGED;",
         .also = "set_logged",
         .also_value = "ALTER TABLE x SET LOGGED;"},
        {.column = "slot_name",
         .value = "outboxd_orders",
         .code = CODE_SLOT_FOREIGN,
         .remedy = "name another slot",
         .also = "slot_type",
         .also_value = "physical"},
        {.column = "publication_oid",
         .value = NULL,
         .code = CODE_PUBLICATION_MISSING,
         .remedy = ""},
        {.column = "pauses",
         .value = "f",
         .code = CODE_RIGHT_PAUSE,
         .remedy = "GRANT SELECT ON",
         .warning = true},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        expect_case(&CASES[i], PRECONDITION_START, CASES[i].warning);
        expect_case(&CASES[i], PRECONDITION_CHECK, CASES[i].warning);
        expect_case(&CASES[i], PRECONDITION_RUNNING, CASES[i].warning);
    }
}

#define SECOND "\"outboxd_orders_inserts\""

static const Case TABLES[] = {
    {.column = "mapped_nameless",
     .value = "1\0361",
     .code = CODE_MAPPED_NO_TABLE,
     .remedy = "Correct the name in mappings"},
    {.column = "mapped_private",
     .value = "1\0361",
     .code = CODE_MAPPED_NO_TABLE,
     .remedy = "Remove it from mappings."},
    {.column = "mapped_kinds",
     .value = "1\0361\037v",
     .code = CODE_TABLE_KIND,
     .remedy = "Map the tables behind it"},
    {.column = "mapped_unmatched",
     .value = "1\0360",
     .code = CODE_MAPPED_NO_MATCH,
     .remedy = "Correct the pattern",
     .warning = true},
    {.column = "mapped_columnless",
     .value = "1\0361\037mask_columns\037emial",
     .code = CODE_MAPPED_NO_COLUMN,
     .remedy = "Correct the name, or remove it."},
    {.column = "mapped_twice",
     .value = "1\036shop.a\0370\0371",
     .code = CODE_MAPPED_TWICE,
     .remedy = "A table can have only one"},
    {.column = "mapped_parts",
     .value = "1\0361",
     .code = CODE_MAPPED_PARTITION,
     .remedy = "Remove the mapping",
     .warning = true},
    {.column = "mapped_under",
     .value = "1\036shop.p1\037shop.p",
     .code = CODE_MAPPED_PARTITION,
     .remedy = "Map the partitioned table"},
    {.column = "mapped_absent",
     .value = "1\036shop.a",
     .code = CODE_MAPPED_NOT_PUBLISHED,
     .remedy = "ALTER PUBLICATION \"outboxd_orders\" ADD TABLE ONLY shop.a;",
     .also = "mapped_absent_usable",
     .also_value = "1\036shop.a"},
    {.column = "mapped_absent",
     .value = "1\036shop.a",
     .code = CODE_MAPPED_NOT_PUBLISHED,
     .remedy =
         "CREATE PUBLICATION " SECOND " FOR TABLE ONLY shop.a WITH (publish = 'insert, truncate', "
         "publish_via_partition_root = true);",
     .also = "mapped_absent_unusable",
     .also_value = "1\036shop.a"},
    {.column = "mapped_refused",
     .value = "1\036shop.a",
     .code = CODE_PUBLICATION_IDENTITY,
     .remedy =
         "Give it a primary key, or run: ALTER TABLE shop.a REPLICA IDENTITY FULL; or capture only "
         "inserts: ALTER PUBLICATION " SECOND
         " ADD TABLE ONLY shop.a; /* wait until a running relay "
         "has logged PUBLICATION_PROVEN */ ALTER PUBLICATION \"outboxd_orders\" DROP TABLE ONLY "
         "shop.a;",
     .also = "mapped_second",
     .also_value = "8:7"},
    {.column = "mapped_uncovered",
     .value = "1\036shop.a\037status, \"Note\"",
     .code = CODE_PUBLICATION_IDENTITY,
     .remedy = "ALTER TABLE shop.a REPLICA IDENTITY FULL; or REPLICA IDENTITY USING INDEX"},
    {.column = "mapped_unsent",
     .value = "1\036shop.a",
     .code = CODE_MAPPED_OPERATIONS,
     .remedy = "If every table"},
    {.column = "mapped_inserts_only",
     .value = "1\036shop.a",
     .code = CODE_MAPPED_INSERTS_ONLY,
     .remedy =
         "Give it a primary key, or run: ALTER TABLE shop.a REPLICA IDENTITY FULL; then: ALTER "
         "PUBLICATION \"outboxd_orders\" ADD TABLE ONLY shop.a;",
     .warning = true},
    {.column = "mapped_could_change",
     .value = "1\036shop.a",
     .code = CODE_MAPPED_INSERTS_ONLY,
     .remedy = "ALTER PUBLICATION \"outboxd_orders\" ADD TABLE ONLY shop.a;",
     .warning = true},
    {.column = "mapped_listed",
     .value = "1\036shop.a\037true",
     .code = CODE_PUBLICATION_INCOMPLETE,
     .remedy =
         "BEGIN; ALTER PUBLICATION \"outboxd_orders\" DROP TABLE ONLY shop.a; ALTER PUBLICATION "
         "\"outboxd_orders\" ADD TABLE ONLY shop.a; COMMIT;"},
    {.column = "mapped_filtered",
     .value = "1\036shop.a\037false",
     .code = CODE_PUBLICATION_INCOMPLETE,
     .remedy = "BEGIN; ALTER PUBLICATION " SECOND " DROP TABLE ONLY shop.a;"},
    {.column = "mapped_by_parts",
     .value = "1\036shop.p",
     .code = CODE_PUBLICATION_INCOMPLETE,
     .remedy = "ALTER PUBLICATION \"outboxd_orders\" SET (publish_via_partition_root = true);"},
    {.column = "mapped_unlogged",
     .value = "1\036shop.u",
     .code = CODE_MAPPED_UNLOGGED,
     .remedy = "ALTER TABLE shop.u SET LOGGED;",
     .warning = true},
    {.column = "mapped_foreign",
     .value = "1\036shop.p",
     .code = CODE_TABLE_FOREIGN_PART,
     .remedy = "Detach it",
     .warning = true},
    {.column = "mapped_unreadable",
     .value = "2\036shop.a\036shop.b",
     .code = CODE_RIGHT_SELECT,
     .remedy =
         "GRANT USAGE ON SCHEMA shop TO shop_relay; GRANT SELECT ON shop.a, shop.b TO shop_relay;",
     .also = "mapped_closed",
     .also_value = "shop"},
    {.column = "mapped_hidden",
     .value = "1\036shop.a",
     .code = CODE_ROW_SECURITY,
     .remedy = "ALTER ROLE shop_relay BYPASSRLS;"},
    {.column = "mapped_hidden",
     .value = "1\036shop.a",
     .code = CODE_ROW_SECURITY,
     .remedy = "ALTER TABLE shop.a NO FORCE ROW LEVEL SECURITY;",
     .also = "mapped_forced",
     .also_value = "1\036shop.a"},
};
enum { TABLES_COUNT = sizeof(TABLES) / sizeof(TABLES[0]) };

Test(precondition_mapped, a_table_that_is_not_in_order_stops_the_start)
{
    for (size_t i = 0; i < TABLES_COUNT; i++) {
        expect_case(&TABLES[i], PRECONDITION_START, TABLES[i].warning);
        expect_case(&TABLES[i], PRECONDITION_CHECK, TABLES[i].warning);
    }
}

Test(precondition_mapped, while_the_relay_runs_the_other_tables_go_on_and_it_is_an_alarm)
{
    for (size_t i = 0; i < TABLES_COUNT; i++) {
        expect_case(&TABLES[i], PRECONDITION_RUNNING, true);
        PreconditionLook ret = given_look(&(Given){.capture = CAPTURE_TABLES,
                                                   .column = TABLES[i].column,
                                                   .value = TABLES[i].value,
                                                   .reader = PRECONDITION_RUNNING});
        cr_assert_eq(ret.fault_count, 1, "%s", TABLES[i].column);
        cr_expect_eq(ret.faults[0].alarm, !TABLES[i].warning, "%s", TABLES[i].column);
        precondition_release(&ret);
    }
}

Test(precondition_mapped, without_a_snapshot_nothing_is_read_from_the_tables)
{
    static const char *const COLUMNS[] = {"mapped_unreadable", "mapped_hidden"};
    for (size_t i = 0; i < 2; i++) {
        given_expect(&(Given){.capture = CAPTURE_TABLES,
                              .column = COLUMNS[i],
                              .value = "1\036shop.a",
                              .snapshot = SNAPSHOT_MODE_NEVER,
                              .reader = PRECONDITION_START},
                     CODE_NONE, false, "");
    }
}

Test(precondition_mapped, a_publication_that_the_relay_may_create_is_no_fault)
{
    Given given = {.capture = CAPTURE_TABLES,
                   .column = "publication_oid",
                   .value = NULL,
                   .also = "may_create",
                   .also_value = "t",
                   .reader = PRECONDITION_START};
    given_expect(&given, CODE_NONE, false, "");
    given.also = "mapped_absent_usable";
    given.also_value = "2\036shop.a\036shop.b";
    given_expect(&given, CODE_PUBLICATION_MISSING, false,
                 "an administrator runs: CREATE PUBLICATION \"outboxd_orders\" FOR TABLE ONLY "
                 "shop.a, ONLY shop.b WITH (publish_via_partition_root = true);");
    given.also = "mapped_absent_unusable";
    given_expect(&given, CODE_PUBLICATION_MISSING, false,
                 "an administrator runs: CREATE PUBLICATION \"outboxd_orders\" WITH "
                 "(publish_via_partition_root = true); CREATE PUBLICATION " SECOND
                 " FOR TABLE ONLY shop.a, ONLY shop.b WITH (publish = 'insert, truncate'");
}

/* Below 15 there are no row filters. */
Test(precondition_mapped, a_filter_needs_postgresql_15)
{
    static const PreconditionReader READERS[] = {PRECONDITION_START, PRECONDITION_CHECK,
                                                 PRECONDITION_RUNNING};
    for (size_t i = 0; i < sizeof(READERS) / sizeof(READERS[0]); i++) {
        Given given = {.capture = CAPTURE_TABLES,
                       .column = "version",
                       .value = "140020",
                       .reader = READERS[i]};
        given_expect(&given, CODE_NONE, false, "");
        given.filter = "";
        given_expect(&given, CODE_NONE, false, "");
        given.filter = "active";
        given_expect(&given, CODE_MAPPED_FILTER, false, "Leave out filter");
        given.value = "150000";
        given_expect(&given, CODE_NONE, false, "");
    }
}

/* What a look knows is not enough for SQL with a filter. */
Test(precondition_mapped, sql_with_a_filter_is_that_of_check)
{
    static const Case CASES[] = {
        {.column = "mapped_absent",
         .value = "1\036shop.a",
         .code = CODE_MAPPED_NOT_PUBLISHED,
         .remedy = "Run the statements that outboxd check prints under \"sql\""},
        {.column = "mapped_absent",
         .value = "2\036shop.a\036shop.b",
         .code = CODE_MAPPED_NOT_PUBLISHED,
         .remedy = "ALTER PUBLICATION \"outboxd_orders\" ADD TABLE ONLY shop.b; Run the statements",
         .also = "mapped_absent_usable",
         .also_value = "1\036shop.b"},
        {.column = "mapped_could_change",
         .value = "1\036shop.a",
         .code = CODE_MAPPED_INSERTS_ONLY,
         .remedy = "Run the statements that outboxd check prints",
         .warning = true},
        {.column = "mapped_inserts_only",
         .value = "1\036shop.a",
         .code = CODE_MAPPED_INSERTS_ONLY,
         .remedy = "Give it a primary key, or run: ALTER TABLE shop.a REPLICA IDENTITY FULL; then: "
                   "Run the statements",
         .warning = true},
        {.column = "publication_oid",
         .value = NULL,
         .code = CODE_PUBLICATION_MISSING,
         .remedy = "an administrator runs: the statements that outboxd check prints"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        given_expect(&(Given){.capture = CAPTURE_TABLES,
                              .column = CASES[i].column,
                              .value = CASES[i].value,
                              .also = CASES[i].also,
                              .also_value = CASES[i].also_value,
                              .filter = "active",
                              .reader = PRECONDITION_START},
                     CASES[i].code, CASES[i].warning, CASES[i].remedy);
    }
}

/* Of many, a few are named, and the SQL is not valid, so that nobody runs a part of it. */
Test(precondition_mapped, of_many_tables_a_few_are_named)
{
    PreconditionLook ret = given_look(&(Given){.capture = CAPTURE_TABLES,
                                               .column = "mapped_unreadable",
                                               .value = "5000\036s.a\036s.b\036s.c\036s.d\036s.e",
                                               .reader = PRECONDITION_START});
    cr_assert_eq(ret.fault_count, 1);
    cr_expect(strstr(error_message(&ret.faults[0].error), "s.a, s.b, s.c, s.d, s.e and 4995 more"));
    cr_expect(
        strstr(error_own_hint(&ret.faults[0].error),
               "GRANT SELECT ON s.a, s.b, s.c, s.d, s.e, ... (4995 more: see outboxd check)"));
    precondition_release(&ret);
}

/* A server that lies: more names than were asked for, none, or no number. */
Test(precondition_mapped, a_list_that_is_none_is_read_safely)
{
    static const char *const VALUES[] = {"",
                                         "x",
                                         "\036",
                                         "1",
                                         "9\036a\036b\036c\036d\036e\036f",
                                         "1\036",
                                         "99999999999999999999999\036a"};
    for (size_t i = 0; i < sizeof(VALUES) / sizeof(VALUES[0]); i++) {
        for (size_t j = 0; j < TABLES_COUNT; j++) {
            PreconditionLook ret = given_look(&(Given){.capture = CAPTURE_TABLES,
                                                       .column = TABLES[j].column,
                                                       .value = VALUES[i],
                                                       .reader = PRECONDITION_START});
            cr_expect_leq(ret.fault_count, 2);
            precondition_release(&ret);
        }
    }
}

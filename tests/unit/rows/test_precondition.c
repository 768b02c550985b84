/* The list over rows that the test writes: everything in order, and one fact that is not. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pg/sqlstate.h"
#include "rows/precondition.h"
#include "stub/given.h"
#include "stub/libpq_internal.h"

/* In order, for both captures. 17 columns are needed by the given pipeline. */
static const char *const IN_ORDER[][2] = {
    {"i", "0"},
    {"role", "shop_relay"},
    {"version", "150004"},
    {"table_sql", "outbox.event"},
    {"in_recovery", "f"},
    {"wal_level", "logical"},
    {"table_oid", "4242"},
    {"database", "shop"},
    {"table_name", "event"},
    {"dead_letter", "outbox.dead_letter"},
    {"position", "outbox.position"},
    {"kind", "r"},
    {"hidden_in", NULL},
    {"present", "+++++++++++++++++"},
    {"readable", "+++++++++++++++++"},
    {"generated", "-----------------"},
    {"published_not_null", "f"},
    {"updates", "t"},
    {"deletes", "t"},
    {"sets_aside", "t"},
    {"positions", "t"},
    {"claims", "t"},
    {"cache", "1"},
    {"increment", "1"},
    {"cycles", "f"},
    {"drawn", "t"},
    {"sequence", "outbox.event_seq_seq"},
    {"seq_number", "1"},
    {"publication_oid", "77"},
    {"covers_root", "t"},
    {"inserts", "t"},
};
enum { IN_ORDER_COUNT = sizeof(IN_ORDER) / sizeof(IN_ORDER[0]) };

typedef struct Given {
    const char *column; /* NULL: everything is in order */
    const char *value;
    const char *also; /* a second one, or NULL */
    const char *also_value;
    Capture capture;
    OnPublish on_publish;
    PreconditionReader reader;
    bool messages;
    MessagesFrom messages_from;
} Given;

static void put(struct pg_result *result, const char *column, const char *value)
{
    int at = 0;
    while (at < result->columns && strcmp(result->names[at], column) != 0) {
        at++;
    }
    cr_assert_lt(at, COLUMNS_MAX);
    result->names[at] = (char *)column;
    result->values[at] = (char *)value;
    result->columns += at == result->columns;
}

static PipelineConfig given_outbox(const Given *given)
{
    PipelineConfig pipeline = given_pipeline();
    pipeline.capture = given->capture;
    pipeline.outbox.on_publish = given->on_publish;
    pipeline.wal.messages = given->messages;
    pipeline.wal.messages_from = given->messages_from;
    pipeline.on_poison = ON_POISON_DEAD_LETTER;
    pipeline.wal.slot = GIVEN("outboxd_orders");
    pipeline.wal.publication = GIVEN("outboxd_orders");
    return pipeline;
}

static PreconditionLook look(const Given *given)
{
    char *values[COLUMNS_MAX] = {0};
    struct pg_result result = {.status = PGRES_TUPLES_OK, .rows = 1, .values = values};
    for (size_t i = 0; i < IN_ORDER_COUNT; i++) {
        bool differs = given->column != NULL && strcmp(given->column, IN_ORDER[i][0]) == 0;
        bool also = given->also != NULL && strcmp(given->also, IN_ORDER[i][0]) == 0;
        if (!differs && !also) { /* the stub holds few columns */
            put(&result, IN_ORDER[i][0], IN_ORDER[i][1]);
        }
    }
    if (given->column != NULL) {
        put(&result, given->column, given->value);
    }
    if (given->also != NULL) {
        put(&result, given->also, given->also_value);
    }
    PipelineConfig pipeline = given_outbox(given);
    OutboxTable table = {.config = &pipeline};
    PreconditionLook ret = {0};
    precondition_read(&table, &result, 0, given->reader != 0 ? given->reader : PRECONDITION_RUNNING,
                      &ret);
    return ret;
}

/* What does not hold, by the first code; "" when all is in order. */
static void expect(const Given *given, ErrorCode code, bool warning, const char *remedy)
{
    PreconditionLook ret = look(given);
    const char *what = given->column != NULL ? given->column : "nothing";
    if (code == CODE_NONE) {
        cr_expect_eq(ret.fault_count, 0, "%s = %s: %s", what, given->value,
                     ret.fault_count > 0 ? error_message(&ret.faults[0].error) : "");
    } else {
        cr_assert_geq(ret.fault_count, 1, "%s = %s", what, given->value);
        const Error *err = &ret.faults[0].error;
        cr_expect_eq(err->code, code, "%s: %s", what, error_message(err));
        cr_expect_eq(ret.faults[0].warning, warning, "%s", what);
        cr_expect(strncmp(error_own_hint(err), remedy, strlen(remedy)) == 0, "%s: %s", what,
                  error_own_hint(err));
        cr_expect_gt(strlen(error_message(err)), 20, "%s", what);
        cr_expect_eq(precondition_broken(&ret) == NULL, warning, "%s", what);
        cr_expect_eq((int)err->exit_code, (int)EXIT_POSTGRES);
    }
    precondition_release(&ret);
    cr_assert_null(ret.faults);
}

Test(precondition, everything_in_order_is_no_fault)
{
    for (Capture capture = CAPTURE_POLL; capture <= CAPTURE_WAL; capture++) {
        for (PreconditionReader reader = PRECONDITION_START; reader <= PRECONDITION_CHECK;
             reader = (PreconditionReader)(reader * 2)) {
            expect(&(Given){.capture = capture, .reader = reader}, CODE_NONE, false, "");
        }
    }
}

Test(precondition, a_fact_that_is_not_told_is_not_judged)
{
    char *values[2] = {GIVEN("4242"), GIVEN("r")};
    struct pg_result result = {.status = PGRES_TUPLES_OK,
                               .rows = 1,
                               .columns = 2,
                               .names = {GIVEN("table_oid"), GIVEN("kind")},
                               .values = values};
    for (Capture capture = CAPTURE_POLL; capture <= CAPTURE_WAL; capture++) {
        PipelineConfig pipeline = given_outbox(&(Given){.capture = capture});
        OutboxTable table = {.config = &pipeline};
        PreconditionLook ret = {0};
        precondition_read(&table, &result, 0, PRECONDITION_START, &ret);
        cr_expect_eq(ret.fault_count, 0, "%s",
                     ret.fault_count > 0 ? error_message(&ret.faults[0].error) : "");
        cr_expect_eq(ret.table_oid, 4242);
        precondition_release(&ret);
    }
}

#define FIRED(event, function) event "\037trigger t of e\037" function "\037bob\037app"

/* The same for both captures. */
Test(precondition, table_and_rights)
{
    static const struct {
        const char *column;
        const char *value;
        ErrorCode code;
        const char *remedy;
        const char *also;
        const char *also_value;
        bool warning;
        OnPublish on_publish;
    } CASES[] = {
        {.column = "table_oid",
         .value = NULL,
         .code = CODE_POSTGRES_NO_TABLE,
         .remedy = "create the outbox: outboxd migrate"},
        {.column = "kind",
         .value = "v",
         .code = CODE_TABLE_KIND,
         .remedy = "name in pipelines.table"},
        {.column = "kind",
         .value = "f",
         .code = CODE_TABLE_KIND,
         .remedy = "name in pipelines.table"},
        {.column = "kind",
         .value = "m",
         .code = CODE_TABLE_KIND,
         .remedy = "name in pipelines.table"},
        {.column = "unlogged",
         .value = "outbox.event",
         .code = CODE_TABLE_UNLOGGED,
         .remedy = "ALTER TABLE outbox.event SET LOGGED;",
         .also = "set_logged",
         .also_value = "ALTER TABLE outbox.event SET LOGGED;"},
        {.column = "unlogged",
         .value = "t",
         .code = CODE_TABLE_UNLOGGED,
         .remedy = "name in pipelines.table a permanent table"},
        {.column = "foreigners",
         .value = "f1",
         .code = CODE_TABLE_FOREIGN_PART,
         .remedy = "ALTER TABLE e DETACH PARTITION f1;",
         .also = "detach_foreigners",
         .also_value = "ALTER TABLE e DETACH PARTITION f1;"},
        {.column = "hidden_in",
         .value = "outbox.event",
         .code = CODE_ROW_SECURITY,
         .remedy = "ALTER ROLE shop_relay BYPASSRLS; or ALTER TABLE x DISABLE",
         .also = "unhide",
         .also_value = "ALTER TABLE x DISABLE ROW LEVEL SECURITY;"},
        {.column = "present",
         .value = "++++-++++++++++++",
         .code = CODE_COLUMN_MISSING,
         .remedy = "name the column of your table in"},
        {.column = "present",
         .value = "-++++++++++++++++",
         .code = CODE_COLUMN_MISSING,
         .remedy = "ALTER TABLE outbox.event ADD COLUMN \"seq\" bigint GENERATED"},
        {.column = "types",
         .value = "text/",
         .code = CODE_COLUMN_TYPE,
         .remedy = "name another column in columns.seq"},
        {.column = "types", .value = "bigint/", .code = CODE_NONE, .remedy = ""},
        {.column = "published_not_null",
         .value = "t",
         .code = CODE_PUBLISHED_NOT_NULL,
         .remedy = "ALTER TABLE outbox.event ALTER COLUMN \"published_at\" DROP NOT NULL;"},
        {.column = "published_default",
         .value = "now()",
         .code = CODE_PUBLISHED_BY_DEFAULT,
         .remedy = "ALTER TABLE outbox.event ALTER COLUMN \"published_at\" DROP DEFAULT;"},
        {.column = "published_default",
         .value = "NULL::timestamp with time zone",
         .code = CODE_NONE,
         .remedy = ""},
        {.column = "fired_without_path",
         .value = FIRED("u", "app.audit()"),
         .code = CODE_TRIGGER_PATH,
         .warning = true,
         .remedy = "ALTER FUNCTION app.audit() SET search_path = app, pg_temp;"},
        {.column = "fired_without_path",
         .value = FIRED("d", "app.other()") "\036" FIRED("ud", "app.audit()"),
         .code = CODE_TRIGGER_PATH,
         .warning = true,
         .remedy = "ALTER FUNCTION app.audit() SET search_path = app, pg_temp;"},
        {.column = "fired_without_path",
         .value = FIRED("d", "app.audit()"),
         .code = CODE_NONE,
         .remedy = ""},
        {.column = "fired_without_path",
         .value = FIRED("d", "app.audit()"),
         .code = CODE_TRIGGER_PATH,
         .warning = true,
         .remedy = "ALTER FUNCTION app.audit() SET",
         .on_publish = ON_PUBLISH_DELETE},
        {.column = "fired_without_path",
         .value = FIRED("ud", "app.audit()"),
         .code = CODE_NONE,
         .remedy = "",
         .on_publish = ON_PUBLISH_KEEP},
        {.column = "fired_without_path", .value = "cut\037short", .code = CODE_NONE, .remedy = ""},
        {.column = "closed_schema",
         .value = "outbox",
         .code = CODE_RIGHT_USAGE,
         .remedy = "GRANT USAGE ON SCHEMA outbox TO shop_relay;"},
        {.column = "closed_schema",
         .value = "outbox",
         .code = CODE_RIGHT_USAGE,
         .remedy = "GRANT outbox_relay TO shop_relay;",
         .also = "relay_uses_schema",
         .also_value = "t"},
        {.column = "readable",
         .value = "+-+++++++++++++++",
         .code = CODE_RIGHT_SELECT,
         .remedy = "GRANT SELECT (\"event_id\") ON outbox.event TO shop_relay;"},
        {.column = "readable",
         .value = "-----------------",
         .code = CODE_RIGHT_SELECT,
         .remedy = "GRANT SELECT ON outbox.event TO shop_relay;"},
        {.column = "updates",
         .value = "f",
         .code = CODE_RIGHT_UPDATE,
         .remedy = "GRANT UPDATE (\"published_at\") ON outbox.event TO shop_relay;"},
        {.column = "updates",
         .value = "f",
         .code = CODE_NONE,
         .remedy = "",
         .on_publish = ON_PUBLISH_DELETE},
        {.column = "updates",
         .value = "f",
         .code = CODE_RIGHT_UPDATE,
         .remedy = "GRANT outbox_relay TO shop_relay;",
         .also = "relay_updates",
         .also_value = "t"},
        {.column = "deletes", .value = "f", .code = CODE_NONE, .remedy = ""},
        {.column = "deletes",
         .value = "f",
         .code = CODE_RIGHT_DELETE,
         .remedy = "GRANT DELETE ON outbox.event TO shop_relay;",
         .on_publish = ON_PUBLISH_DELETE},
        {.column = "dead_letter",
         .value = NULL,
         .code = CODE_NO_DEAD_LETTER_TABLE,
         .remedy = "outboxd migrate",
         .warning = true},
        {.column = "sets_aside",
         .value = "f",
         .code = CODE_RIGHT_INSERT,
         .remedy = "GRANT INSERT ON outbox.dead_letter TO shop_relay;",
         .warning = true},
        {.column = "letters_hidden",
         .value = "t",
         .code = CODE_DEAD_LETTER_SECURITY,
         .remedy = "ALTER ROLE shop_relay BYPASSRLS; or ALTER TABLE outbox.dead_letter DISABLE ROW",
         .warning = true},
        {.column = "letters_hidden",
         .value = "t",
         .code = CODE_DEAD_LETTER_SECURITY,
         .remedy = "ALTER TABLE outbox.dead_letter NO FORCE ROW LEVEL SECURITY;",
         .also = "letters_forced",
         .also_value = "t",
         .warning = true},
        {.column = "pauses",
         .value = "f",
         .code = CODE_RIGHT_PAUSE,
         .remedy = "GRANT SELECT ON outbox.pause TO shop_relay;",
         .also = "pause",
         .also_value = "outbox.pause",
         .warning = true},
        {.column = "breaking",
         .value = "other",
         .code = CODE_PUBLICATION_IDENTITY,
         .remedy = "ALTER TABLE outbox.event REPLICA IDENTITY FULL;",
         .also = "breaks",
         .also_value = "outbox.event"},
        {.column = "seq_nullable",
         .value = "t",
         .code = CODE_SEQ_NULLABLE,
         .remedy = "UPDATE outbox.event SET \"seq\" = DEFAULT WHERE \"seq\" IS NULL; ALTER TABLE "
                   "outbox.event ALTER COLUMN \"seq\" SET NOT NULL;"},
        {.column = "unique",
         .value = "f",
         .code = CODE_SEQ_NOT_UNIQUE,
         .remedy = "CREATE UNIQUE INDEX CONCURRENTLY ON outbox.event (\"seq\");",
         .warning = true},
        {.column = "indexed",
         .value = "f",
         .code = CODE_UNPUBLISHED_NOT_INDEXED,
         .remedy =
             "CREATE INDEX CONCURRENTLY ON outbox.event (\"seq\") WHERE \"published_at\" IS NULL;",
         .warning = true},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        for (Capture capture = CAPTURE_POLL; capture <= CAPTURE_WAL; capture++) {
            expect(&(Given){CASES[i].column, CASES[i].value, CASES[i].also, CASES[i].also_value,
                            capture, CASES[i].on_publish, 0, false, MESSAGES_FROM_GRANTED},
                   CASES[i].code, CASES[i].warning, CASES[i].remedy);
        }
    }
}

/* What only polling needs, and what only the log does. */
Test(precondition, what_one_capture_needs_is_not_asked_of_the_other)
{
    static const struct {
        Capture of;
        const char *column;
        const char *value;
        ErrorCode code;
        const char *remedy;
        const char *also;
        const char *also_value;
        bool warning;
    } CASES[] = {
        {.of = CAPTURE_POLL,
         .column = "claims",
         .value = "f",
         .code = CODE_RIGHT_PUBLISHER,
         .remedy = "GRANT SELECT, INSERT, UPDATE, DELETE ON outbox.publisher TO shop_relay;",
         .also = "publisher",
         .also_value = "outbox.publisher"},
        {.of = CAPTURE_WAL,
         .column = "wal_level",
         .value = "replica",
         .code = CODE_WAL_LEVEL,
         .remedy = "ALTER SYSTEM SET wal_level"},
        {.of = CAPTURE_WAL,
         .column = "generated",
         .value = "---s-------------",
         .code = CODE_COLUMN_GENERATED,
         .remedy = "take it out of columns."},
        {.of = CAPTURE_WAL,
         .column = "position",
         .value = NULL,
         .code = CODE_NO_POSITION_TABLE,
         .remedy = "outboxd migrate --capture wal"},
        {.of = CAPTURE_WAL,
         .column = "positions",
         .value = "f",
         .code = CODE_RIGHT_POSITION,
         .remedy = "GRANT SELECT, INSERT, UPDATE ON outbox.position TO shop_relay;"},
        {.of = CAPTURE_WAL,
         .column = "publication_oid",
         .value = NULL,
         .code = CODE_PUBLICATION_MISSING,
         .remedy = "CREATE PUBLICATION \"outboxd_orders\" FOR TABLE outbox.event WITH (publish = "
                   "'insert');"},
        {.of = CAPTURE_WAL,
         .column = "covers_root",
         .value = "f",
         .code = CODE_PUBLICATION_INCOMPLETE,
         .remedy = "ALTER PUBLICATION \"outboxd_orders\" ADD TABLE outbox.event;"},
        {.of = CAPTURE_WAL,
         .column = "inserts",
         .value = "f",
         .code = CODE_PUBLICATION_INCOMPLETE,
         .remedy = "ALTER PUBLICATION \"outboxd_orders\" SET (publish = 'insert');"},
        {.of = CAPTURE_WAL,
         .column = "filtered",
         .value = "t",
         .code = CODE_PUBLICATION_INCOMPLETE,
         .remedy = "ALTER PUBLICATION \"outboxd_orders\" SET TABLE outbox.event;"},
        {.of = CAPTURE_WAL,
         .column = "listed",
         .value = "t",
         .code = CODE_PUBLICATION_INCOMPLETE,
         .remedy = "ALTER PUBLICATION \"outboxd_orders\" SET TABLE outbox.event;"},
        {.of = CAPTURE_WAL,
         .column = "uncovered",
         .value = "public.kid",
         .code = CODE_PUBLICATION_PART,
         .remedy = "ALTER PUBLICATION \"outboxd_orders\" ADD TABLE ONLY public.kid;"},
        {.of = CAPTURE_WAL,
         .column = "changes",
         .value = "t",
         .code = CODE_PUBLICATION_WASTE,
         .remedy = "ALTER PUBLICATION \"outboxd_orders\" SET (publish = 'insert');",
         .warning = true},
        {.of = CAPTURE_WAL,
         .column = "slot_name",
         .value = "outboxd_orders",
         .code = CODE_SLOT_FOREIGN,
         .remedy = "name another slot in pipelines.slot",
         .also = "slot_type",
         .also_value = "physical"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        Given given = {CASES[i].column,
                       CASES[i].value,
                       CASES[i].also,
                       CASES[i].also_value,
                       CASES[i].of,
                       0,
                       0,
                       false,
                       MESSAGES_FROM_GRANTED};
        expect(&given, CASES[i].code, CASES[i].warning, CASES[i].remedy);
        given.capture = CASES[i].of == CAPTURE_POLL ? CAPTURE_WAL : CAPTURE_POLL;
        expect(&given, CODE_NONE, false, "");
    }
}

/* The log has an order of its own, the rows that wait in the table have none but their numbers. */
Test(precondition, numbers_that_are_not_the_order_of_commits_are_said_for_the_log_too)
{
    static const struct {
        const char *column;
        const char *value;
        ErrorCode code;
        const char *remedy;
        bool warning; /* by polling, too */
    } CASES[] = {
        {"cache", "20", CODE_SEQUENCE_CACHE, "ALTER SEQUENCE outbox.event_seq_seq CACHE 1;", false},
        {"increment", "50", CODE_SEQUENCE_BLOCKS, "let the INSERT draw it", true},
        {"drawn", "f", CODE_SEQUENCE_ELSEWHERE, "let the INSERT draw it", true},
        {"sequence", NULL, CODE_SEQUENCE_ELSEWHERE, "let the INSERT draw it", true},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        Given given = {.column = CASES[i].column,
                       .value = CASES[i].value,
                       .capture = CAPTURE_POLL,
                       .reader = PRECONDITION_CHECK};
        expect(&given, CASES[i].code, CASES[i].warning, CASES[i].remedy);
        given.capture = CAPTURE_WAL;
        expect(&given, CASES[i].code, true, CASES[i].remedy);
        PreconditionLook ret = look(&given);
        bool cached = CASES[i].code == CODE_SEQUENCE_CACHE;
        cr_assert_eq(ret.faults[0].first, cached);
        precondition_release(&ret);
        given.reader = PRECONDITION_START; /* who numbers otherwise was told to take the log */
        expect(&given, cached ? CASES[i].code : CODE_NONE, cached, cached ? CASES[i].remedy : "");
    }
}

Test(precondition,
     numbers_that_go_down_forbid_polling_and_are_said_before_the_first_event_of_the_log)
{
    static const char *const CASES[][2] = {{"increment", "-1"}, {"cycles", "t"}};
    const char *remedy = "ALTER SEQUENCE outbox.event_seq_seq INCREMENT 1 NO CYCLE;";
    for (size_t i = 0; i < 2; i++) {
        Given given = {.column = CASES[i][0], .value = CASES[i][1], .capture = CAPTURE_POLL};
        expect(&given, CODE_SEQUENCE_DESCENDS, false, remedy);
        given.capture = CAPTURE_WAL;
        expect(&given, CODE_SEQUENCE_DESCENDS, true, remedy);
        PreconditionLook ret = look(&given);
        cr_assert(ret.faults[0].first);
        precondition_release(&ret);
    }
}

/* While the relay runs only an event that needs a dead letter waits for what is missing. */
Test(precondition, dead_letters_are_needed_at_the_start)
{
    Given given = {.column = "sets_aside", .value = "f", .reader = PRECONDITION_START};
    expect(&given, CODE_RIGHT_INSERT, false, "GRANT INSERT ON outbox.dead_letter TO shop_relay;");
    given.reader = PRECONDITION_CHECK;
    expect(&given, CODE_RIGHT_INSERT, false, "GRANT INSERT ON outbox.dead_letter TO shop_relay;");
    given = (Given){.column = "dead_letter", .value = NULL, .reader = PRECONDITION_START};
    expect(&given, CODE_NO_DEAD_LETTER_TABLE, false, "outboxd migrate");
}

/* A publication of the relay's own is made at its start where it may; a slot must not be older. */
Test(precondition, a_missing_publication_is_no_fault_where_the_relay_makes_it)
{
    Given given = {.column = "publication_oid",
                   .also = "may_create",
                   .also_value = "t",
                   .capture = CAPTURE_WAL,
                   .reader = PRECONDITION_START};
    expect(&given, CODE_NONE, false, "");
    given.reader = PRECONDITION_RUNNING;
    expect(&given, CODE_PUBLICATION_MISSING, false, "CREATE PUBLICATION");
    given.reader = PRECONDITION_CHECK;
    given.also_value = "f";
    expect(&given, CODE_PUBLICATION_MISSING, false, "an administrator runs: CREATE PUBLICATION");
    given.also = "slot_name";
    given.also_value = "outboxd_orders";
    PreconditionLook ret = look(&given);
    cr_expect_not_null(strstr(error_message(&ret.faults[0].error), "must be older than its slot"));
    precondition_release(&ret);
}

Test(precondition, a_grant_is_that_of_outbox_relay_where_that_has_the_right)
{
    Given given = {.column = "updates", .value = "f", .also = "relay_used", .also_value = "t"};
    expect(&given, CODE_RIGHT_UPDATE, false,
           "GRANT UPDATE (\"published_at\") ON outbox.event TO shop_relay;"); /* adopted */
}

Test(precondition, a_standby_is_waited_for_at_the_start_and_not_believed_later)
{
    Given given = {.column = "in_recovery", .value = "t", .reader = PRECONDITION_START};
    PreconditionLook ret = look(&given);
    cr_assert_eq(ret.fault_count, 1);
    cr_expect_eq((int)ret.faults[0].error.class, (int)ERROR_RETRY);
    precondition_release(&ret);
    given.reader = PRECONDITION_RUNNING;
    given.also = "table_oid";
    ret = look(&given);
    cr_expect_not(ret.taken);
    cr_expect_eq(ret.fault_count, 0);
    precondition_release(&ret);
}

Test(precondition, identity_and_what_is_pending_are_told)
{
    Given given = {.column = "identity",
                   .value = "publication 7:8 table 4242",
                   .also = "pending",
                   .also_value = "t",
                   .capture = CAPTURE_WAL};
    PreconditionLook ret = look(&given);
    cr_expect_str_eq(ret.identity, "publication 7:8 table 4242");
    cr_expect(ret.pending);
    cr_expect_str_eq(ret.name, "event");
    cr_expect_str_eq(ret.position, "outbox.position");
    precondition_release(&ret);
}

Test(precondition, wal_end_is_read_from_its_own_result)
{
    char *value[1] = {GIVEN("16/B374D848")};
    struct pg_result result = {.status = PGRES_TUPLES_OK,
                               .rows = 1,
                               .columns = 1,
                               .names = {GIVEN("wal_end")},
                               .values = value};
    uint64_t end = 1;
    cr_assert(precondition_read_wal_end(&result, &end));
    cr_expect_eq(end, UINT64_C(0x16B374D848));
    value[0] = NULL;
    cr_assert(precondition_read_wal_end(&result, &end));
    cr_expect_eq(end, 0);
    result.names[0] = GIVEN("i");
    cr_assert_not(precondition_read_wal_end(&result, &end));
}

Test(precondition, a_query_names_each_column_once_and_only_what_the_version_has)
{
    for (int version = 130000; version <= 180000; version += 10000) {
        for (Capture capture = CAPTURE_POLL; capture <= CAPTURE_WAL; capture++) {
            PipelineConfig pipeline = given_outbox(&(Given){.capture = capture});
            OutboxTable *table = NULL;
            cr_assert_eq(table_new(&pipeline, &table, NULL), OK);
            Text sql = TEXT_EMPTY;
            precondition_add_query(&pipeline, table, 3, version, &sql);
            cr_expect_eq(strncmp(sql.data, "SELECT 3 AS i", 13), 0);
            bool schemas = strstr(sql.data, "pg_publication_namespace") != NULL;
            cr_expect_eq(schemas, version >= 150000, "%d", version);
            bool filters = strstr(sql.data, "prqual") != NULL;
            cr_expect_eq(filters, version >= 150000 && capture == CAPTURE_WAL, "%d", version);
            bool generated = strstr(sql.data, "pubgencols") != NULL;
            cr_expect_eq(generated, version >= 180000 && capture == CAPTURE_WAL, "%d", version);
            text_free(&sql);
            table_free(&table);
        }
    }
}

/* Columns that the table does not have: `present` as the query says it. */
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

Test(precondition, what_an_insert_fires_is_for_check_alone)
{
    for (PreconditionReader reader = PRECONDITION_START; reader <= PRECONDITION_CHECK;
         reader = (PreconditionReader)(reader * 2)) {
        bool told = reader == PRECONDITION_CHECK;
        expect(&(Given){.column = "fired_without_path",
                        .value = FIRED("i", "app.number()"),
                        .on_publish = ON_PUBLISH_KEEP,
                        .capture = CAPTURE_WAL,
                        .reader = reader},
               told ? CODE_TRIGGER_PATH : CODE_NONE, true,
               "ALTER FUNCTION app.number() SET search_path");
    }
}

Test(precondition, a_partitioned_table_gets_its_index_without_concurrently)
{
    expect(&(Given){.column = "indexed", .value = "f"}, CODE_UNPUBLISHED_NOT_INDEXED, true,
           "CREATE INDEX CONCURRENTLY ON outbox.event (\"seq\") WHERE");
    expect(&(Given){.column = "indexed", .value = "f", .also = "kind", .also_value = "p"},
           CODE_UNPUBLISHED_NOT_INDEXED, true,
           "CREATE INDEX ON outbox.event (\"seq\") WHERE \"published_at\" IS NULL;");
}

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

/* On managed servers a membership gives it: only the connection tells (pg/connection_error.c). */
Test(precondition, the_attribute_of_the_role_is_not_asked_for)
{
    PipelineConfig pipeline = given_outbox(&(Given){.capture = CAPTURE_WAL});
    OutboxTable *table = NULL;
    AUTO_ERROR err = {0};
    cr_assert_eq(table_new(&pipeline, &table, &err), OK);
    Text sql = TEXT_EMPTY;
    precondition_add_query(&pipeline, table, 0, 150000, &sql);
    cr_assert_null(strstr(sql.data, "rolreplication"));
    text_free(&sql);
    table_free(&table);
    expect(&(Given){.capture = CAPTURE_WAL,
                    .reader = PRECONDITION_START,
                    .column = "rolreplication",
                    .value = "f"},
           CODE_NONE, false, "");
}

/* Every role may write a message: whoever may is trusted by name, or none is read. */
Test(precondition, messages_that_anyone_may_write_are_refused_unless_that_is_accepted)
{
    for (int accepted = 0; accepted <= 1; accepted++) {
        for (int wanted = 0; wanted <= 1; wanted++) {
            Given given = {.capture = CAPTURE_WAL,
                           .reader = PRECONDITION_START,
                           .column = "messages_open",
                           .value = "t",
                           .messages = wanted != 0,
                           .messages_from =
                               accepted != 0 ? MESSAGES_FROM_ANYONE : MESSAGES_FROM_GRANTED};
            bool refused = wanted && !accepted;
            expect(&given, refused ? CODE_MESSAGES_OPEN : CODE_NONE, false,
                   refused ? "a superuser runs: outboxd migrate --guard-messages" : "");
        }
    }
}

/* The publisher's lock, seen by everybody, taken by anybody. */
Test(precondition, a_stranger_with_the_lock_is_an_alarm_with_the_line_that_ends_it)
{
    static const struct {
        OnPublish on_publish;
        const char *column;
    } CASES[] = {{ON_PUBLISH_MARK, "lock_no_marker"},
                 {ON_PUBLISH_DELETE, "lock_no_deleter"},
                 {ON_PUBLISH_KEEP, "lock_no_keeper"}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        Given given = {.capture = CAPTURE_WAL,
                       .on_publish = CASES[i].on_publish,
                       .reader = PRECONDITION_RUNNING,
                       .column = CASES[i].column,
                       .value = "t\0371234\037mallory\037psql"};
        PreconditionLook seen = look(&given);
        const Error *alarm = precondition_alarm(&seen);
        cr_assert_not_null(alarm, "%s", CASES[i].column);
        cr_assert_eq(alarm->code, CODE_LOCK_HELD_BY_STRANGER);
        cr_assert_not_null(strstr(error_message(alarm), "role mallory, pid 1234 (psql), holds"),
                           "%s", error_message(alarm));
        cr_assert_not_null(strstr(error_own_hint(alarm), "SELECT pg_terminate_backend(1234);"));
        cr_assert_null(precondition_broken(&seen), "publishing continues");
        precondition_release(&seen);
        given.reader = PRECONDITION_START;
        seen = look(&given);
        cr_assert_null(precondition_alarm(&seen));
        precondition_release(&seen);
    }
}

Test(precondition, a_refused_statement_is_waited_for_but_not_for_ever)
{
    unsigned count = 0;
    for (unsigned i = 1; i <= PRECONDITION_REFUSALS_MAX + 1; i++) {
        AUTO_ERROR err = {0};
        (void)sqlstate_fill("42501", "permission denied", &err);
        bool waits = i <= PRECONDITION_REFUSALS_MAX;
        cr_expect_eq(precondition_soften(&err, true, &count), waits);
        cr_expect_eq((int)err.class, (int)(waits ? ERROR_RETRY : ERROR_FATAL));
    }
    static const struct {
        const char *state;
        const char *message;
        ExitCode exit_code;
        bool begun;
    } OTHERS[] = {
        {"42501", "permission denied", EXIT_POSTGRES, false},
        {"42704", "the slot is gone", EXIT_GAP, true},
        {"53100", "disk full", EXIT_POSTGRES, true},
        {"", "no (SQLSTATE 42501) of the server", EXIT_POSTGRES, true},
    };
    for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++) {
        count = 0;
        AUTO_ERROR err = {0};
        error_set_as(&err, ERROR_FATAL, OTHERS[i].exit_code, CODE_POSTGRES_ERROR, "%s",
                     OTHERS[i].message);
        snprintf(err.sqlstate, sizeof(err.sqlstate), "%s", OTHERS[i].state);
        cr_expect_not(precondition_soften(&err, OTHERS[i].begun, &count), "%s", OTHERS[i].message);
    }
}

Test(precondition, a_history_that_nothing_proves_is_said_by_check_alone)
{
    for (PreconditionReader reader = PRECONDITION_START; reader <= PRECONDITION_CHECK;
         reader = (PreconditionReader)(reader * 2)) {
        bool said = reader == PRECONDITION_CHECK;
        expect(
            &(Given){.capture = CAPTURE_POLL, .reader = reader, .column = "publisher", .value = ""},
            said ? CODE_HISTORY_UNPROVEN : CODE_NONE, true, "outboxd migrate");
        expect(
            &(Given){.capture = CAPTURE_WAL, .reader = reader, .column = "publisher", .value = ""},
            CODE_NONE, false, "");
    }
}

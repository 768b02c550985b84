/* The list over rows that the test writes: everything in order, and one fact that is not. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "pg/sqlstate.h"
#include "rows/precondition.h"
#include "stub/libpq_internal.h"
#include "unit/rows/precondition_rig.h"

Test(precondition, everything_in_order_is_no_fault)
{
    for (Capture capture = CAPTURE_POLL; capture <= CAPTURE_WAL; capture++) {
        for (PreconditionReader reader = PRECONDITION_START; reader <= PRECONDITION_CHECK;
             reader = (PreconditionReader)(reader * 2)) {
            given_expect(&(Given){.capture = capture, .reader = reader}, CODE_NONE, false, "");
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
        {.column = "rules",
         .value = "d!keep\037u!stay",
         .code = CODE_TABLE_RULE,
         .remedy = "DROP RULE stay ON outbox.event;"},
        {.column = "rules",
         .value = "d!keep\037u!stay",
         .code = CODE_TABLE_RULE,
         .remedy = "DROP RULE keep ON outbox.event;",
         .on_publish = ON_PUBLISH_DELETE},
        {.column = "rules",
         .value = "d!keep\037u!stay",
         .code = CODE_NONE,
         .remedy = "",
         .on_publish = ON_PUBLISH_KEEP},
        {.column = "rules", .value = "d!keep", .code = CODE_NONE, .remedy = ""},
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
        {.column = "strange_companions",
         .value = "shop.pause\037app\037shop_owner",
         .code = CODE_COMPANION_FOREIGN,
         .warning = true,
         .remedy = "If outboxd migrate made it, run: ALTER TABLE shop.pause OWNER TO shop_owner;"},
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
            given_expect(&(Given){CASES[i].column, CASES[i].value, CASES[i].also,
                                  CASES[i].also_value, capture, CASES[i].on_publish, 0, false,
                                  MESSAGES_FROM_GRANTED, SNAPSHOT_MODE_INITIAL, NULL},
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
         .column = "rules",
         .value = "u-audit",
         .code = CODE_TABLE_RULE,
         .remedy = "DROP RULE audit ON outbox.event;"},
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
                       MESSAGES_FROM_GRANTED,
                       SNAPSHOT_MODE_INITIAL,
                       NULL};
        given_expect(&given, CASES[i].code, CASES[i].warning, CASES[i].remedy);
        given.capture = CASES[i].of == CAPTURE_POLL ? CAPTURE_WAL : CAPTURE_POLL;
        given_expect(&given, CODE_NONE, false, "");
    }
}

/* While the relay runs only an event that needs a dead letter waits for what is missing. */
Test(precondition, dead_letters_are_needed_at_the_start)
{
    Given given = {.column = "sets_aside", .value = "f", .reader = PRECONDITION_START};
    given_expect(&given, CODE_RIGHT_INSERT, false,
                 "GRANT INSERT ON outbox.dead_letter TO shop_relay;");
    given.reader = PRECONDITION_CHECK;
    given_expect(&given, CODE_RIGHT_INSERT, false,
                 "GRANT INSERT ON outbox.dead_letter TO shop_relay;");
    given = (Given){.column = "dead_letter", .value = NULL, .reader = PRECONDITION_START};
    given_expect(&given, CODE_NO_DEAD_LETTER_TABLE, false, "outboxd migrate");
}

Test(precondition, a_grant_is_that_of_outbox_relay_where_that_has_the_right)
{
    Given given = {.column = "updates", .value = "f", .also = "relay_used", .also_value = "t"};
    given_expect(&given, CODE_RIGHT_UPDATE, false,
                 "GRANT UPDATE (\"published_at\") ON outbox.event TO shop_relay;"); /* adopted */
}

Test(precondition, a_standby_is_waited_for_at_the_start_and_not_believed_later)
{
    Given given = {.column = "in_recovery", .value = "t", .reader = PRECONDITION_START};
    PreconditionLook ret = given_look(&given);
    cr_assert_eq(ret.fault_count, 1);
    cr_expect_eq((int)ret.faults[0].error.class, (int)ERROR_RETRY);
    precondition_release(&ret);
    given.reader = PRECONDITION_RUNNING;
    given.also = "table_oid";
    ret = given_look(&given);
    cr_expect_not(ret.taken);
    cr_expect_eq(ret.fault_count, 0);
    precondition_release(&ret);
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

Test(precondition, what_an_insert_fires_is_for_check_alone)
{
    for (PreconditionReader reader = PRECONDITION_START; reader <= PRECONDITION_CHECK;
         reader = (PreconditionReader)(reader * 2)) {
        bool told = reader == PRECONDITION_CHECK;
        given_expect(&(Given){.column = "fired_without_path",
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
    given_expect(&(Given){.column = "indexed", .value = "f"}, CODE_UNPUBLISHED_NOT_INDEXED, true,
                 "CREATE INDEX CONCURRENTLY ON outbox.event (\"seq\") WHERE");
    given_expect(&(Given){.column = "indexed", .value = "f", .also = "kind", .also_value = "p"},
                 CODE_UNPUBLISHED_NOT_INDEXED, true,
                 "CREATE INDEX ON outbox.event (\"seq\") WHERE \"published_at\" IS NULL;");
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
        PreconditionLook seen = given_look(&given);
        const Error *alarm = precondition_alarm(&seen);
        cr_assert_not_null(alarm, "%s", CASES[i].column);
        cr_assert_eq(alarm->code, CODE_LOCK_HELD_BY_STRANGER);
        cr_assert_not_null(strstr(error_message(alarm), "role mallory, pid 1234 (psql), holds"),
                           "%s", error_message(alarm));
        cr_assert_not_null(strstr(error_own_hint(alarm), "SELECT pg_terminate_backend(1234);"));
        cr_assert_null(precondition_broken(&seen), "publishing continues");
        precondition_release(&seen);
        given.reader = PRECONDITION_START;
        seen = given_look(&given);
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
        given_expect(
            &(Given){.capture = CAPTURE_POLL, .reader = reader, .column = "publisher", .value = ""},
            said ? CODE_HISTORY_UNPROVEN : CODE_NONE, true, "outboxd migrate");
        given_expect(
            &(Given){.capture = CAPTURE_WAL, .reader = reader, .column = "publisher", .value = ""},
            CODE_NONE, false, "");
    }
}

/* What only the log needs: its end, a publication and its identity, who may write a message. */
#include <criterion/criterion.h>
#include <string.h>

#include "rows/precondition.h"
#include "stub/libpq_internal.h"
#include "unit/rows/precondition_rig.h"

/* A publication of the relay's own is made at its start where it may; a slot must not be older. */
Test(precondition, a_missing_publication_is_no_fault_where_the_relay_makes_it)
{
    Given given = {.column = "publication_oid",
                   .also = "may_create",
                   .also_value = "t",
                   .capture = CAPTURE_WAL,
                   .reader = PRECONDITION_START};
    given_expect(&given, CODE_NONE, false, "");
    given.reader = PRECONDITION_RUNNING;
    given_expect(&given, CODE_PUBLICATION_MISSING, false, "CREATE PUBLICATION");
    given.reader = PRECONDITION_CHECK;
    given.also_value = "f";
    given_expect(&given, CODE_PUBLICATION_MISSING, false,
                 "an administrator runs: CREATE PUBLICATION");
    given.also = "slot_name";
    given.also_value = "outboxd_orders";
    PreconditionLook ret = given_look(&given);
    cr_expect_not_null(strstr(error_message(&ret.faults[0].error), "must be older than its slot"));
    precondition_release(&ret);
}

Test(precondition, identity_and_what_is_pending_are_told)
{
    Given given = {.column = "identity",
                   .value = "publication 7:8 table 4242",
                   .also = "pending",
                   .also_value = "t",
                   .capture = CAPTURE_WAL};
    PreconditionLook ret = given_look(&given);
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
    given_expect(&(Given){.capture = CAPTURE_WAL,
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
            given_expect(&given, refused ? CODE_MESSAGES_OPEN : CODE_NONE, false,
                         refused ? "a superuser runs: outboxd migrate --guard-messages" : "");
        }
    }
}

/* Numbers that are not the order of commits. */
#include <criterion/criterion.h>

#include "rows/precondition.h"
#include "unit/rows/precondition_rig.h"

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
        given_expect(&given, CASES[i].code, CASES[i].warning, CASES[i].remedy);
        given.capture = CAPTURE_WAL;
        given_expect(&given, CASES[i].code, true, CASES[i].remedy);
        PreconditionLook ret = given_look(&given);
        bool cached = CASES[i].code == CODE_SEQUENCE_CACHE;
        cr_assert_eq(ret.faults[0].first, cached);
        precondition_release(&ret);
        given.reader = PRECONDITION_START; /* who numbers otherwise was told to take the log */
        given_expect(&given, cached ? CASES[i].code : CODE_NONE, cached,
                     cached ? CASES[i].remedy : "");
    }
}

Test(precondition,
     numbers_that_go_down_forbid_polling_and_are_said_before_the_first_event_of_the_log)
{
    static const char *const CASES[][2] = {{"increment", "-1"}, {"cycles", "t"}};
    const char *remedy = "ALTER SEQUENCE outbox.event_seq_seq INCREMENT 1 NO CYCLE;";
    for (size_t i = 0; i < 2; i++) {
        Given given = {.column = CASES[i][0], .value = CASES[i][1], .capture = CAPTURE_POLL};
        given_expect(&given, CODE_SEQUENCE_DESCENDS, false, remedy);
        given.capture = CAPTURE_WAL;
        given_expect(&given, CODE_SEQUENCE_DESCENDS, true, remedy);
        PreconditionLook ret = given_look(&given);
        cr_assert(ret.faults[0].first);
        precondition_release(&ret);
    }
}

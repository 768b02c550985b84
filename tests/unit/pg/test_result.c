/* Values of an answer, there or not. */
#include <criterion/criterion.h>
#include <string.h>

#include "pg/result.h"
#include "stub/libpq.h"

static PGresult *result;
static Error err;

static void begin(void)
{
    stub_reset(NULL, NULL);
    result = stub_result("", "name", "value", "none", STUB_NULL, NULL);
    pg_result_begin();
    error_clear(&err);
}

static void end(void)
{
    PQclear(result);
}

TestSuite(result, .init = begin, .fini = end);

static void assert_missed(const char *what)
{
    cr_assert_eq(pg_result_end("SELECT 1", &err), FAILED, "nothing was noted: %s", what);
    cr_assert_eq(err.class, ERROR_RETRY);
    cr_assert_eq(err.code, CODE_PG_PROTOCOL);
    cr_assert_not_null(strstr(error_message(&err), what), "%s", error_message(&err));
    cr_assert_eq(pg_result_end(NULL, &err), OK, "said twice");
}

Test(result, what_is_there_is_read_and_nothing_is_noted)
{
    cr_assert_str_eq(pg_value(result, 0, 0), "value");
    cr_assert_str_eq(pg_needed(result, 0, 0), "value");
    cr_assert_str_eq(pg_field(result, 0, "name"), "value");
    cr_assert_str_eq(pg_needed_field(result, 0, "name"), "value");
    cr_assert_str_eq(pg_value(result, 0, 1), "", "NULL");
    cr_assert(pg_is_null(result, 0, 1));
    cr_assert_not(pg_is_null(result, 0, 0));
    cr_assert_null(pg_field_or_null(result, 0, "none"));
    cr_assert_str_eq(pg_field(result, 0, "another"), "", "may be asked of any answer");
    cr_assert_eq(pg_result_end(NULL, &err), OK);
}

Test(result, what_is_not_there_reads_as_nothing_and_is_noted)
{
    cr_assert_str_eq(pg_value(result, 1, 0), "");
    assert_missed("'SELECT 1' has no row 2");
    cr_assert_str_eq(pg_value(result, -1, 0), "");
    assert_missed("no row 0");
    cr_assert_str_eq(pg_value(result, 0, 2), "");
    assert_missed("no column 3");
    cr_assert_str_eq(pg_value(result, 0, -1), "");
    assert_missed("no column");
    cr_assert(pg_is_null(result, 0, 7));
    assert_missed("no column 8");
    cr_assert_str_eq(pg_needed(result, 0, 1), "");
    assert_missed("holds NULL in column 2 (none)");
    cr_assert_str_eq(pg_needed_field(result, 0, "another"), "");
    assert_missed("no column 'another'");
    cr_assert_str_eq(pg_field(result, 3, "name"), "", "no row, and no note");
    cr_assert_eq(pg_result_end(NULL, &err), OK);
}

Test(result, the_first_of_several_is_said)
{
    (void)pg_value(result, 0, 5);
    (void)pg_value(result, 9, 0);
    assert_missed("no column 6");
}

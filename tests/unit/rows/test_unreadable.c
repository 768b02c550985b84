/* Finding the row that the server cannot read. */
#include <criterion/criterion.h>
#include <string.h>

#include "rows/unreadable.h"

TestSuite(unreadable, .timeout = 10);

enum { ROWS = 1000, MOST = 300 };

typedef struct Reading {
    bool bad[ROWS];
    bool at_once; /* no row before a bad one comes */
    size_t name;  /* of this row not even the name can be read; ROWS: of none */
    const char *message;
    size_t place;
    size_t failures;
    size_t refused;
} Reading;

static Error failure_of(const char *message)
{
    const char *state = strstr(message, "(SQLSTATE ");
    Error err = {0};
    error_set(&err, CODE_POSTGRES_ERROR, "%s", message);
    if (state != NULL) {
        memcpy(err.sqlstate, state + strlen("(SQLSTATE "), 5);
    }
    return err;
}

static void let_go(Unreadable *unreadable)
{
    error_clear(&unreadable->error);
}

/* False: it gives up. */
static bool read_all(Reading *reading)
{
    __attribute__((cleanup(let_go))) Unreadable u = {0};
    while (reading->place < ROWS) {
        size_t limit = unreadable_limit(&u, MOST);
        cr_assert(limit > 0 && limit <= MOST);
        size_t rows = 0;
        bool failed = false;
        while (rows < limit && reading->place + rows < ROWS && !failed) {
            size_t row = reading->place + rows;
            failed = reading->bad[row] && (u.lean == LEAN_NONE || reading->name == row);
            rows += !failed;
        }
        if (failed) {
            AUTO_ERROR err = failure_of(reading->message);
            reading->failures++;
            if (!unreadable_failed(&u, &err, limit, reading->at_once ? 0 : rows)) {
                return false;
            }
            continue;
        }
        if (u.lean != LEAN_NONE) {
            cr_assert(reading->bad[reading->place] && rows == 1, "a good row is refused");
            cr_assert_not_null(strstr(error_message(&u.error), reading->message));
            reading->refused++;
        }
        reading->place += rows;
        unreadable_passed(&u, rows, MOST);
    }
    cr_assert(unreadable_limit(&u, MOST) > 0);
    return true;
}

Test(unreadable, row_is_met_twice_wherever_it_is)
{
    for (size_t at = 0; at < ROWS; at++) {
        Reading reading = {.name = ROWS, .message = "too long (SQLSTATE 54000)"};
        reading.bad[at] = true;
        cr_assert(read_all(&reading));
        cr_assert_eq(reading.refused, 1);
        cr_assert_leq(reading.failures, 2, "%zu: %zu", at, reading.failures);
    }
}

Test(unreadable, row_of_an_internal_error_is_tried_alone_three_times)
{
    Reading reading = {.name = ROWS, .message = "missing chunk (SQLSTATE XX001)"};
    reading.bad[500] = true;
    cr_assert(read_all(&reading));
    cr_assert_eq(reading.refused, 1);
    cr_assert_eq(reading.failures, 4);
}

Test(unreadable, row_is_found_though_none_before_it_comes)
{
    for (size_t at = 0; at < ROWS; at++) {
        Reading reading = {.name = ROWS, .at_once = true, .message = "too long (SQLSTATE 54000)"};
        reading.bad[at] = true;
        cr_assert(read_all(&reading));
        cr_assert_eq(reading.refused, 1);
        cr_assert_leq(reading.failures, 12, "%zu: %zu", at, reading.failures);
    }
}

Test(unreadable, rows_may_be_many)
{
    Reading reading = {.name = ROWS, .message = "too long (SQLSTATE 54000)"};
    for (size_t at = 0; at < ROWS; at += 10) {
        reading.bad[at] = reading.bad[at + 1] = true;
    }
    cr_assert(read_all(&reading));
    cr_assert_eq(reading.refused, ROWS / 5);
    cr_assert_leq(reading.failures, 2 * reading.refused);
}

Test(unreadable, row_without_a_readable_name_ends_it)
{
    Reading reading = {.name = 500, .message = "too long (SQLSTATE 54000)"};
    reading.bad[500] = true;
    cr_assert_not(read_all(&reading));
    cr_assert_eq(reading.place, 500);
}

Test(unreadable, what_is_no_fault_of_a_row_changes_nothing)
{
    __attribute__((cleanup(let_go))) Unreadable u = {0};
    AUTO_ERROR err = failure_of("no right (SQLSTATE 42501)");
    cr_assert_not(unreadable_failed(&u, &err, 100, 5));
    cr_assert_eq(unreadable_limit(&u, MOST), MOST);
}

Test(unreadable, fewer_rows_than_came_may_be_taken)
{
    __attribute__((cleanup(let_go))) Unreadable u = {0};
    AUTO_ERROR err = failure_of("too long (SQLSTATE 54000)");
    cr_assert(unreadable_failed(&u, &err, 100, 50));
    cr_assert_eq(unreadable_limit(&u, MOST), 50);
    unreadable_passed(&u, 20, MOST); /* they were large */
    cr_assert_eq(unreadable_limit(&u, MOST), 30);
    unreadable_passed(&u, 30, MOST);
    cr_assert_eq(unreadable_limit(&u, MOST), 1);
    cr_assert(unreadable_failed(&u, &err, 1, 0));
    cr_assert_eq(u.lean, LEAN_BODIES);
    unreadable_passed(&u, 1, MOST);
    cr_assert_eq(unreadable_limit(&u, MOST), 2);
}

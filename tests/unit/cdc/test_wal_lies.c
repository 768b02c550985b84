/* As tests/unit/outbox/test_poll_lies.c, for the source that reads the WAL. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "wal_rig.h"

enum { ROWS_HERE = 9, ANSWERS_AT_LEAST = 12 };

TestSuite(wal_lies, .timeout = 120);

static size_t restarts;

static void set_up(void)
{
    rig_prepare();
    restarts = 0;
    rig_commit(1, 3);
    rig_commit(4, ROWS_HERE);
    rig_begin();
}

/* A lie that is found out only by the end of an answer's time: then it passes. */
static bool hangs;

static bool play(void)
{
    rig_watch();
    if (hangs) {
        clock_turn(rig.pipe.base);
    } else {
        event_base_loop(rig.pipe.base, EVLOOP_NONBLOCK);
    }
    if (rig.pipe.lost > restarts) {
        cr_assert_neq(error_message(&rig.pipe.error)[0], '\0', "a loss without a word: %s",
                      error_code_name(rig.pipe.error.code));
        restarts++;
        if (rig.pipe.error.class == ERROR_FATAL) {
            return false;
        }
        rig_restart();
    } else if (rig.pipe.batch_count > 0) {
        rig_ack(-1);
    }
    return true;
}

static bool complete(void)
{
    for (size_t i = 1; i <= ROWS_HERE; i++) {
        if (!rig.rows[i].marked) {
            return false;
        }
    }
    return rig.pipe.source->ops->unmarked(rig.pipe.source) == 0;
}

static void lie_once(StubLie lie)
{
    size_t n = 0;
    size_t lies = 0;
    do {
        set_up();
        stub_lie_at(++n, 1, lie, NULL);
        int64_t deadline_us = clock_real_us() + 20000000;
        while (!complete() && play()) {
            cr_assert_lt(clock_real_us(), deadline_us, "lie %d, answer %zu: stuck (%s: %s)",
                         (int)lie, n, error_code_name(rig.pipe.error.code),
                         error_message(&rig.pipe.error));
        }
        cr_assert(complete() || error_own_hint(&rig.pipe.error)[0] != '\0',
                  "lie %d, answer %zu: %s", (int)lie, n, error_message(&rig.pipe.error));
        lies = stub_lies();
        rig_end();
        cr_assert_eq(stub_open_results(), 0);
    } while (lies > 0);
    cr_assert_geq(n, ANSWERS_AT_LEAST, "only %zu answers", n);
}

Test(wal_lies, no_row)
{
    lie_once(LIE_NO_ROW);
}

Test(wal_lies, one_column)
{
    lie_once(LIE_ONE_COLUMN);
}

Test(wal_lies, nulls)
{
    lie_once(LIE_NULLS);
}

Test(wal_lies, a_command)
{
    lie_once(LIE_COMMAND);
}

Test(wal_lies, nothing)
{
    lie_once(LIE_EMPTY);
}

/* Also between the broker's acknowledgement and the first mark: what is acknowledged stays so. */
Test(wal_lies, a_copy_that_waits_for_us)
{
    hangs = true;
    lie_once(LIE_COPY_IN);
}

static const char *const STATEMENTS[] = {
    "pg_try_advisory_lock(",
    "AS backend_pid;",
    "DEALLOCATE ALL",
};

Test(wal_lies, what_is_garbled_three_times_at_one_place_stops)
{
    static const StubLie lies[] = {LIE_NO_ROW, LIE_NULLS, LIE_COMMAND, LIE_COPY_IN};
    for (size_t i = 0; i < sizeof(STATEMENTS) / sizeof(STATEMENTS[0]); i++) {
        for (size_t j = 0; j < sizeof(lies) / sizeof(lies[0]); j++) {
            set_up();
            stub_lie_at(1, SIZE_MAX, lies[j], STATEMENTS[i]);
            int64_t deadline_us = clock_monotonic_us() + 20000000;
            while (play()) {
                cr_assert_lt(clock_monotonic_us(), deadline_us, "%s, lie %d: goes on (%zu losses)",
                             STATEMENTS[i], (int)lies[j], rig.pipe.lost);
            }
            cr_assert_eq(rig.pipe.lost, 3, "%s, lie %d: %zu losses, %s", STATEMENTS[i],
                         (int)lies[j], rig.pipe.lost, error_message(&rig.pipe.error));
            cr_assert(rig.pipe.error.code == CODE_PG_PROTOCOL ||
                          rig.pipe.error.code == CODE_POSTGRES_ANSWER,
                      "%s: %s", STATEMENTS[i], error_message(&rig.pipe.error));
            rig_end();
        }
    }
}

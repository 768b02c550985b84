/* A server, or what stands in between, answers each statement with no row, one column, NULLs or
 * another kind of result: each answer once, and one statement again and again. Never a crash,
 * always a word; what is published and marked is as right as ever (poll_rig.c). */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "poll_rig.h"

enum { ROWS_HERE = 30, ANSWERS_AT_LEAST = 12 };

TestSuite(poll_lies, .timeout = 120);

static size_t restarts;

static void set_up(void)
{
    rig_prepare();
    restarts = 0;
    rig.pipe.room_events = 7;
    rig.pipe.pipeline.limits.in_flight_events = 7;
    rig.pipe.pipeline.limits.batch_events = 7;
    rig_insert(1, ROWS_HERE);
    rig_begin();
}

/* False: the pipeline stopped. */
static bool play(void)
{
    event_base_loop(rig.pipe.base, EVLOOP_NONBLOCK);
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
    return rig_marked() == ROWS_HERE && rig.pipe.source->ops->unmarked(rig.pipe.source) == 0;
}

static void lie_once(StubLie lie)
{
    size_t n = 0;
    size_t lies = 0;
    do {
        set_up();
        stub_lie_at(++n, 1, lie, NULL);
        int64_t deadline_us = clock_monotonic_us() + 20000000;
        while (!complete() && play()) {
            cr_assert_lt(clock_monotonic_us(), deadline_us, "lie %d, answer %zu: stuck with %zu",
                         (int)lie, n, rig_marked());
        }
        cr_assert(complete() || error_own_hint(&rig.pipe.error)[0] != '\0',
                  "lie %d, answer %zu: %s", (int)lie, n, error_message(&rig.pipe.error));
        lies = stub_lies();
        rig_end();
        cr_assert_eq(stub_open_results(), 0);
    } while (lies > 0);
    cr_assert_geq(n, ANSWERS_AT_LEAST, "only %zu answers", n);
}

Test(poll_lies, no_row)
{
    lie_once(LIE_NO_ROW);
}

Test(poll_lies, one_column)
{
    lie_once(LIE_ONE_COLUMN);
}

Test(poll_lies, nulls)
{
    lie_once(LIE_NULLS);
}

Test(poll_lies, a_command)
{
    lie_once(LIE_COMMAND);
}

Test(poll_lies, nothing)
{
    lie_once(LIE_EMPTY);
}

Test(poll_lies, a_copy_that_was_not_asked_for)
{
    lie_once(LIE_COPY_IN);
    lie_once(LIE_COPY_BOTH);
}

/* What is answered so again and again. */
static const char *const STATEMENTS[] = {
    "pg_try_advisory_lock(",
    "AS backend_pid;",
    "SELECT (SELECT system_identifier",
    "INSERT INTO outbox.publisher AS p",
    "AS insert_lsn",
};

Test(poll_lies, what_is_garbled_three_times_at_one_place_stops)
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
            cr_assert_not_null(strstr(error_own_hint(&rig.pipe.error),
                                      "This happened 3 times at the same position"));
            rig_end();
        }
    }
}

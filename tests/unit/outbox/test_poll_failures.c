/* Every call of libpq fails: once each, and at random. However it goes, `lost` is told once for
 * each loss, nothing is marked that was not acknowledged, nothing acknowledged is read again, and
 * in the end everything is marked. (poll_rig.c asserts the middle two.) */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/clock.h"
#include "poll_rig.h"
#include "stub/random.h"

enum { ROWS_HERE = 40, DEAD_ROW = 17 };

TestSuite(poll_failures, .timeout = 120);

static struct {
    size_t restarts;
    bool set_aside;
} run;

/* What a pipeline does: publishes, sets one row aside, starts again after a loss. */
static void play(void)
{
    if (rig.pipe.lost > run.restarts) {
        cr_assert_eq(rig.pipe.lost, run.restarts + 1, "lost was told twice");
        cr_assert_eq(stub_open_connections(), 0);
        cr_assert_eq(rig.pipe.error.class, ERROR_RETRY, "%s", error_message(&rig.pipe.error));
        run.restarts++;
        run.set_aside = false;
        rig_restart();
        return;
    }
    if (rig.pipe.batch_count == 0) {
        return;
    }
    Batch *batch = rig.pipe.batches[0];
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->events[i]->seq == DEAD_ROW && !event_is_settled(batch->events[i])) {
            if (!run.set_aside) {
                AUTO_ERROR reason = {.class = ERROR_POISON, .code = CODE_RECORD_TOO_LARGE};
                Record record = {0};
                run.set_aside = true;
                source_rig_set_aside(&rig.pipe, batch->events[i], &record, &reason);
            }
            return; /* until `aside` */
        }
    }
    rig_ack(-1);
}

static void set_up(size_t pieces)
{
    rig_prepare();
    stub_set_pieces(pieces);
    run.restarts = 0;
    run.set_aside = false;
    rig.pipe.room_events = 7;
    rig.pipe.pipeline.limits.in_flight_events = 7;
    rig.pipe.pipeline.limits.batch_events = 7;
    rig_insert(1, ROWS_HERE);
    rig_begin();
}

static bool complete(void)
{
    return rig_marked() == ROWS_HERE && rig.pipe.source->ops->unmarked(rig.pipe.source) == 0;
}

static void play_until_complete(const char *what, size_t number)
{
    int64_t deadline_us = clock_monotonic_us() + 20000000;
    while (!complete()) {
        event_base_loop(rig.pipe.base, EVLOOP_NONBLOCK);
        play();
        cr_assert_lt(clock_monotonic_us(), deadline_us, "%s %zu: stuck with %zu of %d rows", what,
                     number, rig_marked(), ROWS_HERE);
    }
    cr_assert(rig.rows[DEAD_ROW].dead, "%s %zu: a dead letter is missing", what, number);
    cr_assert_leq(run.restarts, stub_failures(), "%s %zu", what, number);
}

static void tear_down(const char *what, size_t number)
{
    rig_end();
    cr_assert_eq(stub_open_connections(), 0, "%s %zu: connections are left", what, number);
    cr_assert_eq(stub_open_results(), 0, "%s %zu: results are left", what, number);
}

static void fail_each_call(bool hard, size_t pieces)
{
    size_t n = 0;
    do {
        set_up(pieces);
        stub_fail_at(++n, hard);
        play_until_complete("call", n);
        if (stub_failures() > 0) {
            cr_assert_leq(rig.pipe.lost, 1, "call %zu", n);
        }
        tear_down("call", n);
    } while (stub_failures() > 0);
    cr_assert_geq(n, 60, "only %zu calls", n);
}

Test(poll_failures, each_call_may_fail_softly)
{
    fail_each_call(false, 0);
}

Test(poll_failures, each_call_may_break_its_connection)
{
    fail_each_call(true, 5);
}

Test(poll_failures, calls_fail_at_random)
{
    uint64_t first = 1;
    uint64_t count = 40;
    random_seeds(&first, &count);
    size_t failures = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        set_up(seed % 3);
        stub_fail_often(seed % 2 == 0 ? 15 : 60, seed);
        int64_t calm_us = clock_monotonic_us() + 100000;
        while (!complete() && clock_monotonic_us() < calm_us) {
            event_base_loop(rig.pipe.base, EVLOOP_NONBLOCK);
            play();
        }
        stub_fail_often(0, seed);
        play_until_complete("OUTBOXD_SEED", seed);
        failures += stub_failures();
        tear_down("OUTBOXD_SEED", seed);
    }
    cr_assert_gt(failures, count);
}

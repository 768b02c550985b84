/* Gaps, the fence, and looks at the whole table. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "poll_rig.h"

TestSuite(poll_sweep, .init = rig_prepare, .fini = rig_end, .timeout = 60);

/* The writers are asked for only while there are gaps. */
static size_t fences_of(size_t fetches)
{
    size_t fences = 0;
    for (size_t i = 0; i < fetches; i++) {
        size_t before = rig.fetches;
        RIG_PASS(rig.fetches > before);
        fences += strstr(rig.fetch_sql, " AS writers") != NULL;
    }
    return fences;
}

Test(poll_sweep, a_gap_is_given_up_when_its_writers_are_gone)
{
    rig.writers = "3/12 4/7";
    rig_insert(1, 2);
    rig_insert(5, 6);
    rig_activate();
    RIG_PASS(rig_delivered() == 4);
    for (size_t fences = 0; fences < 3;) { /* one every 200 ms */
        fences += fences_of(1);
    }
    rig_insert(4, 4);
    RIG_PASS(rig_delivered() == 5);
    cr_assert_eq(*rig.pipe.stats.rows->swept, 0, "given up while its writers run");
    rig.writers = "13/12 4/70 5/1"; /* others, whose names begin or end alike */
    RIG_PASS(fences_of(150) == 0);
    rig_insert(3, 3);
    RIG_PASS(rig_delivered() == 6);
    cr_assert_eq(*rig.pipe.stats.rows->swept, 1, "still looked for");
    rig_assert_out("1 2 5 6 4 3");
}

Test(poll_sweep, a_sweep_finds_what_lies_below_the_bound)
{
    rig_insert(10, 12);
    rig_activate();
    RIG_PASS(rig_delivered() == 3);
    rig_ack_all();
    RIG_PASS(rig_marked() == 3);
    RIG_PASS(fences_of(150) == 0);
    rig_insert(4, 4); /* by hand */
    RIG_PASS(rig_delivered() == 4);
    rig_assert_out("4");
    cr_assert_eq(*rig.pipe.stats.rows->swept, 1);
}

Test(poll_sweep, a_row_that_is_unmarked_by_hand_is_published_again_though_no_gap_moves)
{
    rig_insert(1, 50);
    rig_activate();
    RIG_PASS(rig_delivered() == 50);
    rig_ack_all();
    RIG_PASS(rig_marked() == 50);
    RIG_PASS(fences_of(150) == 0);
    rig.rows[20] = (RigRow){.visible = true};
    RIG_PASS(rig.rows[20].delivered == 1);
    rig_assert_out("20");
    rig_ack_all();
    RIG_PASS(rig.rows[20].marked);
}

Test(poll_sweep, a_row_whose_mark_is_undone_again_and_again_is_not_published_in_a_circle)
{
    rig_insert(1, 3);
    rig_activate();
    RIG_WAIT(rig_delivered() == 3);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 3);
    rig.rows[2] = (RigRow){.visible = true};
    RIG_WAIT(rig.rows[2].delivered == 1);
    rig_ack_all();
    RIG_WAIT(rig.rows[2].marked);
    rig.rows[2] = (RigRow){.visible = true};
    size_t fetches = rig.fetches;
    RIG_WAIT(rig.fetches > fetches + 20);
    cr_assert_eq(rig.rows[2].delivered, 0, "within a sweep_interval");
}

Test(poll_sweep, numbers_that_go_back_are_read_in_order_across_the_old_top)
{
    rig_insert(100, 120);
    rig_activate();
    RIG_PASS(rig_delivered() == 21);
    rig_ack_all();
    RIG_PASS(rig_marked() == 21);
    RIG_PASS(fences_of(150) == 0);
    memset(rig.rows, 0, sizeof(rig.rows)); /* TRUNCATE ... RESTART IDENTITY */
    rig_insert(1, 2);
    RIG_PASS(rig_delivered() == 2);
    cr_assert_eq(*rig.pipe.stats.rows->swept, 2);
    for (int64_t seq = 3; seq <= 150; seq += 7) { /* as if nothing had been: no sweep is needed */
        rig_insert(seq, seq + 6);
        RIG_PASS(rig_delivered() == (size_t)seq + 6);
    }
    cr_assert_eq(*rig.pipe.stats.rows->swept, 2);
    int64_t last = 0;
    for (size_t i = 0; i < rig.pipe.batch_count; i++) {
        for (size_t j = 0; j < rig.pipe.batches[i]->count; j++) {
            cr_assert_eq(rig.pipe.batches[i]->events[j]->seq, ++last);
        }
    }
}

static void assert_ascending_after(size_t skip)
{
    int64_t last = 0;
    for (size_t i = 0; i < rig.pipe.batch_count; i++) {
        for (size_t j = 0; j < rig.pipe.batches[i]->count; j++) {
            if (skip > 0) {
                skip--;
                continue;
            }
            cr_assert_lt(last, rig.pipe.batches[i]->events[j]->seq);
            last = rig.pipe.batches[i]->events[j]->seq;
        }
    }
}

/* The rows in flight are gone, their numbers are given out again, and more of them than there were
 * before the next fetch. The next sweep would be late. */
static void numbers_go_back_in_flight(const char *storage, const char *last_value)
{
    rig.pipe.pipeline.poll.sweep_interval_ms = 3600000;
    rig.last_value = "250";
    rig_insert(1, 20);
    rig_activate();
    RIG_PASS(rig_delivered() == 20);
    RIG_PASS(rig.fetches > 10);
    size_t before = 0;
    do { /* a sweep is dear: the next one comes 50 times as much later */
        rig.hang_fetch = false;
        stub_continue();
        rig.hang_fetch = true;
        before = rig.fetches;
        RIG_PASS(rig.fetches > before);
    } while (!rig.in_snapshot);
    clock_skip_us(60000);
    clock_turn(rig.pipe.base);
    rig.hang_fetch = false;
    stub_continue();
    before = rig.fetches;
    RIG_PASS(rig.fetches > before);
    cr_assert_null(strstr(rig.fetch_sql, "REPEATABLE READ"), "%s", rig.fetch_sql);
    for (int64_t seq = 1; seq <= 40; seq++) {
        rig.rows[seq] = (RigRow){.visible = true, .version = 1};
    }
    rig.storage = storage;
    rig.last_value = last_value;
    RIG_PASS(rig_delivered() >= 20 && rig.rows[40].delivered == 1);
    assert_ascending_after(20);
    RIG_PASS(rig_delivered() == 40);
    for (int64_t seq = 41; seq <= 90; seq++) { /* no sweep is needed any more */
        rig_insert(seq, seq);
        RIG_PASS(rig_delivered() == (size_t)seq);
    }
    assert_ascending_after(20);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll_sweep, other_storage_of_the_sequence_tells_that_numbers_went_back)
{
    numbers_go_back_in_flight("5000 5001", "250");
}

Test(poll_sweep, a_lower_last_number_tells_that_numbers_went_back)
{
    numbers_go_back_in_flight(NULL, "40");
}

Test(poll_sweep, rows_in_flight_do_not_hide_what_lies_among_them)
{
    for (int64_t seq = 2; seq <= 300; seq += 2) {
        rig_insert(seq, seq);
    }
    rig.pipe.pipeline.limits.batch_events = 10;
    rig.pipe.room_events = 10000;
    rig_activate();
    RIG_PASS(rig_delivered() == 150);
    RIG_PASS(fences_of(150) == 0); /* the numbers between them are given up */
    rig_insert(299, 299);
    RIG_PASS(rig.rows[299].delivered == 1);
    cr_assert_eq(*rig.pipe.stats.rows->swept, 1);
    cr_assert_gt(rig.wide, 0);
    cr_assert_eq(rig_delivered(), 151);
}

Test(poll_sweep, being_told_to_look_again_it_looks_at_everything)
{
    rig_insert(1, 3);
    rig_activate();
    RIG_WAIT(rig_delivered() == 3);
    rig.pipe.pipeline.poll.interval_max_ms = 3600000; /* nothing comes by itself */
    rig.pipe.pipeline.poll.interval_min_ms = 3600000;
    rig_turn();
    RIG_WAIT(!rig.in_snapshot);
    for (size_t still = 0, fetches = rig.fetches; still < 100; still++) {
        rig_turn();
        still = fetches == rig.fetches ? still : 0;
        fetches = rig.fetches;
    }
    rig.rows[1] = (RigRow){.visible = true, .version = 1};
    rig.pipe.source->ops->look_again(rig.pipe.source, 1);
    RIG_WAIT(rig_delivered() == 3 && rig.rows[1].delivered == 1);
    cr_assert_not_null(strstr(rig.fetch_sql, "BEGIN ISOLATION LEVEL REPEATABLE READ"));
}

/* What a fetch reads, and hands on. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "poll_rig.h"

TestSuite(poll_fetch, .init = rig_prepare, .fini = rig_end, .timeout = 60);

Test(poll_fetch, a_lower_number_that_commits_later_is_found)
{
    rig_insert(1, 2);
    rig_insert(5, 6);
    rig_activate();
    RIG_WAIT(rig_delivered() == 4);
    rig_insert(3, 4);
    rig_insert(7, 7);
    RIG_WAIT(rig_delivered() == 7);
    rig_assert_out("1 2 5 6 3 4 7");
}

Test(poll_fetch, what_is_in_flight_is_not_read_again)
{
    rig_insert(1, 5);
    rig_activate();
    RIG_WAIT(rig_delivered() == 5);
    size_t fetches = rig.fetches;
    RIG_WAIT(rig.fetches > fetches + 5);
    cr_assert_eq(rig_delivered(), 5);
}

Test(poll_fetch, no_read_is_larger_than_batch_events)
{
    rig_insert(1, 60);
    rig.pipe.pipeline.limits.batch_events = 10;
    rig_activate();
    RIG_WAIT(rig_delivered() == 60);
    for (size_t i = 0; i < rig.pipe.batch_count; i++) {
        cr_assert_leq(rig.pipe.batches[i]->count, 10);
    }
}

Test(poll_fetch, it_waits_for_room)
{
    rig_insert(1, 50);
    rig.pipe.pipeline.limits.in_flight_events = 40;
    rig.pipe.room_events = 0;
    rig_activate();
    rig_turn();
    cr_assert_eq(rig.fetches, 0);
    rig.pipe.room_events = 10;
    rig.pipe.source->ops->wake(rig.pipe.source);
    RIG_WAIT(rig_delivered() >= 10);
    cr_assert_eq(rig.pipe.batches[0]->count, 10);
}

Test(poll_fetch, large_rows_are_cut_at_the_budget_and_the_rest_is_read_later)
{
    rig_insert(1, 60);
    rig.payload_bytes = 10000;
    rig.pipe.pipeline.limits.batch_bytes = 100000;
    stub_set_pieces(3);
    rig_activate();
    RIG_WAIT(rig_delivered() == 60);
    cr_assert_geq(stub_cancels(), 1);
    for (size_t i = 0; i < rig.pipe.batch_count; i++) {
        cr_assert_leq(rig.pipe.batches[i]->bytes, 100000 + 11000);
    }
    cr_assert_eq(rig.pipe.lost, 0);
}

/* A statement that does not look at sizes finds nothing once a row needs that look: it says nothing
 * about the rows, and one that looks follows at once. */
Test(poll_fetch, a_fetch_that_could_not_see_large_rows_is_repeated_with_their_sizes)
{
    rig.pipe.pipeline.limits.event_bytes = 8 * 1024 * 1024;
    rig.pipe.pipeline.poll.interval_max_ms = 5;
    rig_insert(1, 2);
    rig_activate();
    RIG_WAIT(rig_delivered() == 2);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 2);
    size_t begun = rig.small_reads;
    RIG_WAIT(rig.small_reads > begun);
    rig.pipe.pipeline.poll.interval_max_ms = 3600000; /* nothing comes by itself */
    rig.pipe.pipeline.poll.interval_min_ms = 3600000;
    for (size_t still = 0, fetches = rig.fetches; still < 100; still++) {
        rig_turn();
        still = fetches == rig.fetches ? still : 0;
        fetches = rig.fetches;
    }
    size_t before = rig.small_reads;
    rig.large = true;
    rig_insert(3, 4);
    rig.pipe.source->ops->look_again(rig.pipe.source, 3);
    RIG_WAIT(rig_delivered() == 4);
    cr_assert_eq(rig.small_reads, before + 1, "in vain");
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll_fetch, rows_wait_until_their_commit_is_on_disk)
{
    rig_insert(1, 2);
    rig.not_durable = 3; /* at the fetch, and two times more */
    rig_activate();
    RIG_WAIT(rig_delivered() == 2); /* poll_rig.c asserts that it was not earlier */
    cr_assert_eq(rig.guards, 3);
    cr_assert_eq(rig.flushes, 0);
}

Test(poll_fetch, a_commit_that_nobody_flushes_is_flushed_by_us)
{
    rig_insert(1, 2);
    rig.durable = false;
    rig_activate();
    RIG_WAIT(rig_delivered() == 2);
    cr_assert_eq(rig.flushes, 1);
}

Test(poll_fetch, a_row_that_was_marked_while_a_fetch_ran_is_not_read_again)
{
    rig_insert(1, 5);
    rig_activate();
    RIG_WAIT(rig_delivered() == 5);
    rig.hang_fetch = true;
    size_t fetches = rig.fetches;
    RIG_WAIT(rig.fetches > fetches); /* its snapshot shows all five unpublished */
    cr_assert(rig.in_snapshot, "a sweep while rows are known is wide");
    rig_ack_all();
    RIG_WAIT(rig_marked() == 5);
    RIG_WAIT(rig.pipe.source->ops->unmarked(rig.pipe.source) == 0);
    rig.hang_fetch = false;
    fetches = rig.fetches;
    stub_continue();
    RIG_WAIT(rig.fetches > fetches + 3);
    cr_assert_eq(rig_delivered(), 5);
}

Test(poll_fetch, a_wide_fetch_that_is_cut_at_the_budget_goes_on_where_it_ended)
{
    rig_insert(200, 203);
    rig_activate();
    RIG_WAIT(rig_delivered() == 4);
    rig.pipe.room_events = 0;
    RIG_WAIT(rig.pipe.source->ops->unmarked(rig.pipe.source) == 0);
    rig_turn();
    rig_insert(1, 60);
    rig.payload_bytes = 10000;
    rig.pipe.pipeline.limits.batch_bytes = 100000;
    stub_set_pieces(3);
    rig.pipe.room_events = 100;
    rig.pipe.source->ops->wake(rig.pipe.source);
    RIG_WAIT(rig_delivered() == 64);
    cr_assert_geq(stub_cancels(), 1);
    cr_assert_gt(rig.wide, 0);
    cr_assert_eq(rig.pipe.lost, 0);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 64);
}

Test(poll_fetch, a_wide_fetch_that_is_kept_out_by_a_lock_leaves_no_transaction_open)
{
    rig_insert(1, 3);
    rig_activate();
    RIG_WAIT(rig_delivered() == 3);
    rig.error_of_fetch = "55P03";
    RIG_WAIT(rig.in_snapshot == false);
    size_t fetches = rig.fetches;
    RIG_WAIT(rig.fetches > fetches + 3);
    rig.error_of_fetch = NULL;
    rig_insert(4, 5);
    RIG_WAIT(rig_delivered() == 5);
    cr_assert_eq(rig.pipe.lost, 0);
}

/* Rows that the server cannot read. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "poll_rig.h"

TestSuite(poll_culprit, .init = rig_prepare, .fini = rig_end, .timeout = 60);

static void expect_isolated(int64_t bad, bool at_once, size_t most_reads)
{
    rig.unreadable_at_once = at_once;
    rig.large = true;
    rig_insert(1, 300);
    rig.unreadable = bad;
    rig.pipe.room_events = 1000;
    rig.pipe.pipeline.limits.in_flight_events = 1000;
    rig_activate();
    RIG_WAIT(rig_delivered() == 300);
    cr_assert_leq(rig.unreadable_reads, most_reads, "%zu", rig.unreadable_reads);
    size_t refused = 0;
    for (size_t b = 0; b < rig.pipe.batch_count; b++) {
        for (size_t i = 0; i < rig.pipe.batches[b]->count; i++) {
            const Event *event = rig.pipe.batches[b]->events[i];
            cr_assert_eq(event->refusal != NULL, event->seq == bad, "%lld", (long long)event->seq);
            refused += event->refusal != NULL;
        }
    }
    cr_assert_eq(refused, 1);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll_culprit, a_row_that_cannot_be_read_is_met_three_times_and_no_more)
{
    expect_isolated(197, false, 3);
}

Test(poll_culprit, a_row_that_cannot_be_read_may_be_the_first)
{
    expect_isolated(1, false, 3);
}

Test(poll_culprit, a_row_that_cannot_be_read_is_found_though_none_before_it_comes)
{
    expect_isolated(197, true, 12);
}

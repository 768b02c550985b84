/* A pipeline that goes on with another configuration. */
#include <criterion/criterion.h>

#include "rig.h"
#include "stub/clock.h"

TestSuite(pipeline_change, .init = rig_prepare, .fini = rig_end, .timeout = 20);

enum { PATIENCE_US = 2100000 };

static void change_to(const char *topic)
{
    rig.next_topic = topic;
    pipeline_change(rig.pipeline, true);
    rig_turn();
}

Test(pipeline_change, with_nothing_in_hand_it_is_at_once)
{
    rig_run();
    change_to("new");
    cr_assert_eq(rig.boundaries, 1);
    cr_assert(rig_has_room());
    cr_assert_not(pipeline_change_waits(rig.pipeline));
    rig_batch("1a");
    rig_assert_sent("1");
    cr_assert_str_eq(rig.sink.topic, "new");
}

Test(pipeline_change, what_is_read_is_published_by_the_old_one_first)
{
    rig_run();
    rig_batch("1a 2b");
    rig_batch("3a");
    change_to("new");
    cr_assert_eq(rig.boundaries, 0);
    cr_assert_not(rig_has_room(), "nothing new is read meanwhile");
    cr_assert(pipeline_change_waits(rig.pipeline));
    rig_assert_sent("1 2 3");
    cr_assert_str_eq(rig.sink.topic, "order.events");
    rig_settle(1, NULL);
    rig_settle(3, NULL);
    cr_assert_eq(rig.boundaries, 0, "one is out");
    rig_settle(2, NULL);
    cr_assert_eq(rig.boundaries, 1);
    rig_assert_acked("1 2 3");
    cr_assert(rig_has_room());
    cr_assert_eq(rig.sink.purges, 0);
    cr_assert_eq(rig.source.drains, 0, "lock and connections are kept");
    rig_batch("4a");
    rig_assert_sent("4");
    cr_assert_str_eq(rig.sink.topic, "new");
}

Test(pipeline_change, a_batch_that_was_on_its_way_is_still_of_the_old_one)
{
    rig_run();
    rig_batch("1a");
    change_to("new");
    rig_batch("2a"); /* the fetch was under way */
    rig_assert_sent("1 2");
    cr_assert_str_eq(rig.sink.topic, "order.events");
    rig_settle_all();
    cr_assert_eq(rig.boundaries, 1);
}

Test(pipeline_change, it_can_be_taken_back)
{
    rig_run();
    rig_batch("1a");
    change_to("new");
    pipeline_change(rig.pipeline, false);
    rig_settle_all();
    cr_assert_eq(rig.boundaries, 0);
    cr_assert(rig_has_room());
}

Test(pipeline_change, a_standby_takes_it_at_once)
{
    rig_begin();
    rig_standby();
    change_to("new");
    cr_assert_eq(rig.boundaries, 1);
    rig_assert_state(PIPELINE_STANDBY);
}

Test(pipeline_change, a_paused_pipeline_gives_back_what_it_may_not_send)
{
    rig_run();
    rig_batch("1a");
    pipeline_pause(rig.pipeline, true);
    rig_turn();
    rig_batch("2a");
    rig_assert_sent("1");
    change_to("new");
    cr_assert_eq(rig.boundaries, 0, "the destination may have 1");
    rig_settle(1, NULL);
    cr_assert_eq(rig.boundaries, 1);
    rig_assert_acked("1");
    rig_assert_returned("2");
    rig_assert_sent("");
    pipeline_pause(rig.pipeline, false);
    rig_turn();
    rig_batch("2a");
    rig_assert_sent("2");
    cr_assert_str_eq(rig.sink.topic, "new");
}

Test(pipeline_change, what_waits_in_its_rows_comes_again_before_anything_new)
{
    rig.source.may_park = true;
    rig.sink.missing = "order.events";
    rig_run();
    rig_batch("1a 2b");
    rig_assert_parked("1 2");
    change_to("new");
    cr_assert_eq(rig.boundaries, 1);
    cr_assert_eq(rig.source.rereads, 1);
    cr_assert_eq(rig_waiting().events, 0, "nothing is held by what was judged before");
    rig_batch("1a 2b 3a");
    rig_assert_sent("1 2 3");
    cr_assert_str_eq(rig.sink.topic, "new");
    cr_assert(rig_has_room());
}

Test(pipeline_change, what_waits_in_memory_goes_back_and_comes_again)
{
    rig.sink.missing = "order.events";
    rig_run();
    rig_batch("1a 2b");
    rig_assert_sent("");
    change_to("new");
    rig_assert_returned("1 2");
    cr_assert_eq(rig.boundaries, 1);
    rig_batch("1a 2b");
    rig_assert_sent("1 2");
    cr_assert_str_eq(rig.sink.topic, "new");
}

Test(pipeline_change, a_held_row_is_tried_by_the_new_one)
{
    rig.source.may_park = true;
    rig_run();
    rig_batch("1a! 2a");
    rig_assert_parked("1 2");
    cr_assert_not_null(rig_waiting().reason);
    rig.config.on_poison = ON_POISON_DEAD_LETTER; /* as the boundary would */
    change_to("new");
    cr_assert_eq(rig.source.rereads, 1);
    cr_assert_null(rig_waiting().reason);
}

/* Only its report tells whether the destination has it. */
Test(pipeline_change, what_the_sink_holds_is_waited_for)
{
    rig.sink.purge_at_once = true;
    rig_run();
    rig_batch("1a 2b");
    rig_trouble(ERROR_RETRY);
    rig_assert_state(PIPELINE_STALLED);
    change_to("new");
    clock_skip_us(PATIENCE_US);
    rig_turn();
    cr_assert_eq(rig.sink.purges, 0);
    cr_assert_eq(rig.boundaries, 0);
    rig_settle_all();
    cr_assert_eq(rig.boundaries, 1);
    rig_assert_acked("1 2");
}

Test(pipeline_change, what_the_sink_does_not_take_goes_back_after_a_while)
{
    rig_run();
    rig.sink.next = SEND_WAIT;
    rig_batch("1a 2b");
    rig_trouble(ERROR_RETRY);
    change_to("new");
    cr_assert_eq(rig.boundaries, 0, "it may be over in a moment");
    rig_wait(&rig.boundaries, 1);
    rig_assert_returned("1 2");
    rig_batch("1a 2b");
    rig_ready();
    cr_assert_str_eq(rig.sink.topic, "new");
}

Test(pipeline_change, a_lost_source_brings_it_to_a_boundary)
{
    rig_run();
    rig_batch("1a 2b");
    change_to("new");
    rig_source_lost(ERROR_RETRY);
    cr_assert_eq(rig.boundaries, 0);
    rig_settle_all();
    cr_assert_eq(rig.boundaries, 1);
    rig_take_over();
    rig_batch("3a");
    rig_assert_sent("1 2 3");
    cr_assert_str_eq(rig.sink.topic, "new");
}

Test(pipeline_change, one_that_ends_takes_none)
{
    rig_run();
    rig_batch("1a");
    change_to("new");
    rig_stop();
    rig_settle_all();
    rig_drained();
    cr_assert_eq(rig.boundaries, 0);
    rig_assert_state(PIPELINE_STOPPED);
}

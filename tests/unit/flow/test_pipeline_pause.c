/* A pipeline that somebody paused, or of which it is not known yet. */
#include <criterion/criterion.h>

#include "flow/pipeline.h"
#include "rig.h"

TestSuite(pipeline_pause, .init = rig_prepare, .fini = rig_end);

static void set_pause(bool paused)
{
    pipeline_pause(rig.pipeline, paused);
    rig_turn();
}

static PipelineView view(void)
{
    PipelineView view;
    pipeline_view(rig.pipeline, &view);
    return view;
}

Test(pipeline_pause, held_reads_and_sends_nothing_until_it_is_known)
{
    rig.hold = true;
    rig_run();
    cr_assert_not(rig_has_room());
    rig_batch("1a 2b");
    rig_assert_sent("");
    size_t changes = rig.changes;
    set_pause(false);
    rig_assert_sent("1 2");
    cr_assert(rig_has_room());
    cr_assert_eq(rig.changes, changes, "nothing that others see has changed");
}

Test(pipeline_pause, held_and_then_paused_never_sends_the_first_event)
{
    rig.hold = true;
    rig_begin();
    set_pause(true);
    cr_assert_eq(view().state, PIPELINE_STARTING);
    cr_assert(view().paused);
    rig_locked();
    rig_active();
    cr_assert_eq(view().state, PIPELINE_PAUSED);
    rig_batch("1a");
    rig_assert_sent("");
    cr_assert_not(rig_has_room());
}

Test(pipeline_pause, what_is_in_flight_settles_and_comes_back_to_be_marked)
{
    rig_run();
    rig_batch("1a 2b");
    rig_assert_sent("1 2");
    set_pause(true);
    cr_assert_eq(view().state, PIPELINE_PAUSED);
    cr_assert_eq(rig.sink.purges, 0, "nothing is taken back");
    rig_settle_all();
    rig_assert_acked("1 2");
    cr_assert_eq(rig.source.drains, 0, "lock and connections are kept");
    cr_assert_eq(view().in_flight_events, 0);
}

Test(pipeline_pause, resume_sends_what_waited_in_order)
{
    rig_run();
    set_pause(true);
    rig_batch("1a 2b");
    rig_batch("3a");
    rig_assert_sent("");
    size_t wakes = rig.source.wakes;
    set_pause(false);
    rig_assert_sent("1 2 3");
    cr_assert_gt(rig.source.wakes, wakes, "the source may read on");
    cr_assert_eq(view().state, PIPELINE_RUNNING);
}

Test(pipeline_pause, failed_deliveries_are_sent_again_only_after_resume)
{
    rig_run();
    rig_batch("1a 2b 3c");
    rig_assert_sent("1 2 3");
    set_pause(true);
    rig_settle(1, NULL);
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(2, &err);
    rig_settle_all();
    rig_turn();
    cr_assert_eq(view().state, PIPELINE_PAUSED, "rewound, and paused again");
    rig_assert_sent("");
    set_pause(false);
    cr_assert_eq(view().state, PIPELINE_STALLED, "the trouble was not mended");
    rig_wait(&rig.sink.held_count, 1);
    rig_assert_sent("2");
}

Test(pipeline_pause, stop_while_paused_drains)
{
    rig_run();
    rig_batch("1a");
    set_pause(true);
    rig_batch("2b");
    pipeline_stop(rig.pipeline);
    rig_turn();
    cr_assert_eq(view().state, PIPELINE_DRAINING);
    rig_settle_all();
    rig_turn();
    cr_assert_eq(rig.source.drains, 1);
    rig_assert_acked("1");
    rig_assert_returned("2");
    rig.source.source.events.drained(rig.source.source.events.arg);
    rig_turn();
    cr_assert_eq(view().state, PIPELINE_STOPPED);
    cr_assert_eq(pipeline_exit_code(rig.pipeline), EXIT_OK);
}

Test(pipeline_pause, a_lost_source_comes_back_paused)
{
    rig_run();
    set_pause(true);
    rig_source_lost(ERROR_RETRY);
    rig_turn();
    cr_assert_eq(view().state, PIPELINE_STARTING);
    cr_assert_eq(rig.source.starts, 2);
    rig_locked();
    rig_active();
    cr_assert_eq(view().state, PIPELINE_PAUSED);
    cr_assert_not(rig_has_room());
}

Test(pipeline_pause, standby_stays_standby_and_takes_over_paused)
{
    rig_begin();
    rig_standby();
    set_pause(true);
    cr_assert_eq(view().state, PIPELINE_STANDBY);
    rig_locked();
    rig_active();
    cr_assert_eq(view().state, PIPELINE_PAUSED);
}

Test(pipeline_pause, fatal_while_paused_fails)
{
    rig_run();
    set_pause(true);
    rig_source_lost(ERROR_FATAL);
    rig_turn();
    cr_assert_eq(view().state, PIPELINE_FAILED);
    cr_assert_eq(rig.ended, 1);
}

Test(pipeline_pause, trouble_while_paused_is_known_and_seen_after_resume)
{
    rig_run();
    set_pause(true);
    rig_trouble(ERROR_RETRY);
    cr_assert_eq(view().state, PIPELINE_PAUSED);
    cr_assert_eq(view().error->class, ERROR_RETRY);
    set_pause(false);
    cr_assert_eq(view().state, PIPELINE_STALLED);
    rig_healed();
    cr_assert_eq(view().state, PIPELINE_RUNNING);
}

Test(pipeline_pause, the_same_again_changes_nothing)
{
    rig_run();
    size_t changes = rig.changes;
    set_pause(true);
    set_pause(true);
    int64_t since_us = view().since_us;
    cr_assert_eq(rig.changes, changes + 1);
    set_pause(false);
    set_pause(false);
    cr_assert_eq(rig.changes, changes + 2);
    cr_assert_leq(view().since_us, since_us, "it has been running all the time");
}

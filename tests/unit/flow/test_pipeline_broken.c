/* A precondition that does not hold any more, and statements that the server refuses. */
#include <criterion/criterion.h>
#include <string.h>

#include "rig.h"

TestSuite(pipeline_broken, .init = rig_prepare, .fini = rig_end);

static PipelineView view(void)
{
    PipelineView ret;
    pipeline_view(rig.pipeline, &ret);
    return ret;
}

static Error fault(void)
{
    Error err = rig_error(ERROR_FATAL, CODE_RIGHT_UPDATE);
    error_hint(&err, "GRANT outbox_relay TO relay;");
    return err;
}

static void refuse(const Error *err)
{
    rig.source.source.events.refused(rig.source.source.events.arg, err);
    rig_turn();
}

Test(pipeline_broken, nothing_is_read_or_sent_and_what_is_in_flight_is_marked)
{
    rig_run();
    rig_batch("1a 2b");
    rig_assert_sent("1 2");
    AUTO_ERROR err = fault();
    pipeline_set_broken(rig.pipeline, &err);
    rig_batch("3c");
    rig_assert_sent("");
    cr_assert_not(rig_has_room());
    cr_assert_eq(view().state, PIPELINE_STALLED);
    cr_assert_eq(view().error->code, CODE_RIGHT_UPDATE);
    cr_assert_str_eq(error_own_hint(view().error), "GRANT outbox_relay TO relay;");
    rig_settle_all();
    rig_assert_acked("1 2");
    cr_assert_eq(view().state, PIPELINE_STALLED, "an acknowledgement does not mend it");
    cr_assert_eq(rig.source.drains, 0, "lock and connections are kept");
}

Test(pipeline_broken, mended_it_goes_on_by_itself_in_order)
{
    rig_run();
    AUTO_ERROR err = fault();
    pipeline_set_broken(rig.pipeline, &err);
    rig_batch("1a");
    rig_batch("2a");
    rig_assert_sent("");
    size_t wakes = rig.source.wakes;
    pipeline_set_broken(rig.pipeline, NULL);
    rig_turn();
    rig_assert_sent("1 2");
    cr_assert_gt(rig.source.wakes, wakes);
    cr_assert_eq(view().state, PIPELINE_RUNNING);
    cr_assert_eq(view().error->class, ERROR_NONE);
}

Test(pipeline_broken, is_shown_also_when_paused_and_while_the_source_is_lost)
{
    rig_run();
    AUTO_ERROR err = fault();
    pipeline_set_broken(rig.pipeline, &err);
    pipeline_pause(rig.pipeline, true);
    cr_assert_eq(view().state, PIPELINE_STALLED);
    cr_assert(view().paused);
    rig_source_lost(ERROR_RETRY);
    rig_turn();
    cr_assert_eq(view().state, PIPELINE_STALLED);
    cr_assert_eq(view().error->code, CODE_RIGHT_UPDATE);
    pipeline_set_broken(rig.pipeline, NULL);
    rig_turn();
    cr_assert_eq(view().state, PIPELINE_STARTING);
}

Test(pipeline_broken, before_the_first_event_the_source_judges_by_itself)
{
    rig_begin();
    AUTO_ERROR err = fault();
    pipeline_set_broken(rig.pipeline, &err);
    cr_assert_eq(view().state, PIPELINE_STARTING);
    cr_assert_eq(view().error->class, ERROR_NONE);
}

Test(pipeline_broken, a_relay_that_stands_by_shows_it)
{
    rig_begin();
    rig_standby();
    AUTO_ERROR err = fault();
    pipeline_set_broken(rig.pipeline, &err);
    cr_assert_eq(view().state, PIPELINE_STALLED);
    pipeline_set_broken(rig.pipeline, NULL);
    cr_assert_eq(view().state, PIPELINE_STANDBY);
}

Test(pipeline_broken, stop_drains)
{
    rig_run();
    rig_batch("1a");
    AUTO_ERROR err = fault();
    pipeline_set_broken(rig.pipeline, &err);
    pipeline_stop(rig.pipeline);
    rig_turn();
    cr_assert_eq(view().state, PIPELINE_DRAINING);
    rig_settle_all();
    rig_turn();
    cr_assert_eq(rig.source.drains, 1);
    rig_drained();
    rig_turn();
    cr_assert_eq(view().state, PIPELINE_STOPPED);
}

Test(pipeline_broken, a_refused_statement_stalls_and_asks_for_a_look)
{
    rig_run();
    AUTO_ERROR err = rig_error(ERROR_FATAL, CODE_POSTGRES_PRIVILEGE);
    refuse(&err);
    cr_assert_eq(rig.doubts, 1);
    rig_assert_state(PIPELINE_STALLED);
    rig_assert_error(CODE_POSTGRES_PRIVILEGE);
    cr_assert_eq(view().error->class, ERROR_RETRY);
    refuse(NULL);
    rig_assert_state(PIPELINE_RUNNING);
    cr_assert_eq(view().error->class, ERROR_NONE);
}

Test(pipeline_broken, refusals_that_nothing_explains_end_it)
{
    rig_run();
    AUTO_ERROR err = rig_error(ERROR_FATAL, CODE_POSTGRES_NO_COLUMN);
    for (int i = 0; i < 10; i++) {
        refuse(&err);
        rig_assert_state(PIPELINE_STALLED);
    }
    refuse(&err);
    rig_drained();
    rig_turn();
    rig_assert_state(PIPELINE_FAILED);
    rig_assert_error(CODE_POSTGRES_NO_COLUMN);
}

Test(pipeline_broken, refusals_that_a_broken_precondition_explains_do_not)
{
    rig_run();
    AUTO_ERROR refusal = rig_error(ERROR_FATAL, CODE_POSTGRES_PRIVILEGE);
    refuse(&refusal);
    AUTO_ERROR err = fault();
    pipeline_set_broken(rig.pipeline, &err);
    for (int i = 0; i < 100; i++) {
        refuse(&refusal);
    }
    cr_assert_eq(view().error->code, CODE_RIGHT_UPDATE);
    pipeline_set_broken(rig.pipeline, NULL);
    refuse(NULL);
    rig_assert_state(PIPELINE_RUNNING);
}

Test(pipeline_broken, a_good_look_is_handed_to_the_source)
{
    rig_run();
    pipeline_set_verified(rig.pipeline, 0x7000, "publication 7:8 table 4343");
    cr_assert_eq(rig.source.verified, 0x7000);
}

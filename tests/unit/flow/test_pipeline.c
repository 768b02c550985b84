/* The pipeline's life: each row of the transition table, and what the others must not do. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "flow/pipeline.h"
#include "rig.h"

TestSuite(pipeline, .init = rig_prepare, .fini = rig_end);

/* Starting. */

Test(pipeline, starting_becomes_running_with_the_lock)
{
    rig_begin();
    rig_assert_state(PIPELINE_STARTING);
    cr_assert_eq(rig.source.starts, 1);
    cr_assert_eq(rig.source.last_delay_ms, 0);
    rig_locked();
    cr_assert_eq(rig.source.resumes, 1, "there is nothing to wait for");
    rig_assert_state(PIPELINE_STARTING);
    rig_active();
    rig_assert_state(PIPELINE_RUNNING);
    cr_assert_eq(rig.sink.opens, 1);
    cr_assert_eq(*rig.stats.now->leader, 1);
}

Test(pipeline, starting_becomes_standby_when_another_publishes)
{
    rig_begin();
    rig_standby();
    rig_assert_state(PIPELINE_STANDBY);
    PipelineView view;
    pipeline_view(rig.pipeline, &view);
    cr_assert_str_eq(view.holder, "relay-2");
    cr_assert_eq(rig.sink.opens, 0, "a standby holds no producer");
    cr_assert_eq(*rig.stats.now->leader, 0);
}

Test(pipeline, starting_tries_again_with_growing_back_off)
{
    rig.config.claim.backoff_min_ms = 100;
    rig.config.claim.backoff_max_ms = 800;
    rig_begin();
    int64_t bound = 100;
    for (size_t i = 0; i < 8; i++) {
        rig_source_lost(ERROR_RETRY);
        rig_assert_state(PIPELINE_STARTING);
        cr_assert_eq(rig.source.starts, i + 2);
        cr_assert_geq(rig.source.last_delay_ms, bound / 2);
        cr_assert_leq(rig.source.last_delay_ms, bound);
        bound = bound < 800 ? bound * 2 : 800;
    }
    rig_assert_error(CODE_POSTGRES_SHUTDOWN);
    rig_take_over();
    rig_assert_error(CODE_NONE);
    rig_source_lost(ERROR_RETRY);
    cr_assert_leq(rig.source.last_delay_ms, 100, "back-off starts anew after a success");
}

Test(pipeline, starting_fails_when_a_human_must_act)
{
    rig_begin();
    rig_source_lost(ERROR_FATAL);
    rig_assert_state(PIPELINE_FAILED);
    cr_assert_eq(rig.ended, 1);
    cr_assert_eq(pipeline_exit_code(rig.pipeline), EXIT_POSTGRES);
    cr_assert_eq(rig.source.starts, 1);
}

Test(pipeline, starting_drains_when_asked_to_stop)
{
    rig_begin();
    rig_stop();
    rig_assert_state(PIPELINE_DRAINING);
    cr_assert_eq(rig.source.drains, 1);
    cr_assert_eq(rig.ended, 0);
    rig_drained();
    rig_assert_state(PIPELINE_STOPPED);
    cr_assert_eq(rig.ended, 1);
    cr_assert_eq(pipeline_exit_code(rig.pipeline), EXIT_OK);
}

/* Standing by. */

Test(pipeline, standby_takes_over)
{
    rig_begin();
    rig_standby();
    rig_take_over();
    rig_assert_state(PIPELINE_RUNNING);
    cr_assert_eq(rig.sink.opens, 1);
    PipelineView view;
    pipeline_view(rig.pipeline, &view);
    cr_assert_str_eq(view.holder, "");
}

Test(pipeline, standby_reconnects)
{
    rig_begin();
    rig_standby();
    rig_source_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_STARTING);
    cr_assert_eq(rig.source.starts, 2);
}

Test(pipeline, standby_fails_when_a_human_must_act)
{
    rig_begin();
    rig_standby();
    rig_source_lost(ERROR_FATAL);
    rig_assert_state(PIPELINE_FAILED);
    cr_assert_eq(rig.ended, 1);
}

Test(pipeline, standby_drains_when_asked_to_stop)
{
    rig_begin();
    rig_standby();
    rig_stop();
    cr_assert_eq(rig.source.drains, 1);
    rig_drained();
    rig_assert_state(PIPELINE_STOPPED);
}

/* Running and stalled. */

Test(pipeline, trouble_stalls_and_healing_resumes)
{
    rig_run();
    rig_trouble(ERROR_RETRY);
    rig_assert_state(PIPELINE_STALLED);
    rig_assert_error(CODE_KAFKA_UNREACHABLE);
    rig_healed();
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_error(CODE_NONE);
}

Test(pipeline, a_stalled_pipeline_still_sends)
{
    rig_run();
    rig_trouble(ERROR_RETRY);
    rig_batch("1a");
    rig_assert_sent("1");
    rig_settle(1, NULL);
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_acked("1");
}

Test(pipeline, a_fatal_trouble_of_the_sink_stops)
{
    rig_run();
    rig_batch("1a");
    rig_trouble(ERROR_FATAL);
    rig_assert_state(PIPELINE_REWINDING);
    rig_settle(1, NULL);
    rig_assert_acked("1"); /* what is published is marked before the end */
    rig_assert_state(PIPELINE_DRAINING);
    rig_drained();
    rig_assert_state(PIPELINE_FAILED);
    cr_assert_eq(pipeline_exit_code(rig.pipeline), EXIT_KAFKA);
    cr_assert_eq(rig.ended, 1);
}

static void given_state(bool stalled)
{
    rig_run();
    if (stalled) {
        rig_trouble(ERROR_RETRY);
    }
}

static void check_resend(bool stalled)
{
    given_state(stalled);
    rig_batch("1a 2a 3b");
    rig_assert_sent("1 2 3");
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(1, &err);
    rig_assert_state(PIPELINE_REWINDING);
    cr_assert_eq(rig.sink.purges, 1);
    cr_assert_eq(*rig.stats.rewinds, 1);
    cr_assert_eq(rig_failed(REASON_TOPIC_UNKNOWN), 1);
    rig_settle(2, &err);
    rig_assert_sent("");
    rig_settle(3, NULL);
    rig_assert_state(PIPELINE_STALLED);
    rig_wait(&rig.sink.sent_count, 5);
    rig_assert_sent("1 2");
    rig_settle(1, NULL);
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_acked("");
    rig_settle(2, NULL);
    rig_assert_acked("1 2 3");
    cr_assert_eq(*rig.stats.replayed, 0);
}

Test(pipeline, running_resends_what_the_sink_gave_back)
{
    check_resend(false);
}

Test(pipeline, stalled_resends_what_the_sink_gave_back)
{
    check_resend(true);
}

static void check_source_lost(bool stalled)
{
    given_state(stalled);
    rig_batch("1a 2a");
    rig_batch("3b");
    rig_settle(2, NULL);
    rig_source_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_REWINDING);
    cr_assert_eq(*rig.stats.now->leader, 0);
    cr_assert_eq(rig.sink.purges, 0, "the broker may have what the sink holds");
    cr_assert_eq(rig.source.starts, 2, "connects meanwhile");
    cr_assert_eq(*rig.stats.reconnects, 1);
    rig_settle(1, NULL);
    rig_assert_acked("1 2");
    rig_locked();
    rig_assert_state(PIPELINE_REWINDING);
    cr_assert_eq(rig.source.resumes, 1, "not before the sink holds nothing");
    rig_settle(3, NULL);
    rig_assert_acked("3");
    rig_assert_state(PIPELINE_STARTING);
    cr_assert_eq(rig.source.resumes, 2);
    rig_active();
    rig_assert_state(PIPELINE_RUNNING);
    rig_batch("4b");
    rig_settle_all();
    rig_assert_acked("4");
    rig_assert_sent("1 2 3 4");
    cr_assert_eq(*rig.stats.replayed, 0);
}

Test(pipeline, running_rewinds_when_the_source_is_lost)
{
    check_source_lost(false);
}

Test(pipeline, stalled_rewinds_when_the_source_is_lost)
{
    check_source_lost(true);
}

static void check_fatal_source(bool stalled)
{
    given_state(stalled);
    rig_batch("1a 2a");
    rig_source_lost(ERROR_FATAL);
    rig_assert_state(PIPELINE_REWINDING);
    rig_settle_all();
    rig_assert_state(PIPELINE_FAILED);
    rig_assert_acked("1 2");
    cr_assert_eq(rig.ended, 1);
    cr_assert_eq(rig.source.drains, 0, "a lost source cannot drain");
}

Test(pipeline, running_fails_when_the_source_needs_a_human)
{
    check_fatal_source(false);
}

Test(pipeline, stalled_fails_when_the_source_needs_a_human)
{
    check_fatal_source(true);
}

static void check_drain(bool stalled)
{
    given_state(stalled);
    rig_batch("1a 2a");
    rig.sink.next = SEND_FULL;
    rig_batch("3a 4a");
    rig_assert_sent("1 2");
    rig_stop();
    rig_assert_state(PIPELINE_DRAINING);
    rig_ready();
    rig_assert_sent(""); /* nothing new leaves */
    rig_settle(2, NULL);
    cr_assert_eq(rig.source.drains, 0, "an acknowledgement is still out");
    rig_settle(1, NULL);
    rig_assert_acked("1 2");
    rig_assert_returned("3 4");
    cr_assert_geq(rig.source.drains, 1);
    cr_assert_eq(rig.ended, 0);
    rig_drained();
    rig_assert_state(PIPELINE_STOPPED);
    cr_assert_eq(rig.ended, 1);
    cr_assert_eq(pipeline_exit_code(rig.pipeline), EXIT_OK);
}

Test(pipeline, running_drains_when_asked_to_stop)
{
    check_drain(false);
}

Test(pipeline, stalled_drains_when_asked_to_stop)
{
    check_drain(true);
}

/* Draining. */

Test(pipeline, draining_ends_when_the_source_is_lost)
{
    rig_run();
    rig_batch("1a");
    rig_stop();
    rig_settle(1, NULL);
    cr_assert_geq(rig.source.drains, 1);
    rig.source.unmarked = 1;
    rig_source_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_FAILED);
    cr_assert_eq(pipeline_exit_code(rig.pipeline), EXIT_DRAIN);
    cr_assert_eq(rig.ended, 1);
}

Test(pipeline, draining_ends_when_the_source_needs_a_human)
{
    rig_run();
    rig_batch("1a");
    rig_stop();
    rig_settle(1, NULL);
    rig_source_lost(ERROR_FATAL);
    rig_assert_state(PIPELINE_FAILED);
    cr_assert_eq(pipeline_exit_code(rig.pipeline), EXIT_POSTGRES);
    cr_assert_eq(rig.ended, 1);
}

Test(pipeline, draining_goes_on_when_the_sink_is_lost)
{
    rig_run();
    rig_batch("1a 2a");
    rig_settle(1, NULL);
    rig_stop();
    rig_sink_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_DRAINING);
    cr_assert_eq(rig.source.drains, 0);
    rig_reopened();
    rig_assert_sent("1 2"); /* nothing is sent any more */
    rig_assert_acked("1");
    rig_assert_returned("2");
    cr_assert_geq(rig.source.drains, 1);
}

Test(pipeline, draining_ignores_a_failed_delivery)
{
    rig_run();
    rig_batch("1a 2a");
    rig_stop();
    AUTO_ERROR err = rig_error(ERROR_POISON, CODE_RECORD_TOO_LARGE);
    rig_settle(1, &err);
    rig_assert_state(PIPELINE_DRAINING);
    rig_settle(2, NULL);
    rig_assert_returned("1");
    rig_assert_acked("2");
    rig_drained();
    rig_assert_state(PIPELINE_STOPPED);
}

Test(pipeline, draining_lets_nothing_overtake_a_failed_delivery)
{
    rig_run();
    rig_batch("1a 2a 3a");
    pipeline_stop(rig.pipeline);
    rig_turn();
    rig.sink.purge_at_once = true;
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_DENIED);
    rig_settle(1, &err);
    cr_assert_eq(rig.sink.purges, 1);
    rig_assert_returned("1 2 3");
    rig_assert_acked("");
}

Test(pipeline, a_batch_that_comes_while_draining_is_not_sent)
{
    rig_run();
    rig_batch("1a");
    rig_stop();
    rig_batch("2a");
    rig_assert_sent("1");
    rig_settle(1, NULL);
    rig_assert_acked("1");
    rig_assert_returned("2");
}

Test(pipeline, stopping_a_source_that_left_published_rows_behind_is_not_clean)
{
    rig_run();
    rig_batch("1a 2a");
    rig_settle(1, NULL); /* published; its batch is not complete, so its row is not marked */
    rig_stop();
    rig_source_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_FAILED);
    cr_assert_eq(pipeline_exit_code(rig.pipeline), EXIT_DRAIN);
}

Test(pipeline, the_error_that_stopped_it_is_not_covered_by_later_ones)
{
    rig_run();
    AUTO_ERROR err = rig_error(ERROR_FATAL, CODE_KAFKA_PROPERTY);
    pipeline_complain(rig.pipeline, &err, true);
    pipeline_input(rig.pipeline, INPUT_FATAL);
    rig_turn();
    rig_assert_state(PIPELINE_DRAINING);
    rig_source_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_FAILED);
    rig_assert_error(CODE_KAFKA_PROPERTY);
    cr_assert_eq(pipeline_exit_code(rig.pipeline), EXIT_KAFKA);
}

/* What the table keeps touches neither source nor sink. */

static bool is_kept(MachineState state, Input input)
{
    size_t count = 0;
    const Rule *rules = machine_rules(&count);
    for (size_t i = 0; i < count; i++) {
        if ((rules[i].from >> state & 1) != 0 && (rules[i].inputs >> input & 1) != 0) {
            return rules[i].kind == RULE_KEPT;
        }
    }
    return false;
}

Test(pipeline, inputs_that_are_kept_change_nothing)
{
    rig_run();
    size_t ignored = 0;
    for (MachineState state = 0; state < MACHINE_STATE_COUNT; state++) {
        for (Input input = 0; input < INPUT_COUNT; input++) {
            if (!is_kept(state, input)) {
                continue;
            }
            rig.pipeline->machine->state = state;
            RigSource source = rig.source;
            RigSink sink = rig.sink;
            pipeline_input(rig.pipeline, input);
            cr_assert_eq(rig.pipeline->machine->state, state);
            cr_assert_eq(memcmp(&source, &rig.source, sizeof(source)), 0, "state %d input %d",
                         state, input);
            cr_assert_eq(memcmp(&sink, &rig.sink, sizeof(sink)), 0, "state %d input %d", state,
                         input);
            ignored++;
        }
    }
    cr_assert_gt(ignored, 80);
    rig.pipeline->machine->state = MACHINE_RUNNING;
}

Test(pipeline, ended_is_told_once_and_never_from_inside_a_call)
{
    rig_begin();
    AUTO_ERROR err = rig_error(ERROR_FATAL, CODE_POSTGRES_ERROR);
    rig.source.source.events.lost(rig.source.source.events.arg, &err);
    cr_assert_eq(rig.ended, 0, "told from inside the call");
    rig_turn();
    cr_assert_eq(rig.ended, 1);
    rig_ready();
    pipeline_wake(rig.pipeline);
    rig_turn();
    pipeline_stop(rig.pipeline);
    rig_turn();
    cr_assert_eq(rig.ended, 1);
}

Test(pipeline, every_change_of_state_is_told)
{
    rig_begin();
    rig_take_over();
    rig_trouble(ERROR_RETRY);
    rig_trouble(ERROR_RETRY);
    rig_healed();
    cr_assert_eq(rig.changes, 3);
}

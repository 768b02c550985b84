/* The pipeline's rewind: what is waited for, taken back, sent again, and who may publish meanwhile.
 */
#include <criterion/criterion.h>

#include "flow/pipeline.h"
#include "rig.h"

TestSuite(pipeline_rewind, .init = rig_prepare, .fini = rig_end);

Test(pipeline_rewind, a_sink_that_holds_nothing_is_released_before_another_relay_publishes)
{
    rig_run();
    rig_batch("1a");
    rig_settle_all();
    cr_assert_eq(rig.sink.releases, 0);
    rig_source_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_STARTING);
    cr_assert_eq(rig.sink.releases, 1, "its lock would hold up whoever publishes next");
    rig_standby();
    rig_assert_state(PIPELINE_STANDBY);
    cr_assert_eq(rig.sink.releases, 2);
}

Test(pipeline_rewind, a_rewind_keeps_what_was_acknowledged_and_the_order_of_the_rest)
{
    rig_run();
    rig_batch("1a 2b 3a 4b 5a");
    rig_batch("6a 7b");
    rig_settle(2, NULL);
    rig_settle(6, NULL);
    rig_assert_sent("1 2 3 4 5 6 7");
    rig.sink.purge_at_once = true;
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_DENIED);
    rig_settle(4, &err);
    rig_wait(&rig.sink.sent_count, 12);
    rig_assert_sent("1 3 4 5 7");
    rig_settle_all();
    rig_assert_acked("1 2 3 4 5 6 7");
    cr_assert_eq(*rig.stats.replayed, 0, "nothing of unknown outcome was sent again");
}

Test(pipeline_rewind, a_rewind_without_trouble_goes_on_at_once)
{
    rig.config.claim.backoff_min_ms = rig.config.claim.backoff_max_ms = 60000;
    rig_run();
    rig_batch("1a 2a");
    AUTO_ERROR err = rig_error(ERROR_POISON, CODE_RECORD_TOO_LARGE);
    rig_settle(1, &err);
    rig_settle(2, &err);
    rig_assert_sent("1 2 1");
    rig_assert_state(PIPELINE_RUNNING);
}

Test(pipeline_rewind, both_sides_lost_end_in_one_restart)
{
    rig_run();
    rig_batch("1a 2a");
    rig_sink_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_REWINDING);
    cr_assert_eq(rig.sink.reopens, 1);
    rig_source_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_REWINDING);
    cr_assert_eq(rig.source.starts, 2);
    rig_locked();
    cr_assert_eq(rig.source.resumes, 1, "the sink may still read memory of the batches");
    rig_reopened();
    rig_assert_state(PIPELINE_STARTING);
    rig_assert_returned("1 2");
    cr_assert_eq(rig.source.resumes, 2);
    cr_assert_eq(rig.sink.reopens, 1);
}

/* The source is lost while the sink holds 1 and 2. */
static void given_source_lost(ErrorCode code)
{
    rig_run();
    rig_batch("1a 2a");
    rig_source_lost_by(ERROR_RETRY, code);
    rig_assert_state(PIPELINE_REWINDING);
}

static void settle_time_is_up(void)
{
    cr_assert(event_pending(rig.pipeline->outlet->settle, EV_TIMEOUT, NULL),
              "a rewind has a bound");
    event_del(rig.pipeline->outlet->settle);
    event_active(rig.pipeline->outlet->settle, EV_TIMEOUT, 0);
    rig_turn();
}

Test(pipeline_rewind, a_rewind_settles_before_the_lock_is_taken_again)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_settle_all();
    rig_assert_acked("1 2");
    rig_assert_state(PIPELINE_STARTING);
    rig_locked();
    cr_assert_eq(rig.source.resumes, 2);
}

Test(pipeline_rewind, a_rewind_connects_as_often_as_it_takes)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_source_lost(ERROR_RETRY);
    rig_source_lost(ERROR_RETRY);
    cr_assert_eq(rig.source.starts, 4);
    cr_assert_eq(rig.sink.purges, 0);
    rig_locked();
    rig_source_lost(ERROR_RETRY);
    rig_settle_all();
    cr_assert_eq(rig.source.resumes, 1, "that lock was lost");
    rig_locked();
    cr_assert_eq(rig.source.resumes, 2);
}

Test(pipeline_rewind, what_the_sink_holds_is_taken_back_when_another_relay_publishes)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_standby();
    rig_standby();
    cr_assert_eq(rig.sink.purges, 1);
    rig_settle(1, NULL);
    AUTO_ERROR purged = rig_error(ERROR_RETRY, CODE_SINK_PURGED);
    rig_settle(2, &purged);
    rig_assert_state(PIPELINE_STANDBY);
    rig_assert_acked("1");
    rig_assert_returned("2");
    cr_assert_eq(rig.source.resumes, 1);
    rig_take_over();
    cr_assert_eq(rig.source.resumes, 2);
    rig_assert_state(PIPELINE_RUNNING);
}

/* A lock that is shared does not keep another relay out: the source with the lock in its hands may
 * still find that somebody else publishes. */
Test(pipeline_rewind,
     what_the_sink_holds_is_taken_back_when_another_relay_publishes_beside_our_lock)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_locked();
    cr_assert_eq(rig.sink.purges, 0);
    rig_standby();
    cr_assert_eq(rig.sink.purges, 1);
    rig_settle(1, NULL);
    AUTO_ERROR purged = rig_error(ERROR_RETRY, CODE_SINK_PURGED);
    rig_settle(2, &purged);
    rig_assert_state(PIPELINE_STANDBY);
    cr_assert_eq(rig.source.resumes, 1);
    rig_take_over();
    rig_assert_state(PIPELINE_RUNNING);
}

Test(pipeline_rewind, nothing_leaves_the_sink_when_the_lease_is_over_and_nothing_is_given_up)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    cr_assert_eq(rig.sink.holds, 0);
    settle_time_is_up();
    cr_assert_eq(rig.sink.holds, 1);
    settle_time_is_up();
    cr_assert_eq(rig.sink.holds, 1);
    cr_assert_eq(rig.sink.purges, 0);
    rig_settle(1, NULL); /* the broker had it */
    rig_assert_state(PIPELINE_REWINDING);
    rig.source.source.proof = PROOF_ALONE;
    rig_locked();
    cr_assert_not(rig.sink.held_back, "nobody else published: the same records go on");
    cr_assert_eq(rig.sink.purges, 0);
    rig_settle(2, NULL);
    rig_assert_acked("1 2");
    cr_assert_eq(rig.source.resumes, 2);
    cr_assert_eq(*rig.stats.replayed, 0);
}

Test(pipeline_rewind, nothing_leaves_the_sink_at_once_when_the_lease_was_the_reason)
{
    rig.source.source.lease_over = true;
    given_source_lost(CODE_LEASE_EXPIRED);
    cr_assert_eq(rig.sink.holds, 1);
    cr_assert_eq(rig.sink.purges, 0);
}

Test(pipeline_rewind, what_the_sink_holds_is_taken_back_when_somebody_else_published_meanwhile)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    settle_time_is_up();
    rig.sink.purge_at_once = true;
    rig.source.source.proof = PROOF_OTHERS;
    rig_locked();
    cr_assert_eq(rig.sink.purges, 1);
    rig_assert_returned("1 2");
    cr_assert_eq(rig.source.resumes, 2);
}

Test(pipeline_rewind, what_the_sink_holds_is_taken_back_when_the_history_is_another)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN); /* within the lease */
    rig.source.source.proof = PROOF_OTHERS;
    rig_locked();
    cr_assert_eq(rig.sink.purges, 1);
}

Test(pipeline_rewind, what_the_sink_holds_is_taken_back_when_nothing_is_proven_after_the_lease)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    settle_time_is_up();
    rig_locked();
    cr_assert_eq(rig.sink.purges, 1);
    cr_assert_eq(rig.sink.holds, 1);
}

Test(pipeline_rewind, failing_to_connect_does_not_make_the_lease_longer)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    struct timeval end;
    cr_assert(event_pending(rig.pipeline->outlet->settle, EV_TIMEOUT, &end));
    for (int i = 0; i < 3; i++) {
        rig_source_lost(ERROR_RETRY);
        struct timeval now;
        cr_assert(event_pending(rig.pipeline->outlet->settle, EV_TIMEOUT, &now));
        cr_assert_eq(now.tv_sec, end.tv_sec);
        cr_assert_eq(now.tv_usec, end.tv_usec);
    }
}

Test(pipeline_rewind, a_lock_that_is_lost_again_ends_with_its_lease_again)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_locked();
    rig_source_lost(ERROR_RETRY);
    settle_time_is_up();
    cr_assert_eq(rig.sink.holds, 1);
    rig.source.source.proof = PROOF_ALONE;
    rig_locked();
    rig.source.source.lease_over = true;
    rig_source_lost(ERROR_RETRY);
    cr_assert_eq(rig.sink.holds, 2);
    cr_assert(rig.sink.held_back);
}

Test(pipeline_rewind, a_stop_while_the_source_is_lost_does_not_outlive_the_lease)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_stop();
    settle_time_is_up();
    cr_assert_eq(rig.sink.holds, 1);
}

Test(pipeline_rewind, what_goes_back_with_unknown_outcome_counts_as_sent_again)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_sink_lost(ERROR_RETRY);
    rig_reopened();
    rig_assert_returned("1 2");
    cr_assert_eq(*rig.stats.replayed, 2);
}

Test(pipeline_rewind, nothing_overtakes_a_failed_delivery_while_the_source_is_lost)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig.sink.purge_at_once = true;
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_DENIED);
    rig_settle(1, &err);
    cr_assert_eq(rig.sink.purges, 1);
    rig_assert_returned("1 2");
}

static void quiet_for_us(int64_t us)
{
    rig.pipeline->window->progress_us -= us;
    rig.pipeline->outlet->settling_us -= us;
}

Test(pipeline_rewind, with_the_lock_and_no_broker_a_rewind_waits_as_long_as_it_takes)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_locked();
    rig_trouble(ERROR_RETRY);
    rig_assert_error(CODE_KAFKA_UNREACHABLE);
    for (int i = 0; i < 5; i++) {
        settle_time_is_up();
    }
    quiet_for_us(INT64_C(3600000000));
    settle_time_is_up();
    cr_assert_eq(rig.sink.purges, 0);
    cr_assert_eq(rig.sink.holds, 0);
    cr_assert_eq(rig.sink.reopens, 0);
    rig.sink.answers = true;
    settle_time_is_up();
    cr_assert_eq(rig.sink.reopens, 1, "brokers answer, and the producer says nothing");
}

Test(pipeline_rewind, a_broker_that_hangs_is_waited_for_and_said)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_locked();
    rig.sink.answers = true;
    quiet_for_us(60000000);
    settle_time_is_up();
    event_active(rig.pipeline->tick, EV_TIMEOUT, 0);
    rig_turn();
    rig_assert_error(CODE_KAFKA_NO_ACKNOWLEDGEMENT);
    rig_assert_state(PIPELINE_REWINDING);
    cr_assert_eq(rig.sink.reopens, 0);
    rig_settle_all();
    rig_assert_acked("1 2");
    rig_active();
    rig_assert_error(CODE_NONE);
    rig_assert_state(PIPELINE_RUNNING);
}

Test(pipeline_rewind, a_fatal_error_during_a_rewind_is_not_forgotten)
{
    rig_run();
    rig_batch("1a 2a");
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(1, &err);
    rig_assert_state(PIPELINE_REWINDING);
    rig_source_lost(ERROR_FATAL);
    rig_settle(2, NULL);
    rig_assert_state(PIPELINE_FAILED);
    rig_assert_acked("2");
    rig_assert_returned("1");
}

Test(pipeline_rewind, a_stop_during_a_rewind_is_not_forgotten)
{
    rig_run();
    rig_batch("1a 2a");
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(1, &err);
    rig_stop();
    rig_assert_state(PIPELINE_REWINDING);
    rig_settle(2, NULL);
    rig_assert_state(PIPELINE_DRAINING);
    rig_assert_returned("1");
    rig_assert_acked("2");
    rig_drained();
    rig_assert_state(PIPELINE_STOPPED);
    rig_assert_sent("1 2");
}

Test(pipeline_rewind, a_stop_while_the_source_is_lost_marks_what_is_published)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_stop();
    rig_settle_all();
    rig_assert_acked("1 2");
    rig_assert_state(PIPELINE_DRAINING);
    cr_assert_eq(rig.source.drains, 1);
    rig_locked();
    cr_assert_eq(rig.source.resumes, 2);
    rig_drained();
    rig_assert_state(PIPELINE_STOPPED);
    cr_assert_eq(rig.ended, 1);
}

Test(pipeline_rewind, a_stop_with_the_lock_and_records_still_out_marks_what_is_published)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_locked();
    rig_stop();
    rig_settle_all();
    rig_assert_state(PIPELINE_DRAINING);
    cr_assert_eq(rig.source.drains, 1);
    cr_assert_eq(rig.source.resumes, 2);
}

Test(pipeline_rewind, a_stop_while_the_source_is_lost_does_not_try_for_ever)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_stop();
    rig_source_lost(ERROR_RETRY);
    cr_assert_eq(rig.source.starts, 2, "we are stopping");
    rig.source.unmarked = 3;
    rig_settle_all();
    rig_assert_state(PIPELINE_FAILED);
    cr_assert_eq(pipeline_exit_code(rig.pipeline), EXIT_DRAIN);
    rig_assert_error(CODE_DRAIN_INCOMPLETE);
    cr_assert_eq(rig.ended, 1);
}

Test(pipeline_rewind, a_producer_that_does_not_settle_is_replaced)
{
    rig_run();
    rig_batch("1a 2a");
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(1, &err);
    rig.sink.answers = true;
    settle_time_is_up();
    cr_assert_eq(rig.sink.reopens, 0, "it may only be slow");
    quiet_for_us(301000000);
    settle_time_is_up();
    cr_assert_eq(rig.sink.reopens, 1);
    rig_assert_state(PIPELINE_REWINDING);
    rig_reopened();
    rig_wait(&rig.sink.sent_count, 4);
    rig_assert_sent("1 2 1 2");
    cr_assert_eq(*rig.stats.replayed, 1, "only event 2 may be there twice");
    cr_assert_eq(*rig.stats.producers_recreated, 1);
}

Test(pipeline_rewind, a_source_that_a_human_must_mend_does_not_leave_a_held_sink_waiting)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    settle_time_is_up();
    settle_time_is_up();
    cr_assert_eq(rig.sink.holds, 1);
    rig.sink.purge_at_once = true;
    rig_source_lost(ERROR_FATAL);
    cr_assert_eq(rig.sink.purges, 1, "no lock will come that could let it go");
    rig_assert_returned("1 2");
    rig_assert_state(PIPELINE_FAILED);
    cr_assert_eq(rig.ended, 1);
}

Test(pipeline_rewind, a_source_that_a_human_must_mend_does_not_outlive_its_lease)
{
    given_source_lost(CODE_POSTGRES_SHUTDOWN);
    rig_locked();
    rig_source_lost(ERROR_FATAL);
    cr_assert_eq(rig.sink.purges, 0, "the broker may have what the sink holds");
    struct timeval end;
    cr_assert(event_pending(rig.pipeline->outlet->settle, EV_TIMEOUT, &end));
    settle_time_is_up();
    cr_assert_eq(rig.sink.purges, 1, "nobody tries to get the lock back");
    rig_settle_all();
    rig_assert_state(PIPELINE_FAILED);
}

/* An encoder that is not ready for an event yet: the event waits, and its topic behind it. */
#include <criterion/criterion.h>
#include <string.h>

#include "rig.h"
#include "stub/clock.h"

TestSuite(pipeline_encoder, .init = rig_prepare, .fini = rig_end, .timeout = 20);

static PipelineView view(void)
{
    PipelineView now;
    pipeline_view(rig.pipeline, &now);
    return now;
}

static void run_unready(const char *seqs, bool may_park)
{
    rig.source.may_park = may_park;
    rig_run();
    rig_unready(seqs);
}

static void pass_seconds(int64_t seconds)
{
    clock_skip_us(seconds * 1000000);
    pipeline_watch_waiting(rig.pipeline);
    rig_turn();
}

static void assert_said(const char *topic)
{
    cr_assert_not_null(rig_waiting().reason, "nobody was told");
    cr_assert_str_eq(rig_waiting().topic, topic);
    cr_assert_not_null(strstr(error_message(rig_waiting().reason), "the schema is not here yet"));
}

Test(pipeline_encoder, what_is_behind_it_in_its_topic_waits_and_the_others_go_on)
{
    run_unready("2", true);
    rig_batch("1a 2b 3b 4a 5c+");
    rig_assert_sent("1 5");
    rig_settle_all();
    rig_assert_acked("");
    rig_unready("");
    rig_encoder_ready();
    rig_assert_sent("2 3 4");
    rig_settle_all();
    rig_assert_acked("1 2 3 4 5");
    cr_assert_eq(rig.source.rereads, 0);
    cr_assert_null(rig.pipeline->parking->holds);
}

Test(pipeline_encoder, that_is_ready_soon_is_no_news)
{
    run_unready("1", true);
    size_t changes = rig.changes;
    rig_batch("1a 2a");
    pass_seconds(ENCODER_LATE_SECONDS - 1);
    rig_assert_sent("");
    cr_assert_null(rig_waiting().reason);
    cr_assert_eq(rig.changes, changes);
    rig_assert_parked("");
    cr_assert_eq(view().in_flight_events, 2, "they wait in memory");
    rig_assert_state(PIPELINE_RUNNING);
}

Test(pipeline_encoder, that_is_late_is_said_and_its_events_leave_memory)
{
    run_unready("2", true);
    rig_batch("1a 2b 3b 4c+");
    rig_settle_all();
    rig_assert_sent("1 4");
    pass_seconds(ENCODER_LATE_SECONDS + 1);
    assert_said("order.events");
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_acked("1 4");
    rig_assert_parked("2 3");
    rig_batch("5a 6a+");
    rig_assert_sent("6");
    rig_settle_all();
    rig_assert_parked("5");
    rig_unready("");
    rig_encoder_ready();
    cr_assert_eq(rig.source.rereads, 1);
    rig_batch("2b 3b 5a");
    rig_assert_sent("2 3 5");
    rig_settle_all();
    rig_assert_acked("6 2 3 5");
    cr_assert_null(rig_waiting().reason);
    cr_assert_null(rig.pipeline->parking->holds);
}

Test(pipeline_encoder, that_is_asked_again_in_vain_waits_since_the_first_time)
{
    run_unready("1 3", true);
    rig_batch("1a 2a 3a");
    pass_seconds(ENCODER_LATE_SECONDS - 1);
    rig_encoder_ready();
    pass_seconds(2);
    assert_said("order.events");
    int64_t since_us = rig_waiting().since_us;
    rig_encoder_ready();
    cr_assert_eq(rig.source.rereads, 1);
    rig_batch("1a 2a 3a");
    rig_assert_sent("");
    assert_said("order.events");
    cr_assert_eq(rig_waiting().since_us, since_us);
    rig_unready("3");
    rig.pipeline->waiting->reread_at_us = 0;
    rig_encoder_ready();
    rig_batch("1a 2a 3a");
    rig_assert_sent("1 2");
    cr_assert_null(rig_waiting().reason, "the third one waits for a moment only");
}

Test(pipeline_encoder, that_never_calls_is_asked_again)
{
    run_unready("1", false);
    rig_batch("1a");
    rig_unready("");
    size_t asked = rig.encoder.asked;
    pass_seconds(1);
    cr_assert_eq(rig.encoder.asked, asked, "not so soon");
    pass_seconds(30);
    rig_assert_sent("1");
}

Test(pipeline_encoder, without_rows_they_wait_in_memory_and_a_full_one_is_said_once_it_is_late)
{
    rig.config.limits.in_flight_events = 3;
    run_unready("1", false);
    rig_batch("1a 2b 3c");
    pass_seconds(1);
    rig_assert_state(PIPELINE_RUNNING);
    pass_seconds(ENCODER_LATE_SECONDS);
    pass_seconds(1);
    rig_assert_state(PIPELINE_STALLED);
    rig_assert_error(CODE_WAITING_EVENTS_FULL);
    assert_said("order.events");
    rig_unready("");
    rig_encoder_ready();
    rig_assert_sent("1 2 3");
    rig_settle_all();
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_error(CODE_NONE);
}

Test(pipeline_encoder, a_fault_found_at_last_makes_a_dead_letter)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    run_unready("1", true);
    rig_batch("1a! 2a");
    rig_assert_sent("");
    rig_unready("");
    rig_encoder_ready();
    cr_assert_eq(rig.source.aside_count, 1);
    cr_assert_eq(rig.source.aside[0]->seq, 1);
    rig_assert_sent("2");
    rig_aside_done();
    rig_settle_all();
    rig_assert_acked("1 2");
}

Test(pipeline_encoder, a_fault_found_at_last_holds_its_topic_under_stop)
{
    run_unready("1", true);
    rig_batch("1a! 2a 3b+");
    rig_unready("");
    rig_encoder_ready();
    rig_assert_sent("3");
    cr_assert_eq(rig_waiting().reason->code, CODE_HEADERS_INVALID);
    cr_assert_eq(rig.pipeline->parking->rows, 1);
    rig_settle_all();
    rig_assert_acked("3");
    rig_assert_parked("1 2");
}

Test(pipeline_encoder, that_waits_does_not_keep_a_stop)
{
    run_unready("2", true);
    rig_batch("1a 2a 3b+");
    rig_stop();
    rig_settle_all();
    cr_assert_eq(rig.source.drains, 1);
    rig_assert_acked("1 3");
    rig_assert_returned("2");
    rig_unready("");
    rig_encoder_ready();
    rig_assert_sent("1 3");
    rig_drained();
    rig_assert_state(PIPELINE_STOPPED);
    rig_encoder_ready();
    rig_assert_sent("");
}

Test(pipeline_encoder, that_is_ready_while_it_stops_sends_nothing)
{
    run_unready("2", true);
    rig_batch("1a 2a");
    rig_stop();
    rig_unready("");
    rig_encoder_ready();
    rig_assert_sent("1");
    rig_settle_all();
    rig_assert_returned("2");
}

Test(pipeline_encoder, that_waits_when_the_lease_is_lost_is_asked_anew)
{
    run_unready("2", true);
    rig_batch("1a 2b 3b");
    rig_assert_sent("1");
    rig.source.may_publish = false;
    rig.source.source.lease_over = true;
    rig_source_lost(ERROR_RETRY);
    cr_assert_eq(rig.sink.holds, 1, "the lease is over");
    rig_unready("");
    rig_encoder_ready(); /* somebody else may publish */
    rig_assert_sent("");
    rig.source.source.proof = PROOF_ALONE;
    rig_locked();
    rig_settle_all();
    rig_assert_acked("1");
    rig_assert_returned("2 3");
    rig.source.may_publish = true;
    rig_active();
    rig_batch("2b 3b");
    rig_assert_sent("2 3");
    cr_assert_null(rig.pipeline->parking->holds);
}

Test(pipeline_encoder, that_waits_for_a_standby_waits_for_nobody)
{
    run_unready("1", true);
    rig_batch("1a");
    rig_source_lost(ERROR_RETRY);
    rig_standby();
    cr_assert_null(rig.pipeline->parking->holds);
    rig_encoder_ready();
    rig_assert_sent("");
    rig_assert_state(PIPELINE_STANDBY);
}

Test(pipeline_encoder, that_waits_during_a_purge_keeps_the_order_of_its_topic)
{
    rig.config.claim.backoff_min_ms = rig.config.claim.backoff_max_ms = 1;
    rig.sink.purge_at_once = true;
    run_unready("3", true);
    rig_batch("1a 2b+ 3a 4a 5b+");
    rig_assert_sent("1 2 5");
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(1, &err);
    rig_wait(&rig.sink.held_count, 3);
    rig_assert_sent("1 2 5");
    rig_unready("");
    rig_encoder_ready();
    rig_assert_sent("3 4");
    rig_settle_all();
    rig_assert_acked("1 2 3 4 5");
}

Test(pipeline_encoder, that_was_ready_during_a_purge_is_asked_when_all_has_settled)
{
    rig.config.claim.backoff_min_ms = rig.config.claim.backoff_max_ms = 1;
    run_unready("2", true);
    rig_batch("1a 2a 3c+");
    rig_assert_sent("1 3");
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(1, &err);
    rig_assert_state(PIPELINE_REWINDING);
    rig_unready("");
    rig_encoder_ready();
    rig_assert_sent("");
    rig_settle(3, NULL);
    rig_wait(&rig.sink.held_count, 2);
    rig_assert_sent("1 2");
    rig_settle_all();
    rig_assert_acked("1 2 3");
}

Test(pipeline_encoder, that_is_ready_while_paused_is_asked_after_resume)
{
    run_unready("1", true);
    rig_batch("1a 2a");
    pipeline_pause(rig.pipeline, true);
    rig_unready("");
    rig_encoder_ready();
    rig_assert_sent("");
    pipeline_pause(rig.pipeline, false);
    rig_turn();
    rig_assert_sent("1 2");
}

Test(pipeline_encoder, of_a_missing_topic_waits_for_the_topic)
{
    rig.sink.missing = "other.events";
    run_unready("2", true);
    rig_batch("1a+ 2a+");
    cr_assert_eq(rig_waiting().reason->code, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_assert_parked("1 2");
    rig_encoder_ready();
    cr_assert_eq(rig.source.rereads, 0, "nothing waits for the encoder");
    rig.sink.missing = NULL;
    rig_found("other.events");
    rig_batch("1a+ 2a+");
    rig_assert_sent("1");
    rig_unready("");
    rig_encoder_ready();
    rig_assert_sent("2");
}

Test(pipeline_encoder, whose_topic_is_missing_afterwards_waits_for_that)
{
    rig.sink.missing = "other.events";
    run_unready("1", true);
    rig_batch("1a+ 2a+");
    cr_assert_null(rig_waiting().reason);
    rig_missing("other.events"); /* the encoder is what it waits for */
    rig_found("other.events");
    rig_assert_sent("");
    rig_unready("");
    rig_encoder_ready();
    cr_assert_eq(rig_waiting().reason->code, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_assert_parked("1 2");
}

Test(pipeline_encoder, that_waits_for_a_row_which_is_tried_does_not_let_others_pass)
{
    run_unready("", true);
    rig_batch("1a! 2a");
    rig_assert_parked("1 2");
    rig.pipeline->waiting->reread_at_us = 0;
    pipeline_watch_held_rows(rig.pipeline, clock_monotonic_us() + INT64_C(1000000) * 1000000);
    pipeline_reread_when_due(rig.pipeline);
    rig_turn();
    rig_unready("1");
    rig_batch("1a 2a 3b+");
    rig_assert_sent("3");
    cr_assert_eq(rig.pipeline->parking->rows, 0);
    rig_unready("");
    rig_encoder_ready();
    rig_assert_sent("1 2");
}

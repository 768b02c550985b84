/* Events whose topic is missing: parked in their rows where the source can do that, else in memory.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "rig.h"

TestSuite(pipeline_wait, .init = rig_prepare, .fini = rig_end, .timeout = 20);

static void run_with_missing(bool may_park)
{
    rig.source.may_park = may_park;
    rig.sink.missing = "other.events";
    rig_run();
}

static PipelineView view(void)
{
    PipelineView now;
    pipeline_view(rig.pipeline, &now);
    return now;
}

static void assert_waiting(size_t events, const char *topic)
{
    cr_assert_eq(rig_waiting().events, events, "%zu, not %zu", rig_waiting().events, events);
    cr_assert_str_eq(rig_waiting().topic, topic);
}

Test(pipeline_wait, events_of_a_missing_topic_are_parked_and_the_others_go_on)
{
    run_with_missing(true);
    rig_batch("1a 2b+ 3c 4d+");
    rig_assert_sent("1 3");
    rig_settle_all();
    rig_assert_acked("1 3");
    rig_assert_parked("2 4");
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_error(CODE_NONE);
    assert_waiting(2, "other.events");
    cr_assert_eq(rig_waiting().topics, 1);
    cr_assert_eq(rig_waiting().reason->code, CODE_KAFKA_TOPIC_UNKNOWN);
    cr_assert_eq(view().in_flight_events, 0, "they take no room");
}

Test(pipeline_wait, a_topic_is_asked_of_the_sink_once)
{
    run_with_missing(true);
    rig_batch("1a+ 2b+ 3c+");
    cr_assert_eq(rig.sink.attempts, 1);
    rig_assert_parked("1 2 3");
}

Test(pipeline_wait, a_topic_that_is_there_makes_the_source_read_from_the_beginning)
{
    run_with_missing(true);
    rig_batch("1a 2b+ 3c 4d+");
    rig_settle_all();
    rig_assert_sent("1 3");
    rig.sink.missing = NULL;
    rig_found("other.events");
    cr_assert_eq(rig.source.rereads, 1);
    rig_assert_state(PIPELINE_RUNNING);
    assert_waiting(0, "");
    rig_batch("2b+ 4d+ 5b+ 6a");
    rig_assert_sent("2 4 5 6");
    rig_settle_all();
    rig_assert_acked("1 3 2 4 5 6");
}

Test(pipeline_wait, no_event_overtakes_those_that_are_parked)
{
    run_with_missing(true);
    rig_batch("1a+");
    rig.sink.missing = NULL; /* the sink would take it again */
    rig_batch("2a+ 3b");
    rig_assert_sent("3");
    rig_settle_all();
    rig_assert_parked("1 2");
}

Test(pipeline_wait, a_rewind_waits_for_the_reports_and_takes_nothing_back)
{
    run_with_missing(true);
    rig_batch("1a+");
    rig_batch("2b 3c+");
    rig.sink.missing = NULL;
    rig_found("other.events");
    rig_assert_state(PIPELINE_REWINDING);
    cr_assert_eq(rig.sink.purges, 0);
    cr_assert_eq(rig.source.rereads, 0);
    rig_settle(2, NULL);
    cr_assert_eq(rig.source.rereads, 1);
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_acked("2");
}

Test(pipeline_wait, a_topic_that_vanishes_under_load_stalls_nobody)
{
    rig.source.may_park = true;
    rig_run();
    rig_batch("1a+ 2b 3c+ 4d");
    rig_assert_sent("1 2 3 4");
    rig.sink.missing = "other.events";
    rig.sink.purge_at_once = true;
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(1, &err);
    rig_wait(&rig.sink.held_count, 1);
    rig_assert_sent("2 4");
    rig_settle_all();
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_error(CODE_NONE);
    rig_assert_acked("2 4");
    rig_assert_parked("1 3");
}

Test(pipeline_wait, a_trouble_that_became_a_hold_is_no_trouble_any_more)
{
    rig.source.may_park = true;
    rig_run();
    rig_batch("1a+");
    rig.sink.missing = "other.events";
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(1, &err);
    rig_wait(&rig.source.parked_count, 1);
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_error(CODE_NONE);
}

Test(pipeline_wait, without_rows_to_wait_in_they_wait_in_memory_and_the_others_go_on)
{
    run_with_missing(false);
    rig_batch("1a 2b+ 3c");
    rig_batch("4d+ 5e");
    rig_assert_sent("1 3 5");
    rig_settle_all();
    rig_assert_acked("");
    assert_waiting(2, "other.events");
    rig.sink.missing = NULL;
    rig_found("other.events");
    rig_assert_sent("2 4");
    rig_settle_all();
    rig_assert_acked("1 2 3 4 5");
    assert_waiting(0, "");
    cr_assert_eq(rig.source.rereads, 0);
}

Test(pipeline_wait, when_they_take_all_the_room_that_is_said)
{
    rig.config.limits.in_flight_events = 3;
    run_with_missing(false);
    rig_batch("1a+ 2b+ 3c+");
    rig_assert_state(PIPELINE_RUNNING);
    size_t stalled = 0;
    for (rig.changes = 0; stalled == 0;) {
        rig_wait(&rig.changes, rig.changes + 1);
        stalled = view().state == PIPELINE_STALLED;
    }
    rig_assert_error(CODE_WAITING_EVENTS_FULL);
    cr_assert_not_null(
        strstr(error_message(view().error), error_code_name(CODE_KAFKA_TOPIC_UNKNOWN)));
    rig.sink.missing = NULL;
    rig_found("other.events");
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_error(CODE_NONE);
    rig_assert_sent("1 2 3");
}

Test(pipeline_wait, when_the_source_waits_for_them_that_is_said)
{
    run_with_missing(false);
    rig_batch("1a+ 2b+");
    rig_settle_all();
    pipeline_watch_waiting(rig.pipeline);
    rig_assert_state(PIPELINE_RUNNING);
    rig.source.stands = true;
    pipeline_watch_waiting(rig.pipeline);
    rig_assert_state(PIPELINE_STALLED);
    rig_assert_error(CODE_WAITING_EVENTS_FULL);
    cr_assert_not_null(strstr(error_message(view().error), "before the WAL that follows"));
    cr_assert_not_null(
        strstr(error_message(view().error), error_code_name(CODE_KAFKA_TOPIC_UNKNOWN)));
    rig.sink.missing = NULL;
    rig_found("other.events");
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_error(CODE_NONE);
}

Test(pipeline_wait, what_has_no_row_is_read_again_and_waits_in_memory)
{
    run_with_missing(true);
    rig_batch("1a 2b+");
    rig_settle_all();
    rig_assert_parked("2");
    rig.source.may_park = false;
    rig.source.source.events.wants_reread(rig.source.source.events.arg);
    rig_turn();
    cr_assert_eq(rig.source.rereads, 1);
    assert_waiting(0, "");
    rig_batch("2b+ 3a");
    rig_settle_all();
    rig_assert_sent("1 3");
    assert_waiting(1, "other.events");
    rig.sink.missing = NULL;
    rig_found("other.events");
    rig_settle_all();
    rig_assert_acked("1 2 3");
    cr_assert_eq(rig.source.rereads, 1);
    assert_waiting(0, "");
}

Test(pipeline_wait, rows_that_somebody_deleted_are_waited_for_no_longer)
{
    run_with_missing(true);
    rig_batch("1a+ 2b+");
    assert_waiting(2, "other.events");
    pipeline_watch_waiting(rig.pipeline);
    cr_assert_gt(rig.pipeline->waiting->recount_at_us, 0);
    cr_assert_eq(rig.source.rereads, 0, "not soon");
    rig.pipeline->waiting->recount_at_us = 1;
    pipeline_watch_waiting(rig.pipeline);
    rig_turn();
    cr_assert_eq(rig.source.rereads, 1);
    assert_waiting(0, "");
    rig_batch("2b+");
    assert_waiting(1, "other.events");
    cr_assert_eq(rig.sink.attempts, 1, "the topic is held still");
}

Test(pipeline_wait, a_lost_source_forgets_what_is_parked_and_reads_it_again)
{
    run_with_missing(true);
    rig_batch("1a 2b+");
    rig_settle_all();
    assert_waiting(1, "other.events");
    rig_source_lost(ERROR_RETRY);
    rig_take_over();
    assert_waiting(0, "");
    rig_batch("2b+");
    rig_assert_parked("2");
    assert_waiting(1, "other.events");
}

Test(pipeline_wait, a_batch_that_comes_back_counts_its_parked_events_once)
{
    run_with_missing(true);
    rig_batch("1a+ 2b 3c+");
    rig_assert_sent("2");
    rig_source_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_REWINDING);
    AUTO_ERROR purged = rig_error(ERROR_RETRY, CODE_SINK_PURGED);
    rig_settle(2, &purged);
    rig_assert_returned("2 3");
    rig_assert_parked("1");
    assert_waiting(1, "other.events");
    rig_take_over();
    rig_batch("1a+ 2b 3c+");
    assert_waiting(2, "other.events");
}

Test(pipeline_wait, a_standby_waits_for_nothing)
{
    run_with_missing(true);
    rig_batch("1a+");
    rig_source_lost(ERROR_RETRY);
    rig_standby();
    rig_assert_state(PIPELINE_STANDBY);
    assert_waiting(0, "");
}

Test(pipeline_wait, stopping_leaves_them_in_their_rows)
{
    run_with_missing(true);
    rig_batch("1a+ 2b");
    rig_stop();
    rig_settle_all();
    rig_drained();
    rig_assert_state(PIPELINE_STOPPED);
    rig_assert_acked("2");
    rig_assert_parked("1");
}

Test(pipeline_wait, a_short_absence_makes_no_dead_letters)
{
    rig.config.route.on_missing_topic = ON_MISSING_TOPIC_DEAD_LETTER;
    run_with_missing(true);
    rig_batch("1a+");
    rig_missing("other.events");
    rig_missing("other.events");
    rig_assert_parked("1");
    cr_assert_eq(rig.source.rereads, 0);
    cr_assert_eq(rig.source.aside_count, 0);
}

static void let_a_minute_pass(const char *topic)
{
    for (Hold *hold = rig.pipeline->parking->holds; hold != NULL; hold = hold->next) {
        if (strcmp(hold->topic->name, topic) == 0 && hold->missing_us != 0) {
            hold->missing_us -= PARKING_MISSING_SECONDS * INT64_C(1000000);
        }
    }
}

Test(pipeline_wait, after_a_minute_they_are_set_aside_by_the_policy_alone)
{
    rig.config.route.on_missing_topic = ON_MISSING_TOPIC_DEAD_LETTER;
    run_with_missing(true);
    rig_batch("1a+ 2b");
    rig_settle_all();
    rig_missing("other.events");
    let_a_minute_pass("other.events");
    rig_missing("other.events");
    cr_assert_eq(rig.source.rereads, 1, "they come again, in order");
    rig_batch("1a+ 3c+ 4d");
    cr_assert_eq(rig.source.aside_count, 2);
    cr_assert_eq(rig.source.aside_reason.code, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_assert_sent("2 4");
    rig_aside_done();
    rig_aside_done();
    rig_settle_all();
    rig_assert_acked("2 1 3 4");
    rig.sink.missing = NULL;
    rig_found("other.events");
    rig_batch("5a+");
    rig_assert_sent("5");
}

Test(pipeline_wait, brokers_that_were_away_start_the_minute_again)
{
    rig.config.route.on_missing_topic = ON_MISSING_TOPIC_DEAD_LETTER;
    run_with_missing(true);
    rig_batch("1a+");
    rig_missing("other.events");
    let_a_minute_pass("other.events");
    rig.sink.answers = false;
    rig_trouble(ERROR_RETRY);
    rig.sink.answers = true;
    rig_healed();
    rig_missing("other.events");
    cr_assert_eq(rig.source.rereads, 0);
    let_a_minute_pass("other.events");
    rig_missing("other.events");
    cr_assert_eq(rig.source.rereads, 1);
}

Test(pipeline_wait, by_default_they_wait_for_ever)
{
    run_with_missing(true);
    rig_batch("1a+");
    rig_missing("other.events");
    let_a_minute_pass("other.events");
    rig_missing("other.events");
    cr_assert_eq(rig.source.rereads, 0);
    assert_waiting(1, "other.events");
}

Test(pipeline_wait, those_that_wait_in_memory_are_set_aside_from_there)
{
    rig.config.route.on_missing_topic = ON_MISSING_TOPIC_DEAD_LETTER;
    run_with_missing(false);
    rig_batch("1a+ 2b");
    rig_missing("other.events");
    let_a_minute_pass("other.events");
    rig_missing("other.events");
    cr_assert_eq(rig.source.aside_count, 1);
    assert_waiting(0, "");
}

Test(pipeline_wait, a_topic_that_no_event_needs_matters_to_nobody)
{
    run_with_missing(true);
    rig_batch("1a");
    rig_missing("order.events");
    assert_waiting(0, "");
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_error(CODE_NONE);
}

Test(pipeline_wait, a_producer_that_may_write_nothing_names_the_topic)
{
    rig.source.may_park = true;
    rig_run();
    rig_batch("1a+");
    rig_sink_lost(ERROR_RETRY);
    rig_reopened();
    rig_assert_state(PIPELINE_STALLED);
    rig_assert_error(CODE_KAFKA_PRODUCER_FATAL);
    rig_missing("other.events");
    rig_assert_error(CODE_KAFKA_PRODUCER_FATAL); /* that one is unknown: it need not be the cause */
    rig_denied("other.events");
    rig_assert_error(CODE_KAFKA_TOPIC_DENIED);
}

/* While a refused request is taken apart, groups are sent, and the next one waits for reports. */
Test(pipeline_wait, a_group_of_events_that_wait_is_followed_by_the_next_one)
{
    enum { MANY = 1500 };
    AUTO_BUFFER rows = TEXT_EMPTY;
    for (int seq = 1; seq <= MANY; seq++) {
        text_printf(&rows, "%da+ ", seq);
    }
    text_printf(&rows, "%db", MANY + 1);
    run_with_missing(true);
    rig.pipeline->isolate->careful = 8;
    rig_batch(text_string(&rows));
    assert_waiting(MANY, "other.events");
    rig_assert_sent("1501");
}

Test(pipeline_wait, a_suspect_that_waits_in_memory_does_not_keep_others_in_groups)
{
    rig.source.may_park = false;
    rig_run();
    rig_batch("1a+");
    isolate_refused(rig.pipeline->isolate, rig.sink.held[0], 1);
    rig.pipeline->isolate->careful = 0;
    rig.sink.missing = "other.events";
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(1, &err);
    rig_wait(&rig.sink.attempts, 2);
    rig_turn();
    assert_waiting(1, "other.events");
    cr_assert_not(isolate_active(rig.pipeline->isolate));
}

Test(pipeline_wait, names_beyond_the_bound_wait_and_the_known_ones_go_on)
{
    rig.source.may_park = true;
    rig_run();
    rig_batch("1a");
    for (int i = 1; i < TOPICS_MAX; i++) {
        char name[32];
        Topic *topic = NULL;
        snprintf(name, sizeof(name), "topic-%d", i);
        cr_assert_eq(topics_get(rig.pipeline->parts->topics, slice_of(name), &topic, NULL), OK);
    }
    rig_batch("2b+ 3c");
    rig_assert_sent("1 3");
    rig_assert_state(PIPELINE_RUNNING);
    cr_assert_eq(rig_waiting().reason->code, CODE_TOPICS_TOO_MANY);
    cr_assert_not_null(strstr(error_message(rig_waiting().reason), "other.events"));
    assert_waiting(1, "(topics above the limit)");
    rig_settle_all();
    /* An hour later most of them were not used again. */
    int64_t later_us =
        rig.pipeline->window->progress_us + (TOPIC_IDLE_SECONDS + 1) * INT64_C(1000000);
    topics_pass_time(rig.pipeline->parts->topics, later_us);
    rig_batch("4a");
    rig_settle_all();
    pipeline_watch_beyond(rig.pipeline);
    rig_turn();
    cr_assert_eq(rig.source.rereads, 1);
    rig_batch("2b+");
    rig_assert_sent("4 2");
}

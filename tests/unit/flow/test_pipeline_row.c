/* Rows that cannot be published as they are: each holds back the events of its topic, and is tried
 * again. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "rig.h"
#include "stub/given_schema.h"

TestSuite(pipeline_row, .init = rig_prepare, .fini = rig_end, .timeout = 20);

static PipelineView view(void)
{
    PipelineView now;
    pipeline_view(rig.pipeline, &now);
    return now;
}

static void assert_held(const char *topic, ErrorCode code, int64_t seq)
{
    char name[32];
    snprintf(name, sizeof(name), "seq %lld,", (long long)seq);
    cr_assert_not_null(rig_waiting().reason, "nothing is held");
    cr_assert_str_eq(rig_waiting().topic, topic);
    cr_assert_eq(rig_waiting().reason->code, code);
    cr_assert_not_null(strstr(error_message(rig_waiting().reason), name), "%s",
                       error_message(rig_waiting().reason));
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_error(CODE_NONE);
}

static void assert_nothing_held(void)
{
    cr_assert_null(rig_waiting().reason);
    cr_assert_eq(rig_waiting().events, 0);
    cr_assert_eq(rig.pipeline->parking->rows, 0);
    cr_assert_eq(rig.pipeline->parking->trying, 0);
}

static void run(bool may_park)
{
    rig.source.may_park = may_park;
    rig_run();
}

static void let_time_pass(void)
{
    rig.pipeline->waiting->reread_at_us = 0;
    pipeline_watch_held_rows(rig.pipeline, clock_monotonic_us() + INT64_C(1000000) * 1000000);
    pipeline_reread_when_due(rig.pipeline);
    rig_turn();
}

static void row_looks(int64_t seq, uint64_t look)
{
    EventRow row = {.seq = seq, .id = event_id_hash(SLICE_NULL)};
    rig.pipeline->waiting->reread_at_us = 0;
    rig.source.source.events.row_looks(rig.source.source.events.arg, row, look);
    pipeline_reread_when_due(rig.pipeline);
    rig_turn();
}

Test(pipeline_row, holds_back_what_is_behind_it_in_its_topic_and_the_others_go_on)
{
    run(true);
    rig_batch("1a 2b! 3a 4c+ 5b");
    rig_assert_sent("1 4");
    rig_settle_all();
    rig_assert_acked("1 4");
    rig_assert_parked("2 3 5");
    assert_held("order.events", CODE_HEADERS_INVALID, 2);
    cr_assert_eq(rig_waiting().events, 3);
    cr_assert_eq(rig_waiting().topics, 1);
    cr_assert_eq(view().in_flight_events, 0, "they take no room");
    cr_assert_not_null(strstr(error_own_hint(rig_waiting().reason), "dead_letter"));
    cr_assert_not_null(strstr(error_own_hint(rig_waiting().reason), "row is corrected or deleted"));
    pipeline_collect(rig.pipeline);
    cr_assert_eq((int)*rig.stats.now->held_rows, 1);
}

Test(pipeline_row, that_the_sink_refuses_holds_its_topic)
{
    rig.sink.poison_seq = 2;
    run(true);
    rig_batch("1a 2b 3a 4c+");
    rig_assert_sent("1 4");
    assert_held("order.events", CODE_RECORD_TOO_LARGE, 2);
}

Test(pipeline_row, without_a_topic_holds_its_aggregate_type_alone)
{
    run(true);
    rig_batch("1a 2b? 3a 4c+ 5b?+ 6d+");
    rig_assert_sent("1 4");
    rig_settle_all();
    rig_assert_parked("2 3 5 6");
    cr_assert_eq(rig_waiting().topics, 2);
    assert_held("(aggregate type order)", CODE_EVENT_UNROUTED, 2);
}

Test(pipeline_row, that_was_mended_is_published_with_all_that_waited_in_order)
{
    run(true);
    rig_batch("1a 2b! 3a 4b");
    rig_settle_all();
    rig_assert_sent("1");
    row_looks(2, 77);
    cr_assert_eq(rig.source.rereads, 0, "it is the first look");
    row_looks(2, 77);
    cr_assert_eq(rig.source.rereads, 0);
    row_looks(2, 78);
    cr_assert_eq(rig.source.rereads, 1, "somebody has changed it");
    rig_batch("2b 3a 4b 5a");
    rig_assert_sent("2 3 4 5");
    cr_assert_not_null(rig_waiting().reason, "what is not acknowledged proves nothing");
    rig_settle_all();
    rig_assert_acked("1 2 3 4 5");
    assert_nothing_held();
}

Test(pipeline_row, that_was_removed_holds_nothing_any_more)
{
    run(true);
    rig_batch("1a 2b! 3a");
    rig_settle_all();
    rig_assert_sent("1");
    row_looks(2, 77);
    row_looks(2, SOURCE_ROW_GONE);
    cr_assert_eq(rig.source.rereads, 1);
    rig_batch("3a");
    rig_assert_sent("3");
    rig_settle_all();
    assert_nothing_held();
}

Test(pipeline_row, that_was_removed_with_nothing_behind_it_is_forgotten_by_a_look)
{
    run(true);
    rig_batch("2b!");
    row_looks(2, 77);
    row_looks(2, SOURCE_ROW_GONE);
    cr_assert_eq(rig.source.rereads, 1);
    size_t looks = rig.source.looks;
    let_time_pass();
    cr_assert_eq(rig.source.looks, looks + 1, "it is asked for while it is tried");
    cr_assert_not_null(rig_waiting().reason, "it may still come");
    row_looks(2, 79);
    cr_assert_not_null(rig_waiting().reason, "it is there");
    rig.source.source.events.row_looks(
        rig.source.source.events.arg,
        (EventRow){.seq = 2, .id = event_id_hash(SLICE_LITERAL("another"))}, SOURCE_ROW_GONE);
    cr_assert_not_null(rig_waiting().reason, "that is another row");
    row_looks(2, SOURCE_ROW_GONE);
    cr_assert_not_null(rig_waiting().reason, "what was read before this look may still bring it");
    row_looks(2, SOURCE_ROW_GONE);
    assert_nothing_held();
}

Test(pipeline_row, that_is_gone_but_came_again_before_is_judged_by_that)
{
    run(true);
    rig_batch("2b!");
    let_time_pass();
    rig.sink.next = SEND_FULL;
    rig_batch("2b");
    row_looks(2, SOURCE_ROW_GONE);
    cr_assert_not_null(rig_waiting().reason, "it is on its way");
    rig.sink.sink.events.ready(rig.sink.sink.events.arg);
    rig_turn();
    rig_settle_all();
    assert_nothing_held();
}

Test(pipeline_row, that_no_look_can_tell_of_is_forgotten_after_a_while)
{
    rig.source.untold = true;
    run(true);
    rig_batch("2b!");
    let_time_pass();
    cr_assert_eq(rig.source.rereads, 1);
    pipeline_watch_held_rows(rig.pipeline, clock_monotonic_us() + 9 * INT64_C(1000000));
    cr_assert_not_null(rig_waiting().reason, "it may still come");
    let_time_pass();
    assert_nothing_held();
}

Test(pipeline_row, whose_topic_is_another_now_holds_that_one_alone)
{
    run(true);
    rig_batch("2b! 3a");
    let_time_pass();
    rig_batch("2b+! 3a");
    rig_assert_sent("3");
    rig_settle_all();
    assert_held("other.events", CODE_HEADERS_INVALID, 2);
    cr_assert_eq(rig.pipeline->parking->rows, 1);
}

Test(pipeline_row, of_many_each_is_looked_at_in_its_turn)
{
    run(true);
    AUTO_ERROR err = rig_error(ERROR_POISON, CODE_EVENT_UNROUTED);
    enum { ROWS = SOURCE_LOOKS_MAX * 5 / 2 };
    Topic *topics[ROWS];
    AUTO(Batch, batch_free) batch = batch_new();
    Event *event = batch_add(batch, given_schema(0));
    for (int64_t i = 0; i < ROWS; i++) {
        topics[i] = x_calloc(1, sizeof(*topics[i]));
        topics[i]->name = x_format("topic %d", (int)i);
        event->seq = i;
        parking_hold_row(rig.pipeline->parking, topics[i], event, &err)->row->in_row = true;
    }
    bool seen[ROWS] = {false};
    for (int64_t i = 1; i <= 3; i++) {
        pipeline_watch_held_rows(rig.pipeline, clock_monotonic_us() + i * INT64_C(3000000));
        for (size_t at = 0; at < rig.source.looked_at_count; at++) {
            cr_assert_not(seen[rig.source.looked_at[at].seq]);
            seen[rig.source.looked_at[at].seq] = true;
        }
    }
    for (size_t i = 0; i < ROWS; i++) {
        cr_assert(seen[i], "%zu", i);
    }
    parking_clear(rig.pipeline->parking);
    for (size_t i = 0; i < ROWS; i++) {
        free(topics[i]->name);
        free(topics[i]);
    }
}

Test(pipeline_row, that_is_as_bad_as_before_goes_on_holding_as_if_nothing_was)
{
    run(true);
    rig_batch("1a 2b! 3a");
    rig_settle_all();
    rig_assert_sent("1");
    int64_t since_us = rig_waiting().since_us;
    for (unsigned tries = 1; tries <= 3; tries++) {
        let_time_pass();
        cr_assert_eq(rig.source.rereads, tries);
        cr_assert_not_null(rig_waiting().reason, "not even for a moment");
        rig_batch("2b! 3a");
        rig_assert_parked("2 3");
        assert_held("order.events", CODE_HEADERS_INVALID, 2);
        cr_assert_eq(rig_waiting().since_us, since_us);
        cr_assert_eq(rig.pipeline->parking->holds->row->tries, tries);
    }
    rig_assert_sent("");
}

Test(pipeline_row, that_comes_late_is_held_all_the_time_however_slow_the_reread_is)
{
    run(true);
    rig_batch("1a 2b! 3a");
    rig_settle_all();
    int64_t since_us = rig_waiting().since_us;
    let_time_pass();
    cr_assert_eq(rig.source.rereads, 1);
    for (int i = 0; i < 3; i++) {
        let_time_pass();
        cr_assert_not_null(rig_waiting().reason, "it has not come yet, that is all");
        cr_assert_eq(rig.pipeline->parking->rows, 1);
    }
    rig_batch("2b! 3a");
    assert_held("order.events", CODE_HEADERS_INVALID, 2);
    cr_assert_eq(rig_waiting().since_us, since_us, "it is the same hold");
    cr_assert_eq(rig.pipeline->parking->holds->row->tries, 1);
}

Test(pipeline_row, is_tried_again_ever_more_rarely)
{
    run(true);
    rig_batch("2b!");
    int64_t now_us = clock_monotonic_us();
    pipeline_watch_held_rows(rig.pipeline, now_us + INT64_C(4) * 1000000);
    cr_assert_not(rig.pipeline->waiting->reread_wanted);
    rig.pipeline->parking->holds->row->tries = 5;
    pipeline_watch_held_rows(rig.pipeline, now_us + INT64_C(150) * 1000000);
    cr_assert_not(rig.pipeline->waiting->reread_wanted);
    rig.pipeline->parking->holds->row->tries = 40;
    pipeline_watch_held_rows(rig.pipeline, now_us + INT64_C(310) * 1000000);
    cr_assert(rig.pipeline->waiting->reread_wanted, "the interval is bounded");
}

Test(pipeline_row, is_looked_at_every_few_seconds)
{
    run(true);
    rig_batch("2b! 3a! 4c+!");
    int64_t now_us = clock_monotonic_us();
    pipeline_watch_held_rows(rig.pipeline, now_us);
    pipeline_watch_held_rows(rig.pipeline, now_us + 1);
    cr_assert_eq(rig.source.looks, 1);
    cr_assert_eq(rig.source.looked_at_count, 2, "one for each topic");
    cr_assert_eq(rig.source.looked_at[0].seq, 2);
    cr_assert_eq(rig.source.looked_at[1].seq, 4);
    cr_assert_eq(rig.source.looked_at[1].id, event_id_hash(SLICE_NULL));
    pipeline_watch_held_rows(rig.pipeline, now_us + INT64_C(3) * 1000000);
    cr_assert_eq(rig.source.looks, 2);
}

Test(pipeline_row, behind_another_of_its_topic_takes_over)
{
    run(true);
    rig_batch("1a! 2b 3c! 4d");
    rig_assert_parked("1 2 3 4");
    let_time_pass();
    rig_batch("1a 2b 3c! 4d");
    rig_assert_sent("1 2");
    assert_held("order.events", CODE_HEADERS_INVALID, 3);
    rig_settle_all();
    rig_assert_acked("1 2");
    assert_held("order.events", CODE_HEADERS_INVALID, 3);
    let_time_pass();
    rig_batch("3c 4d");
    rig_settle_all();
    rig_assert_sent("3 4");
    assert_nothing_held();
}

Test(pipeline_row, is_tried_when_the_topic_takes_more)
{
    rig.sink.poison_seq = 2;
    run(true);
    rig_batch("1a 2b 3a");
    rig_settle_all();
    rig_assert_sent("1");
    rig.sink.poison_seq = -1;
    rig_found("order.events");
    cr_assert_eq(rig.source.rereads, 1);
    rig_batch("2b 3a");
    rig_assert_sent("2 3");
    rig_settle_all();
    assert_nothing_held();
}

Test(pipeline_row, that_cannot_wait_in_its_row_waits_in_memory)
{
    rig.sink.poison_seq = 2;
    run(false);
    rig_batch("1a 2b 3a 4c+");
    rig_assert_sent("1 4");
    rig_settle_all();
    rig_assert_acked("");
    assert_held("order.events", CODE_RECORD_TOO_LARGE, 2);
    const char *hint = error_own_hint(rig_waiting().reason);
    cr_assert_null(strstr(hint, "row is corrected"), "the log cannot be");
    AUTO_ERROR bare = rig_error(ERROR_POISON, CODE_RECORD_TOO_LARGE);
    cr_assert_eq(strncmp(hint, error_remedy(&bare), strlen(error_remedy(&bare))), 0,
                 "the remedy of the code is the first thing that is said: %s", hint);
    let_time_pass();
    rig_assert_sent("");
    assert_held("order.events", CODE_RECORD_TOO_LARGE, 2);
    rig.sink.poison_seq = -1;
    rig_found("order.events");
    rig_assert_sent("2 3");
    rig_settle_all();
    rig_assert_acked("1 2 3 4");
    assert_nothing_held();
    cr_assert_eq(rig.source.rereads, 0);
}

Test(pipeline_row, whose_topic_vanishes_while_it_is_tried_waits_for_the_topic)
{
    run(true);
    rig_batch("1a+!");
    let_time_pass();
    rig.sink.missing = "other.events";
    rig_batch("1a+ 2b+");
    rig_assert_parked("1 2");
    cr_assert_eq(rig_waiting().reason->code, CODE_KAFKA_TOPIC_UNKNOWN);
    cr_assert_eq(rig.pipeline->parking->rows, 0);
    rig.sink.missing = NULL;
    rig.pipeline->waiting->reread_at_us = 0;
    rig_found("other.events");
    rig_batch("1a+ 2b+");
    rig_assert_sent("1 2");
}

Test(pipeline_row, of_a_missing_topic_waits_for_that)
{
    rig.sink.missing = "other.events";
    run(true);
    rig_batch("1a+ 2b+!");
    rig_assert_parked("1 2");
    cr_assert_eq(rig_waiting().reason->code, CODE_KAFKA_TOPIC_UNKNOWN);
}

Test(pipeline_row, survives_a_lost_source)
{
    run(true);
    rig_batch("1a 2b! 3a");
    rig_settle_all();
    rig_source_lost(ERROR_RETRY);
    rig_take_over();
    rig_batch("2b! 3a");
    assert_held("order.events", CODE_HEADERS_INVALID, 2);
    rig_assert_sent("1");
    rig_assert_parked("2 3");
}

Test(pipeline_row, does_not_keep_a_standby_unready)
{
    run(true);
    rig_batch("2b!");
    rig_source_lost(ERROR_RETRY);
    rig_standby();
    assert_nothing_held();
}

Test(pipeline_row, is_left_where_it_is_by_a_stop)
{
    run(true);
    rig_batch("1a 2b! 3a");
    rig_stop();
    rig_settle_all();
    rig_drained();
    rig_assert_state(PIPELINE_STOPPED);
    rig_assert_acked("1");
    rig_assert_parked("2 3");
}

/* Dead letters that cannot be stored. */

static void run_with_letters(bool may_park)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    run(may_park);
}

Test(pipeline_row, whose_dead_letter_cannot_be_stored_holds_its_topic)
{
    run_with_letters(true);
    rig_batch("1a 2b! 3c+");
    rig_settle_all();
    rig_aside_refused();
    rig_assert_acked("1 3");
    rig_assert_parked("2");
    assert_held("order.events", CODE_DEAD_LETTER_REFUSED, 2);
    cr_assert_not_null(
        strstr(error_message(rig_waiting().reason), error_code_name(CODE_POSTGRES_PRIVILEGE)));
    rig_batch("4a 5b+");
    rig_assert_sent("1 3 5");
    rig_settle_all();
    rig_assert_parked("4");
}

Test(pipeline_row, whose_dead_letter_is_tried_again_holds_its_topic_until_it_is_stored)
{
    run_with_letters(true);
    rig_batch("2b!");
    rig_aside_refused();
    rig_batch("4a");
    for (unsigned tries = 1; tries <= 2; tries++) {
        let_time_pass();
        cr_assert_eq(rig.source.rereads, tries);
        rig_batch("2b! 4a");
        rig_assert_sent("");
        rig_aside_refused();
        rig_assert_parked("2 4");
        assert_held("order.events", CODE_DEAD_LETTER_REFUSED, 2);
        cr_assert_eq(rig.pipeline->parking->holds->row->tries, tries);
    }
    let_time_pass();
    rig_batch("2b! 4a");
    rig.pipeline->waiting->reread_at_us = 0;
    rig_aside_done();
    cr_assert_eq(rig.source.rereads, 4);
    rig_assert_acked("2");
    rig_batch("4a");
    rig_assert_sent("4");
    rig_settle_all();
    assert_nothing_held();
    cr_assert_eq(stats_dead_lettered(&rig.stats), 1);
}

Test(pipeline_row, whose_dead_letter_cannot_be_stored_may_wait_in_memory)
{
    run_with_letters(false);
    rig_batch("1a 2b!");
    rig_aside_refused();
    rig_batch("3a 4a+");
    rig_settle_all();
    rig_assert_acked("");
    assert_held("order.events", CODE_DEAD_LETTER_REFUSED, 2);
    let_time_pass();
    cr_assert_eq(rig.source.aside_count, 1);
    rig_assert_sent("1 4");
    rig_aside_done();
    rig_assert_sent("3");
    rig_settle_all();
    rig_assert_acked("1 2 3 4");
    assert_nothing_held();
}

Test(pipeline_row, whose_dead_letter_is_refused_during_a_stop_is_no_loss)
{
    run_with_letters(true);
    rig_batch("1a!");
    pipeline_stop(rig.pipeline);
    rig_turn();
    rig_aside_refused();
    cr_assert_geq(rig.source.drains, 1);
    rig_assert_returned("1");
}

/* Aggregate types that have no topic. */

Test(pipeline_row, of_many_aggregate_types_share_a_stand_in)
{
    run(true);
    Topics *topics = rig.pipeline->parts->topics;
    AUTO_ERROR err = rig_error(ERROR_POISON, CODE_EVENT_UNROUTED);
    AUTO(Batch, batch_free) batch = batch_new();
    Event *event = batch_add(batch, given_schema(0));
    event->seq = 1;
    char name[32];
    size_t mistaken = 0; /* for one of those that share: they are told apart by a hash */
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "type %d", i);
        Slice type = slice_of(name);
        mistaken += topics_held_type(topics, type) != NULL;
        Topic *topic = topics_of_type(topics, type);
        (void)parking_hold_row(rig.pipeline->parking, topic, event, &err);
        cr_assert_eq(topics_held_type(topics, type), topic);
        cr_assert_eq(topics_of_type(topics, type), topic);
    }
    cr_assert_leq(mistaken, 10);
    size_t holds = 0;
    for (const Hold *hold = rig.pipeline->parking->holds; hold != NULL; hold = hold->next) {
        holds++;
    }
    cr_assert_eq(holds, TOPIC_TYPES_MAX + 1);
    cr_assert_null(topics_held_type(topics, SLICE_LITERAL("innocent")));
    parking_clear(rig.pipeline->parking);
    cr_assert_null(topics_held_type(topics, SLICE_LITERAL("type 1")));
    cr_assert_str_eq(topics_of_type(topics, slice_of("new\n\xff"))->name, "(aggregate type new?"
                                                                          "?)");
    cr_assert_str_eq(topics_of_type(topics, SLICE_NULL)->name, "(aggregate type none)");
}

Test(pipeline_row, long_names_are_cut_between_two_characters)
{
    char euros[3 * 100];
    for (size_t i = 0; i < sizeof(euros); i += 3) {
        memcpy(euros + i, "\xE2\x82\xAC", 3);
    }
    Slice value = {.data = euros, .length = sizeof(euros)};
    AUTO(Batch, batch_free) batch = batch_new();
    Event *event = batch_add(batch, given_schema(0));
    event->seq = 7;
    event->row[FIELD_EVENT_ID] = value;
    event->row[FIELD_EVENT_TYPE] = value;
    event->row[FIELD_AGGREGATE_ID] = value;
    AUTO_ERROR err = {0};
    error_set(&err, CODE_HEADERS_INVALID, "no");
    pipeline_name_event(event, &err);
    cr_assert(utf8_valid(error_message(&err), strlen(error_message(&err))), "%s",
              error_message(&err));
    cr_assert_not_null(strstr(error_message(&err), "event seq 7, event_id \xE2\x82\xAC"));
}

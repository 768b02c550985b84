/* The way of an event through the pipeline: acknowledgement, back-pressure, poison, policies. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "rig.h"
#include "stub/given_schema.h"

TestSuite(pipeline_send, .init = rig_prepare, .fini = rig_end);

/* Acknowledgement. */

Test(pipeline_send, events_leave_in_the_order_of_batches)
{
    rig_run();
    rig_batch("1a 2b 3a");
    rig_batch("5b 6a");
    rig_assert_sent("1 2 3 5 6");
    cr_assert_str_eq(rig.sink.topic, "order.events");
    cr_assert_geq(rig.sink.flushes, 2);
}

Test(pipeline_send, only_a_contiguous_prefix_of_batches_is_acknowledged)
{
    rig_run();
    rig_batch("1a 2b");
    rig_batch("3a");
    rig_batch("4a");
    rig_settle(4, NULL);
    rig_settle(3, NULL);
    rig_settle(1, NULL);
    rig_assert_acked("");
    rig_settle(2, NULL);
    rig_assert_acked("1 2 3 4");
    cr_assert_eq(rig.source.acked_batches, 3);
}

Test(pipeline_send, a_sink_may_settle_inside_send)
{
    rig.sink.settle_at_once = true;
    rig_run();
    rig_batch("1a 2b 3a");
    rig_batch("4a");
    rig_assert_sent("1 2 3 4");
    rig_assert_acked("1 2 3 4");
    PipelineView view;
    pipeline_view(rig.pipeline, &view);
    cr_assert_eq(view.in_flight_events, 0);
    cr_assert_null(view.oldest);
}

Test(pipeline_send, what_happened_is_counted)
{
    rig_run();
    rig_batch("1a 2b");
    rig_settle_all();
    cr_assert_eq(*rig.stats.read, 2);
    cr_assert_eq(*rig.stats.read_bytes, 200);
    cr_assert_eq(*rig.stats.published, 2);
    cr_assert_eq(*rig.stats.published_bytes, 2 * 3); /* key "a" and payload "{}" */
    cr_assert_eq(rig.stats.produce_latency->total, 2);
    cr_assert_eq(rig.stats.publish_latency->total, 0, "no occurred_at");
    Topic *topic = NULL;
    cr_assert_eq(
        topics_get(rig.pipeline->parts->topics, SLICE_LITERAL("order.events"), &topic, NULL), OK);
    cr_assert_eq(*topic->published, 2);
}

Test(pipeline_send, the_view_shows_what_is_open)
{
    rig_run();
    rig_batch("1a 2b");
    rig_batch("3a");
    rig.source.unmarked = 7;
    rig.source.backlog = 12;
    rig_settle(1, NULL);
    PipelineView view;
    pipeline_view(rig.pipeline, &view);
    cr_assert_eq(view.in_flight_events, 3);
    cr_assert_eq(view.in_flight_bytes, 300);
    cr_assert_eq(view.unmarked_events, 7);
    cr_assert_eq(view.oldest->seq, 2);
    cr_assert_gt(view.last_published_us, 0);
    pipeline_collect(rig.pipeline);
    cr_assert_eq(*rig.stats.now->window_events, 10);
    cr_assert_eq(*rig.stats.now->in_flight_events, 3);
    cr_assert_eq(*rig.stats.now->unmarked_events, 7);
    cr_assert_eq(*rig.stats.now->backlog_events, 12);
}

/* Back-pressure and the right to publish. */

Test(pipeline_send, a_full_sink_is_sent_nothing_until_it_is_ready)
{
    static const SendResult RESULTS[] = {SEND_FULL, SEND_WAIT};
    rig_run();
    for (int64_t i = 0; i < 2; i++) {
        rig.sink.next = RESULTS[i];
        rig_batch(i == 0 ? "1a 2a" : "3a 4a");
        rig_assert_sent("");
        size_t attempts = rig.sink.attempts;
        pipeline_wake(rig.pipeline);
        rig_turn();
        cr_assert_eq(rig.sink.attempts, attempts);
        rig_ready();
        rig_assert_sent(i == 0 ? "1 2" : "3 4");
        rig_settle_all();
    }
    rig_assert_acked("1 2 3 4");
}

Test(pipeline_send, reading_stops_at_the_limits_in_flight)
{
    rig.config.limits.in_flight_events = 5;
    rig.config.limits.in_flight_bytes = 1000;
    rig_run();
    const SourceEvents *events = &rig.source.source.events;
    size_t room = 0;
    size_t bytes = 0;
    cr_assert(events->room(events->arg, rig.source.unmarked, &room, &bytes));
    cr_assert_eq(room, 5);
    cr_assert_eq(bytes, 1000);
    rig_batch("1a 2a");
    cr_assert(events->room(events->arg, rig.source.unmarked, &room, &bytes));
    cr_assert_eq(room, 3);
    cr_assert_eq(bytes, 800);
    rig.source.unmarked = 2; /* they count, too */
    cr_assert(events->room(events->arg, rig.source.unmarked, &room, &bytes));
    cr_assert_eq(room, 1);
    rig.source.unmarked = 3;
    cr_assert_not(events->room(events->arg, rig.source.unmarked, &room, &bytes));
    rig.source.unmarked = 0;
    rig.pipeline->window->bytes_max = 200;
    cr_assert_not(events->room(events->arg, rig.source.unmarked, &room, &bytes), "bytes");
    rig_settle_all();
    cr_assert(events->room(events->arg, rig.source.unmarked, &room, &bytes));
    cr_assert_eq(bytes, 200);
}

Test(pipeline_send, there_is_no_room_unless_publishing)
{
    size_t room = 0;
    size_t bytes = 0;
    rig_begin();
    const SourceEvents *events = &rig.source.source.events;
    cr_assert_not(events->room(events->arg, rig.source.unmarked, &room, &bytes), "starting");
    events->active(events->arg);
    cr_assert(events->room(events->arg, rig.source.unmarked, &room, &bytes), "running");
    rig_trouble(ERROR_RETRY);
    cr_assert(events->room(events->arg, rig.source.unmarked, &room, &bytes),
              "stalled: the limits hold");
    rig_batch("1a");
    rig_source_lost(ERROR_RETRY);
    cr_assert_not(events->room(events->arg, rig.source.unmarked, &room, &bytes), "rewinding");
    AUTO_ERROR purged = rig_error(ERROR_RETRY, CODE_SINK_PURGED);
    rig_settle(1, &purged);
    pipeline_stop(rig.pipeline);
    cr_assert_not(events->room(events->arg, rig.source.unmarked, &room, &bytes), "draining");
}

Test(pipeline_send, the_source_is_woken_when_there_is_room_again)
{
    rig_run();
    rig_batch("1a");
    size_t wakes = rig.source.wakes;
    rig_settle(1, NULL);
    cr_assert_gt(rig.source.wakes, wakes);
    wakes = rig.source.wakes;
    rig.source.source.events.progress(rig.source.source.events.arg);
    rig_turn();
    cr_assert_gt(rig.source.wakes, wakes);
}

Test(pipeline_send, nothing_is_sent_without_the_right_to_publish)
{
    rig_run();
    rig.source.may_publish = false;
    rig_batch("1a 2a");
    rig_assert_sent("");
    cr_assert_eq(rig.sink.attempts, 0);
    rig_source_lost(ERROR_RETRY);
    rig_assert_sent("");
    rig_assert_returned("1 2");
}

static Batch *long_batch(size_t count)
{
    Batch *batch = batch_new();
    batch->position = (uint64_t)rig.source.next_position++;
    for (size_t i = 0; i < count; i++) {
        Event *event = batch_add(batch, given_schema(0));
        event->seq = (int64_t)i + 1;
        event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("order");
        event->row[FIELD_EVENT_TYPE] = SLICE_LITERAL("order.placed");
    }
    return batch;
}

Test(pipeline_send, the_right_is_asked_for_again_in_a_long_batch)
{
    rig_run();
    rig.source.source.events.batch(rig.source.source.events.arg, long_batch(1000));
    rig_turn();
    cr_assert_eq(rig.sink.sent_count, 1000);
    cr_assert_geq(rig.source.checks, 1000 / 32);
}

Test(pipeline_send, a_long_batch_leaves_the_loop_its_turn)
{
    rig_run();
    rig.source.source.events.batch(rig.source.source.events.arg, long_batch(2500));
    event_base_loop(rig.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    cr_assert_gt(rig.sink.sent_count, 0);
    cr_assert_leq(rig.sink.sent_count, 1000);
    rig_wait(&rig.sink.sent_count, 2500);
}

/* Back-off. */

Test(pipeline_send, back_off_passes_even_when_something_wakes_the_pipeline_meanwhile)
{
    rig.config.claim.backoff_min_ms = rig.config.claim.backoff_max_ms = 100;
    rig_run();
    rig_batch("1a");
    int64_t begin_us = clock_monotonic_us();
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(1, &err);
    rig_assert_state(PIPELINE_STALLED);
    rig_ready();
    rig.source.source.events.progress(rig.source.source.events.arg);
    rig_turn();
    rig_assert_sent("1");
    rig_wait(&rig.sink.sent_count, 2);
    cr_assert_geq(clock_monotonic_us() - begin_us, 50000);
    rig_assert_sent("1");
}

/* The sink is lost. */

Test(pipeline_send, a_new_producer_sends_again_what_the_old_one_held_and_counts_it)
{
    rig_run();
    rig_batch("1a 2a 3a");
    rig_settle(1, NULL);
    rig_sink_lost(ERROR_RETRY);
    rig_assert_state(PIPELINE_REWINDING);
    cr_assert_eq(rig.sink.reopens, 1);
    cr_assert_eq(*rig.stats.producers_recreated, 1);
    rig_assert_sent("1 2 3");
    rig_reopened();
    rig_wait(&rig.sink.sent_count, 5);
    rig_assert_sent("2 3");
    cr_assert_eq(*rig.stats.replayed, 2);
    rig_settle_all();
    rig_assert_acked("1 2 3");
    rig_assert_state(PIPELINE_RUNNING);
}

Test(pipeline_send, a_producer_lost_for_good_stops_the_pipeline)
{
    rig_run();
    rig_batch("1a");
    rig_sink_lost(ERROR_FATAL);
    rig_reopened();
    rig_assert_state(PIPELINE_DRAINING);
    rig_assert_returned("1");
    rig.source.source.events.drained(rig.source.source.events.arg);
    rig_turn();
    rig_assert_state(PIPELINE_FAILED);
    rig_assert_sent("1");
}

Test(pipeline_send, a_producer_lost_while_idle_leaves_no_trouble_behind)
{
    rig_run();
    rig_batch("1a");
    rig_settle(1, NULL);
    rig_sink_lost(ERROR_RETRY);
    rig_reopened();
    rig_assert_state(PIPELINE_RUNNING);
    PipelineView view;
    pipeline_view(rig.pipeline, &view);
    cr_assert_eq(view.error->class, ERROR_NONE, "%s", error_message(view.error));
}

Test(pipeline_send, missing_acknowledgements_are_said)
{
    rig_run();
    rig_batch("1a");
    rig.pipeline->window->progress_us -= 6000000;
    event_active(rig.pipeline->tick, EV_TIMEOUT, 0);
    rig_turn();
    rig_assert_state(PIPELINE_STALLED);
    PipelineView view;
    pipeline_view(rig.pipeline, &view);
    cr_assert_eq(view.error->code, CODE_KAFKA_NO_ACKNOWLEDGEMENT);
    rig_settle(1, NULL);
    rig_assert_state(PIPELINE_RUNNING);
    rig.pipeline->window->progress_us -= 60000000; /* nothing in flight: silence is no trouble */
    event_active(rig.pipeline->tick, EV_TIMEOUT, 0);
    rig_turn();
    rig_assert_state(PIPELINE_RUNNING);
}

/* Poison. */

Test(pipeline_send, poison_is_set_aside_and_the_rest_goes_on)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    rig_run();
    rig_batch("1a 2b! 3a");
    rig_assert_sent("1 3");
    rig_settle_all();
    rig_assert_acked(""); /* the dead letter is not committed yet */
    cr_assert_eq(rig.source.aside_count, 1);
    cr_assert_eq(rig.source.aside[0]->seq, 2);
    cr_assert_eq(rig.source.aside_reason.code, CODE_HEADERS_INVALID);
    cr_assert_str_eq(rig.source.aside_record.topic->name, "order.events");
    cr_assert(slice_equal(rig.source.aside_record.key, SLICE_LITERAL("b")));
    cr_assert(slice_equal(rig.source.aside_record.value, SLICE_LITERAL("{}")));
    rig_aside_done();
    rig_assert_acked("1 2 3");
    cr_assert_eq(*rig.stats.dead_lettered[REASON_HEADERS_INVALID], 1);
    cr_assert_eq(stats_dead_lettered(&rig.stats), 1);
    rig_assert_state(PIPELINE_RUNNING);
}

Test(pipeline_send, a_record_that_the_sink_refuses_is_poison)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    rig.sink.poison_seq = 2;
    rig_run();
    rig_batch("1a 2b 3a");
    rig_assert_sent("1 3");
    cr_assert_eq(rig.source.aside_reason.code, CODE_RECORD_TOO_LARGE);
    rig_aside_done();
    rig_settle_all();
    rig_assert_acked("1 2 3");
}

Test(pipeline_send, a_refused_record_that_is_alone_is_tried_once_more_alone)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    rig_run();
    rig_batch("1a");
    rig_refuse("1");
    cr_assert_eq(rig.source.aside_count, 0, "something else may have been in flight beside it");
    rig_assert_sent("1 1");
    rig_refuse("1");
    cr_assert_eq(rig.source.aside_count, 1);
    rig_aside_done();
    rig_assert_acked("1");
}

/* Losing the source while an event is on its way to the dead-letter table. */

Test(pipeline_send, an_event_half_set_aside_is_read_again_after_a_reconnect)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    rig_run();
    rig_batch("1a! 2b");
    Event *event = rig.source.aside[0];
    rig_source_lost(ERROR_RETRY);
    rig.source.letters.events.settled(rig.source.letters.events.arg, event, CODE_HEADERS_INVALID,
                                      NULL); /* too late */
    rig_settle(2, NULL);
    rig_assert_state(PIPELINE_STARTING);
    rig_assert_returned("1");
    rig_assert_acked("2");
    cr_assert_eq(stats_dead_lettered(&rig.stats), 0);
}

Test(pipeline_send, a_source_that_cannot_set_aside_ends_the_pipeline)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    rig_run();
    rig_batch("1a! 2b");
    rig_source_lost(ERROR_FATAL); /* no dead-letter table */
    rig_settle(2, NULL);
    rig_assert_state(PIPELINE_FAILED);
    rig_assert_returned("1");
    rig_assert_acked("2");
    cr_assert_eq(rig.ended, 1);
}

Test(pipeline_send, a_source_that_cannot_set_aside_during_a_rewind_ends_the_pipeline)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    rig_run();
    rig_batch("1a! 2b 3b");
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig_settle(2, &err);
    rig_assert_state(PIPELINE_REWINDING);
    rig_settle(3, &err);
    rig_assert_state(PIPELINE_REWINDING); /* the dead letter is under way */
    rig_source_lost(ERROR_FATAL);
    rig_assert_state(PIPELINE_FAILED);
    cr_assert_eq(rig.ended, 1);
}

Test(pipeline_send, a_stop_waits_for_the_dead_letter)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    rig_run();
    rig_batch("1a!");
    pipeline_stop(rig.pipeline);
    rig_turn();
    cr_assert_eq(rig.source.drains, 0);
    rig_aside_done();
    rig_assert_acked("1");
    cr_assert_geq(rig.source.drains, 1);
}

/* Unrouted. */

Test(pipeline_send, unrouted_is_dropped_and_counted)
{
    rig.config.route.on_unrouted = ON_UNROUTED_DROP;
    rig_run();
    rig_batch("1a 2b? 3a?");
    rig_assert_sent("1");
    rig_assert_acked("");
    rig_settle(1, NULL);
    rig_assert_acked("1 2 3");
    cr_assert_eq(*rig.stats.dropped, 2);
    cr_assert_eq(*rig.stats.published, 1);
    rig_batch("4a?");
    rig_assert_acked("4");
}

Test(pipeline_send, unrouted_is_set_aside_with_the_record_as_far_as_it_went)
{
    rig.config.route.on_unrouted = ON_UNROUTED_DEAD_LETTER;
    rig_run();
    rig_batch("1a? 2b");
    rig_assert_sent("2");
    cr_assert_eq(rig.source.aside_reason.code, CODE_EVENT_UNROUTED);
    cr_assert_null(rig.source.aside_record.topic);
    cr_assert(slice_equal(rig.source.aside_record.value, SLICE_LITERAL("{}")));
    rig_settle(2, NULL);
    rig_assert_acked("");
    rig_aside_done();
    rig_assert_acked("1 2");
}

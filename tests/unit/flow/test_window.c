/* What is open between source and sink: cursor, hands, room. */
#include <criterion/criterion.h>

#include "flow/window.h"
#include "stub/given_schema.h"

static Window window;
static Topic topic;
static Topics *topics;
static Metrics *metrics;

static void begin(void)
{
    window = (Window){.events_max = 10, .bytes_max = 1000};
    static char name[] = "orders";
    topic = (Topic){.name = name};
}

static void end(void)
{
    for (Batch *batch; (batch = window_pop(&window)) != NULL;) {
        batch_free(&batch);
    }
}

TestSuite(window, .init = begin, .fini = end);

static Batch *given_batch(int64_t first, size_t count)
{
    Batch *batch = batch_new();
    for (size_t i = 0; i < count; i++) {
        batch_add(batch, given_schema(0))->seq = first + (int64_t)i;
    }
    batch->bytes = count * 100;
    window_open(&window, batch, true);
    return batch;
}

static void send_next(int64_t seq)
{
    Event *event = window_next(&window);
    cr_assert_not_null(event);
    cr_assert_eq(event->seq, seq);
    window_send(&window, event, &topic);
}

static void settle(Event *event)
{
    window_take(&window, event);
    batch_settle(event, EVENT_PUBLISHED);
}

Test(window, events_are_sent_in_order_over_all_batches)
{
    Batch *first = given_batch(1, 2);
    send_next(1);
    given_batch(3, 1);
    send_next(2);
    send_next(3);
    cr_assert_null(window_next(&window));
    cr_assert_eq(window.in_flight, 3);
    cr_assert_eq(topic.in_flight, 3);
    settle(first->events[0]);
    cr_assert_eq(window.in_flight, 2);
    cr_assert_null(window_pop_done(&window), "an event of it is out");
}

Test(window, a_batch_that_comes_too_late_is_not_sent)
{
    given_batch(1, 1);
    Batch *late = batch_new();
    batch_add(late, given_schema(0))->seq = 2;
    window_open(&window, late, false);
    cr_assert_null(window_next(&window));
    cr_assert_eq(window.acker.batches, 2);
}

Test(window, a_batch_is_given_back_when_it_and_all_before_it_are_settled)
{
    Batch *first = given_batch(1, 1);
    Batch *second = given_batch(2, 1);
    send_next(1);
    send_next(2);
    settle(second->events[0]);
    cr_assert_null(window_pop_done(&window));
    settle(first->events[0]);
    cr_assert_eq(window_pop_done(&window), first);
    cr_assert_eq(window_pop_done(&window), second);
    cr_assert_eq(window.acker.events, 0);
    batch_free(&first);
    batch_free(&second);
}

Test(window, the_cursor_survives_the_batch_it_stands_in)
{
    Batch *first = given_batch(1, 1);
    send_next(1);
    settle(first->events[0]);
    cr_assert_eq(window.sending, first);
    cr_assert_eq(window_pop_done(&window), first);
    batch_free(&first);
    given_batch(2, 1);
    send_next(2);
}

Test(window, what_is_acknowledged_takes_room_until_it_is_marked)
{
    size_t events = 0;
    size_t bytes = 0;
    cr_assert(window_room(&window, 0, &events, &bytes));
    cr_assert_eq(events, 10);
    cr_assert_eq(bytes, 1000);
    given_batch(1, 4);
    cr_assert(window_room(&window, 5, &events, &bytes));
    cr_assert_eq(events, 1);
    cr_assert_eq(bytes, 600);
    cr_assert_not(window_room(&window, 6, &events, &bytes));
    window.bytes_max = 400;
    cr_assert_not(window_room(&window, 0, &events, &bytes), "bytes");
}

Test(window, a_rewind_sends_what_is_not_settled_again_and_knows_what_may_come_twice)
{
    Batch *batch = given_batch(1, 4);
    for (int64_t seq = 1; seq <= 4; seq++) {
        send_next(seq);
    }
    settle(batch->events[1]);
    window_take(&window, batch->events[2]); /* the sink gave it back */
    window_rewind(&window);
    cr_assert_eq(window.in_flight, 0);
    cr_assert_eq(topic.in_flight, 0);
    cr_assert(batch->events[0]->replayed, "its producer is gone");
    cr_assert_not(batch->events[2]->replayed, "its report came");
    send_next(1);
    send_next(3);
    send_next(4);
    cr_assert_null(window_next(&window));
}

Test(window, a_rewind_leaves_a_dead_letter_on_its_way)
{
    Batch *batch = given_batch(1, 2);
    window_aside(&window, window_next(&window));
    cr_assert_not(window_is_settled(&window));
    window_rewind(&window);
    cr_assert_eq(batch->events[0]->state, EVENT_ASIDE_BUSY);
    send_next(2);
    cr_assert(window_aside_over(&window, batch->events[0]));
    cr_assert_not(window_aside_over(&window, batch->events[0]), "it is over");
    cr_assert_eq(batch->events[0]->state, EVENT_PENDING);
}

Test(window, dead_letters_are_taken_back_when_the_source_is_lost)
{
    Batch *batch = given_batch(1, 3);
    window_aside(&window, batch->events[0]);
    window_aside(&window, batch->events[2]);
    window_forget_aside(&window);
    cr_assert(window_is_settled(&window));
    cr_assert_eq(batch->events[2]->state, EVENT_PENDING);
    cr_assert_not(window_aside_over(&window, batch->events[0]));
}

Test(window, what_is_let_go_is_sent_in_order_and_the_sink_keeps_what_it_holds)
{
    Batch *batch = given_batch(1, 3);
    batch->events[0]->state = EVENT_HELD;
    send_next(2);
    window_let_go(&window, true);
    send_next(1);
    send_next(3);
    cr_assert_eq(window.in_flight, 3);
}

Test(window, parked_events_behind_a_hole_come_back)
{
    metrics = metrics_new();
    topics = topics_new(metrics, "orders");
    Parking parking = {.pipeline = "orders"};
    Topic *held = NULL;
    cr_assert_eq(topics_get(topics, SLICE_LITERAL("held"), &held, NULL), OK);
    AUTO_ERROR reason = {0};
    error_set(&reason, CODE_KAFKA_TOPIC_UNKNOWN, "missing");
    Hold *hold = parking_hold(&parking, held, &reason);
    Batch *batch = given_batch(1, 4);
    static const size_t PARKED[] = {0, 2, 3};
    for (size_t i = 0; i < 3; i++) {
        Event *event = batch->events[PARKED[i]];
        event->topic = i < 2 ? held : NULL; /* the last was known as parked before */
        if (i < 2) {
            parking_add(&parking, hold, true);
        }
        batch_settle(event, EVENT_PARKED);
    }
    window_unpark(&window, &parking);
    cr_assert_eq(batch->events[0]->state, EVENT_PARKED, "nothing before it is open");
    cr_assert_eq(batch->events[2]->state, EVENT_PENDING);
    cr_assert_eq(batch->events[3]->state, EVENT_PARKED);
    cr_assert_eq(batch->unsettled, 2);
    cr_assert_eq(parking.parked, 1);
    parking_clear(&parking);
    topics_free(&topics);
    metrics_free(&metrics);
}

Test(window, knows_what_is_published_and_not_marked_and_what_is_oldest)
{
    Batch *batch = given_batch(1, 4);
    cr_assert_eq(window_oldest(&window)->seq, 1);
    send_next(1);
    send_next(2);
    settle(batch->events[0]);
    batch_settle(batch->events[2], EVENT_PARKED);
    batch_settle(batch->events[3], EVENT_ASIDE);
    cr_assert_eq(window_unmarked(&window), 3, "1 and 4 are over, 2 may be; 3 waits in its row");
    cr_assert_eq(window_oldest(&window)->seq, 2);
    batch->events[1]->row[FIELD_EVENT_ID] = SLICE_LITERAL("a");
    cr_assert_eq(window_find(&window, 2, SLICE_LITERAL("a")), batch->events[1]);
    cr_assert_null(window_find(&window, 2, SLICE_LITERAL("b")));
}

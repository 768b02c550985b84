#include <criterion/criterion.h>
#include <signal.h>

#include "flow/batch.h"
#include "stub/given_schema.h"

Test(batch, a_new_event_is_pending_and_without_values)
{
    Batch *batch = batch_new();
    Event *event = batch_add(batch, given_schema(2));
    cr_assert_eq(event->state, EVENT_PENDING);
    cr_assert_not(event_is_settled(event));
    cr_assert_eq(event->batch, batch);
    cr_assert_eq(event->occurred_at_us, EVENT_NO_TIME);
    for (EventField field = 0; field < FIELD_COUNT; field++) {
        cr_assert(slice_is_null(event->row[field]));
    }
    cr_assert(slice_is_null(event->row[FIELD_COUNT]) && slice_is_null(event->row[FIELD_COUNT + 1]));
    batch_free(&batch);
    cr_assert_null(batch);
}

Test(batch, keeps_the_order_of_any_number_of_events)
{
    Batch *batch = batch_new();
    for (int64_t i = 0; i < 5000; i++) {
        batch_add(batch, given_schema((size_t)(i % 4)))->seq = i;
    }
    cr_assert_eq(batch->count, 5000);
    cr_assert_eq(batch->unsettled, 5000);
    for (int64_t i = 0; i < 5000; i++) {
        cr_assert_eq(batch->events[i]->seq, i);
    }
    batch_free(&batch);
}

Test(batch, settling_counts_down_once_for_each_event)
{
    static const EventState STATES[] = {EVENT_PUBLISHED, EVENT_ASIDE, EVENT_DROPPED};
    Batch *batch = batch_new();
    for (size_t i = 0; i < 3; i++) {
        (void)batch_add(batch, given_schema(0));
    }
    for (size_t i = 0; i < 3; i++) {
        batch_settle(batch->events[i], STATES[i]);
        cr_assert(event_is_settled(batch->events[i]));
        cr_assert_eq(batch->events[i]->state, STATES[i]);
        cr_assert_eq(batch->unsettled, 2 - i);
    }
    batch_free(&batch);
}

Test(batch, settling_twice_is_our_own_mistake, .signal = SIGABRT)
{
    Batch *batch = batch_new();
    Event *event = batch_add(batch, given_schema(0));
    batch_settle(event, EVENT_PUBLISHED);
    batch_settle(event, EVENT_PUBLISHED);
}

Test(batch, only_a_final_state_settles, .signal = SIGABRT)
{
    Batch *batch = batch_new();
    batch_settle(batch_add(batch, given_schema(0)), EVENT_SENT);
}

Test(batch, freeing_nothing_is_allowed)
{
    Batch *batch = NULL;
    batch_free(&batch);
}

#include <criterion/criterion.h>

#include "flow/acker.h"
#include "stub/given_schema.h"

static Batch *batch_of(size_t events, size_t bytes)
{
    Batch *batch = batch_new();
    for (size_t i = 0; i < events; i++) {
        (void)batch_add(batch, given_schema(0));
    }
    batch->bytes = bytes;
    return batch;
}

static void settle_all(Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        batch_settle(batch->events[i], EVENT_PUBLISHED);
    }
}

Test(acker, is_empty_at_first)
{
    Acker acker = {0};
    cr_assert_null(acker_pop_done(&acker));
    cr_assert_null(acker_pop(&acker));
}

Test(acker, tail_advances_only_when_all_earlier_batches_settled)
{
    Acker acker = {0};
    Batch *batches[3];
    for (size_t i = 0; i < 3; i++) {
        batches[i] = batch_of(2, 10);
        acker_open(&acker, batches[i]);
    }
    settle_all(batches[2]);
    settle_all(batches[1]);
    cr_assert_null(acker_pop_done(&acker), "a hole in front");
    batch_settle(batches[0]->events[1], EVENT_DROPPED);
    cr_assert_null(acker_pop_done(&acker), "half of the oldest batch");
    batch_settle(batches[0]->events[0], EVENT_ASIDE);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(acker_pop_done(&acker), batches[i]);
        batch_free(&batches[i]);
    }
    cr_assert_null(acker_pop_done(&acker));
}

Test(acker, counts_what_is_open)
{
    Acker acker = {0};
    Batch *first = batch_of(3, 300);
    Batch *second = batch_of(4, 50);
    acker_open(&acker, first);
    acker_open(&acker, second);
    cr_assert_eq(acker.batches, 2);
    cr_assert_eq(acker.events, 7);
    cr_assert_eq(acker.bytes, 350);
    settle_all(first); /* settled is not acknowledged yet */
    cr_assert_eq(acker.events, 7);
    cr_assert_eq(acker_pop_done(&acker), first);
    cr_assert_eq(acker.batches, 1);
    cr_assert_eq(acker.events, 4);
    cr_assert_eq(acker.bytes, 50);
    cr_assert_eq(acker_pop(&acker), second);
    cr_assert_eq(acker.batches, 0);
    cr_assert_eq(acker.events, 0);
    cr_assert_eq(acker.bytes, 0);
    batch_free(&first);
    batch_free(&second);
}

Test(acker, pop_takes_the_oldest_whatever_its_state)
{
    Acker acker = {0};
    Batch *first = batch_of(1, 1);
    Batch *second = batch_of(1, 1);
    acker_open(&acker, first);
    acker_open(&acker, second);
    cr_assert_eq(acker_pop(&acker), first);
    cr_assert_eq(acker_pop(&acker), second);
    cr_assert_null(acker_pop(&acker));
    batch_free(&first);
    batch_free(&second);
}

Test(acker, a_batch_can_be_opened_again_after_all_were_taken)
{
    Acker acker = {0};
    Batch *batch = batch_of(1, 1);
    for (int i = 0; i < 3; i++) {
        acker_open(&acker, batch);
        cr_assert_eq(acker.oldest, batch);
        cr_assert_eq(acker.newest, batch);
        cr_assert_eq(acker_pop(&acker), batch);
        cr_assert_null(acker.newest);
    }
    batch_free(&batch);
}

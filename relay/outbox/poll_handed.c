#include "outbox/poll_handed.h"

void handed_add(Handed *handed, Batch *batch)
{
    *vec_add(&handed->batches) = batch;
}

void handed_remove(Handed *handed, const Batch *batch)
{
    size_t at = 0;
    while (at < handed->batches.count && handed->batches.items[at] != batch) {
        at++;
    }
    vec_remove(&handed->batches, at, at < handed->batches.count);
}

bool handed_is_empty(const Handed *handed)
{
    return handed->batches.count == 0;
}

size_t handed_events(const Handed *handed)
{
    size_t events = 0;
    for (size_t i = 0; i < handed->batches.count; i++) {
        events += handed->batches.items[i]->count;
    }
    return events;
}

void handed_forget(Handed *handed)
{
    handed->batches.count = 0;
}

void handed_release(Handed *handed)
{
    vec_free(&handed->batches);
}

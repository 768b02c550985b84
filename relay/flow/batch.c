#include "flow/batch.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"
#include "flow/refusal.h"

Batch *batch_new(void)
{
    return x_calloc(1, sizeof(Batch));
}

void batch_free(Batch **batch)
{
    if (*batch != NULL) {
        for (Refusal *refusal = (*batch)->refusals; refusal != NULL; refusal = refusal->next) {
            error_clear(&refusal->error);
        }
        arena_release(&(*batch)->arena);
        free((*batch)->events);
        free(*batch);
        *batch = NULL;
    }
}

Event *batch_add(Batch *batch, const Schema *schema)
{
    if (batch->count == batch->capacity) {
        batch->events = x_grow(batch->events, &batch->capacity, sizeof(*batch->events));
    }
    size_t bytes = sizeof(Event) + schema->count * sizeof(Slice);
    Event *event = arena_alloc(&batch->arena, bytes);
    memset(event, 0, bytes);
    event->schema = schema;
    event->batch = batch;
    event->occurred_at_us = EVENT_NO_TIME;
    batch->events[batch->count++] = event;
    batch->unsettled++;
    return event;
}

void batch_take_back(Batch *batch)
{
    assert(batch->count > 0 && !event_is_settled(batch->events[batch->count - 1]));
    batch->count--;
    batch->unsettled--;
}

const Event *batch_find(const Batch *batch, int64_t seq, Slice event_id)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event->seq == seq && slice_equal(event_field(event, FIELD_EVENT_ID), event_id)) {
            return event;
        }
    }
    return NULL;
}

void batch_settle(Event *event, EventState settled)
{
    assert(!event_is_settled(event));
    assert(settled >= EVENT_PUBLISHED);
    assert(event->batch->unsettled > 0);
    event->state = (uint8_t)settled;
    event->batch->unsettled--;
}

void batch_unpark(Event *event)
{
    assert(event->state == EVENT_PARKED);
    event->state = EVENT_PENDING;
    event->batch->unsettled++;
}

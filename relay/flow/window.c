#include "flow/window.h"

#include <assert.h>

#include "base/failpoint.h"

void window_open(Window *window, Batch *batch, bool send)
{
    acker_open(&window->acker, batch);
    if (window->sending == NULL) {
        window->sending = batch;
    }
    if (!send) {
        window->sending = NULL;
    }
}

bool window_room(const Window *window, size_t unmarked, size_t *ret_events, size_t *ret_bytes)
{
    size_t events = window->acker.events + unmarked;
    if (events >= window->events_max || window->acker.bytes >= window->bytes_max) {
        return false;
    }
    *ret_events = window->events_max - events;
    *ret_bytes = window->bytes_max - window->acker.bytes;
    return true;
}

Event *window_next(Window *window)
{
    while (window->sending != NULL) {
        Batch *batch = window->sending;
        while (batch->next_unsent < batch->count) {
            Event *event = batch->events[batch->next_unsent];
            if (event->state == EVENT_PENDING) {
                return event;
            }
            batch->next_unsent++;
        }
        AUTO_ERROR err = {0};
        if (batch->count > 0 && FAILPOINT_FAILS("enqueued", &err)) {
            return NULL;
        }
        window->sending = batch->newer;
    }
    return NULL;
}

void window_stop_sending(Window *window)
{
    window->sending = NULL;
}

void window_send(Window *window, Event *event, Topic *topic)
{
    assert(event->state == EVENT_PENDING);
    event->state = EVENT_SENT;
    event->topic = topic;
    topic->in_flight++;
    window->in_flight++;
}

void window_take(Window *window, Event *event)
{
    assert(event->state == EVENT_SENT && window->in_flight > 0 && event->topic->in_flight > 0);
    event->state = EVENT_PENDING;
    event->topic->in_flight--;
    window->in_flight--;
}

void window_aside(Window *window, Event *event)
{
    assert(event->state != EVENT_SENT && event->state != EVENT_ASIDE_BUSY);
    event->state = EVENT_ASIDE_BUSY;
    window->aside_busy++;
}

bool window_aside_over(Window *window, Event *event)
{
    if (event->state != EVENT_ASIDE_BUSY) {
        return false;
    }
    assert(window->aside_busy > 0);
    event->state = EVENT_PENDING;
    window->aside_busy--;
    return true;
}

/* Calls for each open event. */
#define EACH_EVENT(window, batch, i)                                                               \
    for (Batch *batch = (window)->acker.oldest; batch != NULL; batch = batch->newer)               \
        for (size_t i = 0; i < batch->count; i++)

void window_forget_aside(Window *window)
{
    EACH_EVENT(window, batch, i)
    {
        (void)window_aside_over(window, batch->events[i]);
    }
    assert(window->aside_busy == 0);
}

void window_rewind(Window *window)
{
    EACH_EVENT(window, batch, i)
    {
        Event *event = batch->events[i];
        batch->next_unsent = 0;
        if (event->state == EVENT_SENT) {
            window_take(window, event);
            event->replayed = true; /* it may have been written */
        }
        if (!event_is_settled(event) && event->state != EVENT_ASIDE_BUSY) {
            event->state = EVENT_PENDING;
        }
    }
    assert(window->in_flight == 0);
    window->sending = window->acker.oldest;
}

void window_let_go(Window *window, bool send)
{
    EACH_EVENT(window, batch, i)
    {
        batch->next_unsent = 0;
        if (batch->events[i]->state == EVENT_HELD) {
            batch->events[i]->state = EVENT_PENDING;
        }
    }
    if (send) {
        window->sending = window->acker.oldest;
    }
}

void window_unpark(Window *window, Parking *parking)
{
    bool hole = false;
    EACH_EVENT(window, batch, i)
    {
        Event *event = batch->events[i];
        hole = hole || !event_is_settled(event);
        /* Without a topic: the source knew it as parked before. */
        if (hole && event->state == EVENT_PARKED && event->topic != NULL) {
            batch_unpark(event);
            parking_remove(parking, event->topic->hold);
        }
    }
}

Batch *window_pop_done(Window *window)
{
    Batch *batch = acker_pop_done(&window->acker);
    if (batch != NULL && window->sending == batch) {
        window->sending = window->acker.oldest;
    }
    return batch;
}

Batch *window_pop(Window *window)
{
    window->sending = NULL;
    return acker_pop(&window->acker);
}

size_t window_unmarked(const Window *window)
{
    size_t rows = window->in_flight;
    EACH_EVENT(window, batch, i)
    {
        rows += event_is_over(batch->events[i]);
    }
    return rows;
}

const Event *window_oldest(const Window *window)
{
    EACH_EVENT(window, batch, i)
    {
        if (batch->unsettled > 0 && !event_is_settled(batch->events[i])) {
            return batch->events[i];
        }
    }
    return NULL;
}

const Event *window_find(const Window *window, int64_t seq, Slice event_id)
{
    for (const Batch *batch = window->acker.oldest; batch != NULL; batch = batch->newer) {
        const Event *event = batch_find(batch, seq, event_id);
        if (event != NULL) {
            return event;
        }
    }
    return NULL;
}

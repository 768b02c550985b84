/* After a refusal of the broker: which events did a later one of their key overtake? A sink that
 * stops in time lets nothing pass the refused request; whether something did is counted, not
 * assumed. */
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "flow/pipeline_internal.h"

/* Keys that were written, of the events behind the one that is looked at. */
typedef struct KeySet {
    uint64_t *hashes; /* 0: free */
    size_t capacity;  /* a power of two, at least twice what is in it */
} KeySet;

static uint64_t key_hash(const Topic *topic, Slice key)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)(uintptr_t)topic; /* FNV-1a */
    for (size_t i = 0; i < key.length; i++) {
        hash = (hash ^ (unsigned char)key.data[i]) * UINT64_C(1099511628211);
    }
    return (hash ^ hash >> 29) | 1;
}

/* Where the hash is, or would be. */
static uint64_t *key_set_at(const KeySet *set, uint64_t hash)
{
    size_t at = hash & (set->capacity - 1);
    while (set->hashes[at] != 0 && set->hashes[at] != hash) {
        at = (at + 1) & (set->capacity - 1);
    }
    return &set->hashes[at];
}

/* False: it has no key, or no topic, and so no order. */
static bool event_key(Pipeline *p, Event *event, uint64_t *ret_hash)
{
    Record record = {0};
    AUTO_ERROR ignored = {0};
    if (router_route(p->parts->router, event, &event->batch->arena, &record, &ignored) !=
            ROUTE_OK ||
        slice_is_null(record.key)) {
        return false;
    }
    *ret_hash = key_hash(record.topic, record.key);
    return true;
}

/* The open events in the order in which they were sent, up to the last that is written; those that
 * still wait before it may have been overtaken. */
static Event **open_events(const Pipeline *p, size_t *ret_count)
{
    Event **events = x_malloc((p->window->acker.events + 1) * sizeof(Event *));
    size_t count = 0;
    size_t until = 0;
    for (Batch *batch = p->window->acker.oldest; batch != NULL; batch = batch->newer) {
        for (size_t i = 0; i < batch->count; i++) {
            events[count++] = batch->events[i];
            until = batch->events[i]->state == EVENT_PUBLISHED ? count : until;
        }
    }
    *ret_count = until;
    return events;
}

/* Events that a later one of their key overtook. After a refusal the sink is purged and all reports
 * are waited for, so by now each open event is written (PUBLISHED), settled in another way, or to
 * be sent again (PENDING); nothing is in between. An event was overtaken when it was sent before
 * (attempts > 0), is PENDING, and a later event of its topic and key is written: consumers saw the
 * later one first. One that was never sent waits in its turn, and an event without key or topic has
 * no order to lose.
 *
 * So the events are walked from the last to the first, and the keys that were written behind the
 * present one are a set: one look tells whether the present one was overtaken. What follows the
 * last written event cannot have been, so the walk begins there. Each event counts once
 * (Event.overtaken), however often it is refused. The set holds hashes of topic and key: two keys
 * with one hash of 64 bits would count an event too many, never one too few. Only open batches are
 * looked at, which is enough: a batch is acknowledged only when all before it are settled, so a
 * PENDING event has every later one of its key still open. Costs one route for each open event,
 * after a refusal alone. */
void pipeline_count_overtaken(Pipeline *p)
{
    if (!p->isolate->refused) {
        return;
    }
    p->isolate->refused = false;
    size_t count = 0;
    size_t overtaken = 0;
    const Event *first = NULL;
    Event **events = open_events(p, &count);
    KeySet written = {.capacity = 16};
    while (written.capacity < count * 2) {
        written.capacity *= 2;
    }
    written.hashes = x_calloc(written.capacity, sizeof(*written.hashes));
    for (size_t i = count; i-- > 0;) {
        Event *event = events[i];
        uint64_t hash = 0;
        bool matters = event->state == EVENT_PUBLISHED ||
                       (event->state == EVENT_PENDING && event->attempts > 0 && !event->overtaken);
        if (!matters || !event_key(p, event, &hash)) {
            continue;
        }
        uint64_t *at = key_set_at(&written, hash);
        if (event->state == EVENT_PUBLISHED) {
            *at = hash;
        } else if (*at == hash) {
            event->overtaken = true;
            first = event;
            overtaken++;
        }
    }
    *p->parts->stats->overtaken += overtaken;
    if (overtaken > 0) {
        log_write(
            LOG_WARN, p->parts->config->name, CODE_EVENTS_OVERTAKEN,
            LOG_FIELDS(log_number("events", (long long)overtaken),
                       log_number("first_seq", first->seq)),
            "the broker refused a request, and later events of the same keys were written first");
    }
    free(written.hashes);
    free(events);
}

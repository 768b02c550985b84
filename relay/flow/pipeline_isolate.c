/* What the broker refused: taken apart (flow/isolate.h), and what was overtaken meanwhile.
 *
 * A refusal purges the sink and lets everything settle. A sink that stops in time (kafka_brake.h)
 * lets nothing pass the refused request; whether something did is counted, not assumed. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "flow/pipeline_internal.h"

/* A time that the broker refuses, although the topic's limits as we know them and our clock allow
 * it, is no reason to give the event up: it gets the time of publishing, as others do beforehand.
 */
static bool pipeline_retime(Pipeline *p, Event *event, const Error *err)
{
    if (event->retimed || err->code != CODE_RECORD_TIMESTAMP_REFUSED ||
        p->parts.config->encode.timestamp == TIMESTAMP_PUBLISH) {
        return false;
    }
    event->retimed = true;
    ++*p->parts.stats->timestamps_replaced;
    return true;
}

void pipeline_request_refused(Pipeline *p, Event *event, const Error *err)
{
    bool going = p->state == PIPELINE_RUNNING || p->state == PIPELINE_STALLED;
    bool first = event->request != p->isolate.request || event->request == 0;
    *p->parts.stats->refused_requests += first;
    p->request_refused = true;
    bool proven = going && isolate_proves(&p->isolate, event);
    isolate_refused(&p->isolate, event);
    if (proven && pipeline_retime(p, event, err)) {
        proven = false;
    }
    if (proven) {
        Record record;
        AUTO_ERROR ignored = {0};
        (void)pipeline_make_record(p, event, &record, &ignored);
        pipeline_poison(p, event, &record, err, true);
    }
    if (!proven || p->in_flight > 0) {
        pipeline_input(p, INPUT_RESEND);
    }
}

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
    if (router_route(p->parts.router, event, &event->batch->arena, &record, &ignored) != ROUTE_OK ||
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
    Event **events = x_malloc((p->acker.events + 1) * sizeof(Event *));
    size_t count = 0;
    size_t until = 0;
    for (Batch *batch = p->acker.oldest; batch != NULL; batch = batch->newer) {
        for (size_t i = 0; i < batch->count; i++) {
            events[count++] = batch->events[i];
            until = batch->events[i]->state == EVENT_PUBLISHED ? count : until;
        }
    }
    *ret_count = until;
    return events;
}

void pipeline_count_overtaken(Pipeline *p)
{
    if (!p->request_refused) {
        return;
    }
    p->request_refused = false;
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
    *p->parts.stats->overtaken += overtaken;
    if (overtaken > 0) {
        log_write(
            LOG_WARN, p->parts.config->name, CODE_EVENTS_OVERTAKEN,
            LOG_FIELDS(log_number("events", (long long)overtaken),
                       log_number("first_seq", first->seq)),
            "the broker refused a request, and later events of the same keys were written first");
    }
    free(written.hashes);
    free(events);
}

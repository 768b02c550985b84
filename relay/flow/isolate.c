#include "flow/isolate.h"

void isolate_release(Isolate *isolate)
{
    vec_free(&isolate->sets);
    *isolate = (Isolate){0};
}

enum { CAREFUL_GROUPS = 8 };

static RefusedSet *isolate_find(const Isolate *isolate, const Event *event)
{
    for (size_t i = 0; event->suspect != 0 && i < isolate->sets.count; i++) {
        if (isolate->sets.items[i].id == event->suspect) {
            return &isolate->sets.items[i];
        }
    }
    return NULL;
}

static void isolate_dissolve(Isolate *isolate, RefusedSet *set)
{
    *set = isolate->sets.items[--isolate->sets.count];
}

static RefusedSet *isolate_add(Isolate *isolate)
{
    isolate->last_id++;
    if (isolate->last_id == 0) {
        isolate->last_id = 1; /* 0 means none */
    }
    RefusedSet *set = vec_add(&isolate->sets);
    *set = (RefusedSet){.id = isolate->last_id};
    return set;
}

void isolate_refused(Isolate *isolate, Event *event, uint32_t request)
{
    isolate->careful = CAREFUL_GROUPS;
    RefusedSet *old = isolate_find(isolate, event);
    Event newest = {.suspect = isolate->last_id};
    RefusedSet *set = isolate->request == request ? isolate_find(isolate, &newest) : NULL;
    if (old != NULL && old != set) {
        isolate_dissolve(isolate, old);
        set = isolate->request == request ? isolate_find(isolate, &newest) : NULL;
    }
    if (set == NULL) {
        set = isolate_add(isolate);
        isolate->request = request;
    }
    if (event->suspect != set->id) {
        event->suspect = set->id;
        set->count++;
    }
}

bool isolate_proves(const Isolate *isolate, uint32_t request_events)
{
    return isolate->grouped && request_events == 1;
}

void isolate_found(Isolate *isolate, Event *event)
{
    RefusedSet *set = isolate_find(isolate, event);
    event->suspect = 0;
    if (set != NULL) {
        isolate_dissolve(isolate, set);
    }
}

void isolate_settled(Isolate *isolate, Event *event)
{
    RefusedSet *set = isolate_find(isolate, event);
    event->suspect = 0;
    if (set != NULL && --set->count == 0) {
        isolate_dissolve(isolate, set);
    }
}

void isolate_open_group(Isolate *isolate)
{
    bool went_well = isolate->group > 0 && isolate->sets.count == 0; /* the one before */
    isolate->careful -= went_well && isolate->careful > 0;
    isolate->grouped = true;
    isolate->closed = false;
    isolate->group = 0;
    for (size_t i = 0; i < isolate->sets.count; i++) {
        isolate->sets.items[i].taken = 0;
    }
}

bool isolate_take(Isolate *isolate, const Event *event)
{
    RefusedSet *set = isolate_find(isolate, event);
    bool alone = set != NULL && set->count == 1;
    bool enough = set != NULL && set->taken >= (set->count + 1) / 2;
    if (isolate->closed || enough || (alone && isolate->group > 0)) {
        isolate->closed = true;
        return false;
    }
    if (set != NULL) {
        set->taken++;
    }
    isolate->group++;
    isolate->closed = alone;
    return true;
}

void isolate_mix(Isolate *isolate)
{
    isolate->grouped = false;
}

void isolate_clear(Isolate *isolate)
{
    isolate->sets.count = 0;
    isolate->careful = 0;
    isolate->grouped = false;
}

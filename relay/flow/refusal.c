#include "flow/refusal.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "flow/batch.h"

Refusal *refusal_new(Event *event, size_t most)
{
    size_t bytes = sizeof(Refusal) + most * sizeof(RefusedValue);
    Refusal *refusal = arena_alloc(&event->batch->arena, bytes);
    memset(refusal, 0, bytes);
    event->refusal = refusal;
    refusal->next = event->batch->refusals;
    event->batch->refusals = refusal;
    return refusal;
}

void refusal_set_too_large(Refusal *refusal, Slice what)
{
    error_set(&refusal->error, CODE_EVENT_TOO_LARGE, "the event is too large: %.*s",
              (int)what.length, what.data);
    error_hint(&refusal->error,
               "Keep large bodies out of events, or raise the pipeline's event_bytes_max and the "
               "topic's max.message.bytes.");
}

static Slice *event_value(Event *event, int target)
{
    return target < FIELD_COUNT ? &event->field[target]
                                : (Slice *)&event->extra[target - FIELD_COUNT];
}

static void add_size(Text *sizes, int target, size_t bytes)
{
    text_add(sizes, sizes->length > 0 ? ", " : "");
    if (target < FIELD_COUNT) {
        text_add(sizes, event_field_name((EventField)target));
    } else {
        text_printf(sizes, "header column %d", target - FIELD_COUNT + 1);
    }
    text_printf(sizes, " %zu", bytes);
}

bool refusal_apply(Event *event, size_t extra_count, bool hex_bytes, int64_t bytes_max)
{
    int targets = FIELD_COUNT + (int)extra_count;
    size_t total = 0;
    size_t large = 0;
    for (int target = FIELD_EVENT_ID; target < targets; target++) {
        size_t bytes = event_value(event, target)->length;
        bool hex = hex_bytes && target == FIELD_PAYLOAD_BYTES;
        total += hex ? bytes / 2 : bytes;
        large += bytes > REFUSAL_SMALL_BYTES;
    }
    if (bytes_max <= 0 || total <= (size_t)bytes_max) {
        return false;
    }
    Refusal *refusal = refusal_new(event, large);
    AUTO_BUFFER sizes = TEXT_EMPTY;
    for (int target = FIELD_EVENT_ID; target < targets; target++) {
        Slice *value = event_value(event, target);
        bool hex = hex_bytes && target == FIELD_PAYLOAD_BYTES;
        if (value->length <= REFUSAL_SMALL_BYTES) {
            continue;
        }
        add_size(&sizes, target, hex ? value->length / 2 - 1 : value->length);
        if (target == FIELD_EVENT_ID) {
            continue; /* it names the row */
        }
        refusal->values[refusal->count++] =
            (RefusedValue){.target = target, .hex = hex, .bytes = *value};
        refusal->bytes += value->length;
        *value = SLICE_NULL;
    }
    AUTO_TEXT what = x_format("%zu bytes (%s); event_bytes_max is %lld", total, text_string(&sizes),
                              (long long)bytes_max);
    refusal_set_too_large(refusal, slice_of(what));
    return true;
}

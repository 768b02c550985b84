#include "flow/refusal.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "flow/batch.h" /* Batch: its members */

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

bool refusal_has(const Refusal *refusal, int target)
{
    for (size_t i = 0; refusal != NULL && i < refusal->count; i++) {
        if (refusal->values[i].target == target) {
            return true;
        }
    }
    return false;
}

void refusal_set_too_large(Refusal *refusal, Slice what)
{
    error_set(&refusal->error, CODE_EVENT_TOO_LARGE, "the event is too large: %.*s",
              (int)what.length, what.data);
    error_advise(&refusal->error);
}

void refusal_set_unreadable(Event *event, const char *table, const Error *why)
{
    Refusal *refusal = refusal_new(event, 0);
    refusal->partial = true;
    error_set_as(&refusal->error, ERROR_POISON, EXIT_POSTGRES, CODE_EVENT_UNREADABLE,
                 "the server cannot read the row with number %lld of %s: %s", (long long)event->seq,
                 table, error_message(why));
    error_hint(&refusal->error, "Check the row and the server's log: the row is damaged, or its "
                                "text would be larger than 1 GB.");
}

void refusal_set_foreign(Event *event)
{
    Refusal *refusal = refusal_new(event, 0);
    refusal->foreign = true;
    error_set(&refusal->error, CODE_MESSAGE_MALFORMED,
              "a message with prefix outboxd.event was not written by outbox.emit_message");
    error_hint(&refusal->error,
               "Any role may write such a message, and it cannot be requeued. Find out "
               "who does, and stop everyone else: outboxd migrate --guard-messages.");
}

void refusal_set_odd_text(Event *event, size_t column)
{
    bool first = event->refusal == NULL;
    Refusal *refusal = first ? refusal_new(event, 0) : event->refusal;
    refusal->odd_text = true;
    if (!first) {
        return;
    }
    error_set(&refusal->error, CODE_TEXT_NOT_UTF8,
              "column '%s' of the event with seq %lld is not valid UTF-8",
              column < FIELD_COUNT ? event_field_name((EventField)column) : "of a header",
              (long long)event->seq);
    error_hint(&refusal->error,
               "The database has the encoding SQL_ASCII, which accepts any bytes. Correct the "
               "row and the program that writes it. With on_poison = \"dead_letter\", the "
               "event becomes a dead letter with U+FFFD in place of the invalid bytes.");
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

/* The beginning of an event id that is too large, in characters, as the server cuts them. */
static Slice refusal_cut_id(Event *event, Slice id)
{
    size_t length = 0;
    for (int i = 0; i < REFUSAL_ID_CHARACTERS && length < id.length; i++) {
        size_t step = utf8_sequence(id.data + length, id.length - length);
        length += step > 0 ? step : 1;
    }
    size_t mark = sizeof(REFUSAL_ID_CUT) - 1;
    char *name = arena_alloc(&event->batch->arena, length + mark);
    memcpy(name, id.data, length);
    memcpy(name + length, REFUSAL_ID_CUT, mark);
    return (Slice){.data = name, .length = length + mark};
}

static bool id_is_too_large(const Event *event)
{
    return event->row[FIELD_EVENT_ID].length > REFUSAL_SMALL_BYTES;
}

bool refusal_apply(Event *event, bool hex_bytes, int64_t bytes_max)
{
    int targets = (int)event->schema->count;
    size_t total = 0;
    size_t large = 0;
    for (int target = FIELD_EVENT_ID; target < targets; target++) {
        size_t bytes = event->row[target].length;
        bool hex = hex_bytes && column_is_bytes((size_t)target);
        total += hex ? bytes / 2 : bytes;
        large += bytes > REFUSAL_SMALL_BYTES;
    }
    bool sum = total > (size_t)bytes_max;
    if (bytes_max <= 0 || !(sum || id_is_too_large(event))) {
        return false;
    }
    Refusal *refusal = refusal_new(event, large);
    AUTO_BUFFER sizes = TEXT_EMPTY;
    for (int target = FIELD_EVENT_ID; target < targets; target++) {
        Slice *value = &event->row[target];
        bool hex = hex_bytes && column_is_bytes((size_t)target);
        if (value->length <= REFUSAL_SMALL_BYTES) {
            continue;
        }
        add_size(&sizes, target, hex ? value->length / 2 - 1 : value->length);
        refusal->values[refusal->count++] =
            (RefusedValue){.target = target, .hex = hex, .bytes = *value};
        refusal->bytes += value->length;
        *value = target == FIELD_EVENT_ID ? refusal_cut_id(event, *value) : SLICE_NULL;
    }
    bool told = sizes.length > 0;
    AUTO_TEXT limit = sum ? x_format("event_bytes_max is %lld", (long long)bytes_max)
                          : x_format(REFUSAL_ID_LIMIT, REFUSAL_SMALL_BYTES);
    AUTO_TEXT what = x_format("%zu bytes%s%s%s; %s", total, told ? " (" : "", text_string(&sizes),
                              told ? ")" : "", limit);
    refusal_set_too_large(refusal, slice_of(what));
    return true;
}

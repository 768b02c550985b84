/* From an event to a record: routes and encodes it; and how it is called in what people read. */
#include <stdio.h>

#include "base/log.h"
#include "base/utf8.h"
#include "flow/pipeline_internal.h"
#include "flow/refusal.h" /* Refusal: its members */

/* At most so many bytes of a value, and no part of a character at the end. */
static Slice shown(Slice value)
{
    return value.data == NULL
               ? SLICE_LITERAL("")
               : (Slice){.data = value.data, .length = utf8_cut(value.data, value.length, 80)};
}

void pipeline_name_event(const Event *event, Error *err)
{
    char place[64];
    if (event->seq != EVENT_NO_SEQ) {
        snprintf(place, sizeof(place), "seq %lld", (long long)event->seq);
    } else if (event->commit_lsn == 0) {
        snprintf(place, sizeof(place), "of the snapshot");
    } else {
        snprintf(place, sizeof(place), "of the transaction at %X/%X",
                 (unsigned)(event->commit_lsn >> 32), (unsigned)event->commit_lsn);
    }
    Slice id = shown(event_field(event, FIELD_EVENT_ID));
    Slice type = shown(event_field(event, FIELD_EVENT_TYPE));
    Slice key = shown(event_field(event, FIELD_AGGREGATE_ID));
    if (event->schema->field[FIELD_EVENT_ID] == SCHEMA_NONE) { /* a change (made.h) */
        Slice table = shown(event_field(event, FIELD_AGGREGATE_TYPE));
        error_prefix(err, "change '%.*s' of %.*s, %s, key '%.*s'", SLICE_ARG(type),
                     SLICE_ARG(table), place, SLICE_ARG(key));
        return;
    }
    error_prefix(err, "event %s, event_id %.*s, type '%.*s', key '%.*s'", place, SLICE_ARG(id),
                 SLICE_ARG(type), SLICE_ARG(key));
}

Made pipeline_make_record(Pipeline *p, Event *event, Record *record, Error *err)
{
    static const Made ROUTED[] = {
        [ROUTE_OK] = MADE_WELL, [ROUTE_NONE] = MADE_UNROUTED, [ROUTE_POISON] = MADE_BAD};
    *record = (Record){0};
    Arena *arena = &event->batch->arena;
    RouteResult routed = router_route(p->parts->router, event, arena, record, err);
    AUTO_ERROR encode_error = {0};
    EncodeResult encoded =
        p->parts->encoder->encode(p->parts->encoder, event, arena, record, &encode_error);
    if (event->retimed) {
        record->timestamp_ms = 0;
    }
    if (event->refusal != NULL) { /* whatever those say: they did not see all of it */
        error_copy(err, &event->refusal->error);
        return MADE_BAD;
    }
    if (routed == ROUTE_OK && encoded == ENCODE_POISON) {
        error_copy(err, &encode_error);
        return MADE_BAD;
    }
    /* A name beyond the bound waits for that first, and is encoded when it has a topic. */
    if (routed == ROUTE_OK && encoded == ENCODE_WAIT && !record->topic->beyond) {
        error_copy(err, &encode_error);
        return MADE_LATER;
    }
    return ROUTED[routed];
}

void pipeline_note_shadowed(Pipeline *p, const Event *event, unsigned shadowed)
{
    *p->parts->stats->headers_shadowed += shadowed;
    if (log_limit_take(&p->lines->shadowed, clock_monotonic_us())) {
        LogField seq =
            event->seq != EVENT_NO_SEQ ? log_number("seq", event->seq) : log_text("seq", "none");
        log_write(LOG_WARN, p->parts->config->name, CODE_HEADERS_SHADOWED,
                  LOG_FIELDS(seq, log_number("headers", shadowed)),
                  "headers of this event have the same names as headers of the envelope and were "
                  "left out");
    }
}

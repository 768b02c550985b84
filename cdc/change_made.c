#include "cdc/change_made.h"

#include <string.h>

#include "flow/batch.h" /* what an event counts for */
#include "flow/made.h"
#include "flow/refusal.h"

Slice change_made_kind(char op)
{
    static const char NAMES[] = "cudtrm";
    return (Slice){.data = strchr(NAMES, op), .length = 1};
}

void change_made_fill(const PipelineConfig *pipeline, Event *event, const ChangeRecord *record,
                      const ChangeShown *shown)
{
    event->row[FIELD_EVENT_TYPE] = shown->kind;
    event->row[FIELD_AGGREGATE_TYPE] = shown->table;
    event->row[FIELD_TOPIC] = record->topic;
    event->row[FIELD_AGGREGATE_ID] = record->key;
    event->row[FIELD_PAYLOAD] = record->value;
    made_set_headers(event, record->headers, record->header_count);
    event->batch->bytes += record->key.length + record->value.length + event_bytes(event);
    (void)refusal_apply(event, false, pipeline->limits.event_bytes);
}

void change_made_refuse(Event *event, Slice topic, const ChangeShown *shown, const Error *why)
{
    event->row[FIELD_EVENT_TYPE] = shown->kind;
    event->row[FIELD_AGGREGATE_TYPE] = shown->table;
    event->row[FIELD_TOPIC] = topic;
    event->batch->bytes += event_bytes(event);
    Refusal *refusal = refusal_new(event, 0);
    refusal->partial = true;
    error_copy(&refusal->error, why);
}

/* made: events whose source made the record: key, value, headers and topic are there, and nothing
 * is routed or encoded any more. Their schema has the fields of the outbox that say what people are
 * to see (topic, event_type: the operation, aggregate_type: the table, aggregate_id: the key,
 * payload: the value), one column more for the headers, and one for the row that it is about, so
 * that it can be read again: JSON, or null. */
#pragma once

#include "flow/event.h"
#include "flow/record.h"

enum { MADE_HEADERS = FIELD_COUNT, MADE_ROW, MADE_COLUMNS };

/** table: for people. */
Schema *schema_of_made(const char *table);
/** That of whatever the pipeline captures: its outbox, or made events. */
Schema *schema_of_pipeline(const PipelineConfig *pipeline);

/** The array is borrowed: it lives as long as the event's batch. */
static inline void made_set_headers(Event *event, const RecordHeader *headers, size_t count)
{
    event->row[MADE_HEADERS] =
        (Slice){.data = (const char *)headers, .length = count * sizeof(*headers)};
}

static inline const RecordHeader *made_headers(const Event *event, size_t *ret_count)
{
    *ret_count = event->row[MADE_HEADERS].length / sizeof(RecordHeader);
    return (const RecordHeader *)(const void *)event->row[MADE_HEADERS].data;
}

#include "flow/event.h"

static const char *const FIELD_NAMES[FIELD_COUNT] = {
    [FIELD_SEQ] = "seq",
    [FIELD_EVENT_ID] = "event_id",
    [FIELD_EVENT_TYPE] = "event_type",
    [FIELD_EVENT_VERSION] = "event_version",
    [FIELD_AGGREGATE_TYPE] = "aggregate_type",
    [FIELD_AGGREGATE_ID] = "aggregate_id",
    [FIELD_AGGREGATE_VERSION] = "aggregate_version",
    [FIELD_PAYLOAD] = "payload",
    [FIELD_PAYLOAD_BYTES] = "payload_bytes",
    [FIELD_CONTENT_TYPE] = "content_type",
    [FIELD_CORRELATION_ID] = "correlation_id",
    [FIELD_CAUSATION_ID] = "causation_id",
    [FIELD_TRACEPARENT] = "traceparent",
    [FIELD_HEADERS] = "headers",
    [FIELD_TOPIC] = "topic",
    [FIELD_OCCURRED_AT] = "occurred_at",
};

const char *event_field_name(EventField field)
{
    return FIELD_NAMES[field];
}

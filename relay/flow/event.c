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

/* FNV-1a, 64 bit. */
uint64_t event_id_hash(Slice event_id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < event_id.length; i++) {
        hash = (hash ^ (unsigned char)event_id.data[i]) * UINT64_C(1099511628211);
    }
    return hash != 0 ? hash : 1;
}

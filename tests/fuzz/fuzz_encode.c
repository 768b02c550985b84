/* Router and encoder. The input: two bytes of configuration; then for each field of an event, and
 * two header columns, an int16 length (0xFFFF: NULL) and so many bytes. A field of n bytes whose
 * first two are "@n" is repeated to the limit of its column, so that limits are within reach.
 *
 * An event is refused as poison, or its record is whole: a topic that Kafka takes, no more headers
 * than there may be, each name of the envelope once; and when the event is one that outbox.emit
 * accepts, the record is no larger than what emit counts (encode/limits.h). */
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "check.h"
#include "encode/encode.h"
#include "encode/limits.h"
#include "flow/batch.h"
#include "flow/router.h"
#include "metrics/metrics.h"
#include "sink/kafka/kafka_name.h"
#include "sink/kafka/kafka_record.h"
#include "stub/given.h"
#include "target.h"

enum {
    PLAIN_STYLE = 1,
    ROW_TOPIC = 2,
    POSITIONS = 4,
    OCCURRED = 8,
    NO_TOPIC = 16,
    SHADOWED_COLUMN = 32,
    FROM_LOG = 64,
    TWO_COLUMNS_KEY = 128,
    ENVELOPE_HEADERS = 16,
};

static const size_t MOST[FIELD_COUNT] = {
    [FIELD_EVENT_ID] = 36,
    [FIELD_EVENT_TYPE] = LIMIT_TYPE_BYTES,
    [FIELD_EVENT_VERSION] = 11,
    [FIELD_AGGREGATE_TYPE] = LIMIT_TYPE_BYTES,
    [FIELD_AGGREGATE_ID] = LIMIT_KEY_BYTES,
    [FIELD_AGGREGATE_VERSION] = 20,
    [FIELD_PAYLOAD] = 100000,
    [FIELD_PAYLOAD_BYTES] = 100000,
    [FIELD_CONTENT_TYPE] = LIMIT_CONTENT_TYPE_BYTES,
    [FIELD_CORRELATION_ID] = LIMIT_ID_BYTES,
    [FIELD_CAUSATION_ID] = LIMIT_ID_BYTES,
    [FIELD_TRACEPARENT] = LIMIT_TRACEPARENT_BYTES,
    [FIELD_HEADERS] = LIMIT_HEADERS_BYTES,
    [FIELD_TOPIC] = KAFKA_NAME_MAX,
};

static const char *const CLOUDEVENTS[] = {"ce_specversion", "ce_id",
                                          "ce_source",      "ce_type",
                                          "ce_subject",     "ce_time",
                                          "content-type",   "ce_correlationid",
                                          "ce_causationid", "ce_aggregatetype",
                                          "traceparent",    "ce_aggregateversion",
                                          "outboxd_seq",    "ce_eventversion",
                                          "outboxd_lsn",    "outboxd_ordinal"};
static const char *const PLAIN[] = {
    "event_id",          "event_type",  "event_version", "aggregate_type", "aggregate_id",
    "aggregate_version", "occurred_at", "content_type",  "correlation_id", "causation_id",
    "traceparent",       "outboxd_seq", "outboxd_lsn",   "outboxd_ordinal"};

static char *extra_columns[] = {GIVEN("tenant"), GIVEN("CE_ID"), GIVEN("event_id")};

static PipelineConfig configure(uint8_t how, uint8_t more)
{
    PipelineConfig pipeline = given_pipeline();
    static char source[LIMIT_SOURCE_BYTES + 1];
    memset(source, 's', LIMIT_SOURCE_BYTES);
    pipeline.encode.source = (more & 1) != 0 ? source : pipeline.encode.source;
    pipeline.encode.headers = (how & PLAIN_STYLE) != 0 ? HEADERS_PLAIN : HEADERS_CLOUDEVENTS;
    pipeline.route.allow_row_topic = (how & ROW_TOPIC) != 0;
    pipeline.encode.position_headers = (how & POSITIONS) != 0;
    pipeline.encode.timestamp = (how & OCCURRED) != 0 ? TIMESTAMP_OCCURRED_AT : TIMESTAMP_PUBLISH;
    pipeline.route.topic = (how & NO_TOPIC) != 0 ? GIVEN("") : pipeline.route.topic;
    pipeline.route.key = (how & TWO_COLUMNS_KEY) != 0 ? GIVEN("${aggregate_type}/${aggregate_id}")
                                                      : pipeline.route.key;
    pipeline.outbox.header_columns.items = extra_columns;
    pipeline.outbox.header_columns.count = (how & SHADOWED_COLUMN) != 0 ? 3 : 1;
    return pipeline;
}

static Slice read_value(ByteReader *in, size_t most, Arena *arena)
{
    uint16_t length = bytes_u16(in);
    if (in->failed || length == UINT16_MAX) {
        return SLICE_NULL;
    }
    size_t left = bytes_left(in);
    Slice value = bytes_slice(in, length < left ? length : left);
    if (value.length < 2 || value.data[0] != '@') {
        return arena_copy(arena, value);
    }
    size_t wanted = most + (unsigned char)value.data[1] % 4; /* at the limit, and beyond it */
    char *bytes = arena_alloc(arena, wanted + 1);
    memset(bytes, value.length > 2 ? value.data[2] : 'x', wanted);
    return (Slice){.data = bytes, .length = wanted};
}

static Event *read_event(ByteReader *in, const PipelineConfig *pipeline, const Schema *schema,
                         bool from_log, Batch *batch)
{
    size_t extra_count = pipeline->outbox.header_columns.count;
    Event *event = batch_add(batch, schema);
    event->seq = INT64_MAX;
    event->occurred_at_us = (int64_t)bytes_u64(in);
    event->commit_lsn = from_log ? UINT64_MAX : 0;
    event->ordinal = from_log ? UINT64_MAX : 0;
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        event->row[field] = read_value(in, MOST[field], &batch->arena);
    }
    for (size_t i = 0; i < extra_count; i++) {
        event->row[FIELD_COUNT + i] = read_value(in, 100, &batch->arena);
    }
    return event;
}

static size_t times(const Record *record, const char *name)
{
    size_t found = 0;
    size_t length = strlen(name);
    for (size_t i = 0; i < record->header_count; i++) {
        Slice header = record->headers[i].name;
        found += header.length == length && strncasecmp(header.data, name, length) == 0;
    }
    return found;
}

static void check_headers(const Record *record, const PipelineConfig *pipeline)
{
    bool plain = pipeline->encode.headers == HEADERS_PLAIN;
    const char *const *names = plain ? PLAIN : CLOUDEVENTS;
    size_t count =
        plain ? sizeof(PLAIN) / sizeof(PLAIN[0]) : sizeof(CLOUDEVENTS) / sizeof(CLOUDEVENTS[0]);
    for (size_t i = 0; i < count; i++) {
        fuzz_check(times(record, names[i]) <= 1);
    }
    fuzz_check(record->header_count <=
               RECORD_HEADERS_MAX + ENVELOPE_HEADERS + pipeline->outbox.header_columns.count);
    for (size_t i = 0; i < record->header_count; i++) {
        fuzz_check(!slice_is_null(record->headers[i].name));
        fuzz_touch(record->headers[i].name);
        fuzz_touch(record->headers[i].value);
    }
}

/* What outbox.emit accepts, and what it counts for it; 0: it does not accept it. Header columns
 * are no part of its table. */
static size_t counted(const Event *event, const PipelineConfig *pipeline)
{
    size_t bytes = LIMIT_ENVELOPE_BYTES;
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        Slice value = event->row[field];
        bool envelope = field == FIELD_EVENT_ID || field == FIELD_EVENT_VERSION ||
                        field == FIELD_AGGREGATE_VERSION || field == FIELD_TOPIC;
        bool shadowed = field == FIELD_PAYLOAD && event->row[FIELD_PAYLOAD_BYTES].data != NULL;
        if (value.length > MOST[field]) {
            return 0;
        }
        bytes += envelope || shadowed ? 0 : value.length;
        bytes += field == FIELD_AGGREGATE_ID ? value.length : 0;
    }
    for (size_t i = 0; i < pipeline->outbox.header_columns.count; i++) {
        if (!slice_is_null(event->row[FIELD_COUNT + i])) {
            return 0;
        }
    }
    return bytes;
}

static void check_record(const Record *record, const Event *event, const PipelineConfig *pipeline)
{
    check_headers(record, pipeline);
    fuzz_touch(record->key);
    fuzz_touch(record->value);
    fuzz_check(record->timestamp_ms >= 0);
    size_t length = strlen(record->topic->name);
    fuzz_check(length > 0 && length <= KAFKA_NAME_MAX);
    size_t most = counted(event, pipeline);
    bool own_key = strcmp(pipeline->route.key, "${aggregate_id}") == 0;
    fuzz_check(most == 0 || !own_key || kafka_record_bytes(record) <= most);
}

static void run(ByteReader *in, uint8_t how, uint8_t more, Metrics *metrics)
{
    PipelineConfig pipeline = configure(how, more);
    Topics *topics = topics_new(metrics, pipeline.name);
    topics_set_rule(topics, kafka_name_refuse);
    AUTO(Schema, schema_free) schema = schema_of_outbox(&pipeline);
    Router *router = NULL;
    Encoder *encoder = NULL;
    AUTO_ERROR err = {0};
    fuzz_check(router_new(&pipeline, schema, topics, &router, &err) == OK);
    fuzz_check(encoder_new(&pipeline, schema, &encoder, &err) == OK);
    Batch *batch = batch_new();
    Event *event = read_event(in, &pipeline, schema, (how & FROM_LOG) != 0, batch);
    Record record = {0};
    RouteResult route = router_route(router, event, &batch->arena, &record, &err);
    if (route != ROUTE_OK ||
        encoder->encode(encoder, event, &batch->arena, &record, &err) != ENCODE_OK) {
        fuzz_check(err.class == ERROR_POISON && error_message(&err)[0] != '\0' &&
                   error_own_hint(&err)[0] != '\0');
    } else {
        check_record(&record, event, &pipeline);
    }
    batch_free(&batch);
    encoder->free(encoder);
    router_free(&router);
    topics_free(&topics);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    ByteReader in = bytes_reader((const char *)data + 2, size - 2);
    Metrics *metrics = metrics_new();
    run(&in, data[0], data[1], metrics);
    metrics_free(&metrics);
    return 0;
}

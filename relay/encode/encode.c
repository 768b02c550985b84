/* The header styles:
 *
 *   column              cloudevents (CloudEvents 1.0, Kafka binding,    plain
 *                       binary mode; extensions lower-case letters)
 *   (constant)          ce_specversion = "1.0"
 *   event_id            ce_id                                           event_id
 *   (source)            ce_source
 *   event_type          ce_type                                         event_type
 *   aggregate_id        ce_subject                                      aggregate_id
 *   occurred_at         ce_time                                         occurred_at
 *   content_type        content-type                                    content_type
 *   correlation_id      ce_correlationid                                correlation_id
 *   causation_id        ce_causationid                                  causation_id
 *   aggregate_type      ce_aggregatetype                                aggregate_type
 *   aggregate_version   ce_aggregateversion                             aggregate_version
 *   event_version       ce_eventversion                                 event_version
 *   traceparent         traceparent                                     traceparent
 *
 * then header_columns under their own names, then the members of the row's `headers`, then
 * outboxd_seq, or outboxd_lsn and outboxd_ordinal, if position_headers is on. A column that is NULL
 * makes no header.
 *
 * The envelope wins: a member of `headers` with one of its names, upper or lower case, is left out
 * and counted, since some consumers would take the last header of a name. That holds for a name
 * whose column is NULL, too, and for header_columns. */
#include "encode/encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/timestamp.h"
#include "encode/header_list.h"
#include "encode/row_headers.h"

enum { HEADERS_EXPECTED = 16 };

typedef struct StyleEncoder {
    Encoder encoder; /* first */
    const PipelineConfig *pipeline;
    Slice source;
    HeaderReserved *reserved;
    uint64_t shadowed_columns; /* bit i: header_columns[i] has a name of the envelope */
} StyleEncoder;

/* RFC 3339, and so CloudEvents, ends with the years 1 and 9999: a consumer's parser would fail. */
#define FIRST_TIME_US  INT64_C(-62135596800000000)
#define BEYOND_TIME_US INT64_C(253402300800000000)

static Slice occurred_text(const Event *event, Arena *arena)
{
    int64_t us = event->occurred_at_us;
    if (us == EVENT_NO_TIME || us < FIRST_TIME_US || us >= BEYOND_TIME_US) {
        return SLICE_NULL;
    }
    return timestamp_format(event->occurred_at_us, arena_alloc(arena, TIMESTAMP_TEXT_MAX));
}

/* The row's own, else what the kind of payload implies; nothing for a tombstone. */
static Slice content_type(const Event *event)
{
    if (!slice_is_null(event->field[FIELD_CONTENT_TYPE])) {
        return event->field[FIELD_CONTENT_TYPE];
    }
    if (!slice_is_null(event->field[FIELD_PAYLOAD_BYTES])) {
        return SLICE_LITERAL("application/octet-stream");
    }
    return slice_is_null(event->field[FIELD_PAYLOAD]) ? SLICE_NULL
                                                      : SLICE_LITERAL("application/json");
}

#define NAMED(text) equals_ignoring_case(name, SLICE_LITERAL(text))

static bool equals_ignoring_case(Slice name, Slice reserved)
{
    return name.length == reserved.length &&
           strncasecmp(name.data, reserved.data, reserved.length) == 0;
}

static bool is_position_name(Slice name)
{
    return NAMED("outboxd_seq") || NAMED("outboxd_lsn") || NAMED("outboxd_ordinal");
}

static bool is_cloudevents_name(Slice name)
{
    switch (name.length > 0 ? name.data[0] | 0x20 : 0) {
    case 'c':
        return NAMED("ce_specversion") || NAMED("ce_id") || NAMED("ce_source") ||
               NAMED("ce_type") || NAMED("ce_subject") || NAMED("ce_time") ||
               NAMED("content-type") || NAMED("ce_correlationid") || NAMED("ce_causationid") ||
               NAMED("ce_aggregatetype") || NAMED("ce_aggregateversion") ||
               NAMED("ce_eventversion");
    case 't':
        return NAMED("traceparent");
    case 'o':
        return is_position_name(name);
    default:
        return false;
    }
}

static bool is_plain_name(Slice name)
{
    switch (name.length > 0 ? name.data[0] | 0x20 : 0) {
    case 'e':
        return NAMED("event_id") || NAMED("event_type") || NAMED("event_version");
    case 'a':
        return NAMED("aggregate_type") || NAMED("aggregate_id") || NAMED("aggregate_version");
    case 'o':
        return NAMED("occurred_at") || is_position_name(name);
    case 'c':
        return NAMED("content_type") || NAMED("correlation_id") || NAMED("causation_id");
    case 't':
        return NAMED("traceparent");
    default:
        return false;
    }
}

#define ADD(name, value) headers_add_known(list, SLICE_LITERAL(name), value)

static void add_cloudevents(const StyleEncoder *style, const Event *event, HeaderList *list)
{
    ADD("ce_specversion", SLICE_LITERAL("1.0"));
    ADD("ce_id", event->field[FIELD_EVENT_ID]);
    ADD("ce_source", style->source);
    ADD("ce_type", event->field[FIELD_EVENT_TYPE]);
    ADD("ce_subject", event->field[FIELD_AGGREGATE_ID]);
    ADD("ce_time", occurred_text(event, list->arena));
    ADD("content-type", content_type(event));
    ADD("ce_correlationid", event->field[FIELD_CORRELATION_ID]);
    ADD("ce_causationid", event->field[FIELD_CAUSATION_ID]);
    ADD("ce_aggregatetype", event->field[FIELD_AGGREGATE_TYPE]);
    ADD("ce_aggregateversion", event->field[FIELD_AGGREGATE_VERSION]);
    ADD("ce_eventversion", event->field[FIELD_EVENT_VERSION]);
    ADD("traceparent", event->field[FIELD_TRACEPARENT]);
}

static void add_plain(const Event *event, HeaderList *list)
{
    ADD("event_id", event->field[FIELD_EVENT_ID]);
    ADD("event_type", event->field[FIELD_EVENT_TYPE]);
    ADD("event_version", event->field[FIELD_EVENT_VERSION]);
    ADD("aggregate_type", event->field[FIELD_AGGREGATE_TYPE]);
    ADD("aggregate_id", event->field[FIELD_AGGREGATE_ID]);
    ADD("aggregate_version", event->field[FIELD_AGGREGATE_VERSION]);
    ADD("occurred_at", occurred_text(event, list->arena));
    ADD("content_type", content_type(event));
    ADD("correlation_id", event->field[FIELD_CORRELATION_ID]);
    ADD("causation_id", event->field[FIELD_CAUSATION_ID]);
    ADD("traceparent", event->field[FIELD_TRACEPARENT]);
}

/* Where the event stands: in the log, or, for a row that was read from the table, there. */
static void add_position(const Event *event, HeaderList *list)
{
    enum { NUMBER_MAX = 24 };
    char *text = arena_alloc(list->arena, NUMBER_MAX);
    if (event->commit_lsn == 0) {
        int length = snprintf(text, NUMBER_MAX, "%lld", (long long)event->seq);
        headers_add(list, SLICE_LITERAL("outboxd_seq"),
                    (Slice){.data = text, .length = (size_t)length});
        return;
    }
    int length = snprintf(text, NUMBER_MAX, "%X/%X", (unsigned)(event->commit_lsn >> 32),
                          (unsigned)event->commit_lsn);
    headers_add(list, SLICE_LITERAL("outboxd_lsn"),
                (Slice){.data = text, .length = (size_t)length});
    char *ordinal = arena_alloc(list->arena, NUMBER_MAX);
    length = snprintf(ordinal, NUMBER_MAX, "%llu", (unsigned long long)event->ordinal);
    headers_add(list, SLICE_LITERAL("outboxd_ordinal"),
                (Slice){.data = ordinal, .length = (size_t)length});
}

static Status style_encode(const Encoder *encoder, const Event *event, Arena *arena, Record *record,
                           Error *err)
{
    const StyleEncoder *style = (const StyleEncoder *)encoder;
    const PipelineConfig *pipeline = style->pipeline;
    record->value = slice_is_null(event->field[FIELD_PAYLOAD_BYTES])
                        ? event->field[FIELD_PAYLOAD]
                        : event->field[FIELD_PAYLOAD_BYTES];
    bool has_time =
        pipeline->encode.timestamp == TIMESTAMP_OCCURRED_AT && event->occurred_at_us > 0;
    record->timestamp_ms = has_time ? event->occurred_at_us / 1000 : 0;

    HeaderList list;
    headers_begin(&list, arena, HEADERS_EXPECTED + pipeline->outbox.header_columns.count);
    if (pipeline->encode.headers == HEADERS_CLOUDEVENTS) {
        add_cloudevents(style, event, &list);
    } else {
        add_plain(event, &list);
    }
    for (size_t i = 0; i < pipeline->outbox.header_columns.count; i++) {
        if ((style->shadowed_columns >> i & 1) != 0) {
            list.shadowed += !slice_is_null(event->extra[i]);
            continue;
        }
        headers_add_known(&list, slice_of(pipeline->outbox.header_columns.items[i]),
                          event->extra[i]);
    }
    Status status = row_headers_add(event->field[FIELD_HEADERS], style->reserved, &list, err);
    if (pipeline->encode.position_headers) {
        add_position(event, &list);
    }
    record->headers = list.items;
    record->header_count = list.count;
    record->shadowed = list.shadowed;
    return status;
}

static void style_free(Encoder *encoder)
{
    free(encoder);
}

Status encoder_new(const PipelineConfig *pipeline, Encoder **ret_encoder, Error *err)
{
    if (pipeline->encode.headers == HEADERS_DEBEZIUM) {
        return error_set(err, CODE_NOT_BUILT,
                         "pipeline '%s': headers = \"debezium\" is not built yet", pipeline->name);
    }
    StyleEncoder *style = x_calloc(1, sizeof(*style));
    style->encoder = (Encoder){.encode = style_encode, .free = style_free};
    style->pipeline = pipeline;
    style->source = slice_of(pipeline->encode.source);
    style->reserved =
        pipeline->encode.headers == HEADERS_CLOUDEVENTS ? is_cloudevents_name : is_plain_name;
    for (size_t i = 0; i < pipeline->outbox.header_columns.count; i++) {
        bool shadowed = style->reserved(slice_of(pipeline->outbox.header_columns.items[i]));
        style->shadowed_columns |= (uint64_t)shadowed << i;
    }
    *ret_encoder = &style->encoder;
    return OK;
}

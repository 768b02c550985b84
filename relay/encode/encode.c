/* The header styles: cloudevents (CloudEvents 1.0, Kafka binding, binary mode; extensions in
 * lower-case letters) and plain. Which column becomes which header stands with the columns
 * (config/outbox_columns.inc); with ranks between theirs come the two headers of cloudevents that
 * are no columns, ce_specversion and ce_source.
 *
 * Then header_columns under their own names, then the members of the row's `headers`, then
 * outboxd_seq, or outboxd_lsn and outboxd_ordinal, if position_headers is on. A column that is NULL
 * makes no header.
 *
 * The envelope wins: a member of `headers` with one of its names, upper or lower case, is left out
 * and counted, since some consumers would take the last header of a name. That holds for a name
 * whose column is NULL, too, and for header_columns. */
#include "encode/encode.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/timestamp.h"
#include "encode/header_list.h"
#include "encode/row_headers.h"

enum {
    HEADERS_EXPECTED = 16,
    STYLE_CONSTANTS = 2, /* ce_specversion and ce_source */
    STYLE_POSITIONS = 3, /* outboxd_seq, outboxd_lsn, outboxd_ordinal */
    STYLE_HEADERS_MAX = FIELD_COUNT + STYLE_CONSTANTS,
    SPECVERSION_RANK = 10,
    SOURCE_RANK = 30,
};

/* One header of the envelope. */
typedef struct StyleHeader {
    int rank;
    Slice name;
    EventField field; /* FIELD_COUNT: none, it is constant */
    size_t column;    /* of the row; SCHEMA_NONE */
    Slice constant;
} StyleHeader;

typedef struct StyleEncoder {
    Encoder encoder; /* first */
    const PipelineConfig *pipeline;
    StyleHeader headers[STYLE_HEADERS_MAX]; /* by rank */
    size_t header_count;
    Slice names[STYLE_HEADERS_MAX + STYLE_POSITIONS]; /* of them, and of the position */
    HeaderNames reserved;
    uint64_t shadowed_columns; /* bit i: header_columns[i] has a name of the envelope */
    size_t payload;            /* columns of the row, as the next ones; SCHEMA_NONE */
    size_t payload_bytes;
    size_t content_type;
    size_t row_headers;
    size_t extras[]; /* of header_columns */
} StyleEncoder;

static_assert(offsetof(StyleEncoder, encoder) == 0, "an Encoder * is one of its StyleEncoder");

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
static Slice content_type(const StyleEncoder *style, const Event *event)
{
    Slice own = event_value(event, style->content_type);
    if (!slice_is_null(own)) {
        return own;
    }
    if (!slice_is_null(event_value(event, style->payload_bytes))) {
        return SLICE_LITERAL("application/octet-stream");
    }
    return slice_is_null(event_value(event, style->payload)) ? SLICE_NULL
                                                             : SLICE_LITERAL("application/json");
}

static Slice style_value(const StyleEncoder *style, const StyleHeader *header, const Event *event,
                         Arena *arena)
{
    switch (header->field) {
    case FIELD_COUNT:
        return header->constant;
    case FIELD_OCCURRED_AT:
        return occurred_text(event, arena);
    case FIELD_CONTENT_TYPE:
        return content_type(style, event);
    default:
        return event_value(event, header->column);
    }
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
    Slice bytes = event_value(event, style->payload_bytes);
    record->value = slice_is_null(bytes) ? event_value(event, style->payload) : bytes;
    bool has_time =
        pipeline->encode.timestamp == TIMESTAMP_OCCURRED_AT && event->occurred_at_us > 0;
    record->timestamp_ms = has_time ? event->occurred_at_us / 1000 : 0;

    HeaderList list;
    headers_begin(&list, arena, HEADERS_EXPECTED + pipeline->outbox.header_columns.count);
    for (size_t i = 0; i < style->header_count; i++) {
        const StyleHeader *header = &style->headers[i];
        headers_add_known(&list, header->name, style_value(style, header, event, arena));
    }
    for (size_t i = 0; i < pipeline->outbox.header_columns.count; i++) {
        Slice value = event_value(event, style->extras[i]);
        if ((style->shadowed_columns >> i & 1) != 0) {
            list.shadowed += !slice_is_null(value);
            continue;
        }
        headers_add_known(&list, slice_of(pipeline->outbox.header_columns.items[i]), value);
    }
    Slice row_headers = event_value(event, style->row_headers);
    Status status = row_headers_add(row_headers, &style->reserved, &list, err);
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

static void style_add(StyleEncoder *style, StyleHeader header)
{
    assert(style->header_count < STYLE_HEADERS_MAX);
    size_t at = style->header_count++;
    for (; at > 0 && style->headers[at - 1].rank > header.rank; at--) {
        style->headers[at] = style->headers[at - 1];
    }
    style->headers[at] = header;
}

static void style_add_all(StyleEncoder *style, const Schema *schema, bool cloudevents)
{
    for (EventField field = 0; field < FIELD_COUNT; field++) {
        const OutboxColumn *column = &OUTBOX_COLUMNS[field];
        ColumnHeader header = cloudevents ? column->cloudevents : column->plain;
        if (header.name != NULL) {
            style_add(style, (StyleHeader){.rank = header.rank,
                                           .name = slice_of(header.name),
                                           .field = field,
                                           .column = schema->field[field]});
        }
    }
    if (cloudevents) {
        style_add(style, (StyleHeader){.rank = SPECVERSION_RANK,
                                       .name = SLICE_LITERAL("ce_specversion"),
                                       .field = FIELD_COUNT,
                                       .constant = SLICE_LITERAL("1.0")});
        style_add(style, (StyleHeader){.rank = SOURCE_RANK,
                                       .name = SLICE_LITERAL("ce_source"),
                                       .field = FIELD_COUNT,
                                       .constant = slice_of(style->pipeline->encode.source)});
    }
}

static void style_reserve(StyleEncoder *style)
{
    static const Slice POSITIONS[STYLE_POSITIONS] = {
        {"outboxd_seq", sizeof("outboxd_seq") - 1},
        {"outboxd_lsn", sizeof("outboxd_lsn") - 1},
        {"outboxd_ordinal", sizeof("outboxd_ordinal") - 1}};
    for (size_t i = 0; i < style->header_count; i++) {
        style->names[i] = style->headers[i].name;
    }
    memcpy(style->names + style->header_count, POSITIONS, sizeof(POSITIONS));
    style->reserved =
        (HeaderNames){.items = style->names, .count = style->header_count + STYLE_POSITIONS};
}

Status encoder_new(const PipelineConfig *pipeline, const Schema *schema, Encoder **ret_encoder,
                   Error *err)
{
    if (pipeline->encode.headers == HEADERS_DEBEZIUM) {
        return error_set(err, CODE_NOT_BUILT,
                         "pipeline '%s': headers = \"debezium\" is not built yet", pipeline->name);
    }
    const StringList *extras = &pipeline->outbox.header_columns;
    StyleEncoder *style = x_calloc(1, sizeof(*style) + extras->count * sizeof(style->extras[0]));
    style->encoder = (Encoder){.encode = style_encode, .free = style_free};
    style->pipeline = pipeline;
    style_add_all(style, schema, pipeline->encode.headers == HEADERS_CLOUDEVENTS);
    style_reserve(style);
    style->payload = schema->field[FIELD_PAYLOAD];
    style->payload_bytes = schema->field[FIELD_PAYLOAD_BYTES];
    style->content_type = schema->field[FIELD_CONTENT_TYPE];
    style->row_headers = schema->field[FIELD_HEADERS];
    for (size_t i = 0; i < extras->count; i++) {
        Slice name = slice_of(extras->items[i]);
        style->extras[i] = schema_find_last(schema, name);
        style->shadowed_columns |= (uint64_t)header_names_have(&style->reserved, name) << i;
    }
    *ret_encoder = &style->encoder;
    return OK;
}

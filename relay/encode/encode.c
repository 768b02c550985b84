/* The header styles: the headers of the envelope (encode/envelope.h), then header_columns under
 * their own names, then the members of the row's `headers`, then outboxd_seq, or outboxd_lsn and
 * outboxd_ordinal, if position_headers is on. A column that is NULL makes no header.
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
#include "encode/envelope.h"
#include "encode/header_list.h"
#include "encode/made_encoder.h"
#include "encode/row_headers.h"

enum { HEADERS_EXPECTED = 16 };

typedef struct StyleEncoder {
    Encoder encoder; /* first */
    const PipelineConfig *pipeline;
    Envelope *envelope;
    uint64_t shadowed_columns; /* bit i: header_columns[i] has a name of the envelope */
    size_t payload;            /* columns of the row, as the next ones; SCHEMA_NONE */
    size_t payload_bytes;
    size_t row_headers;
    size_t extras[]; /* of header_columns */
} StyleEncoder;

static_assert(offsetof(StyleEncoder, encoder) == 0, "an Encoder * is one of its StyleEncoder");

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

static EncodeResult style_encode(Encoder *encoder, const Event *event, Arena *arena, Record *record,
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
    envelope_add(style->envelope, event, &list);
    for (size_t i = 0; i < pipeline->outbox.header_columns.count; i++) {
        Slice value = event_value(event, style->extras[i]);
        if ((style->shadowed_columns >> i & 1) != 0) {
            list.shadowed += !slice_is_null(value);
            continue;
        }
        headers_add_known(&list, slice_of(pipeline->outbox.header_columns.items[i]), value);
    }
    Slice row_headers = event_value(event, style->row_headers);
    Status status = row_headers_add(row_headers, envelope_names(style->envelope), &list, err);
    if (pipeline->encode.position_headers) {
        add_position(event, &list);
    }
    record->headers = list.items;
    record->header_count = list.count;
    record->shadowed = list.shadowed;
    return status == OK ? ENCODE_OK : ENCODE_POISON;
}

static void style_free(Encoder *encoder)
{
    envelope_free(&((StyleEncoder *)encoder)->envelope);
    free(encoder);
}

Status encoder_new(const PipelineConfig *pipeline, const Schema *schema, Encoder **ret_encoder,
                   Error *err)
{
    if (pipeline->capture == CAPTURE_TABLES) {
        *ret_encoder = made_encoder_new();
        return OK;
    }
    if (pipeline->encode.headers == HEADERS_DEBEZIUM) {
        return error_set(err, CODE_NOT_BUILT,
                         "pipeline '%s': headers = \"debezium\" is not built yet", pipeline->name);
    }
    const StringList *extras = &pipeline->outbox.header_columns;
    StyleEncoder *style = x_calloc(1, sizeof(*style) + extras->count * sizeof(style->extras[0]));
    style->encoder = (Encoder){.encode = style_encode, .free = style_free};
    style->pipeline = pipeline;
    style->envelope = envelope_new(&pipeline->encode, schema);
    style->payload = schema->field[FIELD_PAYLOAD];
    style->payload_bytes = schema->field[FIELD_PAYLOAD_BYTES];
    style->row_headers = schema->field[FIELD_HEADERS];
    for (size_t i = 0; i < extras->count; i++) {
        Slice name = slice_of(extras->items[i]);
        style->extras[i] = schema_find_last(schema, name);
        style->shadowed_columns |=
            (uint64_t)header_names_have(envelope_names(style->envelope), name) << i;
    }
    *ret_encoder = &style->encoder;
    return OK;
}

#include "encode/envelope.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/timestamp.h"

enum {
    CONSTANTS = 2, /* ce_specversion and ce_source */
    POSITIONS = 3, /* outboxd_seq, outboxd_lsn, outboxd_ordinal */
    HEADERS_MAX = FIELD_COUNT + CONSTANTS,
    SPECVERSION_RANK = 10,
    SOURCE_RANK = 30,
};

typedef struct EnvelopeHeader {
    int rank;
    Slice name;
    EventField field; /* FIELD_COUNT: none, it is constant */
    size_t column;    /* of the row; SCHEMA_NONE */
    Slice constant;
} EnvelopeHeader;

struct Envelope {
    EnvelopeHeader headers[HEADERS_MAX]; /* by rank */
    size_t count;
    Slice items[HEADERS_MAX + POSITIONS]; /* names of them, and of the position */
    HeaderNames names;
    size_t payload; /* columns of the row, as the next ones; SCHEMA_NONE */
    size_t payload_bytes;
    size_t content_type;
};

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
static Slice content_type(const Envelope *envelope, const Event *event)
{
    Slice own = event_value(event, envelope->content_type);
    if (!slice_is_null(own)) {
        return own;
    }
    if (!slice_is_null(event_value(event, envelope->payload_bytes))) {
        return SLICE_LITERAL("application/octet-stream");
    }
    return slice_is_null(event_value(event, envelope->payload)) ? SLICE_NULL
                                                                : SLICE_LITERAL("application/json");
}

static Slice envelope_value(const Envelope *envelope, const EnvelopeHeader *header,
                            const Event *event, Arena *arena)
{
    switch (header->field) {
    case FIELD_COUNT:
        return header->constant;
    case FIELD_OCCURRED_AT:
        return occurred_text(event, arena);
    case FIELD_CONTENT_TYPE:
        return content_type(envelope, event);
    default:
        return event_value(event, header->column);
    }
}

void envelope_add(const Envelope *envelope, const Event *event, HeaderList *list)
{
    for (size_t i = 0; i < envelope->count; i++) {
        const EnvelopeHeader *header = &envelope->headers[i];
        headers_add_known(list, header->name, envelope_value(envelope, header, event, list->arena));
    }
}

const HeaderNames *envelope_names(const Envelope *envelope)
{
    return &envelope->names;
}

static void envelope_insert(Envelope *envelope, EnvelopeHeader header)
{
    assert(envelope->count < HEADERS_MAX);
    size_t at = envelope->count++;
    for (; at > 0 && envelope->headers[at - 1].rank > header.rank; at--) {
        envelope->headers[at] = envelope->headers[at - 1];
    }
    envelope->headers[at] = header;
}

static void envelope_fill(Envelope *envelope, const EncodeConfig *config, const Schema *schema)
{
    bool cloudevents = config->headers == HEADERS_CLOUDEVENTS;
    for (EventField field = 0; field < FIELD_COUNT; field++) {
        const OutboxColumn *column = &OUTBOX_COLUMNS[field];
        ColumnHeader header = cloudevents ? column->cloudevents : column->plain;
        if (header.name != NULL) {
            envelope_insert(envelope, (EnvelopeHeader){.rank = header.rank,
                                                       .name = slice_of(header.name),
                                                       .field = field,
                                                       .column = schema->field[field]});
        }
    }
    if (cloudevents) {
        envelope_insert(envelope, (EnvelopeHeader){.rank = SPECVERSION_RANK,
                                                   .name = SLICE_LITERAL("ce_specversion"),
                                                   .field = FIELD_COUNT,
                                                   .constant = SLICE_LITERAL("1.0")});
        envelope_insert(envelope, (EnvelopeHeader){.rank = SOURCE_RANK,
                                                   .name = SLICE_LITERAL("ce_source"),
                                                   .field = FIELD_COUNT,
                                                   .constant = slice_of(config->source)});
    }
}

static void envelope_reserve(Envelope *envelope)
{
    static const Slice PLACES[POSITIONS] = {{"outboxd_seq", sizeof("outboxd_seq") - 1},
                                            {"outboxd_lsn", sizeof("outboxd_lsn") - 1},
                                            {"outboxd_ordinal", sizeof("outboxd_ordinal") - 1}};
    for (size_t i = 0; i < envelope->count; i++) {
        envelope->items[i] = envelope->headers[i].name;
    }
    memcpy(envelope->items + envelope->count, PLACES, sizeof(PLACES));
    envelope->names = (HeaderNames){.items = envelope->items, .count = envelope->count + POSITIONS};
}

Envelope *envelope_new(const EncodeConfig *config, const Schema *schema)
{
    Envelope *envelope = x_calloc(1, sizeof(*envelope));
    envelope_fill(envelope, config, schema);
    envelope_reserve(envelope);
    envelope->payload = schema->field[FIELD_PAYLOAD];
    envelope->payload_bytes = schema->field[FIELD_PAYLOAD_BYTES];
    envelope->content_type = schema->field[FIELD_CONTENT_TYPE];
    return envelope;
}

void envelope_free(Envelope **envelope)
{
    free(*envelope);
    *envelope = NULL;
}

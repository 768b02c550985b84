/* Binary COPY, after PostgreSQL's documentation: each row is an int16 number of fields, then for
 * each field an int32 length (-1: NULL) and so many bytes; integers are big-endian. Here: field 0
 * int8 seq, field 1 timestamptz (int64 microseconds since 2000-01-01, extremes are infinity), the
 * others text (their own bytes) or bytea. */
#include "rows/row.h"

#include <assert.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/timestamp.h"
#include "base/utf8.h"
#include "flow/refusal.h"

enum {
    COPY_HEADER_BYTES = 19,
    MESSAGE_COLUMNS = 0 /* those that outbox.emit_message writes; its layout is fixed */
#define COLUMN(field, name, class, made, message, ...) +(message)
#include "config/outbox_columns.inc"
};

static const char COPY_SIGNATURE[11] = "PGCOPY\n\377\r\n";

static Slice read_field(ByteReader *reader)
{
    int32_t length = bytes_i32(reader);
    reader->failed |= length < -1;
    return length < 0 ? SLICE_NULL : bytes_slice(reader, (size_t)length);
}

static int64_t read_int64_field(ByteReader *reader, bool *ret_null)
{
    int32_t length = bytes_i32(reader);
    *ret_null = length == -1;
    if (*ret_null) {
        return 0;
    }
    reader->failed |= length != 8;
    return bytes_i64(reader);
}

Status row_skip_header(const char **bytes, size_t *length, Error *err)
{
    if (*length < COPY_HEADER_BYTES ||
        memcmp(*bytes, COPY_SIGNATURE, sizeof(COPY_SIGNATURE)) != 0) {
        return error_set(err, CODE_COPY_HEADER, "the server's COPY stream has no binary header");
    }
    ByteReader reader =
        bytes_reader(*bytes + COPY_HEADER_BYTES - 4, *length - COPY_HEADER_BYTES + 4);
    size_t extension = bytes_u32(&reader);
    if (*length - COPY_HEADER_BYTES < extension) {
        return error_set(err, CODE_COPY_HEADER, "the server's COPY header is truncated");
    }
    *bytes += COPY_HEADER_BYTES + extension;
    *length -= COPY_HEADER_BYTES + extension;
    return OK;
}

bool row_is_trailer(const char *bytes, size_t length)
{
    return length == 2 && (unsigned char)bytes[0] == 0xFF && (unsigned char)bytes[1] == 0xFF;
}

/* EVENT_NO_TIME for infinity, and for PostgreSQL's last 29 years (to 294276), which do not fit. */
static int64_t row_time_us(int64_t since_2000)
{
    int64_t us = 0;
    bool infinite = since_2000 == INT64_MAX || since_2000 == INT64_MIN;
    bool too_late = __builtin_add_overflow(since_2000, TIMESTAMP_POSTGRES_EPOCH_US, &us);
    return infinite || too_late ? EVENT_NO_TIME : us;
}

static_assert(MESSAGE_COLUMNS == 16, "the layout of the prefix outboxd.event (sql/README.md)");

static void row_fill(ByteReader *reader, bool of_table, Event *event)
{
    bool is_null = false;
    event->seq = read_int64_field(reader, &is_null);
    event->seq = is_null ? EVENT_NO_SEQ : event->seq;
    int64_t since_2000 = read_int64_field(reader, &is_null);
    event->occurred_at_us = is_null ? EVENT_NO_TIME : row_time_us(since_2000);
    if (of_table) {
        for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
            event->row[field] = read_field(reader);
        }
        for (size_t i = FIELD_COUNT; i < event->schema->count; i++) {
            event->row[i] = read_field(reader);
        }
        return;
    }
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        if (OUTBOX_COLUMNS[field].in_message) {
            event->row[field] = read_field(reader);
        }
    }
}

/* The last column of a row that is too large tells its sizes; its large values did not come. */
static void row_read_sizes(ByteReader *reader, Event *event)
{
    Slice sizes = read_field(reader);
    if (!slice_is_null(sizes)) {
        Refusal *refusal = refusal_new(event, 0);
        refusal->partial = true;
        refusal_set_too_large(refusal, sizes);
    }
}

/* Of bytes in the batch's arena. A row of a table has the extra columns, and may have its sizes; a
 * message has neither. */
static Status row_decode(Slice copy, bool of_table, const Schema *schema, Batch *batch,
                         Event **ret_event, Error *err)
{
    assert(schema->count >= FIELD_COUNT);
    ByteReader reader = bytes_reader(copy.data, copy.length);
    size_t fields = bytes_u16(&reader);
    Event *event = batch_add(batch, schema);
    size_t wanted = of_table ? schema->count : (size_t)MESSAGE_COLUMNS;
    bool sized = of_table && fields == wanted + 1;
    bool fits = sized || fields == wanted;
    if (fits) {
        row_fill(&reader, of_table, event);
    }
    if (sized) {
        row_read_sizes(&reader, event);
    }
    if (!bytes_complete(&reader) || !fits) {
        batch_take_back(batch);
        return error_set(err, CODE_COPY_ROW, "cannot read a row of %zu bytes and %zu fields",
                         copy.length, fields);
    }
    batch->bytes += copy.length + event_bytes(event);
    *ret_event = event;
    return OK;
}

Status row_read(const char *bytes, size_t length, const Schema *schema, Batch *batch,
                Event **ret_event, Error *err)
{
    Slice row = arena_copy(&batch->arena, (Slice){.data = bytes, .length = length});
    if (row_decode(row, true, schema, batch, ret_event, err) != OK) {
        return FAILED;
    }
    if ((*ret_event)->seq == EVENT_NO_SEQ) {
        batch_take_back(batch);
        batch->bytes -= length + event_bytes(*ret_event);
        return error_set(err, CODE_COPY_ROW, "a row of the outbox table has no sequence number");
    }
    return OK;
}

/* What a text column can hold. */
static bool row_is_text(Slice text)
{
    return text.length == 0 ||
           (memchr(text.data, '\0', text.length) == NULL && utf8_valid(text.data, text.length));
}

static bool row_needs(EventField field)
{
    return field == FIELD_EVENT_ID || field == FIELD_EVENT_TYPE || field == FIELD_AGGREGATE_TYPE;
}

/* The first field that no row could hold; 0: none. */
static EventField row_odd_field(Event *event, int64_t bytes_max)
{
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        if (row_needs(field) && event->row[field].length == 0) {
            return field;
        }
    }
    (void)refusal_apply(event, false, bytes_max); /* what is large is not walked */
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        if (!column_is_bytes(field) && !row_is_text(event->row[field])) {
            return field;
        }
    }
    return 0;
}

Status row_read_message(Slice content, const Schema *schema, int64_t bytes_max, Batch *batch,
                        Event **ret_event, Error *err)
{
    if (row_decode(content, false, schema, batch, ret_event, err) != OK) {
        return FAILED;
    }
    EventField odd = row_odd_field(*ret_event, bytes_max);
    if (odd != 0) {
        batch_take_back(batch);
        batch->bytes -= content.length + event_bytes(*ret_event);
        return error_set(err, CODE_MESSAGE_MALFORMED,
                         "field %d of a message is empty, or not valid UTF-8", (int)odd);
    }
    return OK;
}

void row_check_texts(Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        Event *event = batch->events[i];
        const Schema *schema = event->schema;
        bool odd = false;
        for (size_t j = FIELD_EVENT_ID; j < schema->count && !odd; j++) {
            odd = schema->columns[j].class != COLUMN_BYTES && !row_is_text(event->row[j]);
            if (odd) {
                refusal_set_odd_text(event, j);
            }
        }
    }
}

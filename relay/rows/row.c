/* Binary COPY, after PostgreSQL's documentation: each row is an int16 number of fields, then for
 * each field an int32 length (-1: NULL) and so many bytes; integers are big-endian. Here: field 0
 * int8 seq, field 1 timestamptz (int64 microseconds since 2000-01-01, extremes are infinity), the
 * others text (their own bytes) or bytea. */
#include "rows/row.h"

#include <stdint.h>

#include "base/bytes.h"
#include "base/timestamp.h"

enum {
    COPY_HEADER_BYTES = 19,
    FIXED_COLUMNS = FIELD_COUNT, /* seq, occurred_at and the text fields between them */
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
        return error_set(err, ERROR_FATAL, EXIT_INTERNAL, "COPY_HEADER",
                         "the server's COPY stream has no binary header");
    }
    ByteReader reader =
        bytes_reader(*bytes + COPY_HEADER_BYTES - 4, *length - COPY_HEADER_BYTES + 4);
    size_t extension = bytes_u32(&reader);
    if (*length - COPY_HEADER_BYTES < extension) {
        return error_set(err, ERROR_FATAL, EXIT_INTERNAL, "COPY_HEADER",
                         "the server's COPY header is truncated");
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

static void row_fill(ByteReader *reader, Event *event, size_t extra_count)
{
    bool is_null = false;
    event->seq = read_int64_field(reader, &is_null);
    event->seq = is_null ? EVENT_NO_SEQ : event->seq;
    int64_t since_2000 = read_int64_field(reader, &is_null);
    event->occurred_at_us = is_null ? EVENT_NO_TIME : row_time_us(since_2000);
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        event->field[field] = read_field(reader);
    }
    Slice *extra = (Slice *)(event + 1);
    for (size_t i = 0; i < extra_count; i++) {
        extra[i] = read_field(reader);
    }
}

/* The row has `sent` extra columns, the event `extra_count`. */
static Status row_decode(const char *bytes, size_t length, size_t sent, size_t extra_count,
                         Batch *batch, Event **ret_event, Error *err)
{
    Slice copy = arena_copy(&batch->arena, (Slice){.data = bytes, .length = length});
    ByteReader reader = bytes_reader(copy.data, length);
    size_t fields = bytes_u16(&reader);
    Event *event = batch_add(batch, extra_count);
    if (fields == FIXED_COLUMNS + sent) {
        row_fill(&reader, event, sent);
    }
    if (!bytes_complete(&reader) || fields != FIXED_COLUMNS + sent) {
        batch->count--;
        batch->unsettled--;
        return error_set(err, ERROR_FATAL, EXIT_INTERNAL, "COPY_ROW",
                         "cannot read a row of %zu bytes and %zu fields", length, fields);
    }
    batch->bytes += length + sizeof(*event);
    *ret_event = event;
    return OK;
}

Status row_read(const char *bytes, size_t length, size_t extra_count, Batch *batch,
                Event **ret_event, Error *err)
{
    if (row_decode(bytes, length, extra_count, extra_count, batch, ret_event, err) != OK) {
        return FAILED;
    }
    if ((*ret_event)->seq == EVENT_NO_SEQ) {
        batch->count--;
        batch->unsettled--;
        return error_set(err, ERROR_FATAL, EXIT_INTERNAL, "COPY_ROW",
                         "a row of the outbox table has no sequence number");
    }
    return OK;
}

Status row_read_message(Slice content, size_t extra_count, Batch *batch, Event **ret_event,
                        Error *err)
{
    return row_decode(content.data, content.length, 0, extra_count, batch, ret_event, err);
}

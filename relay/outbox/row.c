/* Binary COPY, after PostgreSQL's documentation: each row is an int16 number of fields, then for
 * each field an int32 length (-1: NULL) and so many bytes; integers are big-endian. Here: field 0
 * int8 seq, field 1 timestamptz (int64 microseconds since 2000-01-01, extremes are infinity), the
 * others text (their own bytes) or bytea. */
#include "outbox/row.h"

#include <stdint.h>

#include "base/timestamp.h"

enum {
    COPY_HEADER_BYTES = 19,
    FIXED_COLUMNS = FIELD_COUNT, /* seq, occurred_at and the text fields between them */
};

static const char COPY_SIGNATURE[11] = "PGCOPY\n\377\r\n";

typedef struct RowReader {
    const unsigned char *at;
    const unsigned char *end;
    bool failed; /* sticky: reads after the end give zeros, and the row is refused at the end */
} RowReader;

static uint64_t read_be(RowReader *reader, size_t bytes)
{
    if ((size_t)(reader->end - reader->at) < bytes) {
        reader->failed = true;
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | *reader->at++;
    }
    return value;
}

static Slice read_field(RowReader *reader)
{
    int32_t length = (int32_t)read_be(reader, 4);
    if (length < 0 || reader->failed) {
        reader->failed |= length < -1;
        return SLICE_NULL;
    }
    if (reader->end - reader->at < length) {
        reader->failed = true;
        return SLICE_NULL;
    }
    Slice field = {.data = (const char *)reader->at, .length = (size_t)length};
    reader->at += length;
    return field;
}

static int64_t read_int64_field(RowReader *reader, bool *ret_null)
{
    int32_t length = (int32_t)read_be(reader, 4);
    *ret_null = length == -1;
    if (*ret_null) {
        return 0;
    }
    reader->failed |= length != 8;
    return (int64_t)read_be(reader, 8);
}

Status row_skip_header(const char **bytes, size_t *length, Error *err)
{
    if (*length < COPY_HEADER_BYTES ||
        memcmp(*bytes, COPY_SIGNATURE, sizeof(COPY_SIGNATURE)) != 0) {
        return error_set(err, ERROR_FATAL, EXIT_INTERNAL, "COPY_HEADER",
                         "the server's COPY stream has no binary header");
    }
    RowReader reader = {.at = (const unsigned char *)*bytes + COPY_HEADER_BYTES - 4,
                        .end = (const unsigned char *)*bytes + *length};
    size_t extension = (size_t)read_be(&reader, 4);
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

static void row_fill(RowReader *reader, Event *event, size_t extra_count)
{
    bool is_null = false;
    event->seq = read_int64_field(reader, &is_null);
    reader->failed |= is_null;
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

Status row_read(const char *bytes, size_t length, size_t extra_count, Batch *batch,
                Event **ret_event, Error *err)
{
    Slice copy = arena_copy(&batch->arena, (Slice){.data = bytes, .length = length});
    RowReader reader = {.at = (const unsigned char *)copy.data,
                        .end = (const unsigned char *)copy.data + length};
    size_t fields = (size_t)read_be(&reader, 2);
    Event *event = batch_add(batch, extra_count);
    if (fields == FIXED_COLUMNS + extra_count) {
        row_fill(&reader, event, extra_count);
    }
    if (reader.failed || reader.at != reader.end || fields != FIXED_COLUMNS + extra_count) {
        batch->count--;
        batch->unsettled--;
        return error_set(err, ERROR_FATAL, EXIT_INTERNAL, "COPY_ROW",
                         "cannot read a row of the server's COPY stream (%zu bytes, %zu fields)",
                         length, fields);
    }
    batch->bytes += length + sizeof(*event);
    *ret_event = event;
    return OK;
}

/* copy: rows as COPY ... (FORMAT binary) sends them, written after PostgreSQL's documentation. */
#pragma once

#include "base/slice.h"
#include "base/text.h"
#include "flow/event.h"

enum { COPY_TEXT_FIELDS = FIELD_OCCURRED_AT - FIELD_EVENT_ID };

#define COPY_TIME_NULL (INT64_MIN + 1) /* of copy_put_row: not a time of PostgreSQL's */

/* Signature, flags, length of the extension. */
#define COPY_HEADER ((Slice){.data = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", .length = 19})

static inline void copy_put_be(Text *row, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) {
        text_add_char(row, (char)(value >> 8 * i));
    }
}

static inline void copy_put_field(Text *row, Slice field)
{
    copy_put_be(row, slice_is_null(field) ? UINT32_MAX : field.length, 4);
    text_add_slice(row, field);
}

static inline void copy_put_int64(Text *row, int64_t value)
{
    copy_put_be(row, 8, 4);
    copy_put_be(row, (uint64_t)value, 8);
}

/** A row in the order of rows/table.c; texts are the fields from event_id to topic, then the
 * extra columns. */
static inline void copy_put_row(Text *row, int64_t seq, int64_t since_2000, const Slice *texts,
                                size_t extra_count)
{
    copy_put_be(row, FIELD_COUNT + extra_count, 2);
    copy_put_int64(row, seq);
    if (since_2000 == COPY_TIME_NULL) {
        copy_put_be(row, UINT32_MAX, 4);
    } else {
        copy_put_int64(row, since_2000);
    }
    for (size_t i = 0; i < COPY_TEXT_FIELDS + extra_count; i++) {
        copy_put_field(row, texts[i]);
    }
}

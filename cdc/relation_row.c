/* A row of the stream -> Event. What is larger than events may be is neither walked nor decoded,
 * nor copied where the buffer that it came in can be kept. */
#include <string.h>

#include "base/timestamp.h"
#include "cdc/relation_internal.h"
#include "flow/refusal.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "\x" and hexadecimal digits (our sessions set bytea_output), decoded where they stand. */
static bool decode_bytea(char *data, size_t length, Slice *ret)
{
    if (length < 2 || data[0] != '\\' || data[1] != 'x' || length % 2 != 0) {
        return false;
    }
    size_t bytes = length / 2 - 1;
    for (size_t i = 0; i < bytes; i++) {
        int high = hex_digit(data[2 + 2 * i]);
        int low = hex_digit(data[3 + 2 * i]);
        if (high < 0 || low < 0) {
            return false;
        }
        data[i] = (char)(high << 4 | low);
    }
    *ret = (Slice){.data = data, .length = bytes};
    return true;
}

/* inet::text always shows the prefix length; what the type prints does not for a host. */
static Slice inet_text(Arena *arena, Slice value)
{
    if (memchr(value.data, '/', value.length) != NULL) {
        return value;
    }
    bool v6 = memchr(value.data, ':', value.length) != NULL;
    size_t more = v6 ? 4 : 3;
    char *text = arena_alloc(arena, value.length + more);
    memcpy(text, value.data, value.length);
    memcpy(text + value.length, v6 ? "/128" : "/32", more);
    return (Slice){.data = text, .length = value.length + more};
}

/* The bytes stand in the batch's arena and may be changed there. */
static bool convert(Conversion conversion, Arena *arena, Slice *value)
{
    switch (conversion) {
    case AS_SENT:
        return true;
    case BOOL_TEXT:
        *value = value->length == 1 && value->data[0] == 't' ? SLICE_LITERAL("true")
                                                             : SLICE_LITERAL("false");
        return true;
    case BPCHAR_TEXT:
        while (value->length > 0 && value->data[value->length - 1] == ' ') {
            value->length--;
        }
        return true;
    case INET_TEXT:
        *value = inet_text(arena, *value);
        return true;
    case BYTEA_BYTES:
        return decode_bytea((char *)value->data, value->length, value);
    }
    return false;
}

static bool parse_seq(Slice text, int64_t *ret_seq)
{
    bool negative = text.length > 0 && text.data[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t value = 0;
    if (text.length == i) {
        return false;
    }
    for (; i < text.length; i++) {
        int digit = text.data[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) { /* downwards: there is one more */
            return false;
        }
    }
    if (negative) {
        *ret_seq = value;
        return true;
    }
    return !__builtin_sub_overflow(INT64_C(0), value, ret_seq);
}

/* raw: a bytea is left as it was sent. */
static bool relation_set(const ColumnUse *use, Slice value, bool raw, Event *event)
{
    Arena *arena = &event->batch->arena;
    if (use->target == FIELD_SEQ) {
        return parse_seq(value, &event->seq);
    }
    if (use->target == FIELD_OCCURRED_AT) {
        if (!timestamp_parse(value, &event->occurred_at_us)) {
            event->occurred_at_us = EVENT_NO_TIME;
        }
        return true;
    }
    if (!raw && use->shared && use->conversion == BYTEA_BYTES) {
        value = arena_copy(arena, value); /* is decoded where it stands */
    }
    if (!(raw && use->conversion == BYTEA_BYTES) && !convert(use->conversion, arena, &value)) {
        return false;
    }
    event->row[use->target] = value;
    return true;
}

/* One value for all its uses, which begin at *use. */
static bool relation_set_all(const Relation *relation, size_t column, const PgOutputValue *value,
                             bool raw, size_t *use, Event *event)
{
    for (; *use < relation->use_count && relation->uses[*use].column == column; ++*use) {
        /* An insert brings every value, as text. What was not sent is not NULL. */
        if (value->kind != VALUE_NULL &&
            (value->kind != VALUE_TEXT ||
             !relation_set(&relation->uses[*use], value->bytes, raw, event))) {
            return false;
        }
    }
    return true;
}

/* A row that is larger than events may be is not walked or decoded: where its payload_bytes stay
 * as they were sent they are at most twice as long. */
static bool relation_row_is_large(const Relation *relation, const PgOutputTuple *tuple)
{
    return relation->event_bytes_max > 0 && tuple->bytes.length > (size_t)relation->event_bytes_max;
}

static bool use_is_hex(const ColumnUse *use)
{
    return use->conversion == BYTEA_BYTES;
}

static bool relation_sends_hex(const Relation *relation)
{
    for (size_t i = 0; i < relation->use_count; i++) {
        if (use_is_hex(&relation->uses[i])) {
            return true;
        }
    }
    return false;
}

/* The fields that were left as they were sent, of an event that is not refused in the end. */
static bool relation_decode(const Relation *relation, Event *event)
{
    for (size_t i = 0; i < relation->use_count; i++) {
        const ColumnUse *use = &relation->uses[i];
        Slice *bytes = use_is_hex(use) ? &event->row[use->target] : NULL;
        if (bytes == NULL || slice_is_null(*bytes)) {
            continue;
        }
        *bytes = arena_copy(&event->batch->arena, *bytes);
        if (!convert(BYTEA_BYTES, &event->batch->arena, bytes)) {
            return false;
        }
    }
    return true;
}

static Slice relation_keep(const PgOutputTuple *tuple, bool large, char **message, Batch *batch)
{
    if (!large || message == NULL || *message == NULL) {
        return arena_copy(&batch->arena, tuple->bytes);
    }
    arena_adopt(&batch->arena, *message, tuple->bytes.length);
    *message = NULL;
    return tuple->bytes;
}

Status relation_read_row(const Relation *relation, const PgOutputTuple *tuple, char **message,
                         Batch *batch, Event **ret_event, Error *err)
{
    if (tuple->columns != relation->column_count) {
        return error_set(err, CODE_PG_PROTOCOL, "a row of %u columns for a relation of %zu",
                         (unsigned)tuple->columns, relation->column_count);
    }
    bool large = relation_row_is_large(relation, tuple);
    Slice copy = relation_keep(tuple, large, message, batch);
    ByteReader rest = bytes_reader(copy.data, copy.length);
    Event *event = batch_add(batch, relation->schema);
    event->seq = EVENT_NO_SEQ;
    size_t use = 0;
    for (size_t i = 0; i < relation->column_count; i++) {
        PgOutputValue value = pgoutput_value(&rest);
        if (i == relation->published && value.kind != VALUE_NULL) {
            batch_take_back(batch);
            *ret_event = NULL;
            return OK;
        }
        if (!relation_set_all(relation, i, &value, large, &use, event)) {
            batch_take_back(batch);
            return error_set(err, CODE_PG_PROTOCOL, "column %zu of a row cannot be read", i + 1);
        }
    }
    bool long_id = event->row[FIELD_EVENT_ID].length > REFUSAL_SMALL_BYTES;
    bool refused = (large || long_id) && refusal_apply(event, large && relation_sends_hex(relation),
                                                       relation->event_bytes_max);
    if (large && !refused && !relation_decode(relation, event)) {
        batch_take_back(batch);
        return error_set(err, CODE_PG_PROTOCOL, "a bytea of a row cannot be read");
    }
    batch->bytes += copy.length + event_bytes(event);
    *ret_event = event;
    return OK;
}

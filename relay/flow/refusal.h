/* refusal: why an event that a source read can never be a record, known before it was routed: it is
 * larger than the pipeline takes, its row cannot be read, a text of it is not UTF-8, or it is a
 * message that is no event of ours.
 *
 * Its large values are not in the event's fields, which are null there, so that nobody walks or
 * copies them: they are here if they came at all.
 *
 * An event id names its row, wherever that is remembered, asked for and marked. One that is larger
 * than REFUSAL_SMALL_BYTES is refused, and its beginning names the row instead, here as in the SQL
 * of rows/table.h: no statement reads, and nobody keeps, more of it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "flow/event.h"

enum {
    REFUSAL_SMALL_BYTES = 65536, /* values up to this stay in the event */
    REFUSAL_ID_CHARACTERS = 256, /* of a larger event id, followed by REFUSAL_ID_CUT */
};
#define REFUSAL_ID_CUT   "...(cut)"
#define REFUSAL_ID_LIMIT "an event id has at most %d bytes"

typedef struct RefusedValue {
    int target; /* EventField, or FIELD_COUNT + number of a header column */
    bool hex;   /* a bytea as text, "\x..." */
    Slice bytes;
} RefusedValue;

typedef struct Refusal {
    Error error;
    struct Refusal *next; /* of the batch */
    bool partial;         /* values are neither in the event nor here: only its row has them */
    bool foreign;         /* no event of ours: its bytes are in payload_bytes, no route is for it */
    bool odd_text;        /* a text of it is not UTF-8, so no JSON shows it whole */
    size_t count;
    size_t bytes; /* of all values */
    RefusedValue values[];
} Refusal;

/** Gives the event a refusal with room for `most` values, in the memory of its batch; its error is
 * the caller's to set. */
Refusal *refusal_new(Event *event, size_t most);

/** Whether the value of that target is here; refusal may be NULL. */
bool refusal_has(const Refusal *refusal, int target);

/** EVENT_TOO_LARGE; what: sizes and limit. */
void refusal_set_too_large(Refusal *refusal, Slice what);

/** EVENT_UNREADABLE: the event, which came without its bodies, gets this refusal. table: for
 * people; why: what the server says. */
void refusal_set_unreadable(Event *event, const char *table, const Error *why);

/** MESSAGE_MALFORMED: the message, whose bytes are in the event, was not written by emit_message.
 */
void refusal_set_foreign(Event *event);

/** TEXT_NOT_UTF8: the text of that column (EventField, or FIELD_COUNT + number of a header column)
 * is not UTF-8. An earlier refusal keeps its error. */
void refusal_set_odd_text(Event *event, size_t column);

/** Of an event of the outbox whose row is complete: when they take more bytes together than the
 * limit, or its event id alone takes more than REFUSAL_SMALL_BYTES, it is refused, and its large
 * values are moved out of it. hex_bytes: those of payload_bytes are a bytea as text. True when it
 * was. */
bool refusal_apply(Event *event, bool hex_bytes, int64_t bytes_max);

/* event: one committed fact on its way from a source to the broker: an envelope, which says where
 * it stands and what became of it, and the row that it is about, whose columns a schema names.
 *
 * A row read by polling and the same row read from the WAL give the same Event, so everything
 * behind the source is shared. All bytes live in the arena of the event's batch.
 *
 * The sources of the outbox write `row` by EventField, which is a column's number in their schema.
 * What is behind them reads by event_field() or by a column that it looked up in the schema. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "config/outbox_columns.h"
#include "flow/schema.h"

/* Where an event stands. Settled means: needs no more work and may be acknowledged to the source.
 */
typedef enum EventState {
    EVENT_PENDING,    /* to be sent (again) */
    EVENT_SENT,       /* the sink holds it */
    EVENT_ASIDE_BUSY, /* being written to the dead-letter table */
    EVENT_HELD,       /* waits in memory: its topic is not there, and the source cannot park it */
    EVENT_PUBLISHED,  /* settled: acknowledged by the broker */
    EVENT_ASIDE,      /* settled: committed to the dead-letter table */
    EVENT_DROPPED,    /* settled: dropped by on_unrouted = "drop", counted; or a heartbeat */
    EVENT_PARKED,     /* settled for now: its topic is not there, it waits in its row */
} EventState;

/* What an event was made of, where that decides what becomes of it. */
typedef enum EventOrigin {
    EVENT_OF_DATA,    /* a row of the outbox, or a change */
    EVENT_OF_MESSAGE, /* from the WAL alone: no row, and anybody may have written it */
    EVENT_OF_CLOCK,   /* a heartbeat: dropped where it would have to wait, as another follows */
} EventOrigin;

#define EVENT_NO_TIME INT64_MIN
#define EVENT_NO_SEQ  INT64_MIN /* a WAL message: there is no row; no row with it is published */

struct Batch;
struct Refusal;
struct Topic;

typedef struct Event {
    const Schema *schema;   /* of the row; its source's */
    int64_t seq;            /* of the outbox row; EVENT_NO_SEQ: none */
    uint64_t commit_lsn;    /* from the WAL: of its transaction; else 0 */
    uint64_t ordinal;       /* from the WAL: 1, 2, ... within its transaction; else 0 */
    uint64_t id_hash;       /* polling: of the event id, for outbox/known.h; else 0 */
    uint32_t xid;           /* from the WAL: of its transaction; else 0 */
    int64_t occurred_at_us; /* since 1970-01-01 UTC; EVENT_NO_TIME when NULL or infinite */
    int64_t sent_at_us;     /* monotonic */
    struct Batch *batch;
    struct Topic *topic;     /* where it was sent last */
    struct Refusal *refusal; /* it can be no record (flow/refusal.h); NULL: nothing known */
    uint32_t suspect;        /* set of a refused request (flow/isolate.h); 0: none */
    uint8_t state;           /* EventState */
    uint8_t origin;          /* EventOrigin */
    bool replayed;           /* was sent before and its outcome is unknown */
    bool retimed;            /* the broker refused its time: it gets that of publishing */
    bool overtaken;          /* a later event of its key was written first: counted */
    uint16_t attempts;
    Slice row[]; /* by column, as text or bytes: null slice: SQL NULL; SLICE_UNSENT: not known */
} Event;

static_assert(sizeof(Event) == offsetof(Event, row), "nothing between an envelope and its row");

/* What names the row of an event. */
typedef struct EventRow {
    int64_t seq;
    uint64_t id; /* event_id_hash */
} EventRow;

/** Hash of an event id, never 0: where a row is remembered by it. */
uint64_t event_id_hash(Slice event_id);

/** Whether a column, which the schema has, is neither NULL nor unknown. */
static inline bool event_has_value(const Event *event, size_t column)
{
    const char *data = event->row[column].data;
    return data != NULL && data != SCHEMA_UNSENT;
}

/** The value of a column; the null slice, too, for SCHEMA_NONE and for what was not sent. */
static inline Slice event_value(const Event *event, size_t column)
{
    if (column == SCHEMA_NONE) {
        return SLICE_NULL;
    }
    assert(column < event->schema->count);
    return event_has_value(event, column) ? event->row[column] : SLICE_NULL;
}

/** The value of a field, from whichever column of the row. */
static inline Slice event_field(const Event *event, EventField field)
{
    return event_value(event, event->schema->field[field]);
}

/** What an event takes in memory beside the bytes of its values. */
static inline size_t event_bytes(const Event *event)
{
    return sizeof(*event) + event->schema->count * sizeof(event->row[0]);
}

/** How people and dead letters call a field, whatever its column is called. */
static inline const char *event_field_name(EventField field)
{
    return OUTBOX_COLUMNS[field].name;
}

static inline bool event_is_settled(const Event *event)
{
    return event->state >= EVENT_PUBLISHED;
}

/** Settled for good: its row may be marked. */
static inline bool event_is_over(const Event *event)
{
    return event_is_settled(event) && event->state != EVENT_PARKED;
}

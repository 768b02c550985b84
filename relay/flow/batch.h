/* batch: the unit of acknowledgement: the rows of one poll, or one PostgreSQL transaction.
 *
 * Owns its events and all their bytes in one arena. Made by a source, handed to the pipeline,
 * handed back to the source for acknowledgement, freed by the source. Loop thread only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "flow/event.h"

typedef struct Batch {
    Arena arena;
    Event **events; /* in publishing order */
    size_t count;
    size_t capacity;
    size_t unsettled;   /* events not settled yet */
    size_t next_unsent; /* cursor of the pipeline: events before it are not EVENT_PENDING */
    size_t bytes;       /* of event data, for the in-flight limit */
    int64_t arrived_us; /* monotonic: when the pipeline got it */
    uint64_t position;  /* of the source, as the next four: nothing else reads them */
    uint64_t tx_lsn;
    uint64_t tx_ordinal;
    uint64_t last_commit;
    bool beats;               /* has a heartbeat */
    struct Refusal *refusals; /* in the arena; their errors are let go with the batch */
    struct Batch *newer;
} Batch;

Batch *batch_new(void);
void batch_free(Batch **batch);

/** A zeroed event at the end of the batch, with a row of this schema, all NULL; owned by the batch,
 * which the schema outlives. */
Event *batch_add(Batch *batch, const Schema *schema);

/** The event that was added last is none: the batch, but for its bytes, is as it was. */
void batch_take_back(Batch *batch);

/** The event of this row, or NULL. */
const Event *batch_find(const Batch *batch, int64_t seq, Slice event_id);

/** Moves the event to a settled state, once; asserts that it was not settled before. */
void batch_settle(Event *event, EventState settled);

/** The parked event is PENDING again. */
void batch_unpark(Event *event);

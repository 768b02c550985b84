/* What is read of a table: the fetch that runs or was the last, and all that is remembered for the
 * next one. Each part has a header of its own and is changed by its functions alone. */
#pragma once

#include "flow/stats.h"
#include "outbox/gaps.h"
#include "outbox/known.h"
#include "outbox/poll_fetch.h"
#include "outbox/poll_handed.h"

typedef struct Reading {
    Fetch *fetch;
    struct Intake *intake; /* what it brings */
    struct Wide *wide;     /* how it chooses its rows, if it is a wide one */
    struct Guard *guard;   /* what the server says beside it */
    Gaps *gaps;            /* which numbers are looked for ... */
    struct Fence *fence;   /* ... and when no more */
    Known *known;          /* rows that are not read again */
    Handed handed;         /* ... of which the pipeline has these */
    bool foreign;          /* batches that are out are of another history */
    struct Sweep *sweep;
    struct Pace *pace;
    struct Culprit *culprit;
    bool rereading; /* from the beginning, as soon as everything acknowledged is marked */
} Reading;

static inline KnownRow reading_row_of(const Event *event)
{
    return (KnownRow){.seq = event->seq, .id = event->id_hash};
}

Reading *reading_new(const PipelineConfig *config, Stats *stats);
void reading_free(Reading **reading);

/** The fetch is over: forgets what it brought. */
void reading_end_fetch(Reading *reading);
/** Reads from the beginning: nothing is concluded from what was seen. */
void reading_reset(Reading *reading);
/** After the batches of before are back: nothing is out; of another history nothing is known. */
void reading_resume(Reading *reading);

/** The batch came back: what is settled waits for its mark, the rest is not known any more. */
void reading_take_back(Reading *reading, const Batch *batch);

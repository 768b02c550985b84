/* acker: which batches are open, oldest first, and which may be acknowledged.
 *
 * A batch is given back to its source only when every event of it and of all older batches is
 * settled: the contiguous prefix, never the maximum. Does not own the batches. Loop thread only. */
#pragma once

#include <stddef.h>

#include "flow/batch.h"

typedef struct Acker {
    Batch *oldest;
    Batch *newest;
    size_t batches;
    size_t events; /* in open batches */
    size_t bytes;  /* in open batches */
} Acker;

/** Adds a batch behind all others. */
void acker_open(Acker *acker, Batch *batch);

/** Takes the oldest batch out if it is completely settled, else NULL. */
Batch *acker_pop_done(Acker *acker);

/** Takes the oldest batch out whatever its state (rewind, stop), or NULL when there is none. */
Batch *acker_pop(Acker *acker);

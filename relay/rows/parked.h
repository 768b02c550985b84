/* parked: rows whose events wait for their topic: read, not published, not marked. Named by (seq,
 * event id), as everything that is remembered about rows. Bounded by PARKED_MAX. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum { PARKED_MAX = 1000000 };

typedef struct ParkedRow {
    int64_t seq;
    uint64_t id; /* event_id_hash; 0: this place is free */
} ParkedRow;

typedef struct Parked {
    ParkedRow *rows; /* open addressing */
    size_t count;
    size_t capacity; /* a power of two; 0: nothing was parked yet */
    int64_t lowest;  /* of the seqs; of no use when count is 0 */
} Parked;

/** No more rows may be added. */
bool parked_is_full(const Parked *parked);

/** Adds the row, unless it is there. event_id may be null. */
void parked_add(Parked *parked, int64_t seq, Slice event_id);
bool parked_has(const Parked *parked, int64_t seq, Slice event_id);

/** The lowest seq; INT64_MAX: none. */
int64_t parked_lowest(const Parked *parked);

/** Forgets all rows and gives the memory back. */
void parked_clear(Parked *parked);

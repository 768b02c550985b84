#include "rows/parked.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"
#include "flow/event.h"

enum { PARKED_FIRST = 1024 };

/* The row's place, or the free one where it would be. Sequence numbers are dense: mixed. */
static ParkedRow *parked_place(const Parked *parked, int64_t seq, uint64_t id)
{
    size_t at = (size_t)(((uint64_t)seq * UINT64_C(11400714819323198485)) >> 20);
    for (;; at++) {
        ParkedRow *row = &parked->rows[at & (parked->capacity - 1)];
        if (row->id == 0 || (row->seq == seq && row->id == id)) {
            return row;
        }
    }
}

bool parked_is_full(const Parked *parked)
{
    return parked->count >= PARKED_MAX;
}

static void parked_grow(Parked *parked)
{
    Parked old = *parked;
    parked->capacity = old.capacity > 0 ? old.capacity * 2 : PARKED_FIRST;
    parked->rows = x_calloc(parked->capacity, sizeof(*parked->rows));
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.rows[i].id != 0) {
            *parked_place(parked, old.rows[i].seq, old.rows[i].id) = old.rows[i];
        }
    }
    free(old.rows);
}

void parked_add(Parked *parked, int64_t seq, Slice event_id)
{
    assert(!parked_is_full(parked));
    if (parked->count * 4 >= parked->capacity * 3) {
        parked_grow(parked);
    }
    uint64_t id = event_id_hash(event_id);
    ParkedRow *row = parked_place(parked, seq, id);
    if (row->id != 0) {
        return;
    }
    *row = (ParkedRow){.seq = seq, .id = id};
    parked->lowest = parked->count == 0 || seq < parked->lowest ? seq : parked->lowest;
    parked->count++;
}

bool parked_has(const Parked *parked, int64_t seq, Slice event_id)
{
    return parked->count > 0 && parked_place(parked, seq, event_id_hash(event_id))->id != 0;
}

int64_t parked_lowest(const Parked *parked)
{
    return parked->count > 0 ? parked->lowest : INT64_MAX;
}

void parked_clear(Parked *parked)
{
    free(parked->rows);
    *parked = (Parked){0};
}

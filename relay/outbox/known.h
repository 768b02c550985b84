/* known: the rows that the polling source must not read again, though a snapshot may show them
 * unpublished, by (seq, event id): in flight, acknowledged and not marked, marked a moment ago,
 * held back, or parked until their topic is there.
 *
 * A fetch may be older than the mark whose row just left the marker: its snapshot shows that row
 * unpublished. So what is marked stays known until the next fetch is sent (known_release), whose
 * snapshot is younger. The owner adds what it hands on, settles or drops what comes back, and
 * releases before each fetch. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum { KNOWN_HELD_MAX = 65536 }; /* beyond it the oldest is no longer held back */

/* The event id is kept as a hash: two rows of one number that differ in it and agree in 64 bits of
 * hash do not happen. */
typedef struct KnownRow {
    int64_t seq;
    uint64_t id;
} KnownRow;

typedef struct KnownSlot {
    KnownRow row;
    uint32_t count; /* 0: the slot is free */
    bool hold;
    bool parked;
} KnownSlot;

typedef struct KnownEntry {
    KnownRow row;
    int64_t until_us; /* of those held back */
} KnownEntry;

/* First in, first out. */
typedef struct KnownQueue {
    KnownEntry *entries;
    size_t head;
    size_t count;
    size_t capacity; /* a power of two, or 0 */
} KnownQueue;

typedef struct Known {
    KnownSlot *slots;
    size_t capacity;     /* a power of two, or 0 */
    size_t count;        /* different rows */
    size_t parked;       /* of those */
    int64_t top;         /* no number is higher; only while there are rows */
    bool spread;         /* each row has a place of its own, not each block of numbers */
    KnownQueue settled;  /* in the order in which the marker marks them */
    KnownQueue held;     /* marked, and not to be read again for a while */
    uint64_t marked_yet; /* what known_release was told last */
} Known;

/** A null id is an id. */
KnownRow known_row(int64_t seq, Slice event_id);

/** hold: once it is marked it stays known for a while longer, so that a row whose mark is undone
 * again and again is not published in a circle. */
void known_add(Known *known, KnownRow row, bool hold);
bool known_has(const Known *known, KnownRow row);
/** Different rows; of those, parked ones. */
size_t known_count(const Known *known);
size_t known_parked(const Known *known);
/** False: no row has this number. Costs next to nothing. */
bool known_may_have(const Known *known, int64_t seq);

/** It came back unpublished: it will be read again. */
void known_drop(Known *known, KnownRow row);
/** It came back settled, and the marker has it. */
void known_settle(Known *known, KnownRow row);
/** It came back and waits for its topic: known until known_unpark(). */
void known_park(Known *known, KnownRow row);
bool known_is_parked(const Known *known, KnownRow row);
void known_unpark(Known *known);

/** No fetch runs. The marker, which marks in the order of known_settle, still has `unmarked` rows,
 * and has hit `marked` rows since its start: the others are forgotten; those to be held back, and
 * all of them if the marker missed one, hold_us later. */
void known_release(Known *known, size_t unmarked, uint64_t marked, int64_t now_us, int64_t hold_us);

void known_free(Known *known);

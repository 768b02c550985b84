/* An open-addressing hash table with linear probing; what follows a removed slot moves up, so there
 * are no tombstones.
 *
 * Each row is added, settled and dropped once, in order of seq as a rule. So numbers that follow
 * each other share a block of slots, and the memory of a block serves all of them; with a place of
 * its own for each, most look-ups waited for memory (8 % of the relay's time in a backlog). Where
 * that makes a long search, because many rows have one number, each row gets a place of its own. */
#include "outbox/known.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
    FIRST_CAPACITY = 64,
    BLOCK_BITS = 3,     /* numbers to a block, as a power of two */
    SEARCH_LONG = 1024, /* slots */
};

#define HASH_FACTOR UINT64_C(0x9E3779B97F4A7C15) /* 2^64 divided by the golden ratio */

static uint64_t hash_step(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * HASH_FACTOR;
    return hash ^ hash >> 29;
}

KnownRow known_row(int64_t seq, Slice event_id)
{
    if (slice_is_null(event_id)) {
        return (KnownRow){.seq = seq};
    }
    uint64_t hash = hash_step(HASH_FACTOR, event_id.length);
    for (size_t i = 0; i < event_id.length; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t left = event_id.length - i;
        memcpy(&word, event_id.data + i, left < sizeof(word) ? left : sizeof(word));
        hash = hash_step(hash, word);
    }
    return (KnownRow){.seq = seq, .id = hash};
}

/* Queues. */

static KnownEntry *queue_at(const KnownQueue *queue, size_t i)
{
    return &queue->entries[(queue->head + i) & (queue->capacity - 1)];
}

static void queue_push(KnownQueue *queue, KnownEntry entry)
{
    if (queue->count == queue->capacity) {
        size_t capacity = queue->capacity > 0 ? queue->capacity * 2 : FIRST_CAPACITY;
        KnownEntry *entries = x_malloc(capacity * sizeof(*entries));
        for (size_t i = 0; i < queue->count; i++) {
            entries[i] = *queue_at(queue, i);
        }
        free(queue->entries);
        *queue = (KnownQueue){.entries = entries, .count = queue->count, .capacity = capacity};
    }
    *queue_at(queue, queue->count++) = entry;
}

static KnownEntry queue_pop(KnownQueue *queue)
{
    KnownEntry first = *queue_at(queue, 0);
    queue->head = (queue->head + 1) & (queue->capacity - 1);
    queue->count--;
    return first;
}

/* The table. */

static size_t slot_home(const Known *known, KnownRow row)
{
    uint64_t seq = (uint64_t)row.seq;
    if (known->spread) {
        return hash_step(hash_step(HASH_FACTOR, seq), row.id) & (known->capacity - 1);
    }
    uint64_t block = hash_step(HASH_FACTOR, seq >> BLOCK_BITS) << BLOCK_BITS;
    return (block | (seq & ((1 << BLOCK_BITS) - 1))) & (known->capacity - 1);
}

/* The slot of the row, or the free one where it belongs. */
static KnownSlot *slot_find(const Known *known, KnownRow row)
{
    size_t at = slot_home(known, row);
    while (known->slots[at].count > 0 &&
           (known->slots[at].row.seq != row.seq || known->slots[at].row.id != row.id)) {
        at = (at + 1) & (known->capacity - 1);
    }
    return &known->slots[at];
}

static KnownSlot *slot_of(const Known *known, KnownRow row)
{
    KnownSlot *slot = known->count > 0 ? slot_find(known, row) : NULL;
    return slot != NULL && slot->count > 0 ? slot : NULL;
}

static void table_remake(Known *known, size_t capacity)
{
    Known old = *known;
    known->capacity = capacity;
    known->slots = x_calloc(known->capacity, sizeof(*known->slots));
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].count > 0) {
            *slot_find(known, old.slots[i].row) = old.slots[i];
        }
    }
    free(old.slots);
}

static void slot_remove(Known *known, KnownSlot *slot)
{
    size_t mask = known->capacity - 1;
    size_t hole = (size_t)(slot - known->slots);
    known->parked -= slot->parked;
    for (size_t at = (hole + 1) & mask; known->slots[at].count > 0; at = (at + 1) & mask) {
        size_t home = slot_home(known, known->slots[at].row);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            known->slots[hole] = known->slots[at];
            hole = at;
        }
    }
    known->slots[hole] = (KnownSlot){0};
    known->count--;
}

void known_add(Known *known, KnownRow row, bool hold)
{
    known->spread = known->spread && known->count > 0;
    if (known->count >= known->capacity / 2) {
        table_remake(known, known->capacity > 0 ? known->capacity * 2 : FIRST_CAPACITY);
    }
    KnownSlot *slot = slot_find(known, row);
    size_t searched =
        ((size_t)(slot - known->slots) - slot_home(known, row)) & (known->capacity - 1);
    if (searched > SEARCH_LONG && !known->spread) {
        known->spread = true;
        table_remake(known, known->capacity);
        slot = slot_find(known, row);
    }
    known->top = known->count == 0 || row.seq > known->top ? row.seq : known->top;
    known->count += slot->count == 0;
    slot->row = row;
    slot->count++;
    slot->hold |= hold;
}

bool known_has(const Known *known, KnownRow row)
{
    return slot_of(known, row) != NULL;
}

bool known_may_have(const Known *known, int64_t seq)
{
    return known->count > 0 && seq <= known->top;
}

size_t known_count(const Known *known)
{
    return known->count;
}

size_t known_parked(const Known *known)
{
    return known->parked;
}

static void slot_drop(Known *known, KnownSlot *slot)
{
    if (slot != NULL && --slot->count == 0) {
        slot_remove(known, slot);
    }
}

void known_drop(Known *known, KnownRow row)
{
    slot_drop(known, slot_of(known, row));
}

void known_settle(Known *known, KnownRow row)
{
    queue_push(&known->settled, (KnownEntry){.row = row});
}

void known_park(Known *known, KnownRow row)
{
    KnownSlot *slot = slot_of(known, row);
    if (slot != NULL) {
        known->parked += !slot->parked;
        slot->parked = true;
    }
}

bool known_is_parked(const Known *known, KnownRow row)
{
    const KnownSlot *slot = slot_of(known, row);
    return slot != NULL && slot->parked;
}

void known_unpark(Known *known)
{
    Known old = *known;
    if (old.parked == 0) {
        return;
    }
    known->slots = x_calloc(known->capacity, sizeof(*known->slots));
    known->count = known->parked = 0;
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].count > 0 && !old.slots[i].parked) {
            *slot_find(known, old.slots[i].row) = old.slots[i];
            known->count++;
        }
    }
    free(old.slots);
}

void known_release(Known *known, size_t unmarked, uint64_t marked, int64_t now_us, int64_t hold_us)
{
    size_t done = known->settled.count > unmarked ? known->settled.count - unmarked : 0;
    bool missed = marked - known->marked_yet < done;
    known->marked_yet = marked;
    /* Backwards: what is behind a slot in its block is gone already, and need not move up. */
    for (size_t i = done; i > 0 && !missed; i--) {
        KnownEntry entry = *queue_at(&known->settled, i - 1);
        KnownSlot *slot = slot_of(known, entry.row);
        if (slot != NULL && slot->hold) {
            entry.until_us = now_us + hold_us;
            queue_push(&known->held, entry);
        } else {
            slot_drop(known, slot);
        }
    }
    while (done-- > 0) {
        KnownEntry entry = queue_pop(&known->settled);
        if (missed) {
            entry.until_us = now_us + hold_us;
            queue_push(&known->held, entry);
        }
    }
    while (known->held.count > 0 &&
           (known->held.count > KNOWN_HELD_MAX || queue_at(&known->held, 0)->until_us <= now_us)) {
        known_drop(known, queue_pop(&known->held).row);
    }
}

void known_free(Known *known)
{
    free(known->slots);
    free(known->settled.entries);
    free(known->held.entries);
    *known = (Known){0};
}

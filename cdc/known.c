#include "cdc/known.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void known_events_add(KnownEvents *known, uint64_t commit_lsn, uint64_t ordinal)
{
    if (known->count == known->capacity) {
        known->capacity = known->capacity > 0 ? known->capacity * 2 : 64;
        known->items = x_realloc(known->items, known->capacity * sizeof(*known->items));
    }
    known->items[known->count++] = (KnownEvent){.commit_lsn = commit_lsn, .ordinal = ordinal};
}

bool known_events_meet(KnownEvents *known, uint64_t commit_lsn, uint64_t ordinal)
{
    while (known->next < known->count) {
        const KnownEvent *event = &known->items[known->next];
        if (event->commit_lsn > commit_lsn ||
            (event->commit_lsn == commit_lsn && event->ordinal > ordinal)) {
            return false;
        }
        known->next++;
        if (event->commit_lsn == commit_lsn && event->ordinal == ordinal) {
            return true;
        }
    }
    return false;
}

void known_events_restart(KnownEvents *known, KnownEvents *again)
{
    for (size_t i = known->next; i < known->count; i++) {
        known_events_add(again, known->items[i].commit_lsn, known->items[i].ordinal);
    }
    free(known->items);
    *known = *again;
    known->next = 0;
    *again = (KnownEvents){0};
}

void known_events_release(KnownEvents *known)
{
    free(known->items);
    *known = (KnownEvents){0};
}

/* The first range that ends at seq - 1 or later. */
static size_t known_seqs_find(const KnownSeqs *known, int64_t seq)
{
    size_t low = 0;
    size_t high = known->count;
    int64_t least = seq > INT64_MIN ? seq - 1 : seq;
    if (high > 0 && known->ranges[high - 1].high < least) {
        return high;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (known->ranges[middle].high < least) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool known_seqs_has(const KnownSeqs *known, int64_t seq)
{
    for (size_t i = known_seqs_find(known, seq); i < known->count; i++) {
        if (known->ranges[i].low > seq) {
            return false;
        }
        if (known->ranges[i].high >= seq) {
            return true;
        }
    }
    return false;
}

void known_seqs_add(KnownSeqs *known, int64_t seq)
{
    size_t at = known_seqs_find(known, seq);
    KnownRange *range = &known->ranges[at];
    if (at < known->count && range->low <= seq && range->high >= seq) {
        return;
    }
    if (at < known->count && range->high < seq) { /* so it ends at seq - 1 */
        range->high = seq;
        if (at + 1 < known->count && range[1].low == seq + 1) {
            range->high = range[1].high;
            known->count--;
            memmove(range + 1, range + 2, (known->count - at - 1) * sizeof(*range));
        }
        return;
    }
    if (at < known->count && range->low - 1 == seq) {
        range->low = seq;
        return;
    }
    if (known->count == known->capacity) {
        known->capacity = known->capacity > 0 ? known->capacity * 2 : 16;
        known->ranges = x_realloc(known->ranges, known->capacity * sizeof(*known->ranges));
    }
    memmove(known->ranges + at + 1, known->ranges + at,
            (known->count - at) * sizeof(*known->ranges));
    known->ranges[at] = (KnownRange){.low = seq, .high = seq};
    known->count++;
}

void known_seqs_release(KnownSeqs *known)
{
    free(known->ranges);
    *known = (KnownSeqs){0};
}

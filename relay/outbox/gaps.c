#include "outbox/gaps.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

const Gaps GAPS_NONE = {.top = INT64_MIN, .low = INT64_MIN};

void gaps_reset(Gaps *gaps)
{
    gaps->count = 0;
    gaps->top = INT64_MIN;
    gaps->low = INT64_MIN;
}

void gaps_release(Gaps *gaps)
{
    free(gaps->ranges);
    *gaps = (Gaps){0};
    gaps_reset(gaps);
}

static void gaps_reserve(Gaps *gaps)
{
    if (gaps->count == gaps->capacity) {
        gaps->ranges = x_grow(gaps->ranges, &gaps->capacity, sizeof(*gaps->ranges));
    }
}

static void gaps_insert(Gaps *gaps, size_t at, GapRange range)
{
    gaps_reserve(gaps);
    memmove(gaps->ranges + at + 1, gaps->ranges + at, (gaps->count - at) * sizeof(*gaps->ranges));
    gaps->ranges[at] = range;
    gaps->count++;
}

static void gaps_remove(Gaps *gaps, size_t at, size_t count)
{
    memmove(gaps->ranges + at, gaps->ranges + at + count,
            (gaps->count - at - count) * sizeof(*gaps->ranges));
    gaps->count -= count;
}

/* Merges pairs of neighbours over the smallest distances until half of the ranges are left. */
static void gaps_merge(Gaps *gaps)
{
    for (uint64_t distance = 64; gaps->count > GAPS_MAX / 2; distance *= 4) {
        size_t kept = 0;
        for (size_t i = 1; i < gaps->count; i++) {
            GapRange *last = &gaps->ranges[kept];
            if ((uint64_t)gaps->ranges[i].low - (uint64_t)last->high <= distance) {
                last->high = gaps->ranges[i].high;
                last->merged = true;
            } else {
                gaps->ranges[++kept] = gaps->ranges[i];
            }
        }
        gaps->count = kept + 1;
    }
}

/* First range whose high end is not below seq. */
static size_t gaps_find(const Gaps *gaps, int64_t seq)
{
    size_t low = 0;
    size_t high = gaps->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (gaps->ranges[middle].high < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool gaps_cover(const Gaps *gaps, int64_t seq)
{
    if (seq > gaps->top || gaps->top == INT64_MIN) {
        return true;
    }
    size_t at = gaps_find(gaps, seq);
    return at < gaps->count && gaps->ranges[at].low <= seq;
}

bool gaps_are_merged(const Gaps *gaps)
{
    for (size_t i = 0; i < gaps->count; i++) {
        if (gaps->ranges[i].merged) {
            return true;
        }
    }
    return false;
}

void gaps_see(Gaps *gaps, int64_t seq)
{
    if (seq > gaps->top) {
        int64_t first = gaps->top == INT64_MIN ? INT64_MIN : gaps->top + 1;
        if (seq > first) {
            gaps_insert(gaps, gaps->count, (GapRange){.low = first, .high = seq - 1});
        }
        gaps->top = seq;
    } else {
        size_t at = gaps_find(gaps, seq);
        if (at == gaps->count || gaps->ranges[at].low > seq) {
            return; /* below the low-water bound, or in a merged range: nothing to note */
        }
        GapRange range = gaps->ranges[at];
        gaps_remove(gaps, at, 1);
        if (seq < range.high) {
            gaps_insert(gaps, at,
                        (GapRange){.low = seq + 1, .high = range.high, .merged = range.merged});
        }
        if (seq > range.low) {
            gaps_insert(gaps, at,
                        (GapRange){.low = range.low, .high = seq - 1, .merged = range.merged});
        }
    }
    if (gaps->count > GAPS_MAX) {
        gaps_merge(gaps);
    }
}

void gaps_drop(Gaps *gaps, int64_t high)
{
    size_t whole = 0;
    while (whole < gaps->count && gaps->ranges[whole].high <= high) {
        whole++;
    }
    gaps_remove(gaps, 0, whole);
    if (gaps->count > 0 && gaps->ranges[0].low <= high) {
        gaps->ranges[0].low = high + 1;
    }
    if (high >= gaps->low) {
        gaps->low = high + 1;
    }
}

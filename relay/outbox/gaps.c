#include "outbox/gaps.h"

const Gaps GAPS_NONE = {.top = INT64_MIN, .low = INT64_MIN};

void gaps_reset(Gaps *gaps)
{
    gaps->ranges.count = 0;
    gaps->top = INT64_MIN;
    gaps->low = INT64_MIN;
}

void gaps_release(Gaps *gaps)
{
    vec_free(&gaps->ranges);
    *gaps = (Gaps){0};
    gaps_reset(gaps);
}

/* Merges pairs of neighbours over the smallest distances until half of the ranges are left. */
static void gaps_merge(Gaps *gaps)
{
    for (uint64_t distance = 64; gaps->ranges.count > GAPS_MAX / 2; distance *= 4) {
        size_t kept = 0;
        for (size_t i = 1; i < gaps->ranges.count; i++) {
            GapRange *last = &gaps->ranges.items[kept];
            if ((uint64_t)gaps->ranges.items[i].low - (uint64_t)last->high <= distance) {
                last->high = gaps->ranges.items[i].high;
                last->merged = true;
            } else {
                gaps->ranges.items[++kept] = gaps->ranges.items[i];
            }
        }
        gaps->ranges.count = kept + 1;
    }
}

/* First range whose high end is not below seq. */
static size_t gaps_find(const Gaps *gaps, int64_t seq)
{
    size_t low = 0;
    size_t high = gaps->ranges.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (gaps->ranges.items[middle].high < seq) {
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
    return at < gaps->ranges.count && gaps->ranges.items[at].low <= seq;
}

bool gaps_are_merged(const Gaps *gaps)
{
    for (size_t i = 0; i < gaps->ranges.count; i++) {
        if (gaps->ranges.items[i].merged) {
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
            *vec_add(&gaps->ranges) = (GapRange){.low = first, .high = seq - 1};
        }
        gaps->top = seq;
    } else {
        size_t at = gaps_find(gaps, seq);
        if (at == gaps->ranges.count || gaps->ranges.items[at].low > seq) {
            return; /* below the low-water bound, or in a merged range: nothing to note */
        }
        GapRange range = gaps->ranges.items[at];
        vec_remove(&gaps->ranges, at, 1);
        if (seq < range.high) {
            *vec_insert(&gaps->ranges, at) =
                (GapRange){.low = seq + 1, .high = range.high, .merged = range.merged};
        }
        if (seq > range.low) {
            *vec_insert(&gaps->ranges, at) =
                (GapRange){.low = range.low, .high = seq - 1, .merged = range.merged};
        }
    }
    if (gaps->ranges.count > GAPS_MAX) {
        gaps_merge(gaps);
    }
}

void gaps_drop(Gaps *gaps, int64_t high)
{
    size_t whole = 0;
    while (whole < gaps->ranges.count && gaps->ranges.items[whole].high <= high) {
        whole++;
    }
    vec_remove(&gaps->ranges, 0, whole);
    if (gaps->ranges.count > 0 && gaps->ranges.items[0].low <= high) {
        gaps->ranges.items[0].low = high + 1;
    }
    if (high >= gaps->low) {
        gaps->low = high + 1;
    }
}

#include <criterion/criterion.h>
#include <string.h>

#include "base/text.h"
#include "outbox/gaps.h"
#include "stub/random.h"

static Gaps gaps;

static void begin(void)
{
    gaps_reset(&gaps);
}

static void end(void)
{
    gaps_release(&gaps);
}

TestSuite(gaps, .init = begin, .fini = end);

/* "..2 4 7-9": the ranges; the first begins at the least number there is. */
static void assert_gaps(const char *expected)
{
    Text text = TEXT_EMPTY;
    for (size_t i = 0; i < gaps.ranges.count; i++) {
        const GapRange *range = &gaps.ranges.items[i];
        text_add(&text, i > 0 ? " " : "");
        if (range->low == INT64_MIN) {
            text_printf(&text, "..%lld", (long long)range->high);
        } else if (range->low == range->high) {
            text_printf(&text, "%lld", (long long)range->low);
        } else {
            text_printf(&text, "%lld-%lld", (long long)range->low, (long long)range->high);
        }
    }
    cr_assert_str_eq(text_string(&text), expected, "%s", text_string(&text));
    text_free(&text);
}

static void see(int64_t first, int64_t last)
{
    for (int64_t seq = first; seq <= last; seq++) {
        gaps_see(&gaps, seq);
    }
}

Test(gaps, nothing_is_seen_at_first)
{
    cr_assert_eq(gaps.top, INT64_MIN);
    cr_assert_eq(gaps.low, INT64_MIN);
    assert_gaps("");
}

Test(gaps, all_below_the_first_number_is_a_gap)
{
    see(100, 102);
    assert_gaps("..99");
    cr_assert_eq(gaps.top, 102);
}

Test(gaps, a_skipped_number_is_a_gap_until_it_is_seen)
{
    see(1, 3);
    see(5, 6);
    see(10, 10);
    assert_gaps("..0 4 7-9");
    see(8, 8);
    assert_gaps("..0 4 7 9");
    see(4, 4);
    see(7, 7);
    see(9, 9);
    assert_gaps("..0");
}

Test(gaps, seeing_twice_changes_nothing)
{
    see(1, 5);
    see(8, 9);
    see(1, 5);
    see(8, 9);
    assert_gaps("..0 6-7");
}

Test(gaps, a_number_below_everything_splits_the_first_gap)
{
    see(10, 10);
    see(-5, -5);
    assert_gaps("..-6 -4-9");
}

Test(gaps, what_is_looked_for_are_gaps_and_what_lies_beyond_the_top)
{
    cr_assert(gaps_cover(&gaps, INT64_MIN));
    see(3, 4);
    see(8, 8);
    gaps_drop(&gaps, 4);
    cr_assert_not(gaps_cover(&gaps, INT64_MIN));
    for (int64_t seq = 0; seq < 12; seq++) {
        cr_assert_eq(gaps_cover(&gaps, seq), (seq >= 5 && seq <= 7) || seq > 8);
    }
    cr_assert_not(gaps_are_merged(&gaps));
}

Test(gaps, what_remains_of_a_merged_range_is_merged)
{
    for (int64_t seq = 0; seq <= GAPS_MAX * 2; seq += 2) { /* one more would merge them */
        gaps_see(&gaps, seq);
    }
    cr_assert(gaps_are_merged(&gaps));
    int64_t high = gaps.ranges.items[0].high;
    gaps_see(&gaps, gaps.top + 100);
    gaps_drop(&gaps, high - 3);
    cr_assert_eq(gaps.ranges.items[0].low, high - 2);
    cr_assert(gaps.ranges.items[0].merged);
    gaps_see(&gaps, high - 1);
    cr_assert(gaps.ranges.items[0].merged && gaps.ranges.items[1].merged);
    gaps_drop(&gaps, gaps.top - 50);
    cr_assert_eq(gaps.ranges.count, 1);
    cr_assert_not(gaps.ranges.items[0].merged);
}

Test(gaps, dropping_gives_up_whole_gaps_and_the_part_below)
{
    see(1, 1);
    see(5, 5);
    see(9, 9);
    assert_gaps("..0 2-4 6-8");
    gaps_drop(&gaps, 6);
    assert_gaps("7-8");
    cr_assert_eq(gaps.low, 7);
    gaps_drop(&gaps, 3); /* never backwards */
    cr_assert_eq(gaps.low, 7);
    gaps_drop(&gaps, 9);
    assert_gaps("");
    cr_assert_eq(gaps.low, 10);
    see(6, 6); /* below the bound: found by a sweep */
    assert_gaps("");
    see(12, 12);
    assert_gaps("10-11");
}

Test(gaps, the_ends_of_the_numbers_are_numbers)
{
    see(INT64_MAX - 1, INT64_MAX - 1);
    gaps_see(&gaps, INT64_MAX);
    cr_assert_eq(gaps.top, INT64_MAX);
    gaps_see(&gaps, INT64_MIN);
    gaps_see(&gaps, INT64_MIN + 1);
    cr_assert_eq(gaps.ranges.items[0].low, INT64_MIN + 2);
    gaps_drop(&gaps, INT64_MAX);
    assert_gaps("");
}

/* Whether seq is looked for. *from walks along the ranges; calls are in ascending order of seq. */
static bool covered(int64_t seq, size_t *from)
{
    while (*from < gaps.ranges.count && gaps.ranges.items[*from].high < seq) {
        ++*from;
    }
    return seq > gaps.top || (*from < gaps.ranges.count && gaps.ranges.items[*from].low <= seq);
}

static void assert_well_formed(uint64_t seed)
{
    for (size_t i = 0; i < gaps.ranges.count; i++) {
        cr_assert_leq(gaps.ranges.items[i].low, gaps.ranges.items[i].high, "seed %lu",
                      (unsigned long)seed);
        cr_assert(i == 0 || gaps.ranges.items[i - 1].high < gaps.ranges.items[i].low,
                  "seed %lu: overlap", (unsigned long)seed);
        cr_assert_lt(gaps.ranges.items[i].high, gaps.top, "seed %lu", (unsigned long)seed);
        cr_assert_geq(gaps.ranges.items[i].low, gaps.low, "seed %lu", (unsigned long)seed);
    }
    cr_assert_leq(gaps.ranges.count, GAPS_MAX);
}

enum { UNIVERSE = 300 };

Test(gaps, random_walks_agree_with_a_naive_set)
{
    uint64_t first = 1;
    uint64_t count = 100;
    random_seeds(&first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        Random random = random_new(seed);
        bool seen[UNIVERSE] = {false};
        int64_t low = INT64_MIN;
        int64_t top = INT64_MIN;
        gaps_reset(&gaps);
        for (int i = 0; i < 300; i++) {
            int64_t seq = (int64_t)random_below(&random, UNIVERSE);
            if (random_chance(&random, 96)) {
                gaps_see(&gaps, seq);
                seen[seq] = true;
                top = seq > top ? seq : top;
            } else if (top != INT64_MIN && seq <= top) { /* a fence never lies beyond the top */
                gaps_drop(&gaps, seq);
                low = seq >= low ? seq + 1 : low;
            }
            size_t from = 0;
            for (int64_t j = -1; j < UNIVERSE; j++) {
                bool looked_for = j > top || (j >= low && (j < 0 || !seen[j]));
                cr_assert_eq(covered(j, &from), looked_for, "seed %lu: %lld", (unsigned long)seed,
                             (long long)j);
            }
            cr_assert_eq(gaps.low, low);
            cr_assert_eq(gaps.top, top);
        }
        assert_well_formed(seed);
    }
}

enum { WIDE = 40000 };

Test(gaps, merging_bounds_their_number_and_loses_none)
{
    uint64_t first = 1;
    uint64_t count = 6;
    random_seeds(&first, &count);
    static bool seen[WIDE];
    for (uint64_t seed = first; seed < first + count; seed++) {
        Random random = random_new(seed);
        memset(seen, 0, sizeof(seen));
        gaps_reset(&gaps);
        int64_t stretch = random_chance(&random, 50) ? 1 : 1000000007;
        size_t merged = 0;
        for (int i = 0; i < 20000; i++) {
            size_t pick = random_below(&random, WIDE);
            seen[pick] = true;
            size_t before = gaps.ranges.count;
            gaps_see(&gaps, (int64_t)pick * stretch);
            merged += gaps.ranges.count + 1 < before;
        }
        cr_assert_gt(merged, 0, "seed %lu never merged", (unsigned long)seed);
        assert_well_formed(seed);
        size_t from = 0;
        cr_assert(gaps_are_merged(&gaps));
        for (size_t i = 0; i < WIDE; i++) {
            bool sought = gaps_cover(&gaps, (int64_t)i * stretch);
            cr_assert(seen[i] || sought, "seed %lu", (unsigned long)seed);
            cr_assert_eq(sought, covered((int64_t)i * stretch, &from));
        }
        from = 0;
        for (size_t i = 0; i < WIDE; i++) {
            cr_assert(seen[i] || covered((int64_t)i * stretch, &from), "seed %lu: %zu is lost",
                      (unsigned long)seed, i);
        }
    }
}

Test(gaps, merging_bridges_the_short_runs_and_leaves_the_long_ones)
{
    enum { RUNS = GAPS_MAX + 100, SHORT = 10, LONG = 1000 };
    int64_t next = 0;
    for (int i = 0; i < RUNS; i++) { /* one number is missing behind each run */
        int64_t length = i % 4 == 3 ? LONG : SHORT;
        see(next, next + length - 1);
        next += length + 1;
    }
    cr_assert_leq(gaps.ranges.count, GAPS_MAX);
    size_t bridged = 0;
    size_t from = 0;
    next = 0;
    for (int i = 0; i < RUNS; i++) {
        int64_t length = i % 4 == 3 ? LONG : SHORT;
        for (int64_t seq = next; seq < next + length; seq++) {
            bool again = covered(seq, &from);
            cr_assert(!again || length == SHORT, "run %d would be read again", i);
            bridged += again;
        }
        next += length + 1;
    }
    cr_assert_gt(bridged, 0);
}

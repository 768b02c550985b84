#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "cdc/known.h"
#include "stub/random.h"

static KnownEvents events;
static KnownEvents again;
static KnownSeqs seqs;

static void end(void)
{
    known_events_release(&events);
    known_events_release(&again);
    known_seqs_release(&seqs);
}

TestSuite(known, .fini = end);

Test(known, no_event_is_known_at_first)
{
    cr_assert_not(known_events_meet(&events, 0, 0));
    cr_assert_not(known_events_meet(&events, 100, 1));
}

Test(known, an_event_is_met_once)
{
    known_events_add(&events, 100, 2);
    cr_assert_not(known_events_meet(&events, 100, 1));
    cr_assert(known_events_meet(&events, 100, 2));
    cr_assert_not(known_events_meet(&events, 100, 3));
    cr_assert_not(known_events_meet(&events, 200, 2));
}

Test(known, events_are_told_apart_by_transaction_and_number)
{
    known_events_add(&events, 100, 7);
    known_events_add(&events, 200, 1);
    known_events_add(&events, 200, 3);
    cr_assert_not(known_events_meet(&events, 50, 7));
    cr_assert(known_events_meet(&events, 100, 7));
    cr_assert_not(known_events_meet(&events, 150, 1));
    cr_assert(known_events_meet(&events, 200, 1));
    cr_assert_not(known_events_meet(&events, 200, 2));
    cr_assert(known_events_meet(&events, 200, 3));
    cr_assert_not(known_events_meet(&events, UINT64_MAX, UINT64_MAX));
}

Test(known, events_that_do_not_come_are_passed)
{
    known_events_add(&events, 100, 1);
    known_events_add(&events, 100, 2);
    known_events_add(&events, 200, 1);
    known_events_add(&events, 300, 5);
    cr_assert(known_events_meet(&events, 200, 1));
    cr_assert_not(known_events_meet(&events, 300, 4));
    cr_assert(known_events_meet(&events, 300, 5));
}

Test(known, a_restart_knows_what_came_back_and_then_what_was_not_met)
{
    for (uint64_t ordinal = 1; ordinal <= 5; ordinal++) {
        known_events_add(&events, 100, ordinal);
    }
    cr_assert(known_events_meet(&events, 100, 1));
    cr_assert(known_events_meet(&events, 100, 2)); /* 1 is done now, 2 came back */
    known_events_add(&again, 100, 2);
    known_events_restart(&events, &again);
    cr_assert_eq(again.count, 0, "its content was taken");
    cr_assert_null(again.items);
    cr_assert_not(known_events_meet(&events, 100, 1));
    for (uint64_t ordinal = 2; ordinal <= 5; ordinal++) {
        cr_assert(known_events_meet(&events, 100, ordinal), "%" PRIu64, ordinal);
    }
    cr_assert_not(known_events_meet(&events, 100, 6));
}

Test(known, restarts_without_progress_forget_nothing)
{
    known_events_add(&events, 100, 1);
    known_events_add(&events, 200, 1);
    for (int i = 0; i < 3; i++) {
        known_events_restart(&events, &again);
        cr_assert_eq(events.count, 2);
    }
    cr_assert(known_events_meet(&events, 100, 1));
    cr_assert(known_events_meet(&events, 200, 1));
    known_events_restart(&events, &again); /* both are done */
    cr_assert_eq(events.count, 0);
}

enum { STREAM = 300 };

/* The stream comes again and again from where it was; what is known is exactly what is known. */
Test(known, what_is_met_is_what_is_known_over_many_restarts)
{
    uint64_t first = 1;
    uint64_t count = 200;
    random_seeds(&first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        Random random = random_new(seed);
        bool acknowledged[STREAM] = {false};
        size_t top = 0; /* read so far */
        size_t low = 0; /* done up to here: it is not asked for again */
        for (int round = 0; round < 10; round++) {
            size_t stop = low + random_below(&random, STREAM - low);
            for (size_t i = low; i < stop; i++) {
                bool met = known_events_meet(&events, 10 + i / 7, 1 + i % 7);
                cr_assert_eq(met, acknowledged[i], "seed %" PRIu64 ": %zu", seed, i);
            }
            top = stop > top ? stop : top;
            while (low < stop && (acknowledged[low] || random_chance(&random, 30))) {
                low++;
            }
            for (size_t i = low; i < stop; i++) { /* the batches that are taken back */
                acknowledged[i] |= random_chance(&random, 20);
                if (acknowledged[i]) {
                    known_events_add(&again, 10 + i / 7, 1 + i % 7);
                }
            }
            known_events_restart(&events, &again);
        }
        cr_assert_leq(low, top);
        known_events_release(&events);
    }
}

/* "1-3 5": the ranges. */
static void assert_seqs(const char *expected)
{
    Text text = TEXT_EMPTY;
    for (size_t i = 0; i < seqs.count; i++) {
        const KnownRange *range = &seqs.ranges[i];
        text_printf(&text, "%s%" PRId64, i > 0 ? " " : "", range->low);
        if (range->high != range->low) {
            text_printf(&text, "-%" PRId64, range->high);
        }
    }
    cr_assert_str_eq(text_string(&text), expected, "%s", text_string(&text));
    text_free(&text);
}

Test(known, neighbours_are_one_range)
{
    cr_assert_not(known_seqs_has(&seqs, 0));
    known_seqs_add(&seqs, 5);
    known_seqs_add(&seqs, 9);
    assert_seqs("5 9");
    known_seqs_add(&seqs, 6);
    known_seqs_add(&seqs, 8);
    assert_seqs("5-6 8-9");
    known_seqs_add(&seqs, 7);
    assert_seqs("5-9");
    known_seqs_add(&seqs, 6);
    known_seqs_add(&seqs, -1);
    assert_seqs("-1 5-9");
    cr_assert(known_seqs_has(&seqs, -1));
    cr_assert(known_seqs_has(&seqs, 7));
    cr_assert_not(known_seqs_has(&seqs, 4));
    cr_assert_not(known_seqs_has(&seqs, 10));
}

Test(known, the_ends_of_the_numbers_are_numbers)
{
    known_seqs_add(&seqs, INT64_MAX);
    known_seqs_add(&seqs, INT64_MIN);
    known_seqs_add(&seqs, 0);
    cr_assert_eq(seqs.count, 3);
    known_seqs_add(&seqs, INT64_MAX - 1);
    known_seqs_add(&seqs, INT64_MIN + 1);
    known_seqs_add(&seqs, INT64_MAX);
    known_seqs_add(&seqs, INT64_MIN);
    assert_seqs("-9223372036854775808--9223372036854775807 0 "
                "9223372036854775806-9223372036854775807");
    cr_assert(known_seqs_has(&seqs, INT64_MIN));
    cr_assert(known_seqs_has(&seqs, INT64_MAX));
    cr_assert_not(known_seqs_has(&seqs, INT64_MIN + 2));
    cr_assert_not(known_seqs_has(&seqs, INT64_MAX - 2));
}

enum { UNIVERSE = 200 };

Test(known, random_sequence_numbers_agree_with_a_bitmap)
{
    uint64_t first = 1;
    uint64_t count = 200;
    random_seeds(&first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        Random random = random_new(seed);
        const int64_t bases[] = {INT64_MIN, -(UNIVERSE / 2), INT64_MAX - UNIVERSE + 1};
        int64_t base = bases[random_below(&random, 3)];
        bool known[UNIVERSE] = {false};
        size_t ascending = random_below(&random, 100);
        size_t at = 0;
        for (int i = 0; i < 250; i++) {
            at = random_chance(&random, ascending) ? (at + 1) % UNIVERSE
                                                   : random_below(&random, UNIVERSE);
            known_seqs_add(&seqs, base + (int64_t)at);
            known[at] = true;
            size_t ranges = 0;
            for (size_t j = 0; j < UNIVERSE; j++) {
                cr_assert_eq(known_seqs_has(&seqs, base + (int64_t)j), known[j],
                             "seed %" PRIu64 ": %zu", seed, j);
                ranges += known[j] && (j == 0 || !known[j - 1]);
            }
            cr_assert_eq(seqs.count, ranges, "seed %" PRIu64, seed);
        }
        known_seqs_release(&seqs);
    }
}

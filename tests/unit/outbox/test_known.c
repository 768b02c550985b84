#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outbox/known.h"
#include "stub/random.h"

static Known known;

static void end(void)
{
    known_free(&known);
}

TestSuite(known, .fini = end);

static KnownRow row(int64_t seq, const char *id)
{
    return known_row(seq, slice_of(id));
}

Test(known, a_row_is_a_number_and_an_event_id)
{
    known_add(&known, row(7, "a"), false);
    cr_assert(known_has(&known, row(7, "a")));
    cr_assert_not(known_has(&known, row(7, "b")));
    cr_assert_not(known_has(&known, row(7, NULL)));
    cr_assert_not(known_has(&known, row(7, "")));
    cr_assert_not(known_has(&known, row(8, "a")));
    known_drop(&known, row(7, "a"));
    cr_assert_not(known_has(&known, row(7, "a")));
    cr_assert_eq(known.count, 0);
}

Test(known, ids_that_differ_in_one_bit_are_different)
{
    char id[] = "01940000-1c2d-7000-8000-00805f9b34fb";
    KnownRow first = row(1, id);
    for (size_t i = 0; i < strlen(id); i++) {
        id[i] ^= 1;
        cr_assert_neq(row(1, id).id, first.id, "byte %zu", i);
        id[i] ^= 1;
    }
    cr_assert_neq(row(1, "a").id, known_row(1, (Slice){.data = "a\0", .length = 2}).id);
}

Test(known, two_rows_that_nothing_tells_apart_are_counted)
{
    known_add(&known, row(7, NULL), false);
    known_add(&known, row(7, NULL), false);
    known_drop(&known, row(7, NULL));
    cr_assert(known_has(&known, row(7, NULL)));
    known_drop(&known, row(7, NULL));
    cr_assert_not(known_has(&known, row(7, NULL)));
    known_drop(&known, row(7, NULL)); /* no more than there were */
    cr_assert_eq(known.count, 0);
}

Test(known, what_is_settled_is_known_until_it_is_marked_and_released)
{
    for (int64_t seq = 1; seq <= 5; seq++) {
        known_add(&known, row(seq, "x"), false);
        known_settle(&known, row(seq, "x"));
    }
    known_release(&known, 5, 0, 100, 1000);
    cr_assert_eq(known.count, 5);
    known_release(&known, 2, 3, 100, 1000);
    cr_assert_eq(known.count, 2);
    cr_assert_not(known_has(&known, row(3, "x")));
    cr_assert(known_has(&known, row(4, "x")));
    known_release(&known, 0, 5, 100, 1000);
    cr_assert_eq(known.count, 0);
}

Test(known, a_row_to_be_held_back_stays_known_for_a_while_after_its_mark)
{
    known_add(&known, row(1, "x"), true);
    known_add(&known, row(2, "x"), false);
    known_settle(&known, row(1, "x"));
    known_settle(&known, row(2, "x"));
    known_release(&known, 0, 2, 100, 1000);
    cr_assert(known_has(&known, row(1, "x")));
    cr_assert_not(known_has(&known, row(2, "x")));
    known_release(&known, 0, 2, 1099, 1000);
    cr_assert(known_has(&known, row(1, "x")));
    known_release(&known, 0, 2, 1100, 1000);
    cr_assert_eq(known.count, 0);
}

Test(known, rows_whose_mark_may_have_missed_are_held_back)
{
    for (int64_t seq = 1; seq <= 2; seq++) {
        known_add(&known, row(seq, "x"), false);
        known_settle(&known, row(seq, "x"));
    }
    known_release(&known, 0, 1, 100, 1000);
    cr_assert_eq(known.count, 2);
    known_release(&known, 0, 1, 1100, 1000);
    cr_assert_eq(known.count, 0);
}

Test(known, what_is_held_back_is_bounded)
{
    for (int64_t seq = 0; seq < KNOWN_HELD_MAX + 100; seq++) {
        known_add(&known, row(seq, NULL), true);
        known_settle(&known, row(seq, NULL));
    }
    known_release(&known, 0, 0, 100, 1000);
    cr_assert_eq(known.count, KNOWN_HELD_MAX);
    cr_assert_not(known_has(&known, row(99, NULL)));
    cr_assert(known_has(&known, row(100, NULL)));
}

Test(known, parked_rows_stay_known_until_all_are_taken_back)
{
    known_add(&known, row(1, "x"), false);
    known_add(&known, row(2, "x"), false);
    known_park(&known, row(2, "x"));
    known_park(&known, row(2, "x"));
    known_park(&known, row(3, "x")); /* was never known */
    cr_assert_eq(known.parked, 1);
    known_unpark(&known);
    cr_assert_eq(known.parked, 0);
    cr_assert(known_has(&known, row(1, "x")));
    cr_assert_not(known_has(&known, row(2, "x")));
    known_unpark(&known);
    cr_assert_eq(known.count, 1);
}

Test(known, numbers_above_all_known_ones_need_no_look)
{
    cr_assert_not(known_may_have(&known, INT64_MIN));
    known_add(&known, row(-9, "x"), false);
    cr_assert(known_may_have(&known, -9));
    cr_assert_not(known_may_have(&known, -8));
    known_add(&known, row(INT64_MAX, "x"), false);
    known_add(&known, row(5, "x"), false);
    known_drop(&known, row(INT64_MAX, "x"));
    cr_assert(known_may_have(&known, 5));
    known_drop(&known, row(5, "x"));
    known_drop(&known, row(-9, "x"));
    cr_assert_not(known_may_have(&known, 5), "nothing is known");
    known_add(&known, row(3, "x"), false);
    cr_assert_not(known_may_have(&known, 4), "the bound begins anew");
}

Test(known, many_rows_of_one_number_do_not_make_long_searches)
{
    enum { ROWS = 20000 };
    char id[16];
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < ROWS; i++) {
            snprintf(id, sizeof(id), "%d", i);
            known_add(&known, row(7, id), false);
        }
        cr_assert(known.spread);
        cr_assert_eq(known.count, ROWS);
        for (int i = 0; i < ROWS; i++) {
            snprintf(id, sizeof(id), "%d", i);
            cr_assert(known_has(&known, row(7, id)));
            known_drop(&known, row(7, id));
            cr_assert_not(known_has(&known, row(7, id)));
        }
        cr_assert_eq(known.count, 0);
    }
    known_add(&known, row(1, "x"), false);
    cr_assert_not(known.spread, "an empty table begins anew");
}

Test(known, numbers_that_follow_each_other_stay_in_blocks)
{
    for (int64_t seq = -100000; seq < 100000; seq++) {
        known_add(&known, row(seq, "x"), false);
    }
    cr_assert_not(known.spread);
    for (int64_t seq = -100000; seq < 100000; seq++) {
        cr_assert(known_has(&known, row(seq, "x")));
        known_drop(&known, row(seq, "x"));
    }
    cr_assert_eq(known.count, 0);
}

enum { UNIVERSE = 3000 };

Test(known, random_walks_agree_with_a_naive_set)
{
    uint64_t first = 1;
    uint64_t count = 30;
    random_seeds(&first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        Random random = random_new(seed);
        static uint8_t naive[UNIVERSE];
        memset(naive, 0, sizeof(naive));
        size_t fill = 20 + random_below(&random, 60);
        for (int i = 0; i < 20000; i++) {
            size_t pick = random_below(&random, UNIVERSE);
            KnownRow one = row((int64_t)(pick / 3), pick % 3 == 0   ? NULL
                                                    : pick % 3 == 1 ? "a"
                                                                    : "b");
            if (random_chance(&random, fill)) {
                if (naive[pick] < 3) {
                    known_add(&known, one, false);
                    naive[pick]++;
                }
            } else {
                known_drop(&known, one);
                naive[pick] = (uint8_t)(naive[pick] - (naive[pick] > 0));
            }
            cr_assert_eq(known_has(&known, one), naive[pick] > 0, "seed %lu", (unsigned long)seed);
        }
        size_t rows = 0;
        for (size_t pick = 0; pick < UNIVERSE; pick++) {
            KnownRow one = row((int64_t)(pick / 3), pick % 3 == 0   ? NULL
                                                    : pick % 3 == 1 ? "a"
                                                                    : "b");
            cr_assert_eq(known_has(&known, one), naive[pick] > 0, "seed %lu", (unsigned long)seed);
            rows += naive[pick] > 0;
        }
        cr_assert_eq(known.count, rows);
        known_free(&known);
    }
}

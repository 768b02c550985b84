#include <criterion/criterion.h>
#include <stdio.h>

#include "rows/parked.h"

static Parked parked;

static void release(void)
{
    parked_clear(&parked);
}

TestSuite(parked, .fini = release);

Test(parked, knows_what_was_added_by_number_and_id)
{
    cr_assert_not(parked_has(&parked, 7, SLICE_LITERAL("a")));
    parked_add(&parked, 7, SLICE_LITERAL("a"));
    parked_add(&parked, 7, SLICE_LITERAL("a"));
    cr_assert_eq(parked.count, 1);
    cr_assert(parked_has(&parked, 7, SLICE_LITERAL("a")));
    cr_assert_not(parked_has(&parked, 7, SLICE_LITERAL("b")), "another row with that number");
    cr_assert_not(parked_has(&parked, 8, SLICE_LITERAL("a")));
}

Test(parked, a_row_without_an_id_is_known_too)
{
    parked_add(&parked, -3, SLICE_NULL);
    cr_assert(parked_has(&parked, -3, SLICE_NULL));
    cr_assert_not(parked_has(&parked, -3, SLICE_LITERAL("x")));
}

Test(parked, tells_the_lowest)
{
    cr_assert_eq(parked_lowest(&parked), INT64_MAX);
    parked_add(&parked, 5, SLICE_NULL);
    parked_add(&parked, 9, SLICE_NULL);
    parked_add(&parked, 2, SLICE_NULL);
    cr_assert_eq(parked_lowest(&parked), 2);
    parked_clear(&parked);
    cr_assert_eq(parked_lowest(&parked), INT64_MAX);
    parked_add(&parked, 9, SLICE_NULL);
    cr_assert_eq(parked_lowest(&parked), 9);
}

Test(parked, holds_a_million_in_bounded_memory)
{
    char id[32];
    for (int64_t i = 0; i < PARKED_MAX; i++) {
        snprintf(id, sizeof(id), "e-%lld", (long long)i);
        cr_assert_not(parked_is_full(&parked));
        parked_add(&parked, i * 3, slice_of(id));
    }
    cr_assert(parked_is_full(&parked));
    cr_assert_leq(parked.capacity * sizeof(ParkedRow), 40000000);
    cr_assert(parked_has(&parked, 3 * 123456, SLICE_LITERAL("e-123456")));
    cr_assert_not(parked_has(&parked, 3 * 123456 + 1, SLICE_LITERAL("e-123456")));
}

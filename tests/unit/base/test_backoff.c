#include <criterion/criterion.h>

#include "base/backoff.h"

Test(backoff, doubles_up_to_its_bound_with_jitter)
{
    unsigned attempt = 0;
    int64_t bound = 100;
    for (unsigned i = 0; i < 40; i++) {
        int64_t pause = backoff_next_ms(&attempt, 100, 800);
        cr_assert_geq(pause, bound / 2);
        cr_assert_leq(pause, bound);
        cr_assert_eq(attempt, i + 1);
        bound = bound < 800 ? bound * 2 : 800;
    }
}

Test(backoff, two_that_failed_together_do_not_stay_together)
{
    size_t same = 0;
    for (int i = 0; i < 100; i++) {
        unsigned one = 5;
        unsigned other = 5;
        same += backoff_next_ms(&one, 100, 100000) == backoff_next_ms(&other, 100, 100000);
    }
    cr_assert_lt(same, 10);
}

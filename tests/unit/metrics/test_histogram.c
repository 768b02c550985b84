#include <criterion/criterion.h>
#include <stdlib.h>

#include "metrics/histogram.h"

Test(histogram, bucket_holds_durations_up_to_and_including_its_bound)
{
    Histogram histogram = {0};
    histogram_observe_us(&histogram, 500);
    histogram_observe_us(&histogram, 501);
    histogram_observe_us(&histogram, 1000);
    cr_assert_eq(histogram.counts[0], 1);
    cr_assert_eq(histogram.counts[1], 2);
}

Test(histogram, every_bound_falls_into_its_own_bucket)
{
    for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
        Histogram histogram = {0};
        double seconds = strtod(histogram_bound_text(i), NULL);
        histogram_observe_us(&histogram, (int64_t)(seconds * 1e6 + 0.5));
        histogram_observe_us(&histogram, (int64_t)(seconds * 1e6 + 0.5) + 1);
        cr_assert_eq(histogram.counts[i], 1, "bound %s", histogram_bound_text(i));
        cr_assert_eq(histogram.counts[i + 1], 1, "above bound %s", histogram_bound_text(i));
    }
}

Test(histogram, negative_duration_counts_as_zero)
{
    Histogram histogram = {0};
    histogram_observe_us(&histogram, -5);
    cr_assert_eq(histogram.counts[0], 1);
    cr_assert(histogram.sum_us == 0);
}

Test(histogram, sum_survives_a_large_backlog_that_is_days_old)
{
    Histogram histogram = {0};
    for (int i = 0; i < 3; i++) {
        histogram_observe_us(&histogram, INT64_MAX);
    }
    cr_assert(histogram.sum_us == (unsigned __int128)INT64_MAX * 3);
}

Test(histogram, quantile_of_nothing_is_zero)
{
    Histogram histogram = {0};
    cr_assert_eq(histogram_quantile_us(&histogram, 0.99), 0);
}

Test(histogram, quantile_lies_in_the_bucket_of_its_rank)
{
    Histogram histogram = {0};
    for (int i = 0; i < 98; i++) {
        histogram_observe_us(&histogram, 1500);
    }
    histogram_observe_us(&histogram, 40000);
    histogram_observe_us(&histogram, 45000);
    int64_t p50 = histogram_quantile_us(&histogram, 0.5);
    int64_t p99 = histogram_quantile_us(&histogram, 0.99);
    cr_assert(p50 > 1000 && p50 <= 2000, "p50 %ld", (long)p50);
    cr_assert(p99 > 20000 && p99 <= 45000, "p99 %ld", (long)p99);
    cr_assert_eq(histogram_quantile_us(&histogram, 1.0), 45000);
}

Test(histogram, quantile_never_exceeds_the_largest_observation)
{
    Histogram histogram = {0};
    histogram_observe_us(&histogram, 2100);
    cr_assert_leq(histogram_quantile_us(&histogram, 0.99), 2100);
    histogram_observe_us(&histogram, 90000000);
    cr_assert_eq(histogram_quantile_us(&histogram, 0.99), 90000000);
}

#include <criterion/criterion.h>

#include "base/log_limit.h"

#define SECOND INT64_C(1000000)

static int take(LogLimit *limit, int count, int64_t now_us)
{
    int taken = 0;
    for (int i = 0; i < count; i++) {
        taken += log_limit_take(limit, now_us) ? 1 : 0;
    }
    return taken;
}

Test(log_limit, the_first_lines_are_written_and_the_rest_counted)
{
    LogLimit limit = {0};
    cr_assert_eq(take(&limit, LOG_LIMIT_LINES, 500 * SECOND), LOG_LIMIT_LINES);
    cr_assert_eq(log_limit_due(&limit, 900 * SECOND, true), 0, "nothing was held back");
    cr_assert_eq(take(&limit, 10000, 500 * SECOND), 0);
    cr_assert_eq(log_limit_due(&limit, 509 * SECOND, false), 0, "not yet");
    cr_assert_eq(log_limit_due(&limit, 510 * SECOND, false), 10000);
    cr_assert_eq(log_limit_due(&limit, 520 * SECOND, false), 0, "said once");
}

Test(log_limit, what_goes_on_is_summed_up_at_intervals_of_its_own)
{
    LogLimit limit = {0};
    take(&limit, LOG_LIMIT_LINES, 0);
    int lines = 0;
    int64_t counted = 0;
    for (int64_t now = 0; now < 600 * SECOND; now += SECOND / 10) { /* ten a second */
        lines += take(&limit, 1, now);
        int64_t held = log_limit_due(&limit, now, false);
        lines += held > 0 ? 1 : 0;
        counted += held;
    }
    counted += log_limit_due(&limit, 600 * SECOND, true);
    cr_assert_eq(counted, 6000, "none is forgotten: %lld", (long long)counted);
    cr_assert_leq(lines, 60);
    cr_assert_geq(lines, 50);
}

Test(log_limit, a_quiet_minute_ends_the_burst)
{
    LogLimit limit = {0};
    cr_assert_eq(take(&limit, LOG_LIMIT_LINES + 1, 100 * SECOND), LOG_LIMIT_LINES);
    cr_assert_eq(take(&limit, 1, 300 * SECOND), 0, "what was held back is said first");
    cr_assert_eq(log_limit_due(&limit, 300 * SECOND, false), 2);
    cr_assert_eq(take(&limit, 1, 359 * SECOND), 0, "not quiet for long enough");
    (void)log_limit_due(&limit, 359 * SECOND, true);
    cr_assert_eq(take(&limit, 1, 420 * SECOND), 1);
}

/* The short way of timestamps beside the long one. */
#include <criterion/criterion.h>

#include "change/change_time.h"

static uint64_t seed;

/* 0 to sides - 1; the same in each run. */
static uint32_t dice(uint32_t sides)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % sides;
}

static void add_moment(Text *out, int64_t days, int64_t us, char between, int digits)
{
    change_time_date_text(out, days);
    text_add_char(out, between);
    change_time_clock_text(out, us, digits);
}

/* Whether the short way takes it; what it writes is what the long one does. */
static bool is_taken(const char *text, int digits)
{
    AUTO_BUFFER fast = TEXT_EMPTY;
    text_add(&fast, "[");
    if (!change_time_utc_text(&fast, slice_of(text), digits)) {
        cr_assert_str_eq(text_string(&fast), "[", "%s", text);
        return false;
    }
    AUTO_BUFFER slow = TEXT_EMPTY;
    int64_t days = 0;
    int64_t us = 0;
    cr_assert_eq(change_time_stamp(slice_of(text), true, &days, &us), MOMENT_FINITE, "%s", text);
    text_add(&slow, "[");
    add_moment(&slow, days, us, 'T', digits);
    text_add(&slow, "Z");
    cr_assert_str_eq(text_string(&fast), text_string(&slow), "%s, %d digits", text, digits);
    return true;
}

Test(change_time, nearly_all_timestamps_go_the_short_way_and_become_the_same)
{
    enum { FIRST = -719162, LAST = 2932896, MOMENTS = 20000 }; /* 0001-01-01, 9999-12-31 */
    static const int64_t STEPS[] = {1, 10, 1000, 1000000};
    int taken = 0;
    seed = 7;
    for (int i = 0; i < MOMENTS; i++) {
        int64_t days = i == 0 ? FIRST : i == 1 ? LAST : FIRST + (int64_t)dice(LAST - FIRST + 1);
        int64_t step = STEPS[i % 4];
        int64_t us = (int64_t)dice(UINT32_MAX) * 41 % CHANGE_DAY_US / step * step;
        AUTO_BUFFER text = TEXT_EMPTY;
        add_moment(&text, days, us, ' ', CHANGE_DIGITS_NEEDED);
        text_add(&text, "+00");
        taken += is_taken(text_string(&text), i % 7);
    }
    cr_expect_gt(taken, MOMENTS * 99 / 100);
    cr_expect_lt(taken, MOMENTS, "days of leap years alone are left to arithmetic");
}

Test(change_time, all_others_are_left_to_the_long_way)
{
    static const char *const OTHERS[] = {"",
                                         "+00",
                                         "infinity",
                                         "-infinity",
                                         "2016-11-04",
                                         "2016-11-04 13:51:30",
                                         "2016-11-04 13:51:30+01",
                                         "2016-11-04 13:51:30-00",
                                         "2016-11-04 13:51:30+00:30",
                                         "2016-11-04 13:51:30+00 BC",
                                         "2016-11-04T13:51:30+00",
                                         "2016-11-04 13:51:30.+00",
                                         "2016-11-04 13:51:30.1234567+00",
                                         "2016-11-04 13:51:3x+00",
                                         "2016-11-04 13:51:30,5+00",
                                         "12016-11-04 13:51:30+00",
                                         "0000-11-04 13:51:30+00",
                                         "2016-00-04 13:51:30+00",
                                         "2016-13-04 13:51:30+00",
                                         "2016-11-00 13:51:30+00",
                                         "2016-11-31 13:51:30+00",
                                         "2016-02-29 13:51:30+00",
                                         "2016-11-04 24:00:00+00",
                                         "2016-11-04 13:60:30+00",
                                         "2016-11-04 13:51:60+00"};
    for (size_t i = 0; i < sizeof(OTHERS) / sizeof(*OTHERS); i++) {
        cr_expect_not(is_taken(OTHERS[i], 6), "%s", OTHERS[i]);
    }
    cr_expect(is_taken("2016-11-04 13:51:30+00", 6));
    cr_expect(is_taken("2016-11-04 13:51:30.5+00", CHANGE_DIGITS_NEEDED));
}

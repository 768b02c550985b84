#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/timestamp.h"

static void assert_format(int64_t us, const char *expected)
{
    char scratch[TIMESTAMP_TEXT_MAX];
    Slice text = timestamp_format(us, scratch);
    cr_assert_eq(text.length, strlen(expected));
    cr_assert_eq(memcmp(text.data, expected, text.length), 0, "%.*s", SLICE_ARG(text));
}

Test(timestamp, fractions_have_no_trailing_zeros)
{
    assert_format(0, "1970-01-01T00:00:00Z");
    assert_format(1, "1970-01-01T00:00:00.000001Z");
    assert_format(120000, "1970-01-01T00:00:00.12Z");
    assert_format(TIMESTAMP_POSTGRES_EPOCH_US, "2000-01-01T00:00:00Z");
}

Test(timestamp, times_before_1970_count_down)
{
    assert_format(-1, "1969-12-31T23:59:59.999999Z");
    assert_format(-86400000000, "1969-12-31T00:00:00Z");
}

Test(timestamp, agrees_with_the_c_library_over_a_thousand_years)
{
    for (int64_t day = -180000; day < 200000; day += 7) {
        time_t seconds = day * 86400 + 86399;
        struct tm parts;
        gmtime_r(&seconds, &parts);
        char expected[64];
        strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ", &parts);
        assert_format((int64_t)seconds * 1000000, expected);
    }
}

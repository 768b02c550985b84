#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
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

static const int64_t DAY = INT64_C(86400000000);

static void assert_parse(const char *text, int64_t expected)
{
    /* Memory of exactly that length: there is no NUL to stop at. */
    size_t length = strlen(text);
    char *exact = malloc(length > 0 ? length : 1);
    memcpy(exact, text, length);
    int64_t us = 42;
    cr_assert(timestamp_parse((Slice){.data = exact, .length = length}, &us), "'%s'", text);
    cr_assert_eq(us, expected, "'%s' is %lld, not %lld", text, (long long)us, (long long)expected);
    free(exact);
}

static void assert_no_time(const char *text, size_t length)
{
    char *exact = malloc(length > 0 ? length : 1);
    memcpy(exact, text, length);
    int64_t us = 42;
    cr_assert_not(timestamp_parse((Slice){.data = exact, .length = length}, &us), "'%.*s'",
                  (int)length, text);
    free(exact);
}

/* The numbers are PostgreSQL's own: extract(epoch from ...) * 1000000. */
Test(timestamp, what_postgresql_prints_is_read)
{
    static const struct {
        const char *text;
        int64_t us;
    } CASES[] = {
        {"1970-01-01 00:00:00+00", 0},
        {"1970-01-01 00:00:00", 0},
        {"1970-01-01", 0},
        {"2026-11-21 09:12:44.12+00", INT64_C(1795252364120000)},
        {"2026-11-21 09:12:44.12", INT64_C(1795252364120000)},
        {"2026-11-21", INT64_C(1795219200000000)},
        {"1970-01-01 00:00:00.1+00", 100000},
        {"1970-01-01 00:00:00.000001+00", 1},
        {"1970-01-01 00:00:00.123456", 123456},
        {"1969-12-31 23:59:59.999999+00", -1},
        {"2000-02-29 23:59:59+00", INT64_C(951868799000000)},
        {"1900-02-28 00:00:00+00", INT64_C(-2203977600000000)},
        {"2026-11-21 14:57:44.12+05:45", INT64_C(1795252364120000)},
        {"2026-11-21 05:42:44.12-03:30", INT64_C(1795252364120000)},
        {"2026-11-22 00:12:44.12+15", INT64_C(1795252364120000)},
        {"1937-01-01 00:19:32+00:19:32", INT64_C(-1041379200000000)},
        {"0001-01-01 00:00:00+00", INT64_C(-62135596800000000)},
        {"0001-12-31 23:59:59.999999+00 BC", INT64_C(-62135596800000001)},
        {"0044-03-15 12:00:00 BC", INT64_C(-63517780800000000)},
        {"0001-02-29 BC", INT64_C(-62162121600000000)},
        {"4714-11-24 00:00:00+00 BC", INT64_C(-210866803200000000)},
        {"10000-01-01 00:00:00+00", INT64_C(253402300800000000)},
        {"123456-07-08 09:10:11+00", INT64_C(3833744202611000000)},
        {"294247-01-10 04:00:54.775807+00", INT64_MAX},
        /* What does not fit into 64 bits since 1970, and what is no time at all. */
        {"294247-01-10 04:00:54.775808+00", INT64_MIN},
        {"294276-12-31 23:59:59.999999+00", INT64_MIN},
        {"5874897-12-31", INT64_MIN},
        {"infinity", INT64_MIN},
        {"-infinity", INT64_MIN},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        assert_parse(CASES[i].text, CASES[i].us);
    }
}

Test(timestamp, what_is_no_time_is_refused)
{
    static const char *const CASES[] = {
        "",
        " ",
        "now",
        "Infinity",
        "infinity ",
        "-",
        "2026",
        "2026-11",
        "2026-11-",
        "2026-1-21",
        "226-11-21",
        "12345678-11-21",
        "2026/11/21",
        "21.11.2026",
        "2026-00-21",
        "2026-13-21",
        "2026-11-00",
        "2026-11-31",
        "2025-02-29",
        "1900-02-29",
        "0000-01-01",
        "0000-01-01 BC",
        "-2026-11-21",
        "2026-11-21T09:12:44",
        "2026-11-21 ",
        "2026-11-21 B",
        "2026-11-21 bc",
        "2026-11-21  BC",
        "2026-11-21 AD",
        "2026-11-21 09",
        "2026-11-21 09:12",
        "2026-11-21 09:12:",
        "2026-11-21 24:00:00",
        "2026-11-21 09:60:44",
        "2026-11-21 09:12:60",
        "2026-11-21 09:12:44.",
        "2026-11-21 09:12:44.1234567",
        "2026-11-21 09:12:44Z",
        "2026-11-21 09:12:44 +00",
        "2026-11-21 09:12:44+",
        "2026-11-21 09:12:44+0",
        "2026-11-21 09:12:44+16",
        "2026-11-21 09:12:44+00:",
        "2026-11-21 09:12:44+00:60",
        "2026-11-21 09:12:44+00:00:",
        "2026-11-21 09:12:44+00BC",
        "2026-11-21 09:12:44+00 BCE",
        "2026-11-21 09:12:44+00+00",
        "2026-11-21 BC 09:12:44",
        "2026-11-21 BC+00",
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        assert_no_time(CASES[i], strlen(CASES[i]));
    }
    assert_no_time("2026-11-21\0", 11);
    int64_t us = 42;
    cr_assert_not(timestamp_parse(SLICE_NULL, &us));
}

Test(timestamp, parsing_reads_nothing_behind_the_text)
{
    static const char TEXT[] = "123456-07-08 09:10:11.123456-03:30:15 BC";
    for (size_t cut = 0; cut < sizeof(TEXT) - 1; cut++) {
        for (int value = 0; value < 256; value++) {
            char *exact = malloc(cut + 1);
            memcpy(exact, TEXT, cut);
            exact[cut] = (char)value;
            int64_t us = 0;
            (void)timestamp_parse((Slice){.data = exact, .length = cut + 1}, &us);
            free(exact);
        }
    }
}

Test(timestamp, formatted_times_are_read_back)
{
    for (int64_t us = -70 * 365 * DAY; us < 90 * 365 * DAY; us += 5 * DAY / 3 + 1234567) {
        char scratch[TIMESTAMP_TEXT_MAX];
        Slice text = timestamp_format(us, scratch);
        scratch[10] = ' ';
        int64_t back = 0;
        cr_assert(timestamp_parse((Slice){.data = scratch, .length = text.length - 1}, &back));
        cr_assert_eq(back, us, "%.*s", SLICE_ARG(text));
    }
}

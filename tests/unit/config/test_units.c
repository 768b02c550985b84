#include <criterion/criterion.h>

#include "config/units.h"

static void assert_duration(const char *text, int64_t ms)
{
    int64_t value = -7;
    const char *reason;
    cr_assert(units_parse_duration(text, &value, &reason), "%s: %s", text, reason);
    cr_assert_eq(value, ms, "%s gave %ld", text, (long)value);
}

static void assert_size(const char *text, int64_t bytes)
{
    int64_t value = -7;
    const char *reason;
    cr_assert(units_parse_size(text, &value, &reason), "%s: %s", text, reason);
    cr_assert_eq(value, bytes, "%s gave %ld", text, (long)value);
}

Test(units, durations_are_milliseconds)
{
    assert_duration("0ms", 0);
    assert_duration("250ms", 250);
    assert_duration("5s", 5000);
    assert_duration("10min", 600000);
    assert_duration("10m", 600000);
    assert_duration("1h", 3600000);
    assert_duration("7d", 604800000);
    assert_duration("5 s", 5000);
}

Test(units, sizes_tell_powers_of_1024_from_powers_of_1000)
{
    assert_size("512B", 512);
    assert_size("64KiB", 65536);
    assert_size("1MB", 1000000);
    assert_size("4MiB", 4194304);
    assert_size("1GiB", 1073741824);
    assert_size("4294967297B", INT64_C(4294967297));
}

Test(units, what_is_no_number_with_a_unit_is_refused_with_a_reason)
{
    const char *texts[] = {"",        "5",   "s",   "-5s",  "5x",  "5S",    "1.5s",
                           "1h30min", " 5s", "5s ", "0x5s", "5ss", "5 \ts", "1e3s"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t value = -7;
        const char *reason = NULL;
        cr_assert_not(units_parse_duration(texts[i], &value, &reason), "'%s'", texts[i]);
        cr_assert_eq(value, -7, "'%s' wrote a value", texts[i]);
        cr_assert_not_null(reason);
        cr_assert_not(units_parse_size(texts[i], &value, &reason), "'%s'", texts[i]);
    }
}

Test(units, what_does_not_fit_is_too_large_and_never_wraps)
{
    int64_t value;
    const char *reason;
    cr_assert_not(units_parse_duration("9223372036854775808ms", &value, &reason));
    cr_assert_str_eq(reason, "it is too large");
    cr_assert_not(units_parse_duration("9223372036854775807s", &value, &reason));
    cr_assert_str_eq(reason, "it is too large");
    cr_assert_not(units_parse_size("99999999999TiB", &value, &reason));
    cr_assert_str_eq(reason, "it is too large");
    assert_duration("9223372036854775807ms", INT64_MAX);
}

Test(units, writing_takes_the_largest_unit_that_divides)
{
    Text text = TEXT_EMPTY;
    int64_t durations[] = {0, 1, 250, 1000, 1500, 60000, 90000, 86400000, -1};
    for (size_t i = 0; i < 9; i++) {
        units_add_duration(&text, durations[i]);
        text_add_char(&text, ' ');
    }
    cr_assert_str_eq(text_string(&text), "0ms 1ms 250ms 1s 1500ms 1min 90s 1d forever ");
    text_clear(&text);
    int64_t sizes[] = {0, 1, 1000, 1024, 4194304, 1000000, 4194305};
    for (size_t i = 0; i < 7; i++) {
        units_add_size(&text, sizes[i]);
        text_add_char(&text, ' ');
    }
    cr_assert_str_eq(text_string(&text), "0B 1B 1kB 1KiB 4MiB 1MB 4194305B ");
    text_free(&text);
}

Test(units, what_is_written_reads_back)
{
    for (int64_t value = 1; value < INT64_MAX / 3; value = value * 3 + value % 7) {
        Text text = TEXT_EMPTY;
        units_add_duration(&text, value);
        assert_duration(text_string(&text), value);
        text_clear(&text);
        units_add_size(&text, value);
        assert_size(text_string(&text), value);
        text_free(&text);
    }
}

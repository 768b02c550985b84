#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "command/screen.h"

static void expect_duration(double seconds, const char *expected)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    screen_add_duration(&out, seconds);
    cr_assert_str_eq(text_string(&out), expected, "%f s gives %s", seconds, text_string(&out));
}

Test(screen, durations_have_units_and_at_most_two)
{
    expect_duration(-1, "0 ms");
    expect_duration(0, "0 ms");
    expect_duration(0.0029, "3 ms");
    expect_duration(0.9994, "999 ms");
    expect_duration(0.9996, "1.0 s");
    expect_duration(9.94, "9.9 s");
    expect_duration(9.96, "10 s");
    expect_duration(119, "119 s");
    expect_duration(120, "2 min");
    expect_duration(14 * 60 + 20, "14 min");
    expect_duration(7199, "119 min");
    expect_duration(7200, "2 h");
    expect_duration(3 * 3600 + 600, "3 h 10 min");
    expect_duration(3 * 86400 + 4 * 3600 + 59, "3 d 4 h");
    expect_duration(1e18, "104166666666 d 16 h");
}

static void expect_count(int64_t count, const char *expected)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    screen_add_count(&out, count);
    cr_assert_str_eq(text_string(&out), expected);
}

Test(screen, counts_are_grouped_by_thousands)
{
    expect_count(0, "0");
    expect_count(999, "999");
    expect_count(1000, "1,000");
    expect_count(41203118, "41,203,118");
    expect_count(-123456, "-123,456");
    expect_count(INT64_MIN, "-9,223,372,036,854,775,808");
}

Test(screen, numbers_of_others_are_whole_or_the_farthest)
{
    cr_assert_eq(screen_whole(41.5), 42);
    cr_assert_eq(screen_whole(-41.5), -42);
    cr_assert_eq(screen_whole(0), 0);
    cr_assert_eq(screen_whole(1e300), INT64_MAX);
    cr_assert_eq(screen_whole(9223372036854775807.0), INT64_MAX);
    cr_assert_eq(screen_whole(-1e300), INT64_MIN);
}

Test(screen, text_from_outside_cannot_steer_the_terminal)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    screen_add(&out, false, COLOUR_BAD,
               "a\x1b[2J\n\t\x7f\xC2\x9B"
               "31m\xFF\xC3\xA9");
    cr_assert_str_eq(text_string(&out), "a?[2J ??31m?\xC3\xA9");
}

Test(screen, bidirectional_controls_cannot_turn_what_people_read)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    /* U+202E, U+2066, U+200F, U+061C, U+2028, U+FEFF, U+E0041; and U+200D, which emoji need */
    screen_add(&out, false, COLOUR_NONE,
               "a\xE2\x80\xAE"
               "b\xE2\x81\xA6"
               "c\xE2\x80\x8F"
               "d\xD8\x9C"
               "e\xE2\x80\xA8"
               "f\xEF\xBB\xBF"
               "g\xF3\xA0\x81\x81"
               "h\xE2\x80\x8D"
               "i");
    cr_assert_str_eq(text_string(&out), "a?b?c?d?e?f?g?h\xE2\x80\x8Di");
}

Test(screen, colour_is_added_only_when_asked_for)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    screen_add(&out, true, COLOUR_BAD, "x");
    cr_assert_str_eq(text_string(&out), "\x1b[1;31mx\x1b[0m");
    text_clear(&out);
    screen_add(&out, true, COLOUR_NONE, "x");
    screen_add(&out, false, COLOUR_GOOD, NULL);
    cr_assert_str_eq(text_string(&out), "x");
}

Test(screen, colour_needs_a_terminal_and_no_objection)
{
    char name[64];
    int controller = posix_openpt(O_RDWR | O_NOCTTY);
    cr_assert(controller >= 0 && grantpt(controller) == 0 && unlockpt(controller) == 0);
    cr_assert_eq(ptsname_r(controller, name, sizeof(name)), 0);
    FILE *terminal = fdopen(open(name, O_RDWR | O_NOCTTY), "r+");
    FILE *file = fopen("/dev/null", "w");
    cr_assert_not_null(terminal);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    cr_assert(screen_wants_colour(terminal));
    cr_assert_not(screen_wants_colour(file));
    setenv("NO_COLOR", "1", 1);
    cr_assert_not(screen_wants_colour(terminal));
    setenv("NO_COLOR", "", 1);
    cr_assert(screen_wants_colour(terminal));
    setenv("TERM", "dumb", 1);
    cr_assert_not(screen_wants_colour(terminal));
    (void)fclose(terminal);
    (void)fclose(file);
    close(controller);
}

Test(screen, columns_are_as_wide_as_their_widest_cell)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    ScreenTable table = {.columns = 3};
    screen_table_add(&table, false, COLOUR_NONE, "name");
    screen_table_add(&table, true, COLOUR_NONE, "n");
    screen_table_add(&table, false, COLOUR_NONE, "last");
    screen_table_add(&table, false, COLOUR_NONE, "\xC3\xA9t\xC3\xA9s");
    screen_table_add(&table, true, COLOUR_NONE, "1,000");
    screen_table_add(&table, false, COLOUR_NONE, "now");
    screen_table_print(&table, false, &out);
    cr_assert_str_eq(text_string(&out), "name      n  last\n"
                                        "\xC3\xA9t\xC3\xA9s  1,000  now\n");
    screen_table_free(&table);
}

Test(screen, bytes_have_units)
{
    static const struct {
        double bytes;
        const char *text;
    } CASES[] = {{-1, "0 B"},
                 {0, "0 B"},
                 {1023, "1023 B"},
                 {1024, "1.0 KiB"},
                 {524288, "512 KiB"},
                 {1048575, "1.0 MiB"},
                 {222298112, "212 MiB"},
                 {3328599654.4, "3.1 GiB"},
                 {1e15, "909 TiB"}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO_BUFFER out = TEXT_EMPTY;
        screen_add_bytes(&out, CASES[i].bytes);
        cr_assert_str_eq(text_string(&out), CASES[i].text);
    }
}

static void assert_fits(const char *screen, size_t rows, size_t columns, const char *expected)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    screen_fit(screen, rows, columns, &out);
    cr_assert_str_eq(text_string(&out), expected);
}

Test(screen, what_does_not_fit_a_pane_is_broken_then_left_out_from_the_end)
{
    assert_fits("a header\n\nrow\n", 0, 0, "a header\n\nrow");
    assert_fits("a header\n\nrow\n", 5, 20, "a header\n\nrow");
    assert_fits("a header\n\nrow\n", 5, 4, "a he\nader\n\nrow");
    assert_fits("a header\n\nrow\nmore\n", 4, 4, "a he\n\nrow\nmore");
    assert_fits("a header\n\nrow\nmore\n", 3, 4, "a he\n\nrow");
    assert_fits("a header\n\nrow one\nmore\n", 3, 4, "a he\n");
    assert_fits("a  b  c\nd  e  f\n  x  y\n", 4, 4, "a  b\nd  e\n  x \n y");
    assert_fits("", 3, 4, "");
}

Test(screen, escapes_take_no_room_and_characters_are_not_bytes)
{
    assert_fits("\x1b[32m\xC3\xA9t\xC3\xA9\x1b[0m\n", 1, 3, "\x1b[32m\xC3\xA9t\xC3\xA9\x1b[0m");
    assert_fits("\x1b[31mabcdef\x1b[0m\nx\n", 2, 3, "\x1b[31mabc\x1b[0m\nx");
}

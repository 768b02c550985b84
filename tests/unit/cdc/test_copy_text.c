#include <criterion/criterion.h>
#include <string.h>

#include "cdc/copy_text.h"

enum { VALUES_MAX = 8 };

/* What the row is read as: values in brackets, "-" for NULL; "!": it is refused. */
static const char *read_as(const char *given, size_t length, size_t count)
{
    static char shown[256];
    char bytes[128];
    Slice row[VALUES_MAX];
    AUTO_ERROR err = {0};
    memcpy(bytes, given, length);
    if (copy_text_read(bytes, length, row, count, &err) != OK) {
        cr_assert_eq(err.class, ERROR_RETRY);
        cr_assert_eq(err.code, CODE_PG_PROTOCOL);
        return "!";
    }
    char *to = shown;
    for (size_t i = 0; i < count; i++) {
        if (slice_is_null(row[i])) {
            *to++ = '-';
        } else {
            *to++ = '[';
            memcpy(to, row[i].data, row[i].length);
            to += row[i].length;
            *to++ = ']';
        }
    }
    *to = '\0';
    return shown;
}

static const char *row_as(const char *given, size_t count)
{
    return read_as(given, strlen(given), count);
}

Test(copy_text, values_are_separated_by_tabs)
{
    cr_expect_str_eq(row_as("1\ttwo\t3.5\n", 3), "[1][two][3.5]");
    cr_expect_str_eq(row_as("1\n", 1), "[1]");
}

Test(copy_text, null_and_the_empty_text_are_two_things)
{
    cr_expect_str_eq(row_as("\\N\t\t\\N\n", 3), "-[]-");
    cr_expect_str_eq(row_as("\n", 1), "[]");
    cr_expect_str_eq(row_as("\\\\N\n", 1), "[\\N]");
}

Test(copy_text, what_a_text_may_not_hold_is_escaped)
{
    cr_expect_str_eq(row_as("a\\tb\\nc\\\\d\t\\b\\f\\r\\v\n", 2), "[a\tb\nc\\d][\b\f\r\v]");
    cr_expect_str_eq(row_as("\\\\.\n", 1), "[\\.]");
}

Test(copy_text, a_table_without_columns_has_empty_rows)
{
    cr_expect_str_eq(row_as("\n", 0), "");
    cr_expect_str_eq(row_as("x\n", 0), "!");
}

Test(copy_text, another_number_of_values_is_refused)
{
    cr_expect_str_eq(row_as("1\t2\n", 3), "!");
    cr_expect_str_eq(row_as("1\t2\t3\n", 2), "!");
    cr_expect_str_eq(row_as("1\t\n", 1), "!");
}

Test(copy_text, escapes_that_postgresql_does_not_write_are_refused)
{
    cr_expect_str_eq(row_as("\\x41\n", 1), "!");
    cr_expect_str_eq(row_as("a\\N\n", 1), "!");
    cr_expect_str_eq(row_as("a\\\n", 1), "!");
    cr_expect_str_eq(read_as("\\\0\n", 3, 1), "!");
}

Test(copy_text, a_row_that_is_cut_anywhere_is_refused)
{
    static const char ROW[] = "12\ta\\tb\t\\N\t\t{\"a\": \"\\\\n\"}\n";
    size_t length = sizeof(ROW) - 1;
    cr_expect_str_eq(read_as(ROW, length, 5), "[12][a\tb]-[][{\"a\": \"\\n\"}]");
    for (size_t cut = 0; cut < length; cut++) {
        cr_expect_str_eq(read_as(ROW, cut, 5), "!", "%zu", cut);
    }
}

Test(copy_text, two_rows_are_not_one)
{
    cr_expect_str_eq(row_as("1\n2\n", 1), "!");
    cr_expect_str_eq(row_as("1\n\n", 1), "!");
}

#include <criterion/criterion.h>
#include <string.h>

#include "base/text.h"
#include "config/template.h"

/* Parts as text: literals as they are, columns in <>. */
static void assert_parts(const char *template, const char *expected)
{
    Text text = TEXT_EMPTY;
    const char *cursor = template;
    TemplatePart part;
    for (int parts = 0; template_next(&cursor, &part); parts++) {
        cr_assert_lt(parts, 100, "it does not end");
        text_printf(&text, part.is_column ? "<%.*s>" : "%.*s",
                    slice_is_null(part.text) ? 1 : (int)part.text.length,
                    slice_is_null(part.text) ? "!" : part.text.data);
    }
    cr_assert_str_eq(text_string(&text), expected);
    text_free(&text);
}

Test(template, columns_and_literals_alternate_in_any_order)
{
    assert_parts("", "");
    assert_parts("orders.events", "orders.events");
    assert_parts("${aggregate_type}.events", "<aggregate_type>.events");
    assert_parts("a.${b}${c}.d", "a.<b><c>.d");
    assert_parts("${}", "<>");
}

Test(template, two_dollars_before_a_brace_are_one_literal_dollar)
{
    assert_parts("$${a}", "${a}");
    assert_parts("$$${a}", "$${a}");
    assert_parts("x$y$$z", "x$y$$z");
    assert_parts("$", "$");
}

Test(template, a_brace_that_is_never_closed_is_told_apart)
{
    assert_parts("a.${b", "a.<!>");
    assert_parts("${", "<!>");
}

Test(template, globs_are_checked_for_what_would_never_match_as_meant)
{
    cr_assert_null(glob_problem("order"));
    cr_assert_null(glob_problem("payment.*"));
    cr_assert_null(glob_problem("a?[bc][!d][]]"));
    cr_assert_null(glob_problem("\\[literal"));
    cr_assert_not_null(glob_problem(""));
    cr_assert_not_null(glob_problem("pay[ment"));
    cr_assert_not_null(glob_problem("pay[]"));
    cr_assert_not_null(glob_problem("pay\\"));
}

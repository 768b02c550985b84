#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"

static void assert_table(const char *name, const char *expected)
{
    char *quoted = NULL;
    AUTO_ERROR err = {0};
    cr_assert_eq(ident_quote_table(name, &quoted, &err), OK, "%s", error_message(&err));
    cr_assert_str_eq(quoted, expected);
    free(quoted);
}

static void assert_no_table(const char *name)
{
    char *quoted = NULL;
    AUTO_ERROR err = {0};
    cr_assert_eq(ident_quote_table(name, &quoted, &err), FAILED, "%s", name);
    cr_assert_null(quoted);
    cr_assert_eq(err.code, CODE_TABLE_NAME_INVALID);
    cr_assert_eq(err.class, ERROR_FATAL);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
}

Test(ident, names_are_quoted_with_their_quotes_doubled)
{
    static const char *const PAIRS[][2] = {{"event", "\"event\""},     {"", "\"\""},
                                           {"Big One", "\"Big One\""}, {"a\"b", "\"a\"\"b\""},
                                           {"\"", "\"\"\"\""},         {"a'b\\", "\"a'b\\\""}};
    for (size_t i = 0; i < sizeof(PAIRS) / sizeof(PAIRS[0]); i++) {
        AUTO_TEXT quoted = ident_quote(PAIRS[i][0]);
        cr_assert_str_eq(quoted, PAIRS[i][1]);
    }
}

Test(ident, literals_are_quoted_with_their_quotes_doubled)
{
    AUTO_TEXT literal = ident_literal("it's \"x\"");
    cr_assert_str_eq(literal, "'it''s \"x\"'");
}

Test(ident, a_table_is_one_or_two_names_folded_like_sql)
{
    assert_table("event", "\"event\"");
    assert_table("outbox.event", "\"outbox\".\"event\"");
    assert_table("Outbox.EVENT", "\"outbox\".\"event\"");
    assert_table("gr\xC3\x9C\xC3\x9F", "\"gr\xC3\x9C\xC3\x9F\"");
}

Test(ident, quoted_parts_stay_as_they_are)
{
    assert_table("\"OutBox\".event", "\"OutBox\".\"event\"");
    assert_table("outbox.\"E.v\"\"t\"", "\"outbox\".\"E.v\"\"t\"");
    assert_table("\"a.b\"", "\"a.b\"");
}

Test(ident, a_part_has_at_most_63_bytes)
{
    char name[130];
    memset(name, 'a', sizeof(name));
    name[63] = '\0';
    AUTO_TEXT expected = x_format("\"%s\"", name);
    assert_table(name, expected);
    name[63] = 'a';
    name[64] = '\0';
    assert_no_table(name);
}

Test(ident, what_is_no_table_is_refused)
{
    static const char *const NAMES[] = {
        "",    ".",     "a.",     ".a",     "a..b",          "a.b.c",  "\"\"",
        "\"a", "a.\"b", "\"a\"b", "a\"b\"", "\"a\"\"b\"c.d", "a.\"\"",
    };
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        assert_no_table(NAMES[i]);
    }
}

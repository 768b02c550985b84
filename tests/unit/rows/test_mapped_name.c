/* Names of mappings: what is a name, what is a pattern, and the expression it becomes. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "rows/mapped_name.h"

static void expect_name(const char *written, const char *schema, bool schema_is_pattern,
                        const char *table, bool table_is_pattern)
{
    MappedName name = {0};
    cr_assert(mapped_name_read(written, &name), "%s", written);
    cr_expect_str_eq(name.schema.text, schema, "%s", written);
    cr_expect_eq(name.schema.is_pattern, schema_is_pattern, "%s", written);
    cr_expect_str_eq(name.table.text, table, "%s", written);
    cr_expect_eq(name.table.is_pattern, table_is_pattern, "%s", written);
    mapped_name_clear(&name);
    cr_expect_null(name.schema.text);
}

Test(mapped_name, a_part_without_quotes_is_folded_and_a_quoted_one_is_not)
{
    expect_name("Shop.Orders", "shop", false, "orders", false);
    expect_name("\"Shop\".Orders", "Shop", false, "orders", false);
    expect_name("shop.\"Order \"\"x\"\".*\"", "shop", false, "Order \"x\".*", false);
    expect_name("Ärger.Öl", "Ärger", false, "Öl", false); /* as SQL, letters of ASCII alone */
}

Test(mapped_name, a_pattern_is_an_expression_of_the_whole_name)
{
    expect_name("shop.*", "shop", false, "^.*$", true);
    expect_name("*.ORDER_?", "^.*$", true, "^order_.$", true);
    expect_name("\"Shop\".a*", "Shop", false, "^a.*$", true);
    expect_name("s?op.orders", "^s.op$", true, "orders", false);
}

Test(mapped_name, what_an_expression_means_otherwise_is_itself)
{
    expect_name("shop.a$b(c)+d|e^{f}*", "shop", false, "^a\\$b\\(c\\)\\+d\\|e\\^\\{f\\}.*$", true);
    expect_name("shop.été*", "shop", false, "^été.*$", true);
}

Test(mapped_name, sets)
{
    expect_name("shop.[A-C]x", "shop", false, "^[a-c]x$", true);
    expect_name("shop.[!a-c]", "shop", false, "^[^a-c]$", true);
    expect_name("shop.[^a]", "shop", false, "^[^a]$", true);
    expect_name("shop.[]a]", "shop", false, "^[\\]a]$", true);
    expect_name("shop.[a-]", "shop", false, "^[a\\-]$", true);
    expect_name("shop.[[:][a^]", "shop", false, "^[\\[\\:][a\\^]$", true);
    expect_name("shop.[ä-ü]", "shop", false, "^[ä-ü]$", true);
}

/* PostgreSQL would refuse it, and with it the whole look. */
Test(mapped_name, a_range_that_ends_before_it_begins_is_nothing)
{
    expect_name("shop.[z-a]", "shop", false, "^(?!)$", true);
    expect_name("shop.[z-ab]", "shop", false, "^[b]$", true);
    expect_name("shop.[!z-a]", "shop", false, "^.$", true);
    expect_name("shop.[ü-a]", "shop", false, "^(?!)$", true);
}

Test(mapped_name, what_is_no_name)
{
    static const char *const NONE[] = {
        "",         "shop",     "shop.",     ".orders",     "a.b.c",       "shop.[a",  "shop.[",
        "shop.[a-", "shop.\"a", "shop.\"\"", "shop.a\"b\"", "\"shop\"x.a", "shop.a\\", "shop.[\\"};
    for (size_t i = 0; i < sizeof(NONE) / sizeof(NONE[0]); i++) {
        MappedName name = {0};
        cr_expect(!mapped_name_read(NONE[i], &name), "%s", NONE[i]);
        cr_expect_null(name.schema.text, "%s", NONE[i]);
        cr_expect_null(name.table.text, "%s", NONE[i]);
    }
}

/* Cut anywhere, and with any byte in any place: read, or refused. */
Test(mapped_name, no_text_is_read_beyond_its_end)
{
    static const char WHOLE[] = "\"S\"\"h\".[!a-cü]?**é";
    for (size_t cut = 0; cut < sizeof(WHOLE); cut++) {
        for (int byte = -1; byte < 256; byte++) {
            AUTO_TEXT text = x_strndup(WHOLE, cut);
            if (byte >= 0 && cut > 0) {
                text[cut - 1] = (char)byte;
            }
            MappedName name = {0};
            if (mapped_name_read(text, &name)) {
                cr_expect_gt(strlen(name.schema.text), 0);
                mapped_name_clear(&name);
            }
        }
    }
}

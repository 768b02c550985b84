#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>

#include "base/text.h"

static void assert_json(Slice value, const char *expected)
{
    Text text = TEXT_EMPTY;
    text_add_json(&text, value);
    cr_assert_str_eq(text_string(&text), expected);
    text_free(&text);
}

Test(text, an_empty_text_is_an_empty_string)
{
    Text text = TEXT_EMPTY;
    cr_assert_str_eq(text_string(&text), "");
    text_free(&text);
}

Test(text, pieces_follow_each_other_beyond_any_first_capacity)
{
    Text text = TEXT_EMPTY;
    for (int i = 0; i < 1000; i++) {
        text_printf(&text, "%d,", i);
        text_add(&text, "x");
        text_add_char(&text, ';');
    }
    cr_assert_eq(text.length, strlen(text.data));
    cr_assert_eq(strncmp(text.data, "0,x;1,x;2,x;", 12), 0);
    cr_assert_str_eq(text.data + text.length - 6, "999,x;");
    text_free(&text);
}

Test(text, printf_grows_for_one_long_piece)
{
    char longer[5000];
    memset(longer, 'y', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    Text text = TEXT_EMPTY;
    text_printf(&text, "<%s>", longer);
    cr_assert_eq(text.length, sizeof(longer) + 1);
    cr_assert_eq(text.data[text.length - 1], '>');
    text_free(&text);
}

Test(text, clear_keeps_nothing_of_the_content)
{
    Text text = TEXT_EMPTY;
    text_clear(&text);
    text_add(&text, "abc");
    text_clear(&text);
    cr_assert_str_eq(text_string(&text), "");
    text_add(&text, "d");
    cr_assert_str_eq(text_string(&text), "d");
    text_free(&text);
}

Test(text, a_slice_may_be_null_or_hold_nul_bytes)
{
    Text text = TEXT_EMPTY;
    text_add_slice(&text, SLICE_NULL);
    text_add_slice(&text, (Slice){.data = "a\0b", .length = 3});
    cr_assert_eq(text.length, 3);
    cr_assert_eq(memcmp(text.data, "a\0b", 4), 0);
    text_free(&text);
}

Test(text, json_tells_null_from_empty)
{
    assert_json(SLICE_NULL, "null");
    assert_json(SLICE_LITERAL(""), "\"\"");
}

Test(text, json_escapes_quotes_backslashes_and_controls)
{
    assert_json(SLICE_LITERAL("a\"b\\c\n\x01"), "\"a\\\"b\\\\c\\u000a\\u0001\"");
    assert_json((Slice){.data = "\0", .length = 1}, "\"\\u0000\"");
}

/* What stands in a string for this byte, which is of no sequence. */
static void add_alone(Text *text, char byte)
{
    AUTO_BUFFER one = TEXT_EMPTY;
    text_add_json(&one, (Slice){.data = &byte, .length = 1});
    text_append(text, one.data + 1, one.length - 2);
}

Test(text, json_is_the_same_at_each_place_of_a_long_string)
{
    enum { LENGTH = 21 };
    for (int byte = 0; byte <= 0xFF; byte++) {
        for (size_t place = 0; place < LENGTH; place++) {
            char string[LENGTH + 1] = "abcdefghijklmnopqrst~";
            string[place] = (char)byte;
            string[LENGTH - 1 - place] = (char)(byte % 3 == 0 ? byte : 'x');
            AUTO_BUFFER expected = TEXT_EMPTY;
            text_add(&expected, "\"");
            for (size_t i = 0; i < LENGTH; i++) {
                add_alone(&expected, string[i]);
            }
            text_add(&expected, "\"");
            assert_json((Slice){.data = string, .length = LENGTH}, text_string(&expected));
        }
    }
}

Test(text, json_keeps_utf8_and_replaces_what_is_none)
{
    assert_json(SLICE_LITERAL("gr\xC3\xBC\xC3\x9F"), "\"gr\xC3\xBC\xC3\x9F\"");
    assert_json(SLICE_LITERAL("a\xC3"), "\"a\xEF\xBF\xBD\"");
    assert_json(SLICE_LITERAL("\xED\xA0\x80"),
                "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""); /* a surrogate */
}

Test(text, json_of_any_two_bytes_is_valid_json)
{
    for (int i = 0; i < 65536; i++) {
        char bytes[2] = {(char)(i >> 8), (char)i};
        Text text = TEXT_EMPTY;
        text_add_json(&text, (Slice){.data = bytes, .length = 2});
        json_t *parsed = json_loadb(text.data, text.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        cr_assert_not_null(parsed, "bytes %02x %02x gave %s", i >> 8, i & 0xFF, text.data);
        json_decref(parsed);
        text_free(&text);
    }
}

Test(text, json_escapes_what_steers_a_terminal)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    text_add_json(&text, SLICE_LITERAL("\x1b[2J\xC2\x9B"
                                       "1\x7F\xE2\x80\xAE\xF3\xA0\x81\x81\xC3\xA9"));
    cr_assert_str_eq(text_string(&text),
                     "\"\\u001b[2J\\u009b1\\u007f\\u202e\\udb40\\udc41\xC3\xA9\"");
}

Test(text, json_of_others_stays_the_same_json)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    text_add_foreign_json(&text, "{ \"a\\n\": [1,\n\"\xE2\x80\xAE\"]}\n");
    cr_assert_str_eq(text_string(&text), "{ \"a\\n\": [1,\n\"\\u202e\"]}\n");
}

Test(text, fold_makes_one_line)
{
    static const char *const CASES[][2] = {
        {"", ""},
        {" \n ", ""},
        {"a", "a"},
        {"\n\ta\r\n  b \n", "a b"},
        {"a  b\tc", "a b c"},
        {"a\n\n\nb", "a b"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        char text[32];
        snprintf(text, sizeof(text), "%s", CASES[i][0]);
        cr_assert_eq(text_fold(text), text);
        cr_assert_str_eq(text, CASES[i][1]);
    }
}

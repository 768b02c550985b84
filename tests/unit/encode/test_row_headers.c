/* The scanner of a row's own headers, beside jansson, which parses the same texts in full. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/utf8.h"
#include "encode/limits.h"
#include "encode/row_headers.h"
#include "stub/random.h"

static Arena arena;
static HeaderList list;
static Error err;

static void end(void)
{
    arena_release(&arena);
}

TestSuite(row_headers, .fini = end);

/* The text is copied to memory of exactly its length, so that a read behind it is found. */
static Status scan(Slice json)
{
    arena_release(&arena);
    error_clear(&err);
    headers_begin(&list, &arena, 4);
    char *exact = malloc(json.length > 0 ? json.length : 1);
    memcpy(exact, json.data, json.length);
    Status status =
        row_headers_add(arena_copy(&arena, (Slice){exact, json.length}), NULL, &list, &err);
    free(exact);
    return status;
}

static void assert_headers(const char *json, const char *expected)
{
    cr_assert_eq(scan(slice_of(json)), OK, "%s", json);
    Text text = TEXT_EMPTY;
    for (size_t i = 0; i < list.count; i++) {
        text_add_slice(&text, list.items[i].name);
        text_add(&text, slice_is_null(list.items[i].value) ? "" : "=");
        text_add_slice(&text, list.items[i].value);
        text_add_char(&text, ';');
    }
    cr_assert_str_eq(text_string(&text), expected, "%s gave %s", json, text_string(&text));
    text_free(&text);
}

static void assert_refused(const char *json)
{
    cr_assert_eq(scan(slice_of(json)), FAILED, "%s", json);
    cr_assert_eq(err.class, ERROR_POISON);
    cr_assert_eq(err.code, CODE_HEADERS_INVALID);
}

Test(row_headers, null_and_an_empty_object_add_nothing)
{
    headers_begin(&list, &arena, 4);
    cr_assert_eq(row_headers_add(SLICE_NULL, NULL, &list, &err), OK);
    cr_assert_eq(list.count, 0);
    assert_headers("{}", "");
    assert_headers(" \t\r\n{ \n } ", "");
}

Test(row_headers, each_member_is_a_header)
{
    assert_headers("{\"a\": \"x\", \"b\" : \"y\"}", "a=x;b=y;");
    assert_headers("{\"a\":\"\",\"\":\"x\"}", "a=;=x;");
    assert_headers("{\"a\":\"1\",\"a\":\"2\"}", "a=1;a=2;"); /* json, unlike jsonb, keeps both */
}

Test(row_headers, other_values_are_their_json_text)
{
    assert_headers("{\"a\":1,\"b\":-1.5e+10,\"c\":true,\"d\":false,\"e\":null}",
                   "a=1;b=-1.5e+10;c=true;d=false;e;");
    assert_headers("{\"a\": [1, 2, \"]\"], \"b\": {\"x\": {}} }", "a=[1, 2, \"]\"];b={\"x\": {}};");
    assert_headers("{\"a\":\"null\"}", "a=null;");
}

Test(row_headers, escapes_are_undone_in_names_and_values)
{
    assert_headers("{\"\\u0061\\/\":\"\\\"\\\\\\b\\f\\n\\r\\t\"}", "a/=\"\\\b\f\n\r\t;");
    assert_headers("{\"a\":\"\\u00e4\\u20AC\\ud83d\\ude00\"}",
                   "a=\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80;");
    assert_headers("{\"a\":\"\\uDBFF\\uDFFF\\u007f\\u0080\\u07ff\\u0800\\uffff\"}",
                   "a=\xF4\x8F\xBF\xBF\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF;");
    assert_headers("{\"a\":[\"\\u0041\"]}", "a=[\"\\u0041\"];"); /* nested: as it stands */
}

Test(row_headers, surrogates_must_come_in_pairs)
{
    assert_refused("{\"a\":\"\\ud83d\"}");
    assert_refused("{\"a\":\"\\ude00\"}");
    assert_refused("{\"a\":\"\\ud83dx\"}");
    assert_refused("{\"a\":\"\\ud83d\\n\"}");
    assert_refused("{\"a\":\"\\ud83d\\ud83d\"}");
    assert_refused("{\"a\":\"\\ud83d\\u0041\"}");
    assert_refused("{\"\\udfff\":1}");
}

Test(row_headers, what_is_no_object_is_refused)
{
    static const char *const TEXTS[] = {
        "",
        " ",
        "[]",
        "null",
        "\"a\"",
        "1",
        "{",
        "}",
        "{}x",
        "{}{}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1;}",
        "{\"a\" 1}",
        "{\"a\"::1}",
        "{1:1}",
        "{\"a\":x}",
        "{\"a\":nul}",
        "{\"a\":nulll}",
        "{\"a\":TRUE}",
        "{\"a\":'x'}",
        "{\"a\":\"x}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\x1F\"}",
        "{\"a\":[}",
        "{\"a\":[}]}",
        "{\"a\":{]}}",
        "{\"a\":[\"]}",
        "{\"a\":\"\\\"}",
        "{\"a\":\"x\"\"}",
    };
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        assert_refused(TEXTS[i]);
    }
}

Test(row_headers, numbers_are_those_of_json)
{
    static const char *const GOOD[] = {
        "0",   "-0",   "10",    "1.5",    "0.0",
        "1e5", "1E+5", "1e-05", "-1.2e3", "123456789012345678901234567890"};
    static const char *const BAD[] = {"-",  "01",  "1.",  ".5",   "1e", "1e+", "+1",
                                      "1a", "--1", "0x1", "1.e1", "-a", "1-2", "00"};
    char json[80];
    for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
        snprintf(json, sizeof(json), "{\"n\":%s}", GOOD[i]);
        cr_assert_eq(scan(slice_of(json)), OK, "%s", json);
        cr_assert(slice_equal(list.items[0].value, slice_of(GOOD[i])));
    }
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        snprintf(json, sizeof(json), "{\"n\":%s}", BAD[i]);
        assert_refused(json);
    }
}

Test(row_headers, a_nul_byte_ends_nothing)
{
    cr_assert_eq(scan((Slice){.data = "{\"a\":1\0}", .length = 8}), FAILED);
    cr_assert_eq(scan((Slice){.data = "{\"a\":\"x\0\"}", .length = 10}), FAILED);
    cr_assert_eq(scan((Slice){.data = "{}\0", .length = 3}), FAILED);
    cr_assert_eq(scan((Slice){.data = "{\"a\":\"\\\0\"}", .length = 10}), FAILED);
}

static void nested(Text *json, int depth)
{
    text_add(json, "{\"a\":");
    for (int i = 0; i < depth; i++) {
        text_add_char(json, '[');
    }
    for (int i = 0; i < depth; i++) {
        text_add_char(json, ']');
    }
    text_add_char(json, '}');
}

Test(row_headers, nesting_has_a_limit)
{
    Text json = TEXT_EMPTY;
    nested(&json, LIMIT_HEADERS_DEPTH);
    cr_assert_eq(scan((Slice){json.data, json.length}), OK);
    text_clear(&json);
    nested(&json, LIMIT_HEADERS_DEPTH + 1);
    cr_assert_eq(scan((Slice){json.data, json.length}), FAILED);
    text_clear(&json);
    nested(&json, 1000000);
    cr_assert_eq(scan((Slice){json.data, json.length}), FAILED);
    text_free(&json);
}

Test(row_headers, their_bytes_have_a_limit)
{
    Text json = TEXT_EMPTY;
    text_add(&json, "{\"a\":\"");
    while (json.length < LIMIT_HEADERS_BYTES - 2) {
        text_add_char(&json, 'x');
    }
    text_add(&json, "\"}");
    cr_assert_eq(scan((Slice){json.data, json.length}), OK);
    text_add_char(&json, ' ');
    cr_assert_eq(scan((Slice){json.data, json.length}), FAILED);
    text_free(&json);
}

Test(row_headers, their_number_has_a_limit)
{
    Text json = TEXT_EMPTY;
    text_add_char(&json, '{');
    for (int i = 0; i < RECORD_HEADERS_MAX; i++) {
        text_printf(&json, "%s\"h%d\":\"v%d\"", i > 0 ? "," : "", i, i);
    }
    text_add_char(&json, '}');
    cr_assert_eq(scan((Slice){json.data, json.length}), OK);
    cr_assert_eq(list.count, RECORD_HEADERS_MAX);
    cr_assert(slice_equal(list.items[255].value, SLICE_LITERAL("v255")));
    json.length--;
    text_add(&json, ",\"one\":\"more\"}");
    cr_assert_eq(scan((Slice){json.data, json.length}), FAILED);
    text_free(&json);
}

static const char WHOLE[] =
    " { \"channel\" : \"web \\u00e4\\ud83d\\ude00\\n\" , \"n\":-12.5e-3,\"t\":true , \"z\" : null,"
    "\"nested\":{\"a\":[1,{\"b\":\"]}\\\"\"}],\"c\":{}},\"list\":[ ],\"\":\"\\\\\"} ";

Test(row_headers, every_truncation_is_refused)
{
    size_t length = sizeof(WHOLE) - 1;
    cr_assert_eq(scan((Slice){WHOLE, length}), OK);
    cr_assert_eq(list.count, 7);
    for (size_t cut = 0; cut < length - 1; cut++) { /* the last byte is a space */
        cr_assert_eq(scan((Slice){WHOLE, cut}), FAILED, "cut at %zu", cut);
    }
}

/* What jansson refuses and PostgreSQL's json type would, too, need not be refused inside of nested
 * values; everything else must agree. */
static void compare(Slice json)
{
    Status status = scan(json);
    if (memchr(json.data, '\0', json.length) != NULL) {
        return; /* jansson overlooks it */
    }
    json_t *parsed = json_loadb(json.data, json.length, JSON_ALLOW_NUL, NULL);
    if (parsed != NULL && json_is_object(parsed)) {
        cr_assert_eq(status, OK, "refused: %.*s", SLICE_ARG(json));
    }
    if (status == OK) {
        bool nested_values = false;
        for (size_t i = 0; i < list.count; i++) {
            Slice value = list.items[i].value;
            nested_values |= value.length > 0 && (value.data[0] == '{' || value.data[0] == '[');
            if (parsed == NULL || slice_is_null(value)) {
                continue;
            }
            const json_t *member =
                json_object_getn(parsed, list.items[i].name.data, list.items[i].name.length);
            cr_assert_not_null(member, "a name that is not there in %.*s", SLICE_ARG(json));
        }
        cr_assert(parsed != NULL || nested_values || !utf8_valid(json.data, json.length),
                  "accepted: %.*s", SLICE_ARG(json));
    }
    json_decref(parsed);
}

Test(row_headers, every_single_byte_mutation_is_judged_like_a_full_parser_does)
{
    char text[sizeof(WHOLE) - 1];
    for (size_t at = 0; at < sizeof(text); at++) {
        memcpy(text, WHOLE, sizeof(text));
        for (int byte = 0; byte < 256; byte++) {
            text[at] = (char)byte;
            compare((Slice){text, sizeof(text)});
        }
    }
}

Test(row_headers, random_texts_of_json_s_own_pieces_are_judged_like_a_full_parser_does)
{
    static const char *const PIECES[] = {
        "{",        "}",      "[",     "]",       ",",       ":",       "\"",   "\\",
        "\"a\"",    "\"b\":", "1",     "-",       "0",       ".5",      "e3",   "true",
        "null",     "false",  " ",     "\\u00e4", "\\ud83d", "\\ude00", "\\\"", "{\"a\":",
        "{\"a\":1", "}",      "\"x\"", "{}",      "[]",      ",\"c\":",
    };
    uint64_t first = 1;
    uint64_t count = 40000;
    random_seeds(&first, &count);
    Text text = TEXT_EMPTY;
    for (uint64_t seed = first; seed < first + count; seed++) {
        Random random = random_new(seed);
        text_clear(&text);
        text_add(&text, "{\"a\":");
        for (size_t i = random_below(&random, 12); i > 0; i--) {
            text_add(&text, PIECES[random_below(&random, sizeof(PIECES) / sizeof(PIECES[0]))]);
        }
        text_add(&text, random_chance(&random, 80) ? "}" : "");
        compare((Slice){text.data, text.length});
    }
    text_free(&text);
}

#include <criterion/criterion.h>
#include <math.h>

#include "base/document.h"
#include "base/memory.h"

static void expect(const json_t *document, const char *expected)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    document_write(document, &text);
    cr_assert_str_eq(text_string(&text), expected);
}

Test(document, members_keep_their_order)
{
    AUTO(json_t, document_free) object = json_object();
    document_text(object, "b", "one");
    document_text(object, "a", NULL);
    document_known(object, "d", "");
    document_bool(object, "c", true);
    document_count(object, "e", INT64_MIN);
    json_t *items = document_array(object, "f");
    document_null(document_item(items), "g");
    (void)document_item(items);
    (void)document_object(object, "h");
    document_time(object, "i", 1500000);
    document_time(object, "j", 0);
    expect(object, "{\"b\":\"one\",\"a\":null,\"d\":null,\"c\":true,\"e\":-9223372036854775808,"
                   "\"f\":[{\"g\":null},{}],\"h\":{},\"i\":\"1970-01-01T00:00:01.5Z\",\"j\":null}");
}

Test(document, numbers_keep_their_digits)
{
    AUTO(json_t, document_free) object = json_object();
    document_number(object, "a", "%.3f", 0.5);
    document_number(object, "b", "%.3f", 0);
    document_number(object, "c", "%.0f", 4503599627370496.0);
    document_number(object, "d", "%.6g", 1.0 / 3);
    document_number(object, "e", "%.3f", NAN);
    document_number(object, "f", "%.3f", -1.7e308);
    AUTO_BUFFER text = TEXT_EMPTY;
    document_write(object, &text);
    cr_assert_not_null(strstr(text_string(&text), "{\"a\":0.500,\"b\":0.000,\"c\":4503599627370496,"
                                                  "\"d\":0.333333,\"e\":null,\"f\":-1"));
    json_t *read = json_loadb(text.data, text.length, 0, NULL);
    cr_assert_float_eq(json_real_value(json_object_get(read, "f")), -1.7e308, 1e300);
    json_decref(read);
}

Test(document, text_of_others_cannot_break_out_or_steer_a_terminal)
{
    AUTO(json_t, document_free) object = json_object();
    document_slice(object, "a", SLICE_LITERAL("\"}\x1b[2J\\"));
    document_slice(object, "b", SLICE_LITERAL("\xff\xfe"));
    document_slice(object, "c", SLICE_LITERAL("a\0b"));
    document_text(object, "d", "\xE2\x80\xAE");
    expect(object, "{\"a\":\"\\\"}\\u001b[2J\\\\\",\"b\":\"\xEF\xBF\xBD\xEF\xBF\xBD\","
                   "\"c\":\"a\\u0000b\",\"d\":\"\\u202e\"}");
}

Test(document, trees_of_jansson_are_written_as_jansson_does)
{
    const char *text = "{\"a\":[1,2.5,3.0,-0.25,null,true,false,{\"b\":\"c\"}],\"d\":{},\"e\":[]}";
    json_t *tree = json_loads(text, 0, NULL);
    char *dumped = json_dumps(tree, JSON_COMPACT);
    expect(tree, dumped);
    free(dumped);
    json_decref(tree);
}

/* Texts that are no value of their type are refused, whole and cut; what is one is in test_golden.c
 * for the most part. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "change/change_default.h"
#include "change/change_value.h"

static ChangeCatalog catalog;
static ChangeOut out;
static ChangeModes modes;

static void know(uint32_t oid, const char *name, uint32_t element)
{
    *vec_add(&catalog.types) = (ChangeTypeFacts){.oid = oid,
                                                 .schema = x_strdup("x"),
                                                 .name = x_strdup(name),
                                                 .kind = 'b',
                                                 .element = element,
                                                 .delimiter = ','};
}

static void begin(void)
{
    modes = (ChangeModes){0};
    know(17, "bytea", 0);
    know(23, "int4", 0);
    know(25, "text", 0);
    know(1007, "_int4", 23);
    know(1009, "_text", 25);
    know(1082, "date", 0);
    know(1114, "timestamp", 0);
    know(1115, "_timestamp", 1114);
    know(1182, "_date", 1082);
    know(1184, "timestamptz", 0);
    know(1185, "_timestamptz", 1184);
    know(1700, "numeric", 0);
    know(90000, "hstore", 0);
    know(90001, "geometry", 0);
}

static void end(void)
{
    change_catalog_clear(&catalog);
    change_out_free(&out);
}

TestSuite(change_value, .init = begin, .fini = end);

/* From memory of exactly that length. */
static ChangeWritten write_exact(const ChangeType *type, const char *text, size_t length)
{
    char *exact = malloc(length > 0 ? length : 1);
    memcpy(exact, text, length);
    text_clear(&out.json);
    ChangeWritten written =
        change_value_write(type, (Slice){.data = exact, .length = length}, &out);
    cr_assert_eq(out.json.length > 0, written == CHANGE_WRITTEN);
    free(exact);
    return written;
}

static void expect_written(uint32_t oid, int32_t modifier, const char *text, const char *json)
{
    ChangeType *type = change_type_new(&catalog, &modes, oid, modifier);
    cr_assert_not_null(type);
    cr_assert_eq(write_exact(type, text, strlen(text)), CHANGE_WRITTEN, "%s", text);
    cr_expect_str_eq(text_string(&out.json), json);
    for (size_t cut = 0; cut < strlen(text); cut++) {
        (void)write_exact(type, text, cut);
    }
    change_type_free(&type);
}

static void expect_refused(uint32_t oid, int32_t modifier, const char *text)
{
    ChangeType *type = change_type_new(&catalog, &modes, oid, modifier);
    cr_assert_not_null(type);
    cr_expect_eq(write_exact(type, text, strlen(text)), CHANGE_BAD, "%u: '%s' became %s", oid, text,
                 text_string(&out.json));
    change_type_free(&type);
}

Test(change_value, whole_numbers_that_do_not_fit_are_refused)
{
    expect_written(21, -1, "-32768", "-32768");
    expect_refused(21, -1, "32768");
    expect_refused(23, -1, "2147483648");
    expect_written(20, -1, "-9223372036854775808", "-9223372036854775808");
    expect_refused(20, -1, "9223372036854775808");
    expect_refused(26, -1, "-1");
    expect_refused(23, -1, "");
    expect_refused(23, -1, "-");
    expect_refused(23, -1, "1 ");
    expect_refused(23, -1, "0x1");
}

Test(change_value, numerics_that_lose_digits_are_refused)
{
    int32_t ten_two = (10 << 16 | 2) + 4;
    expect_written(1700, ten_two, "3.30", "\"AUo=\"");
    expect_written(1700, ten_two, "3.300", "\"AUo=\"");
    expect_refused(1700, ten_two, "3.301");
    expect_refused(1700, ten_two, "1e3");
    expect_refused(1700, ten_two, "1.2.3");
    expect_refused(1700, ten_two, ".5");
    expect_refused(1700, -1, "");
    expect_refused(1700, -1, "--1");
    expect_refused(1700, -1, "1,5");
    expect_refused(790, -1, "12");
    expect_refused(790, -1, "1.234,56");
    expect_refused(701, -1, "1e");
    expect_refused(701, -1, "1e9999");
    expect_refused(701, -1, "nan");
}

Test(change_value, times_that_cannot_be_are_refused)
{
    expect_refused(1082, -1, "2020-13-01");
    expect_refused(1082, -1, "2020-00-01");
    expect_refused(1082, -1, "2020-01-32");
    expect_refused(1082, -1, "2020-01-01 AD");
    expect_refused(1082, -1, "0000-01-01");
    expect_refused(1083, -1, "24:00:01");
    expect_refused(1083, -1, "12:60:00");
    expect_refused(1083, -1, "12:00:00.1234567");
    expect_refused(1114, -1, "2020-01-01");
    expect_refused(1114, -1, "2020-01-01 00:00:00+00");
    expect_refused(1184, -1, "2020-01-01 00:00:00");
    expect_refused(1266, -1, "12:00:00");
    expect_refused(1186, -1, "1 week");
    expect_refused(1186, -1, "4294967296 days");
    expect_refused(1186, -1, "01:00");
    expect_refused(1186, -1, "");
}

Test(change_value, texts_are_read_to_their_ends)
{
    expect_refused(25, -1, "\xff");
    expect_refused(25, -1, "\xed\xa0\x80");
    expect_refused(17, -1, "abc");
    expect_refused(17, -1, "\\x0");
    expect_refused(17, -1, "\\x0G");
    expect_refused(16, -1, "true");
    expect_refused(1560, -1, "2");
    expect_refused(1562, -1, "012");
    expect_refused(600, -1, "(1)");
    expect_refused(600, -1, "(1,2");
    expect_refused(600, -1, "(1,)");
    expect_refused(600, -1, "");
}

Test(change_value, arrays_and_hstores_are_closed)
{
    expect_written(1007, -1, "[0:1]={5,NULL}", "[5,null]");
    expect_written(1007, -1, "{{1,2},{3,4}}", "[1,2,3,4]");
    expect_written(1009, -1, "{\"a\\\"b\",\"NULL\"}", "[\"a\\\"b\",\"NULL\"]");
    expect_refused(1007, -1, "{1,2");
    expect_refused(1007, -1, "1,2}");
    expect_refused(1007, -1, "{1,,2}");
    expect_refused(1007, -1, "{1,}");
    expect_refused(1007, -1, "{1}}");
    expect_refused(1007, -1, "{1}2");
    expect_refused(1007, -1, "{x}");
    expect_refused(1007, -1, "{{{{{{{1}}}}}}}");
    expect_refused(1009, -1, "{\"a}");
    expect_written(90000, -1, "\"a\"=>NULL", "\"{\\\"a\\\":null}\"");
    expect_refused(90000, -1, "\"a\"");
    expect_refused(90000, -1, "\"a\"=>b");
    expect_refused(90000, -1, "\"a\"=>\"b\",");
    expect_refused(90000, -1, "\"a\"=>\"b\" \"c\"=>\"d\"");
}

Test(change_value, a_geometry_is_ewkb_in_either_byte_order)
{
    expect_written(90001, -1, "0101000020E6100000000000000000F03F0000000000000040",
                   "{\"wkb\":\"AQEAACDmEAAAAAAAAAAA8D8AAAAAAAAAQA==\",\"srid\":4326}");
    expect_written(90001, -1, "0020000001000010E63FF00000000000004000000000000000",
                   "{\"wkb\":\"ACAAAAEAABDmP/AAAAAAAABAAAAAAAAAAA==\",\"srid\":4326}");
    expect_written(90001, -1, "010700000000000000", "{\"wkb\":\"AQcAAAAAAAAA\",\"srid\":null}");
    expect_refused(90001, -1, "0107000000000000");
    expect_refused(90001, -1, "01070000000000000");
    expect_refused(90001, -1, "01070000000000000x");
    expect_refused(90001, -1, "");
}

/* In arrays Debezium makes other dates of them. */
Test(change_value, years_before_christ_are_the_same_in_arrays)
{
    expect_written(1082, -1, "0001-12-31 BC", "-719163");
    expect_written(1182, -1, "{\"0001-12-31 BC\",2020-01-01}", "[-719163,18262]");
    expect_written(1114, -1, "0001-12-31 23:00:00 BC", "-62135600400000000");
    expect_written(1115, -1, "{\"0001-12-31 23:00:00 BC\"}", "[-62135600400000000]");
    expect_written(1184, -1, "0044-03-15 10:00:00+00 BC", "\"-0043-03-15T10:00:00.000000Z\"");
    expect_written(1185, -1, "{\"0044-03-15 10:00:00+00 BC\"}",
                   "[\"-0043-03-15T10:00:00.000000Z\"]");
}

Test(change_value, floats_have_the_layout_of_java)
{
    expect_written(701, -1, "1e+07", "1.0E7");
    expect_written(701, -1, "9999999", "9999999.0");
    expect_written(701, -1, "0.001", "0.001");
    expect_written(701, -1, "0.0009", "9.0E-4");
    expect_written(701, -1, "-0", "-0.0");
    expect_written(701, -1, "5e-324", "4.9E-324");
    expect_written(701, -1, "123456.7", "123456.7");
    expect_written(701, -1, "1.7976931348623157e+308", "1.7976931348623157E308");
}

static void expect_default(uint32_t oid, const char *expression, const char *json)
{
    ChangeType *type = change_type_new(&catalog, &modes, oid, -1);
    AUTO_TEXT read = change_default_read(type, oid, false, expression, &out);
    if (json == NULL) {
        cr_expect_null(read, "%s became %s", expression, read);
    } else {
        cr_expect(read != NULL && strcmp(read, json) == 0, "%s became %s", expression, read);
    }
    change_type_free(&type);
}

Test(change_value, defaults_are_literals_and_zeros_of_calls)
{
    expect_default(23, "1", "1");
    expect_default(23, "'-5'::integer", "-5");
    expect_default(23, "(1 + 2)", NULL);
    expect_default(23, "nextval('s'::regclass)", "0");
    expect_default(25, "'it''s'::text", "\"it\"");
    expect_default(25, "NULL::text", NULL);
    expect_default(25, "'", NULL);
    expect_default(16, "true", "true");
    expect_default(1700, "1.5", NULL);
    expect_default(17, "'\\x01'::bytea", NULL);
}

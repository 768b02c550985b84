#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "dead/dead_print.h"
#include "dead/dead_store.h"

static PGresult *rows;
static Text out;

static void begin(void)
{
    enum { COLUMNS = DEAD_ASKED_AT + 1 };
    static PGresAttDesc columns[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) {
        static char name[] = "c";
        columns[i].name = name;
    }
    rows = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    cr_assert_eq(PQsetResultAttrs(rows, COLUMNS, columns), 1);
}

static void end(void)
{
    PQclear(rows);
    text_free(&out);
}

TestSuite(dead_print, .init = begin, .fini = end);

static void put(int row, int column, const char *value)
{
    cr_assert_eq(
        PQsetvalue(rows, row, column, (char *)value, value != NULL ? (int)strlen(value) : -1), 1);
}

static void given_row(int row, const char *id, const char *reason)
{
    put(row, DEAD_ID, id);
    put(row, DEAD_AT, "2026-02-03T04:05:06Z");
    put(row, DEAD_PIPELINE, "orders");
    put(row, DEAD_EVENT_TYPE, "order.placed");
    put(row, DEAD_KEY, "k\n1");
    put(row, DEAD_CODE, "RECORD_TOO_LARGE");
    put(row, DEAD_REASON, reason);
    put(row, DEAD_ATTEMPTS, "3");
    put(row, DEAD_EVENT_ID, "0193");
    put(row, DEAD_CLASS, "poison");
    put(row, DEAD_AGE, "120.5");
}

static void expect(const char *part)
{
    cr_assert_not_null(strstr(text_string(&out), part), "no '%s' in\n%s", part, text_string(&out));
}

static json_t *json(void)
{
    json_error_t error;
    json_t *object = json_loads(text_string(&out), JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(object, "%s\n%s", error.text, text_string(&out));
    return object;
}

Test(dead_print, a_list_has_a_line_for_each_and_says_how_many_more)
{
    given_row(0, "17", "the record takes 5 bytes");
    given_row(1, "9",
              "ä very long reason ä very long reason ä very long reason ä very long reason");
    dead_print_list(rows, 2, false, false, &out);
    expect("id  stored at             pipeline  event type    key  tried  reason\n"
           "17  2026-02-03T04:05:06Z  orders    order.placed  k 1      3  RECORD_TOO_LARGE: the "
           "record takes 5 bytes\n"
           " 9  ");
    expect("RECORD_TOO_LARGE: ä very long reason ä very long reason ä ve...\n");
    cr_assert_null(strstr(text_string(&out), "more"));
    text_clear(&out);
    dead_print_list(rows, 1236, false, false, &out);
    expect("and 1,234 older dead letters are not shown; to see more, use --limit N\n");
}

Test(dead_print, places_in_the_wal_are_listed_where_there_are_some)
{
    given_row(0, "17", "r");
    given_row(1, "9", "r");
    put(1, DEAD_LSN, "1/A0");
    dead_print_list(rows, 2, false, false, &out);
    expect(
        "id  stored at             pipeline  event type    key  lsn   tried  reason\n"
        "17  2026-02-03T04:05:06Z  orders    order.placed  k 1  -         3  RECORD_TOO_LARGE: r\n"
        " 9  2026-02-03T04:05:06Z  orders    order.placed  k 1  1/A0      3  RECORD_TOO_LARGE: "
        "r\n");
    text_clear(&out);
    dead_print_list_json(rows, 2, &out);
    json_t *object = json();
    const json_t *letters = json_object_get(object, "dead_letters");
    cr_assert(json_is_null(json_object_get(json_array_get(letters, 0), "lsn")));
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(letters, 1), "lsn")), "1/A0");
    json_decref(object);
}

Test(dead_print, a_row_shows_its_place_in_the_wal)
{
    given_row(0, "17", "r");
    put(0, DEAD_EVENT, "{\"seq\":null,\"lsn\":\"1/A0\",\"ordinal\":2,\"event_type\":\"u\"}");
    dead_print_row(rows, false, &out);
    expect("  seq               NULL\n"
           "  lsn               1/A0\n"
           "  ordinal           2\n");
    text_clear(&out);
    put(0, DEAD_EVENT, "{\"seq\":42,\"event_type\":\"u\"}");
    dead_print_row(rows, false, &out);
    cr_assert_null(strstr(text_string(&out), "ordinal"), "%s", text_string(&out));
}

Test(dead_print, a_whole_list_cuts_no_reason)
{
    given_row(0, "9", "a very long reason a very long reason a very long reason the end");
    dead_print_list(rows, 1, false, true, &out);
    expect("RECORD_TOO_LARGE: a very long reason a very long reason a very long reason the end\n");
}

Test(dead_print, what_is_null_is_a_dash_and_an_empty_list_says_so)
{
    dead_print_list(rows, 0, false, false, &out);
    cr_assert_str_eq(text_string(&out), "no dead letters\n");
    text_clear(&out);
    given_row(0, "1", "r");
    put(0, DEAD_EVENT_TYPE, NULL);
    put(0, DEAD_KEY, NULL);
    put(0, DEAD_CODE, NULL);
    dead_print_list(rows, 1, false, false, &out);
    expect("orders    -           -        3  r\n");
}

Test(dead_print, a_name_is_one_safe_line)
{
    given_row(0, "17", "r");
    dead_print_name(rows, 0, &out);
    cr_assert_str_eq(text_string(&out), "17 orders order.placed 'k 1' (event 0193)");
    text_clear(&out);
    put(0, DEAD_KEY, NULL);
    put(0, DEAD_EVENT_ID, NULL);
    dead_print_name(rows, 0, &out);
    cr_assert_str_eq(text_string(&out), "17 orders order.placed");
}

Test(dead_print, bytes_are_text_or_hex)
{
    static const struct {
        Slice bytes;
        const char *text;
        const char *json;
    } CASES[] = {
        {SLICE_NULL, "NULL", "null"},
        {SLICE_LITERAL(""), "", "{\"bytes\":0,\"text\":\"\"}"},
        {SLICE_LITERAL("a\tb"), "a b", "{\"bytes\":3,\"text\":\"a\\u0009b\"}"},
        {SLICE_LITERAL("\x1b[2J"), "hex 1b5b324a", "{\"bytes\":4,\"text\":\"\\u001b[2J\"}"},
        {SLICE_LITERAL("\x00\x01\xff\xfe\x10"), "hex 0001fffe 10",
         "{\"bytes\":5,\"hex\":\"0001fffe10\"}"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        text_clear(&out);
        text_add(&out, "");
        dead_print_bytes(CASES[i].bytes, &out);
        cr_assert_str_eq(text_string(&out), CASES[i].text);
        text_clear(&out);
        dead_print_bytes_json(CASES[i].bytes, &out);
        cr_assert_str_eq(text_string(&out), CASES[i].json);
    }
}

Test(dead_print, long_values_are_cut_between_characters_and_the_rest_is_counted)
{
    static char text[3001];
    for (size_t i = 0; i + 1 < sizeof(text); i += 2) {
        memcpy(text + i, "\xC3\xA4", 2);
    }
    text[0] = 'x'; /* the limit now falls into a character */
    text[1] = 'x';
    text[2] = 'x';
    memmove(text + 3, text + 4, sizeof(text) - 5);
    dead_print_bytes((Slice){.data = text, .length = 2999}, &out);
    expect("xxx\xC3\xA4");
    expect("\xC3\xA4... (1,000 more bytes: --json)");
    text_clear(&out);
    static const char ZEROS[1512];
    dead_print_bytes((Slice){.data = ZEROS, .length = sizeof(ZEROS)}, &out);
    expect("... (1,000 more bytes: --json)");
}

Test(dead_print, a_row_shows_event_record_reason_meaning_and_remedy)
{
    given_row(0, "17", "the record is too large");
    put(0, DEAD_EVENT,
        "{\"seq\": 42, \"event_id\": \"0193\", \"payload\": \"{}\", \"aggregate_id\": null, "
        "\"header_columns\": {\"tenant\": \"eu\"}}");
    put(0, DEAD_TOPIC, "orders.events");
    put(0, DEAD_RECORD_KEY, "\\x6b31");
    put(0, DEAD_RECORD_VALUE, "\\x00ff");
    put(0, DEAD_RECORD_HEADERS,
        "[{\"name\": \"ce_id\", \"value\": \"0193\"}, {\"name\": \"n\", "
        "\"value\": null}]");
    dead_print_row(rows, false, &out);
    expect("dead letter 17 of pipeline orders, stored 2026-02-03T04:05:06Z (2 min ago), 3 "
           "attempts\n");
    expect("  reason            the record is too large\n");
    expect("  code              RECORD_TOO_LARGE (poison)\n");
    expect("  remedy            Raise the topic's max.message.bytes");
    expect("  seq               42\n");
    expect("  aggregate_id      NULL\n");
    expect("  tenant            eu\n");
    expect("  topic             orders.events\n");
    expect("  key               k1\n");
    expect("  value             hex 00ff\n");
    expect("  headers           ce_id: 0193\n                    n: NULL\n");
    text_clear(&out);
    dead_print_row_json(rows, &out);
    json_t *object = json();
    cr_assert_eq(json_integer_value(json_object_get(object, "id")), 17);
    cr_assert_str_eq(json_string_value(json_object_get(object, "key")), "k\n1");
    const json_t *record = json_object_get(object, "record");
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(record, "value"), "hex")),
                     "00ff");
    cr_assert_eq(json_array_size(json_object_get(record, "headers")), 2);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(object, "event"), "seq")), 42);
    json_decref(object);
}

Test(dead_print, a_change_that_was_requeued_says_who_reads_its_row)
{
    given_row(0, "17", "r");
    dead_print_row(rows, false, &out);
    cr_assert_null(strstr(text_string(&out), "requeued"));
    put(0, DEAD_ASKED_AT, "2026-02-03T05:00:00Z");
    dead_print_row(rows, false, &out);
    expect("  requeued          2026-02-03T05:00:00Z; the relay reads its row again\n");
    text_clear(&out);
    dead_print_row_json(rows, &out);
    json_t *object = json();
    cr_assert_str_eq(json_string_value(json_object_get(object, "requeued_at")),
                     "2026-02-03T05:00:00Z");
    json_decref(object);
}

Test(dead_print, an_unknown_code_and_no_event_are_no_obstacle)
{
    given_row(0, "17", "r");
    put(0, DEAD_CODE, "FROM_A_LATER_VERSION");
    dead_print_row(rows, false, &out);
    expect("FROM_A_LATER_VERSION (poison)\n");
    expect("event\n  no event is stored\n");
    cr_assert_null(strstr(text_string(&out), "remedy"));
    text_clear(&out);
    dead_print_row_json(rows, &out);
    json_t *object = json();
    cr_assert(json_is_null(json_object_get(object, "event")));
    cr_assert(json_is_null(json_object_get(object, "remedy")));
    json_decref(object);
}

Test(dead_print, a_list_as_json_counts_all)
{
    given_row(0, "17", "r");
    given_row(1, "16", "r");
    dead_print_list_json(rows, 9, &out);
    json_t *object = json();
    cr_assert_eq(json_array_size(json_object_get(object, "dead_letters")), 2);
    cr_assert_eq(json_integer_value(json_object_get(object, "total")), 9);
    json_decref(object);
}

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "flow/batch.h"
#include "sink/file/file_format.h"
#include "stub/given_schema.h"
#include "stub/random.h"

static char topic_name[] = "order.events";
static Topic topic = {.name = topic_name};
static Batch *batch;
static Event *event;
static Record record;
static Text text;
static json_t *line;

static void begin(void)
{
    batch = batch_new();
    event = batch_add(batch, given_schema(0));
    record = (Record){.topic = &topic, .timestamp_ms = 1500};
    event->row[FIELD_EVENT_ID] = SLICE_LITERAL("id-1");
}

static void end(void)
{
    batch_free(&batch);
    text_free(&text);
    json_decref(line);
    line = NULL;
}

TestSuite(file_format, .init = begin, .fini = end);

static void encode(void)
{
    AUTO_ERROR err = {0};
    text_clear(&text);
    cr_assert_eq(file_format_add(FILE_FORMAT_JSON, &record, event, 7000000, &text, &err), OK);
    cr_assert_eq(memchr(text.data, '\n', text.length), text.data + text.length - 1, "one line");
    json_decref(line);
    json_error_t error;
    line = json_loadb(text.data, text.length, JSON_ALLOW_NUL, &error);
    cr_assert_not_null(line, "%s", error.text);
}

static const char *member(const char *name)
{
    return json_string_value(json_object_get(line, name));
}

Test(file_format, a_record_is_one_json_object)
{
    RecordHeader headers[] = {{SLICE_LITERAL("ce_type"), SLICE_LITERAL("a \"b\"\n")},
                              {SLICE_LITERAL("none"), SLICE_NULL}};
    record.key = SLICE_LITERAL("k");
    record.value = SLICE_LITERAL("{\"a\":1}");
    record.headers = headers;
    record.header_count = 2;
    encode();
    cr_assert_str_eq(member("topic"), "order.events");
    cr_assert_str_eq(member("key"), "k");
    cr_assert_str_eq(member("value"), "{\"a\":1}");
    cr_assert_str_eq(member("id"), "id-1");
    cr_assert_str_eq(member("time"), "1970-01-01T00:00:01.5Z");
    json_t *got = json_object_get(line, "headers");
    cr_assert_str_eq(json_string_value(json_object_get(got, "ce_type")), "a \"b\"\n");
    cr_assert(json_is_null(json_object_get(got, "none")));
    cr_assert_null(json_object_get(line, "headers_base64"));
    cr_assert_eq(json_object_size(line), 6);
}

Test(file_format, no_key_and_a_tombstone_are_null_and_the_time_is_that_of_publishing)
{
    record.timestamp_ms = 0;
    encode();
    cr_assert(json_is_null(json_object_get(line, "key")));
    cr_assert(json_is_null(json_object_get(line, "value")));
    cr_assert_str_eq(member("time"), "1970-01-01T00:00:07Z");
    record.value = SLICE_LITERAL("");
    encode();
    cr_assert_str_eq(member("value"), "");
}

static size_t decode(const char *from, unsigned char *to)
{
    static const char LETTERS[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = 0;
    unsigned bits = 0;
    int have = 0;
    for (; *from != '\0' && *from != '='; from++) {
        bits = bits << 6 | (unsigned)(strchr(LETTERS, *from) - LETTERS);
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[length++] = (unsigned char)(bits >> have);
        }
    }
    return length;
}

Test(file_format, bytes_that_are_no_text_stand_as_base64)
{
    RecordHeader headers[] = {{SLICE_LITERAL("t"), SLICE_LITERAL("x")},
                              {SLICE_LITERAL("b"), SLICE_LITERAL("\xff\xfe")}};
    record.headers = headers;
    record.header_count = 2;
    record.key = SLICE_LITERAL("\xc3");
    record.value = (Slice){.data = "\x00\xff\n", .length = 3};
    encode();
    cr_assert_str_eq(member("key_base64"), "ww==");
    cr_assert_str_eq(member("value_base64"), "AP8K");
    cr_assert_null(json_object_get(line, "key"));
    cr_assert_null(json_object_get(line, "value"));
    cr_assert_eq(json_object_size(json_object_get(line, "headers")), 1);
    json_t *odd = json_object_get(line, "headers_base64");
    cr_assert_str_eq(json_string_value(json_object_get(odd, "b")), "//4=");
}

Test(file_format, whatever_the_bytes_they_come_back)
{
    Random random = random_new(17);
    for (int round = 0; round < 2000; round++) {
        char bytes[64];
        unsigned char got[64];
        size_t length = random_below(&random, sizeof(bytes));
        for (size_t i = 0; i < length; i++) {
            bytes[i] = (char)random_below(&random, round % 2 == 0 ? 256 : 128);
        }
        record.value = (Slice){.data = bytes, .length = length};
        encode();
        json_t *value = json_object_get(line, "value");
        if (value != NULL) {
            cr_assert_eq(json_string_length(value), length);
            cr_assert_eq(memcmp(json_string_value(value), bytes, length), 0);
        } else {
            cr_assert_eq(decode(member("value_base64"), got), length);
            cr_assert_eq(memcmp(got, bytes, length), 0);
        }
    }
}

Test(file_format, raw_is_the_value_and_refuses_a_line_end)
{
    AUTO_ERROR err = {0};
    record.value = SLICE_LITERAL("{\"a\":1}");
    cr_assert_eq(file_format_add(FILE_FORMAT_RAW, &record, event, 0, &text, &err), OK);
    record.value = SLICE_NULL;
    cr_assert_eq(file_format_add(FILE_FORMAT_RAW, &record, event, 0, &text, &err), OK);
    cr_assert_str_eq(text_string(&text), "{\"a\":1}\n\n");
    record.value = SLICE_LITERAL("two\nlines");
    cr_assert_eq(file_format_add(FILE_FORMAT_RAW, &record, event, 0, &text, &err), FAILED);
    cr_assert_eq(err.class, ERROR_POISON);
    cr_assert_eq(err.code, CODE_FILE_LINE_END);
    cr_assert_str_eq(text_string(&text), "{\"a\":1}\n\n", "nothing of it was added");
}

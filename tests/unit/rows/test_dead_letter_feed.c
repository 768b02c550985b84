/* What is fed, read back as PostgreSQL would. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "flow/batch.h"
#include "flow/refusal.h"
#include "rows/dead_letter_feed.h"
#include "stub/given.h"
#include "stub/given_schema.h"

enum { LARGE = DEAD_LETTER_FEED_BYTES, SLICE_MOST = 512 * 1024 };

static PipelineConfig config;
static Batch *batch;
static Event *event;
static Record record;
static Error reason;
static DeadLetter letter;
static char *large;

static void begin(void)
{
    config = given_pipeline();
    batch = batch_new();
    event = batch_add(batch, given_schema(2));
    event->seq = EVENT_NO_SEQ;
    event->row[FIELD_EVENT_ID] = SLICE_LITERAL("id-1");
    error_set(&reason, CODE_EVENT_TOO_LARGE, "the event is too large");
    large = x_malloc(LARGE * 2 + 2);
    for (size_t i = 0; i < LARGE * 2 + 2; i++) {
        large[i] = "0123456789abcdef"[i * 7 % 16];
    }
}

static void end(void)
{
    dead_letter_release(&letter);
    batch_free(&batch);
    free(large);
}

TestSuite(dead_letter_feed, .init = begin, .fini = end);

static Refusal *refuse(int target, Slice bytes, bool hex)
{
    Refusal *refusal = refusal_new(event, 2);
    error_copy(&refusal->error, &reason);
    refusal->values[refusal->count++] =
        (RefusedValue){.target = target, .bytes = bytes, .hex = hex};
    return refusal;
}

static DeadLetterFeed *feed_new(void)
{
    dead_letter_build(&letter, "outbox.dead_letter", &config, event, &record, &reason);
    return dead_letter_feed_new(&letter, "outbox.dead_letter");
}

static const char *drain(DeadLetterFeed *feed, Text *all)
{
    const char *why = NULL;
    for (;;) {
        Slice slice = dead_letter_feed_next(feed, &why);
        if (why != NULL || slice_is_null(slice)) {
            return why;
        }
        cr_assert_leq(slice.length, SLICE_MOST);
        cr_assert_gt(slice.length, 0);
        text_append(all, slice.data, slice.length);
    }
}

/* The next field; the null slice: NULL. */
static Slice field(ByteReader *in)
{
    uint32_t length = bytes_u32(in);
    return length == UINT32_MAX ? SLICE_NULL : bytes_slice(in, length);
}

static void assert_text(ByteReader *in, const char *expected)
{
    Slice text = field(in);
    cr_assert_eq(slice_is_null(text), expected == NULL);
    if (expected != NULL) {
        cr_assert_eq(text.length, strlen(expected), "%.*s", (int)text.length, text.data);
        cr_assert_eq(memcmp(text.data, expected, text.length), 0);
    }
}

static void assert_number(ByteReader *in, int64_t expected, size_t bytes)
{
    Slice number = field(in);
    cr_assert_eq(number.length, bytes);
    int64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | (unsigned char)number.data[i];
    }
    cr_assert_eq(value, expected);
}

static void assert_jsonb(ByteReader *in, const char *part)
{
    Slice json = field(in);
    cr_assert_eq(json.data[0], 1);
    AUTO_TEXT text = x_strndup(json.data + 1, json.length - 1);
    cr_assert_not_null(strstr(text, part), "%s", text);
}

static Slice assert_array_of_one(ByteReader *in, uint32_t type)
{
    Slice array = field(in);
    ByteReader inner = bytes_reader(array.data, array.length);
    cr_assert_eq(bytes_u32(&inner), 1);
    cr_assert_eq(bytes_u32(&inner), 0);
    cr_assert_eq(bytes_u32(&inner), type);
    cr_assert_eq(bytes_u32(&inner), 1);
    cr_assert_eq(bytes_u32(&inner), 1);
    Slice element = field(&inner);
    cr_assert(bytes_complete(&inner));
    return element;
}

static ByteReader open_tuple(const Text *all)
{
    cr_assert_eq(memcmp(all->data, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19), 0);
    ByteReader in = bytes_reader(all->data + 19, all->length - 19);
    cr_assert_eq(bytes_u16(&in), 16);
    return in;
}

static void assert_one_value(const char *name, Slice expected, bool whole)
{
    DeadLetterFeed *feed = feed_new();
    cr_assert_not_null(feed);
    AUTO_BUFFER all = TEXT_EMPTY;
    cr_assert_null(drain(feed, &all));
    dead_letter_feed_free(&feed);
    ByteReader in = open_tuple(&all);
    for (int i = 0; i < DEAD_LETTER_PARAMS; i++) {
        (void)field(&in);
    }
    Slice told = assert_array_of_one(&in, 25);
    cr_assert_eq(told.length, strlen(name));
    cr_assert_eq(memcmp(told.data, name, told.length), 0);
    Slice value = assert_array_of_one(&in, 17);
    cr_assert_eq(value.length, expected.length);
    cr_assert_eq(memcmp(value.data, expected.data, expected.length), 0);
    assert_number(&in, whole, 1);
    cr_assert_eq(bytes_u16(&in), UINT16_MAX);
    cr_assert(bytes_complete(&in));
}

Test(dead_letter_feed, says_what_the_insert_says)
{
    Topic topic = {.name = GIVEN("orders")};
    event->seq = -42;
    record = (Record){.topic = &topic,
                      .key = SLICE_LITERAL("k"),
                      .value = SLICE_NULL,
                      .timestamp_ms = 1500000000123};
    event->attempts = 3;
    refuse(FIELD_CORRELATION_ID, (Slice){.data = large, .length = LARGE}, false);
    DeadLetterFeed *feed = feed_new();
    cr_assert_str_eq(dead_letter_feed_sql(feed), "COPY outbox.dead_letter (" DEAD_LETTER_COLUMNS
                                                 ") FROM STDIN (FORMAT binary)");
    AUTO_BUFFER all = TEXT_EMPTY;
    cr_assert_null(drain(feed, &all));
    cr_assert(slice_is_null(dead_letter_feed_next(feed, &(const char *){NULL})), "and no more");
    dead_letter_feed_free(&feed);
    ByteReader in = open_tuple(&all);
    assert_text(&in, config.name);
    assert_number(&in, -42, 8);
    assert_text(&in, "id-1");
    assert_jsonb(&in, "\"seq\":-42,\"event_id\":\"id-1\"");
    assert_text(&in, "orders");
    assert_text(&in, "k");
    assert_text(&in, NULL);
    assert_jsonb(&in, "[]");
    assert_number(&in, INT64_C(1500000000123000) - TIMESTAMP_POSTGRES_EPOCH_US, 8);
    assert_text(&in, "the event is too large");
    assert_text(&in, "poison");
    assert_text(&in, "EVENT_TOO_LARGE");
    assert_number(&in, 3, 4);
}

Test(dead_letter_feed, a_text_goes_as_it_stands)
{
    Slice value = {.data = large, .length = 2 * LARGE + 1};
    refuse(FIELD_CORRELATION_ID, value, false);
    assert_one_value("correlation_id", value, true);
}

Test(dead_letter_feed, a_bytea_as_text_becomes_its_bytes)
{
    AUTO_TEXT expected = x_malloc(LARGE);
    memcpy(large, "\\x", 2);
    for (size_t i = 0; i < LARGE; i++) {
        const char digits[] = {large[2 + 2 * i], large[3 + 2 * i], '\0'};
        expected[i] = (char)strtol(digits, NULL, 16);
    }
    refuse(FIELD_PAYLOAD_BYTES, (Slice){.data = large, .length = 2 * LARGE + 2}, true);
    assert_one_value("payload_bytes", (Slice){.data = expected, .length = LARGE}, true);
}

Test(dead_letter_feed, what_never_came_is_said)
{
    Slice value = {.data = large, .length = LARGE};
    refuse(FIELD_CORRELATION_ID, value, false)->partial = true;
    assert_one_value("correlation_id", value, false);
}

Test(dead_letter_feed, digits_that_are_none_fail_wherever_they_are)
{
    memcpy(large, "\\x", 2);
    const size_t places[] = {2, 3, LARGE, 2 * LARGE + 1};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        char digit = large[places[i]];
        large[places[i]] = 'g';
        refuse(FIELD_PAYLOAD_BYTES, (Slice){.data = large, .length = 2 * LARGE + 2}, true);
        DeadLetterFeed *feed = feed_new();
        AUTO_BUFFER all = TEXT_EMPTY;
        cr_assert_not_null(drain(feed, &all), "place %zu", places[i]);
        dead_letter_feed_free(&feed);
        dead_letter_release(&letter);
        large[places[i]] = digit;
    }
}

Test(dead_letter_feed, what_is_not_large_is_inserted)
{
    refuse(FIELD_CORRELATION_ID, (Slice){.data = large, .length = LARGE - 1}, false);
    cr_assert_null(feed_new());
    dead_letter_release(&letter);
    event->refusal = NULL;
    cr_assert_null(feed_new());
}

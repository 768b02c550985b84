#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/timestamp.h"
#include "flow/refusal.h"
#include "rows/row.h"
#include "stub/copy.h"
#include "stub/given_schema.h"
#include "stub/random.h"

static Batch *batch;
static Error err;
static Text row; /* being written */

static void begin(void)
{
    batch = batch_new();
    text_clear(&row);
}

static void end(void)
{
    batch_free(&batch);
    text_free(&row);
}

TestSuite(row, .init = begin, .fini = end);

/* Reads from memory of exactly that length, so that a read behind it is found. */
static Status read_bytes(const char *bytes, size_t length, size_t extra_count, Event **ret_event)
{
    char *exact = malloc(length > 0 ? length : 1);
    memcpy(exact, bytes, length);
    Status status = row_read(exact, length, given_schema(extra_count), batch, ret_event, &err);
    memset(exact, '#', length); /* the event must have its own bytes */
    free(exact);
    return status;
}

Test(row, every_field_finds_its_place)
{
    static const char *const TEXTS[COPY_TEXT_FIELDS + 2] = {
        "event_id",       "event_type",    "event_version",
        "aggregate_type", "aggregate_id",  "aggregate_version",
        "payload",        "payload_bytes", "content_type",
        "correlation_id", "causation_id",  "traceparent",
        "headers",        "topic",         "extra 0",
        "extra 1"};
    Slice texts[COPY_TEXT_FIELDS + 2];
    for (size_t i = 0; i < COPY_TEXT_FIELDS + 2; i++) {
        texts[i] = slice_of(TEXTS[i]);
    }
    copy_put_row(&row, -9, 1500000, texts, 2);
    Event *event = NULL;
    cr_assert_eq(read_bytes(row.data, row.length, 2, &event), OK, "%s", error_message(&err));
    cr_assert_eq(event->seq, -9);
    cr_assert_eq(event->occurred_at_us, TIMESTAMP_POSTGRES_EPOCH_US + 1500000);
    cr_assert(slice_is_null(event->row[FIELD_SEQ]));
    cr_assert(slice_is_null(event->row[FIELD_OCCURRED_AT]));
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        cr_assert(slice_equal(event->row[field], texts[field - FIELD_EVENT_ID]), "%s",
                  TEXTS[field - FIELD_EVENT_ID]);
    }
    cr_assert(slice_equal(event->row[FIELD_COUNT], SLICE_LITERAL("extra 0")));
    cr_assert(slice_equal(event->row[FIELD_COUNT + 1], SLICE_LITERAL("extra 1")));
    cr_assert_eq(batch->count, 1);
    cr_assert_eq(batch->events[0], event);
    cr_assert_geq(batch->bytes, row.length);
}

Test(row, null_and_empty_differ)
{
    Slice texts[COPY_TEXT_FIELDS] = {0};
    texts[FIELD_PAYLOAD - 1] = SLICE_LITERAL("");
    copy_put_row(&row, 1, COPY_TIME_NULL, texts, 0);
    Event *event = NULL;
    cr_assert_eq(read_bytes(row.data, row.length, 0, &event), OK);
    cr_assert(slice_is_null(event->row[FIELD_EVENT_ID]));
    cr_assert_not(slice_is_null(event->row[FIELD_PAYLOAD]));
    cr_assert_eq(event->row[FIELD_PAYLOAD].length, 0);
    cr_assert_eq(event->occurred_at_us, EVENT_NO_TIME);
}

Test(row, a_time_that_cannot_be_told_is_no_time)
{
    static const struct {
        int64_t since_2000;
        int64_t us;
    } CASES[] = {
        {0, TIMESTAMP_POSTGRES_EPOCH_US},
        {-TIMESTAMP_POSTGRES_EPOCH_US, 0},
        {INT64_MAX, EVENT_NO_TIME},    /* infinity */
        {INT64_MIN, EVENT_NO_TIME},    /* -infinity */
        {INT64_C(-211813488000000000), /* 4714 BC, PostgreSQL's first */
         INT64_C(-211813488000000000) + TIMESTAMP_POSTGRES_EPOCH_US},
        {INT64_C(9223371331199999999), EVENT_NO_TIME}, /* 294276-12-31, its last */
        {INT64_MAX - TIMESTAMP_POSTGRES_EPOCH_US, INT64_MAX},
        {INT64_MAX - TIMESTAMP_POSTGRES_EPOCH_US + 1, EVENT_NO_TIME},
    };
    Slice texts[COPY_TEXT_FIELDS] = {0};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        text_clear(&row);
        copy_put_row(&row, 1, CASES[i].since_2000, texts, 0);
        Event *event = NULL;
        cr_assert_eq(read_bytes(row.data, row.length, 0, &event), OK);
        cr_assert_eq(event->occurred_at_us, CASES[i].us, "%lld gave %lld",
                     (long long)CASES[i].since_2000, (long long)event->occurred_at_us);
    }
}

Test(row, random_rows_come_back_as_they_were)
{
    uint64_t first = 1;
    uint64_t count = 500;
    random_seeds(&first, &count);
    static char noise[5000];
    for (uint64_t seed = first; seed < first + count; seed++) {
        Random random = random_new(seed);
        size_t extra_count = random_below(&random, 4);
        Slice texts[COPY_TEXT_FIELDS + 4];
        for (size_t i = 0; i < sizeof(noise); i++) {
            noise[i] = (char)random_next(&random);
        }
        for (size_t i = 0; i < COPY_TEXT_FIELDS + extra_count; i++) {
            size_t length = random_below(&random, random_chance(&random, 5) ? 4000 : 40);
            texts[i] = random_chance(&random, 30)
                           ? SLICE_NULL
                           : (Slice){.data = noise + random_below(&random, 1000), .length = length};
        }
        int64_t seq = (int64_t)random_next(&random);
        text_clear(&row);
        copy_put_row(&row, seq, (int64_t)(random_next(&random) >> 12), texts, extra_count);
        Event *event = NULL;
        cr_assert_eq(read_bytes(row.data, row.length, extra_count, &event), OK, "seed %lu",
                     (unsigned long)seed);
        cr_assert_eq(event->seq, seq);
        for (size_t i = 0; i < COPY_TEXT_FIELDS + extra_count; i++) {
            Slice got = i < COPY_TEXT_FIELDS ? event->row[FIELD_EVENT_ID + i]
                                             : event->row[FIELD_COUNT + i - COPY_TEXT_FIELDS];
            cr_assert(slice_equal(got, texts[i]), "seed %lu, field %zu", (unsigned long)seed, i);
        }
    }
    cr_assert_eq(batch->count, count);
}

static void put_sample(void)
{
    Slice texts[COPY_TEXT_FIELDS + 1] = {0};
    texts[0] = SLICE_LITERAL("0193");
    texts[FIELD_PAYLOAD - 1] = SLICE_LITERAL("{\"a\": 1}");
    texts[FIELD_TOPIC - 1] = SLICE_LITERAL("");
    texts[COPY_TEXT_FIELDS] = SLICE_LITERAL("eu");
    copy_put_row(&row, 7, 1000, texts, 1);
}

Test(row, every_truncation_is_an_error_and_leaves_the_batch_as_it_was)
{
    put_sample();
    for (size_t cut = 0; cut < row.length; cut++) {
        Event *event = NULL;
        error_clear(&err);
        cr_assert_eq(read_bytes(row.data, cut, 1, &event), FAILED, "cut at %zu", cut);
        cr_assert_null(event);
        cr_assert_eq(err.class, ERROR_FATAL);
        cr_assert_eq(err.code, CODE_COPY_ROW);
        cr_assert_eq(batch->count, 0);
        cr_assert_eq(batch->unsettled, 0);
        cr_assert_eq(batch->bytes, 0);
    }
}

Test(row, a_row_must_end_exactly)
{
    put_sample();
    text_add_char(&row, '\0');
    Event *event = NULL;
    cr_assert_eq(read_bytes(row.data, row.length, 1, &event), FAILED);
}

Test(row, another_number_of_fields_is_an_error)
{
    put_sample();
    Event *event = NULL;
    cr_assert_eq(read_bytes(row.data, row.length, 2, &event), FAILED);
    cr_assert_eq(read_bytes(row.data, row.length, 1, &event), OK);
    cr_assert_null(event->refusal);
}

Test(row, a_last_column_tells_the_sizes_of_a_row_that_is_too_large)
{
    Slice texts[COPY_TEXT_FIELDS + 1] = {[0] = SLICE_LITERAL("0193")};
    copy_put_row(&row, 7, 0, texts, 1);
    Event *event = NULL;
    cr_assert_eq(read_bytes(row.data, row.length, 0, &event), OK);
    cr_assert_null(event->refusal, "NULL: it is not");
    text_clear(&row);
    texts[COPY_TEXT_FIELDS] = SLICE_LITERAL("9000000 bytes (payload 9000000)");
    copy_put_row(&row, 8, 0, texts, 1);
    cr_assert_eq(read_bytes(row.data, row.length, 0, &event), OK);
    cr_assert_not_null(event->refusal);
    cr_assert(event->refusal->partial);
    cr_assert_eq(event->refusal->error.code, CODE_EVENT_TOO_LARGE);
    cr_assert_not_null(strstr(error_message(&event->refusal->error), "payload 9000000"));
}

Test(row, no_single_byte_mutation_reads_outside_of_the_row)
{
    put_sample();
    char *bytes = malloc(row.length);
    for (size_t at = 0; at < row.length; at++) {
        memcpy(bytes, row.data, row.length);
        for (int value = 0; value < 256; value++) {
            bytes[at] = (char)value;
            Event *event = NULL;
            size_t before = batch->count;
            if (read_bytes(bytes, row.length, 1, &event) != OK) {
                cr_assert_eq(batch->count, before);
                continue;
            }
            size_t length = 2 + 12 + (event->occurred_at_us == EVENT_NO_TIME ? 4 : 12);
            for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
                length += 4 + event->row[field].length;
            }
            length += 4 + event->row[FIELD_COUNT].length;
            cr_assert(length == row.length || event->occurred_at_us == EVENT_NO_TIME);
        }
    }
    free(bytes);
}

Test(row, seq_must_not_be_null)
{
    copy_put_be(&row, FIELD_COUNT, 2);
    copy_put_be(&row, UINT32_MAX, 4);
    copy_put_int64(&row, 0);
    for (size_t i = 0; i < COPY_TEXT_FIELDS; i++) {
        copy_put_field(&row, SLICE_NULL);
    }
    Event *event = NULL;
    cr_assert_eq(read_bytes(row.data, row.length, 0, &event), FAILED);
}

static Status skip(const char *bytes, size_t length, size_t *ret_rest)
{
    char *exact = malloc(length > 0 ? length : 1);
    memcpy(exact, bytes, length);
    const char *at = exact;
    *ret_rest = length;
    Status status = row_skip_header(&at, ret_rest, &err);
    cr_assert_eq((size_t)(at - exact), length - *ret_rest);
    free(exact);
    return status;
}

Test(row, the_header_is_taken_off)
{
    size_t rest = 0;
    cr_assert_eq(skip(COPY_HEADER.data, 19, &rest), OK);
    cr_assert_eq(rest, 0);
    char more[19 + 5 + 3];
    memcpy(more, COPY_HEADER.data, 19);
    memcpy(more + 19, "EXTRArow", 8);
    more[18] = 5; /* length of an extension, which readers skip */
    cr_assert_eq(skip(more, sizeof(more), &rest), OK);
    cr_assert_eq(rest, 3);
}

Test(row, a_header_that_is_cut_or_wrong_is_an_error)
{
    size_t rest = 0;
    char bytes[19 + 5];
    memcpy(bytes, COPY_HEADER.data, 19);
    memcpy(bytes + 19, "EXTRA", 5);
    bytes[18] = 5;
    for (size_t cut = 0; cut < sizeof(bytes); cut++) {
        cr_assert_eq(skip(bytes, cut, &rest), FAILED, "cut at %zu", cut);
        cr_assert_eq(rest, cut);
    }
    for (size_t at = 0; at < 11; at++) {
        memcpy(bytes, COPY_HEADER.data, 19);
        bytes[at] = (char)(bytes[at] ^ 0x20);
        cr_assert_eq(skip(bytes, 19, &rest), FAILED);
    }
    memcpy(bytes, COPY_HEADER.data, 19);
    bytes[15] = (char)0xFF; /* an extension of 4 GB */
    cr_assert_eq(skip(bytes, sizeof(bytes), &rest), FAILED);
}

Test(row, only_a_count_of_minus_one_is_the_trailer)
{
    cr_assert(row_is_trailer("\377\377", 2));
    cr_assert_not(row_is_trailer("\377\376", 2));
    cr_assert_not(row_is_trailer("\377", 1));
    cr_assert_not(row_is_trailer("\377\377\377", 3));
}

static bool names(const Event *event, const char *column)
{
    return event->refusal->odd_text && event->refusal->error.code == CODE_TEXT_NOT_UTF8 &&
           strstr(error_message(&event->refusal->error), column) != NULL;
}

Test(row, a_text_that_is_not_utf8_is_refused)
{
    static const char *const TEXTS[] = {"caf\xC3\xA9", "caf\xE9", "\xE2\x82", "\xED\xA0\x80"};
    for (size_t i = 0; i < 4; i++) {
        for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
            Event *event = batch_add(batch, given_schema(1));
            event->row[field] = slice_of(TEXTS[i]);
            row_check_texts(batch);
            cr_assert_eq(event->refusal != NULL, i > 0 && field != FIELD_PAYLOAD_BYTES);
            cr_assert(event->refusal == NULL || names(event, event_field_name(field)));
        }
        Event *event = batch_add(batch, given_schema(1));
        event->row[FIELD_COUNT] = slice_of(TEXTS[i]);
        row_check_texts(batch);
        cr_assert_eq(event->refusal != NULL, i > 0);
        cr_assert(event->refusal == NULL || names(event, "of a header"));
    }
}

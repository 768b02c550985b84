#include <criterion/criterion.h>
#include <string.h>

#include "flow/batch.h"
#include "flow/refusal.h"
#include "stub/given_schema.h"

static Batch *batch;
static Event *event;
static char large[REFUSAL_SMALL_BYTES + 1];

static void begin(void)
{
    memset(large, 'x', sizeof(large));
    batch = batch_new();
    event = batch_add(batch, given_schema(1));
    event->row[FIELD_EVENT_ID] = SLICE_LITERAL("id");
    event->row[FIELD_PAYLOAD] = (Slice){.data = large, .length = sizeof(large)};
}

static void end(void)
{
    batch_free(&batch);
}

TestSuite(refusal, .init = begin, .fini = end);

Test(refusal, an_event_of_exactly_the_limit_is_none)
{
    cr_assert_not(refusal_apply(event, false, sizeof(large) + 2));
    cr_assert_null(event->refusal);
    cr_assert_eq(event->row[FIELD_PAYLOAD].length, sizeof(large));
    cr_assert_not(refusal_apply(event, false, 0), "no limit");
}

Test(refusal, large_values_leave_the_event_and_are_told)
{
    cr_assert(refusal_apply(event, false, sizeof(large) + 1));
    const Refusal *refusal = event->refusal;
    cr_assert_not(refusal->partial);
    cr_assert_eq(refusal->count, 1);
    cr_assert_eq(refusal->values[0].target, FIELD_PAYLOAD);
    cr_assert_eq((const void *)refusal->values[0].bytes.data, (const void *)large);
    cr_assert(slice_is_null(event->row[FIELD_PAYLOAD]));
    cr_assert(slice_equal(event->row[FIELD_EVENT_ID], SLICE_LITERAL("id")));
    cr_assert_eq(refusal->error.code, CODE_EVENT_TOO_LARGE);
    cr_assert_str_eq(error_message(&refusal->error),
                     "the event is too large: 65539 bytes (payload 65537); "
                     "event_bytes_max is 65538");
}

Test(refusal, small_values_that_add_up_are_not_told_one_by_one)
{
    event->row[FIELD_PAYLOAD] = SLICE_LITERAL("{}");
    cr_assert(refusal_apply(event, false, 3));
    cr_assert_str_eq(error_message(&event->refusal->error),
                     "the event is too large: 4 bytes; event_bytes_max is 3");
}

Test(refusal, header_columns_count)
{
    event->row[FIELD_COUNT] = (Slice){.data = large, .length = sizeof(large)};
    cr_assert(refusal_apply(event, false, 2 * sizeof(large) - 1));
    cr_assert_eq(event->refusal->count, 2);
    cr_assert_eq(event->refusal->values[1].target, FIELD_COUNT);
    cr_assert_not_null(strstr(error_message(&event->refusal->error), "header column 1 65537"));
}

Test(refusal, an_event_id_that_is_too_large_refuses_the_event_and_its_beginning_names_the_row)
{
    memcpy(large, "\xC3\xA4", 2); /* characters are counted, not bytes */
    large[2] = '\xFF';            /* which is none */
    event->row[FIELD_EVENT_ID] = (Slice){.data = large, .length = sizeof(large)};
    event->row[FIELD_PAYLOAD] = SLICE_LITERAL("{}");
    cr_assert(refusal_apply(event, false, INT64_C(8) << 20));
    cr_assert_eq(event->refusal->count, 1);
    cr_assert(refusal_has(event->refusal, FIELD_EVENT_ID));
    cr_assert_not(refusal_has(event->refusal, FIELD_PAYLOAD));
    cr_assert_eq(event->refusal->values[0].bytes.length, sizeof(large));
    Slice id = event->row[FIELD_EVENT_ID];
    cr_assert_eq(id.length, 257 + 8);
    cr_assert_eq(memcmp(id.data, large, 257), 0);
    cr_assert_eq(memcmp(id.data + 257, "...(cut)", 8), 0);
    cr_assert_str_eq(error_message(&event->refusal->error),
                     "the event is too large: 65539 bytes (event_id 65537); an event id has at "
                     "most 65536 bytes");
}

Test(refusal, an_event_id_of_exactly_the_limit_is_none)
{
    event->row[FIELD_EVENT_ID] = (Slice){.data = large, .length = sizeof(large) - 1};
    event->row[FIELD_PAYLOAD] = SLICE_LITERAL("{}");
    cr_assert_not(refusal_apply(event, false, INT64_C(8) << 20));
}

Test(refusal, a_bytea_as_text_counts_as_its_bytes)
{
    event->row[FIELD_PAYLOAD] = SLICE_NULL;
    event->row[FIELD_PAYLOAD_BYTES] = (Slice){.data = large, .length = sizeof(large)};
    cr_assert_not(refusal_apply(event, true, sizeof(large) / 2 + 2));
    cr_assert(refusal_apply(event, true, sizeof(large) / 2 + 1));
    cr_assert(event->refusal->values[0].hex);
}

Test(refusal, a_text_that_is_not_utf8_names_its_column)
{
    event->seq = 17;
    refusal_set_odd_text(event, FIELD_CORRELATION_ID);
    cr_assert(event->refusal->odd_text);
    cr_assert_eq(event->refusal->error.code, CODE_TEXT_NOT_UTF8);
    cr_assert_eq(event->refusal->error.class, ERROR_POISON);
    cr_assert_str_eq(error_message(&event->refusal->error),
                     "column 'correlation_id' of the event with seq 17 is not valid UTF-8");
}

Test(refusal, a_second_reason_leaves_the_first)
{
    cr_assert(refusal_apply(event, false, sizeof(large) + 1));
    const Refusal *first = event->refusal;
    refusal_set_odd_text(event, FIELD_COUNT);
    cr_assert_eq(event->refusal, first);
    cr_assert(first->odd_text);
    cr_assert_eq(first->error.code, CODE_EVENT_TOO_LARGE);
}

#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "change/change_context.h"
#include "table_rig.h"

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

/* From memory of exactly that length; a context that is not read stays as it was. */
static bool read_exact(const char *text, size_t length, ChangeContext *context)
{
    char *exact = malloc(length > 0 ? length : 1);
    memcpy(exact, text, length);
    ChangeContext before = *context;
    bool read = change_context_read((Slice){.data = exact, .length = length}, context);
    free(exact);
    cr_assert(read || memcmp(&before, context, sizeof(before)) == 0);
    return read;
}

static bool reads(const char *text)
{
    ChangeContext context = {.correlation_id = "before"};
    return read_exact(text, strlen(text), &context);
}

Test(change_context, what_is_set_becomes_headers)
{
    static const char WHOLE[] =
        "{\"correlation_id\" : \"c\\u00e9\", \"causation_id\" : \"k\", \"traceparent\" : \"" TRACE
        "\", \"other\" : [1]}";
    ChangeContext context = {0};
    for (size_t cut = 0; cut + 1 < sizeof(WHOLE); cut++) {
        cr_expect_not(read_exact(WHOLE, cut, &context), "cut at %zu", cut);
    }
    cr_assert(read_exact(WHOLE, strlen(WHOLE), &context));
    Arena arena = {0};
    size_t count = 0;
    const RecordHeader *headers = change_context_headers(&context, &arena, &count);
    cr_assert_eq(count, 3);
    cr_expect(slice_equal(headers[0].name, SLICE_LITERAL("correlation_id")));
    cr_expect(slice_equal(headers[0].value, SLICE_LITERAL("c\xc3\xa9")));
    cr_expect(slice_equal(headers[1].name, SLICE_LITERAL("causation_id")));
    cr_expect(slice_equal(headers[1].value, SLICE_LITERAL("k")));
    cr_expect(slice_equal(headers[2].name, SLICE_LITERAL("traceparent")));
    cr_expect(slice_equal(headers[2].value, SLICE_LITERAL(TRACE)));
    arena_release(&arena);
}

Test(change_context, nulls_take_back_what_was_set)
{
    ChangeContext context = {.correlation_id = "c", .causation_id = "k", .traceparent = TRACE};
    static const char NULLS[] = "{\"correlation_id\":null,\"causation_id\":\"\"}";
    cr_assert(read_exact(NULLS, strlen(NULLS), &context));
    Arena arena = {0};
    size_t count = 1;
    (void)change_context_headers(&context, &arena, &count);
    cr_expect_eq(count, 0);
    arena_release(&arena);
}

Test(change_context, what_is_no_context_is_ignored_as_a_whole)
{
    cr_expect(reads("{}"));
    cr_expect_not(reads(""));
    cr_expect_not(reads("null"));
    cr_expect_not(reads("[\"correlation_id\"]"));
    cr_expect_not(reads("{\"correlation_id\":\"c\"} x"));
    cr_expect_not(reads("{\"correlation_id\":1}"));
    cr_expect_not(reads("{\"causation_id\":{}}"));
    cr_expect_not(reads("{\"correlation_id\":\"c\",\"correlation_id\":\"d\"}"));
    cr_expect_not(reads("{\"correlation_id\":\"\xff\"}"));
    cr_expect_not(reads("{\"correlation_id\":\"a\\u0000b\"}"));
    cr_expect_not(reads("{\"correlation_id\":\"c\",\"traceparent\":\"x\"}"));
}

static void expect_length(const char *member, size_t length, bool read)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    text_printf(&text, "{\"%s\":\"", member);
    for (size_t i = 0; i < length; i++) {
        text_add_char(&text, 'x');
    }
    text_add(&text, "\"}");
    cr_expect_eq(reads(text_string(&text)), read, "%s of %zu", member, length);
}

Test(change_context, limits_are_those_of_emit)
{
    expect_length("correlation_id", 1024, true);
    expect_length("correlation_id", 1025, false);
    expect_length("causation_id", 1024, true);
    expect_length("causation_id", 1025, false);
    expect_length("other", 65536 - strlen("{\"other\":\"\"}"), true);
    expect_length("other", 65536 - strlen("{\"other\":\"\"}") + 1, false);
}

static bool traces(const char *traceparent)
{
    AUTO_TEXT text = x_format("{\"traceparent\":\"%s\"}", traceparent);
    return reads(text);
}

Test(change_context, a_traceparent_is_that_of_the_w3c)
{
    cr_expect(traces(TRACE));
    cr_expect(traces("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what"));
    cr_expect_not(traces(TRACE "-what"));
    cr_expect_not(traces("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01what"));
    cr_expect_not(traces("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-a b"));
    cr_expect_not(traces("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    cr_expect_not(traces("00-00000000000000000000000000000000-b7ad6b7169203331-01"));
    cr_expect_not(traces("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"));
    cr_expect_not(traces("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    cr_expect_not(traces("00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    cr_expect_not(traces("00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01"));
    cr_expect_not(traces("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01"));
    cr_expect_not(traces("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"));
}

static void expect_headers(const ChangeRecord *record, const char *names)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    for (size_t i = 0; i < record->header_count; i++) {
        text_add(&text, i > 0 ? " " : "");
        text_add_slice(&text, record->headers[i].name);
    }
    cr_expect_str_eq(text_string(&text), names);
}

#define FOUR                                                                                       \
    "__debezium.context.connectorLogicalName __debezium.context.taskId "                           \
    "__debezium.context.connectorName __debezium.context.runId"

Test(change_context, each_record_of_a_row_has_it_behind_the_headers_of_debezium)
{
    static const RecordHeader CONTEXT[] = {{SLICE_LITERAL("correlation_id"), SLICE_LITERAL("c")},
                                           {SLICE_LITERAL("traceparent"), SLICE_LITERAL(TRACE)}};
    static const RigColumn COLUMNS[] = {{"id", 23, 0, true, 1, NULL}, {.name = NULL}};
    const char *one[] = {"1"};
    const char *two[] = {"2"};
    Rig *rig = rig_new(false);
    cr_assert_eq(rig_table(rig, COLUMNS, NULL), OK);
    rig->place.context = CONTEXT;
    rig->place.context_count = 2;
    cr_assert_eq(rig_change(rig, 'd', one, NULL), OK);
    cr_assert_eq(rig->records.count, 2);
    expect_headers(&rig->records.items[0], FOUR " correlation_id traceparent");
    expect_headers(&rig->records.items[1], FOUR " correlation_id traceparent");
    cr_assert_eq(rig_change(rig, 'u', one, two), OK);
    cr_assert_eq(rig->records.count, 3);
    expect_headers(&rig->records.items[0], "__debezium.newkey " FOUR " correlation_id traceparent");
    expect_headers(&rig->records.items[1], "__debezium.newkey " FOUR " correlation_id traceparent");
    expect_headers(&rig->records.items[2], "__debezium.oldkey " FOUR " correlation_id traceparent");
    rig->place.context_count = 0;
    cr_assert_eq(rig_change(rig, 'u', NULL, two), OK);
    expect_headers(&rig->records.items[0], FOUR);
    rig_free(&rig);
}

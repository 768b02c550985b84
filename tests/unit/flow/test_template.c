#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "flow/batch.h"
#include "flow/template.h"
#include "stub/given.h"
#include "stub/given_schema.h"

static PipelineConfig config;
static Batch *batch;
static Event *event;

static void begin(void)
{
    static char *extras[] = {GIVEN("tenant"), GIVEN("region")};
    config = given_pipeline();
    config.outbox.header_columns = (StringList){.items = extras, .count = 2};
    batch = batch_new();
    event = batch_add(batch, given_schema(2));
    event->seq = -42;
    event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("order");
    event->row[FIELD_AGGREGATE_ID] = SLICE_LITERAL("o-7");
    event->row[FIELD_COUNT + 1] = SLICE_LITERAL("eu");
}

static void end(void)
{
    batch_free(&batch);
}

TestSuite(template, .init = begin, .fini = end);

static Slice render(const char *text, bool *ret_null)
{
    AUTO_ERROR err = {0};
    Template *template = NULL;
    cr_assert_eq(template_compile(text, given_schema_of(&config), &template, &err), OK, "%s",
                 error_message(&err));
    Slice rendered = template_render(template, event, &batch->arena, ret_null);
    /* The text may be part of the template. */
    Slice copy = arena_copy(&batch->arena, rendered);
    template_free(&template);
    return copy;
}

static void assert_renders(const char *text, const char *expected, bool null)
{
    bool was_null = !null;
    Slice rendered = render(text, &was_null);
    cr_assert(slice_equal(rendered, slice_of(expected)), "%s gave '%.*s'", text,
              SLICE_ARG(rendered));
    cr_assert_eq(was_null, null, "%s", text);
}

static void assert_refused(const char *text, const char *says)
{
    AUTO_ERROR err = {0};
    Template *template = NULL;
    cr_assert_eq(template_compile(text, given_schema_of(&config), &template, &err), FAILED, "%s",
                 text);
    cr_assert_null(template);
    cr_assert_eq(err.class, ERROR_FATAL);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
    cr_assert_not_null(strstr(error_message(&err), says), "%s", error_message(&err));
}

Test(template, text_stands_for_itself)
{
    assert_renders("orders.events", "orders.events", false);
    assert_renders("$ $x {y} $", "$ $x {y} $", false);
}

Test(template, an_empty_one_gives_no_value)
{
    assert_renders("", NULL, false);
}

Test(template, a_column_is_replaced_wherever_it_stands)
{
    assert_renders("${aggregate_type}", "order", false);
    assert_renders("a.${aggregate_type}.${aggregate_id}", "a.order.o-7", false);
    assert_renders("${aggregate_id}${aggregate_id}", "o-7o-7", false);
}

Test(template, a_doubled_dollar_is_a_literal)
{
    assert_renders("$${aggregate_id}", "${aggregate_id}", false);
    assert_renders("$${${aggregate_id}}", "${o-7}", false);
}

Test(template, seq_and_occurred_at_become_text)
{
    assert_renders("${seq}", "-42", false);
    assert_renders("${seq}/${seq}", "-42/-42", false);
    event->occurred_at_us = 1500000;
    assert_renders("${occurred_at}", "1970-01-01T00:00:01.5Z", false);
    assert_renders("${seq}@${occurred_at}", "-42@1970-01-01T00:00:01.5Z", false);
    event->occurred_at_us = EVENT_NO_TIME;
    assert_renders("${occurred_at}", NULL, true);
}

Test(template, null_alone_is_null_and_among_text_is_empty)
{
    assert_renders("${correlation_id}", NULL, true);
    assert_renders("x${correlation_id}", "x", true);
    assert_renders("${correlation_id}${causation_id}", "", true);
    event->row[FIELD_CORRELATION_ID] = SLICE_LITERAL("");
    assert_renders("${correlation_id}", "", false);
}

Test(template, header_columns_are_columns_too)
{
    assert_renders("${region}.events", "eu.events", false);
    assert_renders("${tenant}", NULL, true);
}

Test(template, columns_have_the_names_of_the_table)
{
    config.outbox.columns[FIELD_AGGREGATE_ID] = GIVEN("aggregateid");
    assert_renders("${aggregateid}", "o-7", false);
    assert_refused("${aggregate_id}", "no column 'aggregate_id'");
}

Test(template, a_column_that_the_table_lacks_is_unknown)
{
    config.outbox.columns[FIELD_CORRELATION_ID] = GIVEN("");
    assert_refused("${correlation_id}", "no column 'correlation_id'");
    assert_refused("${}", "no column ''");
    assert_refused("${published_at}", "no column");
    assert_refused("${Seq}", "no column 'Seq'");
    assert_refused("orders.${aggregate_id", "no column");
}

Test(template, has_at_most_32_parts)
{
    char text[32 * 6 + 8] = "";
    for (int i = 0; i < 16; i++) {
        strcat(text, "${seq}-");
    }
    bool null = false;
    cr_assert_eq(render(text, &null).length, 16 * 4);
    strcat(text, "${seq}");
    assert_refused(text, "more than 32 parts");
}

Test(template, only_a_text_without_columns_is_constant)
{
    static const struct {
        const char *text;
        const char *constant;
        const char *glob;
    } CASES[] = {{"orders", "orders", "orders"},
                 {"", "", ""},
                 {"${seq}", NULL, "*"},
                 {"a${seq}", NULL, "a*"},
                 {"a*[b]?${seq}.${event_type}\\", NULL, "a\\*\\[b]\\?*.*\\\\"}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        Template *template = NULL;
        cr_assert_eq(template_compile(CASES[i].text, given_schema_of(&config), &template, NULL),
                     OK);
        const char *constant = template_constant(template);
        cr_assert(slice_equal(slice_of(constant), slice_of(CASES[i].constant)), "%s",
                  CASES[i].text);
        AUTO_TEXT glob = template_glob(template);
        cr_assert_str_eq(glob, CASES[i].glob);
        template_free(&template);
        cr_assert_null(template);
    }
}

/* The schema of the outbox, and rows of another table: what topics, keys and routes make of them.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "flow/batch.h"
#include "flow/router.h"
#include "flow/template.h"
#include "stub/given.h"
#include "stub/given_schema.h"

static PipelineConfig config;
static Batch *batch;

static void begin(void)
{
    config = given_pipeline();
    batch = batch_new();
}

static void end(void)
{
    batch_free(&batch);
}

TestSuite(schema, .init = begin, .fini = end);

Test(schema, each_field_of_the_outbox_is_the_column_of_its_number)
{
    static char *extras[] = {GIVEN("tenant"), GIVEN("event_type")};
    config.outbox.columns[FIELD_TOPIC] = GIVEN("");
    config.outbox.header_columns = (StringList){.items = extras, .count = 2};
    const Schema *schema = given_schema_of(&config);
    cr_assert_eq(schema->count, FIELD_COUNT + 2);
    cr_assert_str_eq(schema->table, "outbox.event");
    for (EventField field = 0; field < FIELD_COUNT; field++) {
        cr_expect_eq(schema->field[field], field);
        cr_expect_eq(schema->columns[field].class, OUTBOX_COLUMNS[field].class);
        cr_expect_eq(schema_find(schema, slice_of(event_field_name(field))),
                     field == FIELD_TOPIC ? (size_t)SCHEMA_NONE : (size_t)field);
    }
    cr_expect_eq(schema_find(schema, SLICE_LITERAL("tenant")), FIELD_COUNT);
    cr_expect_eq(schema_find_last(schema, SLICE_LITERAL("event_type")), FIELD_COUNT + 1);
    cr_expect_eq(schema_find(schema, SLICE_LITERAL("")), SCHEMA_NONE);
    cr_expect_eq(schema_find(schema, SLICE_LITERAL("published_at")), SCHEMA_NONE);
    cr_expect_eq(schema_find_last(schema, SLICE_LITERAL("published_at")), SCHEMA_NONE);
}

/* An ordinary table. */

enum { ORDER_ID, ORDER_TOTAL, ORDER_STATUS, ORDER_COLUMNS };

static Schema *orders(void)
{
    static const char *const NAMES[ORDER_COLUMNS] = {"id", "total", "status"};
    Schema *schema = schema_new("shop.orders", ORDER_COLUMNS);
    for (size_t i = 0; i < ORDER_COLUMNS; i++) {
        schema->columns[i].name = NAMES[i];
    }
    return schema;
}

static Event *order(const Schema *schema, Slice id, Slice total, Slice status)
{
    Event *event = batch_add(batch, schema);
    event->row[ORDER_ID] = id;
    event->row[ORDER_TOTAL] = total;
    event->row[ORDER_STATUS] = status;
    return event;
}

Test(schema, a_value_is_there_or_null_or_was_not_sent)
{
    AUTO(Schema, schema_free) schema = orders();
    schema->field[FIELD_EVENT_ID] = ORDER_ID;
    schema->field[FIELD_PAYLOAD] = ORDER_STATUS;
    const Event *event = order(schema, SLICE_LITERAL(""), SLICE_NULL, SLICE_UNSENT);
    cr_expect(slice_equal(event_value(event, ORDER_ID), SLICE_LITERAL("")));
    cr_expect(slice_is_null(event_value(event, ORDER_TOTAL)));
    cr_expect(slice_is_null(event_value(event, ORDER_STATUS)), "nobody takes it for a value");
    cr_expect(slice_is_null(event_value(event, SCHEMA_NONE)));
    cr_expect(slice_is_unsent(event->row[ORDER_STATUS]));
    cr_expect(!slice_is_unsent(event->row[ORDER_TOTAL]) && !slice_is_unsent(event->row[ORDER_ID]));
    cr_expect(slice_equal(event_field(event, FIELD_EVENT_ID), SLICE_LITERAL("")));
    cr_expect(slice_is_null(event_field(event, FIELD_PAYLOAD)));
    cr_expect(slice_is_null(event_field(event, FIELD_EVENT_TYPE)), "no column of the table is it");
    batch_free(&batch); /* before its schema */
}

static void assert_renders(const Schema *schema, const Event *event, const char *text,
                           const char *expected, bool null)
{
    AUTO(Template, template_free) template = NULL;
    AUTO_ERROR err = {0};
    cr_assert_eq(template_compile(text, schema, &template, &err), OK, "%s", error_message(&err));
    bool was_null = !null;
    Slice rendered = template_render(template, event, &batch->arena, &was_null);
    cr_expect(slice_equal(rendered, slice_of(expected)), "%s: '%.*s'", text, SLICE_ARG(rendered));
    cr_expect_eq(was_null, null, "%s", text);
}

Test(schema, templates_name_the_columns_of_any_table)
{
    AUTO(Schema, schema_free) schema = orders();
    const Event *event =
        order(schema, SLICE_LITERAL("7"), SLICE_LITERAL("12.50"), SLICE_LITERAL("paid"));
    assert_renders(schema, event, "${id}", "7", false);
    assert_renders(schema, event, "orders.${status}/${id}", "orders.paid/7", false);
    event = order(schema, SLICE_LITERAL("7"), SLICE_NULL, SLICE_UNSENT);
    assert_renders(schema, event, "${total}", NULL, true);
    assert_renders(schema, event, "${status}", NULL, true);
    assert_renders(schema, event, "t.${status}", "t.", true);

    Template *template = NULL;
    AUTO_ERROR err = {0};
    cr_assert_eq(template_compile("${aggregate_id}", schema, &template, &err), FAILED);
    cr_assert_str_eq(error_message(&err),
                     "template '${aggregate_id}': no column 'aggregate_id' in 'shop.orders'");
    batch_free(&batch);
}

Test(schema, routes_look_at_the_columns_that_the_table_has_for_them)
{
    AUTO(Schema, schema_free) schema = orders();
    RouteConfig routes[] = {{.event_type = GIVEN("pa*"), .topic = GIVEN("money.${status}")},
                            {.aggregate_type = GIVEN("*"), .topic = GIVEN("never")}};
    config.route.rules = routes;
    config.route.rule_count = 2;
    config.route.topic = GIVEN("orders");
    config.route.key = GIVEN("${id}");
    config.route.allow_row_topic = true; /* and the table has no column for it */
    schema->field[FIELD_EVENT_TYPE] = ORDER_STATUS;
    Metrics *metrics = metrics_new();
    Topics *topics = topics_new(metrics, "orders");
    AUTO(Router, router_free) router = NULL;
    AUTO_ERROR err = {0};
    cr_assert_eq(router_new(&config, schema, topics, &router, &err), OK, "%s", error_message(&err));

    const Slice statuses[] = {SLICE_LITERAL("paid"), SLICE_LITERAL("new"), SLICE_UNSENT};
    const char *const expected[] = {"money.paid", "orders", "orders"};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        const Event *event = order(schema, SLICE_LITERAL("7"), SLICE_NULL, statuses[i]);
        Record record = {0};
        cr_assert_eq(router_route(router, event, &batch->arena, &record, &err), ROUTE_OK, "%s",
                     error_message(&err));
        cr_expect_str_eq(record.topic->name, expected[i]);
        cr_expect(slice_equal(record.key, SLICE_LITERAL("7")));
    }
    topics_free(&topics);
    metrics_free(&metrics);
    batch_free(&batch);
}

#include <criterion/criterion.h>
#include <string.h>

#include "flow/batch.h"
#include "flow/refusal.h"
#include "flow/router.h"
#include "stub/given.h"
#include "stub/given_schema.h"

static PipelineConfig config;
static RouteConfig routes[4];
static Metrics *metrics;
static Topics *topics;
static Router *router;
static Batch *batch;
static Event *event;
static Record record;
static Error err;

static void begin(void)
{
    config = given_pipeline();
    config.route.rules = routes;
    metrics = metrics_new();
    topics = topics_new(metrics, "orders");
    batch = batch_new();
    event = batch_add(batch, given_schema(0));
    event->row[FIELD_EVENT_TYPE] = SLICE_LITERAL("order.placed");
    event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("order");
    event->row[FIELD_AGGREGATE_ID] = SLICE_LITERAL("o-7");
}

static void end(void)
{
    router_free(&router);
    batch_free(&batch);
    topics_free(&topics);
    metrics_free(&metrics);
}

static Status no_blanks(Slice name, Error *refused)
{
    return memchr(name.data, ' ', name.length) == NULL
               ? OK
               : error_set(refused, CODE_TOPIC_NAME_INVALID, "a blank in '%.*s'", SLICE_ARG(name));
}

TestSuite(router, .init = begin, .fini = end);

static void add_route(const char *event_type, const char *aggregate_type, const char *topic,
                      const char *key)
{
    routes[config.route.rule_count++] = (RouteConfig){.event_type = GIVEN(event_type),
                                                      .aggregate_type = GIVEN(aggregate_type),
                                                      .topic = GIVEN(topic),
                                                      .key = GIVEN(key)};
}

static RouteResult route(void)
{
    if (router == NULL) {
        cr_assert_eq(router_new(&config, given_schema_of(&config), topics, &router, &err), OK, "%s",
                     error_message(&err));
    }
    record = (Record){0};
    return router_route(router, event, &batch->arena, &record, &err);
}

static void assert_routed(const char *topic, const char *key)
{
    cr_assert_eq(route(), ROUTE_OK, "%s", error_message(&err));
    cr_assert_str_eq(record.topic->name, topic);
    cr_assert(slice_equal(record.key, slice_of(key)), "key '%.*s'", SLICE_ARG(record.key));
}

Test(router, without_routes_the_topic_of_the_pipeline_holds)
{
    assert_routed("order.events", "o-7");
}

Test(router, the_first_match_wins)
{
    add_route("order.*", NULL, "first", NULL);
    add_route("order.placed", "order", "second", NULL);
    assert_routed("first", "o-7");
    event->row[FIELD_EVENT_TYPE] = SLICE_LITERAL("payment.settled");
    assert_routed("order.events", "o-7");
}

Test(router, all_conditions_of_a_route_must_hold)
{
    add_route("order.*", "payment", "both", NULL);
    add_route(NULL, "order", "type-only", NULL);
    assert_routed("type-only", "o-7");
    event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("payment");
    assert_routed("both", "o-7");
}

Test(router, patterns_are_globs)
{
    static const struct {
        const char *pattern;
        const char *value;
        bool matches;
    } CASES[] = {
        {"order.*", "order.placed", true},
        {"order.*", "order", false},
        {"order?", "orders", true},
        {"order?", "order", false},
        {"[op]rder", "order", true},
        {"[!p]rder", "order", true},
        {"[!o]rder", "order", false},
        {"*", "", true},
        {"*", "a/b", true},
        {".*", ".hidden", true},
        {"*", ".hidden", true},
        {"order\\*", "order*", true},
        {"order\\*", "orders", false},
        {"Order", "order", false},
        {"*.placed", "order.x.placed", true},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        config.route.rule_count = 0;
        add_route(CASES[i].pattern, NULL, "matched", NULL);
        event->row[FIELD_EVENT_TYPE] = slice_of(CASES[i].value);
        cr_assert_eq(route(), ROUTE_OK);
        cr_assert_eq(strcmp(record.topic->name, "matched") == 0, CASES[i].matches, "%s with %s",
                     CASES[i].pattern, CASES[i].value);
        router_free(&router);
    }
}

Test(router, a_pattern_matches_no_null_and_nothing_very_long)
{
    static char longer[600];
    memset(longer, 'x', sizeof(longer));
    add_route("*", NULL, "matched", NULL);
    event->row[FIELD_EVENT_TYPE] = SLICE_NULL;
    assert_routed("order.events", "o-7");
    event->row[FIELD_EVENT_TYPE] = (Slice){.data = longer, .length = 511};
    assert_routed("matched", "o-7");
    event->row[FIELD_EVENT_TYPE] = (Slice){.data = longer, .length = 512};
    assert_routed("order.events", "o-7");
}

Test(router, no_match_and_no_topic_is_unrouted)
{
    config.route.topic = GIVEN("");
    add_route("payment.*", NULL, "payments", NULL);
    cr_assert_eq(route(), ROUTE_NONE);
    cr_assert_eq(err.code, CODE_EVENT_UNROUTED);
    cr_assert_not_null(strstr(error_message(&err), "order.placed"));
    cr_assert_null(record.topic);
}

Test(router, a_null_column_in_the_topic_is_poison)
{
    config.route.topic = GIVEN("${correlation_id}.events");
    cr_assert_eq(route(), ROUTE_POISON);
    cr_assert_eq(err.code, CODE_TOPIC_COLUMN_NULL);
    cr_assert_eq(err.class, ERROR_POISON);
    event->row[FIELD_CORRELATION_ID] = SLICE_LITERAL("c");
    assert_routed("c.events", "o-7");
}

Test(router, a_topic_name_that_the_sink_refuses_is_poison)
{
    topics_set_rule(topics, no_blanks);
    event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("order item");
    cr_assert_eq(route(), ROUTE_POISON);
    cr_assert_eq(err.code, CODE_TOPIC_NAME_INVALID);
    cr_assert_eq(err.class, ERROR_POISON);
}

Test(router, the_key_is_that_of_the_route_else_of_the_pipeline)
{
    config.route.key = GIVEN("${event_type}");
    add_route(NULL, "order", "own-key", "${aggregate_type}/${aggregate_id}");
    add_route(NULL, "item", "no-key", NULL);
    assert_routed("own-key", "order/o-7");
    event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("item");
    assert_routed("no-key", "order.placed");
    event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("user");
    assert_routed("user.events", "order.placed");
}

Test(router, a_null_key_column_makes_no_key)
{
    event->row[FIELD_AGGREGATE_ID] = SLICE_NULL;
    assert_routed("order.events", NULL);
    event->row[FIELD_AGGREGATE_ID] = SLICE_LITERAL("");
    assert_routed("order.events", "");
}

Test(router, the_topic_of_the_row_counts_only_when_allowed)
{
    event->row[FIELD_TOPIC] = SLICE_LITERAL("mine");
    assert_routed("order.events", "o-7");
    router_free(&router);
    config.route.allow_row_topic = true;
    assert_routed("mine", "o-7");
    event->row[FIELD_TOPIC] = SLICE_LITERAL("");
    assert_routed("order.events", "o-7");
    event->row[FIELD_TOPIC] = SLICE_NULL;
    assert_routed("order.events", "o-7");
    topics_set_rule(topics, no_blanks);
    event->row[FIELD_TOPIC] = SLICE_LITERAL("not a topic");
    cr_assert_eq(route(), ROUTE_POISON);
}

Test(router, a_row_with_its_own_topic_needs_no_route_and_keeps_the_keys_of_the_pipeline)
{
    config.route.topic = GIVEN("");
    config.route.key = GIVEN("${event_type}");
    config.route.allow_row_topic = true;
    add_route(NULL, "item", "items", "${aggregate_type}");
    event->row[FIELD_TOPIC] = SLICE_LITERAL("mine");
    assert_routed("mine", "order.placed");
    event->row[FIELD_AGGREGATE_TYPE] = SLICE_LITERAL("item");
    assert_routed("mine", "item");
}

Test(router, an_unknown_column_is_an_error_at_start)
{
    add_route("x", NULL, "ok", "${nothing}");
    cr_assert_eq(router_new(&config, given_schema_of(&config), topics, &router, &err), FAILED);
    cr_assert_null(router);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
    cr_assert_not_null(strstr(error_message(&err), "nothing"));
}

Test(router, of_too_many_topics_the_further_ones_share_a_stand_in)
{
    config.route.topic = GIVEN("t${seq}");
    for (event->seq = 0; event->seq < TOPICS_MAX; event->seq++) {
        cr_assert_eq(route(), ROUTE_OK);
    }
    cr_assert_eq(route(), ROUTE_OK);
    cr_assert(record.topic->beyond);
    cr_assert_eq(err.code, CODE_TOPICS_TOO_MANY);
}

Test(router, what_is_no_event_of_ours_has_no_route)
{
    refusal_set_foreign(event);
    cr_assert_eq(route(), ROUTE_POISON);
    cr_assert_eq(err.code, CODE_MESSAGE_MALFORMED);
    cr_assert_null(record.topic);
}

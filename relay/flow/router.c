#include "flow/router.h"

#include <fnmatch.h>
#include <stdlib.h>

#include "base/memory.h"
#include "flow/refusal.h" /* Refusal: its members */
#include "flow/template.h"

enum { ROUTE_VALUE_MAX = 512 }; /* longer types match no pattern */

typedef struct Route {
    const RouteConfig *config; /* NULL: the pipeline's own topic and key */
    Template *topic;
    Template *key;
} Route;

struct Router {
    Topics *topics;
    Route *routes;
    size_t count;
    Template *key;     /* the pipeline's, for rows with a topic of their own that match no route */
    size_t event_type; /* columns of the schema, as the next two; or SCHEMA_NONE */
    size_t aggregate_type;
    size_t row_topic; /* none, too, where a row may not choose its topic */
};

void router_free(Router **router)
{
    if (*router == NULL) {
        return;
    }
    template_free(&(*router)->key);
    for (size_t i = 0; i < (*router)->count; i++) {
        template_free(&(*router)->routes[i].topic);
        template_free(&(*router)->routes[i].key);
    }
    free((*router)->routes);
    free(*router);
    *router = NULL;
}

static Status router_add(Router *router, const Schema *schema, const RouteConfig *config,
                         const char *topic, const char *key, Error *err)
{
    Route *route = &router->routes[router->count++];
    route->config = config;
    if (template_compile(topic, schema, &route->topic, err) != OK ||
        template_compile(key, schema, &route->key, err) != OK) {
        return FAILED;
    }
    return OK;
}

Status router_new(const PipelineConfig *pipeline, const Schema *schema, Topics *topics,
                  Router **ret_router, Error *err)
{
    AUTO(Router, router_free) router = x_calloc(1, sizeof(*router));
    router->topics = topics;
    router->event_type = schema->field[FIELD_EVENT_TYPE];
    router->aggregate_type = schema->field[FIELD_AGGREGATE_TYPE];
    router->row_topic = pipeline->route.allow_row_topic ? schema->field[FIELD_TOPIC] : SCHEMA_NONE;
    router->routes = x_calloc(pipeline->route.rule_count + 1, sizeof(*router->routes));
    for (size_t i = 0; i < pipeline->route.rule_count; i++) {
        const RouteConfig *config = &pipeline->route.rules[i];
        if (config->topic == NULL) { /* `check` goes on after it has said so */
            error_set(err, CODE_TEMPLATE_INVALID, "route %zu of pipeline '%s' has no topic", i + 1,
                      pipeline->name);
            return error_hint(err, "Give the route a topic.");
        }
        const char *key = config->key != NULL ? config->key : pipeline->route.key;
        if (router_add(router, schema, config, config->topic, key, err) != OK) {
            return FAILED;
        }
    }
    if (pipeline->route.topic[0] != '\0' &&
        router_add(router, schema, NULL, pipeline->route.topic, pipeline->route.key, err) != OK) {
        return FAILED;
    }
    if (pipeline->route.allow_row_topic &&
        template_compile(pipeline->route.key, schema, &router->key, err) != OK) {
        return FAILED;
    }
    *ret_router = router;
    router = NULL;
    return OK;
}

static bool route_condition(const char *pattern, Slice value)
{
    if (pattern == NULL) {
        return true;
    }
    char text[ROUTE_VALUE_MAX];
    if (slice_is_null(value) || value.length >= sizeof(text)) {
        return false;
    }
    memcpy(text, value.data, value.length);
    text[value.length] = '\0';
    return fnmatch(pattern, text, 0) == 0;
}

static const Route *router_match(const Router *router, const Event *event)
{
    for (size_t i = 0; i < router->count; i++) {
        const RouteConfig *config = router->routes[i].config;
        if (config == NULL ||
            (route_condition(config->event_type, event_value(event, router->event_type)) &&
             route_condition(config->aggregate_type, event_value(event, router->aggregate_type)))) {
            return &router->routes[i];
        }
    }
    return NULL;
}

static RouteResult router_find(const Router *router, const Event *event, Arena *arena,
                               Record *record, Error *err)
{
    const Route *route = router_match(router, event);
    Slice row_topic = event_value(event, router->row_topic);
    bool own_topic = row_topic.length > 0;
    if (route == NULL && !own_topic) {
        error_set(err, CODE_EVENT_UNROUTED,
                  "no route matches event_type '%.*s', aggregate_type '%.*s'",
                  SLICE_ARG(event_value(event, router->event_type)),
                  SLICE_ARG(event_value(event, router->aggregate_type)));
        error_advise(err);
        return ROUTE_NONE;
    }
    bool null_column = false;
    Slice name = own_topic ? row_topic : template_render(route->topic, event, arena, &null_column);
    if (null_column) {
        error_set(err, CODE_TOPIC_COLUMN_NULL,
                  "a column of the topic template is NULL in this row");
        error_advise(err);
        return ROUTE_POISON;
    }
    if (topics_get(router->topics, name, &record->topic, err) != OK) {
        return ROUTE_POISON;
    }
    record->key =
        template_render(route != NULL ? route->key : router->key, event, arena, &null_column);
    return ROUTE_OK;
}

RouteResult router_route(const Router *router, const Event *event, Arena *arena, Record *record,
                         Error *err)
{
    if (event->refusal != NULL && event->refusal->foreign) {
        error_copy(err, &event->refusal->error);
        return ROUTE_POISON;
    }
    return router_find(router, event, arena, record, err);
}

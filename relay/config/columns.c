#include "config/columns.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/template.h"

const OutboxColumn OUTBOX_COLUMNS[COLUMN_COUNT] = {
#define COLUMN(field, column, as, made, message, ce_rank, ce_name, plain_rank, plain_name, why,    \
               others, help)                                                                       \
    [FIELD_##field] = {.name = #column,                                                            \
                       .path = "columns." #column,                                                 \
                       .class = (as),                                                              \
                       .made_as = (made),                                                          \
                       .in_message = (message),                                                    \
                       .cloudevents = {(ce_rank), (ce_name)},                                      \
                       .plain = {(plain_rank), (plain_name)},                                      \
                       .because = (why),                                                           \
                       .elsewhere = (others)},
#include "config/outbox_columns.inc"
};

size_t column_index(const Option *option)
{
    size_t index = 0;
    while (option->scope == SCOPE_PIPELINE && index < COLUMN_COUNT &&
           strcmp(OUTBOX_COLUMNS[index].path, option->path) != 0) {
        index++;
    }
    return option->scope == SCOPE_PIPELINE ? index : (size_t)COLUMN_COUNT;
}

const char *column_name(const PipelineConfig *pipeline, size_t index)
{
    const char *name = pipeline->outbox.columns[index];
    return name != NULL ? name : "";
}

static bool template_names(const char *text, const char *column)
{
    const char *cursor = text;
    TemplatePart part;
    while (cursor != NULL && template_next(&cursor, &part)) {
        if (part.is_column && slice_equal(part.text, slice_of(column))) {
            return true;
        }
    }
    return false;
}

/* A topic or a key without its column would send events elsewhere, or out of order. */
static char *template_need(const PipelineConfig *pipeline, const char *column)
{
    const char *topic =
        template_names(pipeline->route.topic, column) ? pipeline->route.topic : NULL;
    const char *key = template_names(pipeline->route.key, column) ? pipeline->route.key : NULL;
    for (size_t i = 0; i < pipeline->route.rule_count; i++) {
        const RouteConfig *route = &pipeline->route.rules[i];
        topic = topic == NULL && template_names(route->topic, column) ? route->topic : topic;
        key = key == NULL && template_names(route->key, column) ? route->key : key;
    }
    return topic != NULL ? x_format("the topic %s needs it", topic)
           : key != NULL ? x_format("the key %s needs it", key)
                         : NULL;
}

static bool routes_ask_aggregate(const PipelineConfig *pipeline)
{
    for (size_t i = 0; i < pipeline->route.rule_count; i++) {
        if (pipeline->route.rules[i].aggregate_type != NULL) {
            return true;
        }
    }
    return false;
}

char *column_need(const PipelineConfig *pipeline, size_t index)
{
    const char *name = column_name(pipeline, index);
    if (*name == '\0') {
        return NULL;
    }
    if ((pipeline->outbox.columns_named >> index & 1) != 0) {
        return x_strdup("the configuration names it");
    }
    if (OUTBOX_COLUMNS[index].because != NULL) {
        return x_strdup(OUTBOX_COLUMNS[index].because);
    }
    if (index == FIELD_PUBLISHED_AT && pipeline->outbox.on_publish == ON_PUBLISH_MARK) {
        return x_strdup("on_publish = \"mark\" sets it");
    }
    if (index == FIELD_TOPIC && pipeline->route.allow_row_topic) {
        return x_strdup("allow_row_topic = true needs it");
    }
    if (index == FIELD_PAYLOAD && *pipeline->outbox.columns[FIELD_PAYLOAD_BYTES] == '\0') {
        return x_strdup("it is the record's value");
    }
    if (index == FIELD_PAYLOAD_BYTES && *pipeline->outbox.columns[FIELD_PAYLOAD] == '\0') {
        return x_strdup("it is the record's value");
    }
    if (index == FIELD_AGGREGATE_TYPE && routes_ask_aggregate(pipeline)) {
        return x_strdup("a route needs it");
    }
    return template_need(pipeline, name);
}

/* Types. */

static const char *const INTEGERS[] = {"bigint", "integer", "smallint", NULL};
static const char *const TIMES[] = {"timestamp with time zone", "timestamp without time zone",
                                    NULL};
static const char *const BYTES[] = {"bytea", NULL};
static const char *const OBJECTS[] = {"jsonb", "json", NULL};
static const char *const VERSIONS[] = {"bigint", "integer",           "smallint", "numeric",
                                       "text",   "character varying", NULL};

/* Classes whose type matters; columns of the others are read as text, whatever they are. */
static const struct {
    const char *const *types; /* NULL: any */
    const char *wanted;
} CLASS_TYPES[] = {
    [COLUMN_TEXT] = {NULL, NULL},           [COLUMN_NUMBER] = {VERSIONS, "a number"},
    [COLUMN_DOCUMENT] = {NULL, NULL},       [COLUMN_OBJECT] = {OBJECTS, "jsonb"},
    [COLUMN_BYTES] = {BYTES, "bytea"},      [COLUMN_INTEGER] = {INTEGERS, "an integer"},
    [COLUMN_TIME] = {TIMES, "a timestamp"},
};

static bool type_is(const char *type, const char *const *types)
{
    while (*types != NULL && strcmp(type, *types) != 0) {
        types++;
    }
    return *types != NULL;
}

bool column_takes(size_t index, const char *type)
{
    const char *const *types = CLASS_TYPES[OUTBOX_COLUMNS[index].class].types;
    bool hex = index == FIELD_PAYLOAD && type_is(type, BYTES);
    return !hex && (types == NULL || type_is(type, types));
}

const char *column_wants(size_t index)
{
    return CLASS_TYPES[OUTBOX_COLUMNS[index].class].wanted;
}

#include "config/columns.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "config/template.h"

_Static_assert(sizeof(ColumnsConfig) % sizeof(char *) == 0, "names of columns, nothing else");
_Static_assert((size_t)COLUMNS_COUNT <= 32, "columns_named has a bit for each");

size_t column_index(const Option *option)
{
    size_t from = offsetof(PipelineConfig, outbox.columns);
    bool inside = option->scope == SCOPE_PIPELINE && option->offset >= from &&
                  option->offset < from + sizeof(ColumnsConfig) &&
                  strncmp(option->path, "columns.", 8) == 0;
    return inside ? (option->offset - from) / sizeof(char *) : (size_t)COLUMNS_COUNT;
}

const char *column_name(const PipelineConfig *pipeline, size_t index)
{
    const char *name = ((char *const *)(const void *)&pipeline->outbox.columns)[index];
    return name != NULL ? name : "";
}

static bool is_column(size_t index, size_t offset)
{
    return index == offset / sizeof(char *);
}
#define IS(field) is_column(index, offsetof(ColumnsConfig, field))

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
    if (IS(seq)) {
        return x_strdup("the relay identifies rows by it");
    }
    if (IS(event_id)) {
        return x_strdup("consumers drop duplicates by it");
    }
    if (IS(event_type)) {
        return x_strdup("every event needs a type");
    }
    if (IS(published_at) && pipeline->outbox.on_publish == ON_PUBLISH_MARK) {
        return x_strdup("on_publish = \"mark\" sets it");
    }
    if (IS(topic) && pipeline->route.allow_row_topic) {
        return x_strdup("allow_row_topic = true needs it");
    }
    if (IS(payload) && *pipeline->outbox.columns.payload_bytes == '\0') {
        return x_strdup("it is the record's value");
    }
    if (IS(payload_bytes) && *pipeline->outbox.columns.payload == '\0') {
        return x_strdup("it is the record's value");
    }
    if (IS(aggregate_type) && routes_ask_aggregate(pipeline)) {
        return x_strdup("a route needs it");
    }
    return template_need(pipeline, name);
}

/* Templates against the columns of the outbox, and where no route leads. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/load.h"
#include "config/nearest.h"
#include "config/template.h"

enum { TEMPLATE_PARTS_MAX = 32 };

/* The index-th column that templates may name; "" when the table has it not, NULL behind the last.
 */
static const char *rules_column(const PipelineConfig *pipeline, size_t index)
{
    if (index < FIELD_COUNT) {
        return pipeline->outbox.columns[index];
    }
    index -= FIELD_COUNT;
    return index < pipeline->outbox.header_columns.count
               ? pipeline->outbox.header_columns.items[index]
               : NULL;
}

static bool rules_has_column(const PipelineConfig *pipeline, Slice name)
{
    const char *column;
    for (size_t i = 0; (column = rules_column(pipeline, i)) != NULL; i++) {
        if (name.length > 0 && slice_equal(name, slice_of(column))) {
            return true;
        }
    }
    return false;
}

static const char *rules_nearest_column(const PipelineConfig *pipeline, const char *name)
{
    Nearest nearest = nearest_begin(name);
    const char *meant = NULL;
    const char *column;
    for (size_t i = 0; (column = rules_column(pipeline, i)) != NULL; i++) {
        if (*column != '\0' && nearest_offer(&nearest, column)) {
            meant = column;
        }
    }
    return meant;
}

bool rules_topic_letters(Slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (!isascii(text.data[i]) ||
            (!isalnum((unsigned char)text.data[i]) && strchr("._-", text.data[i]) == NULL)) {
            return false;
        }
    }
    return true;
}

/* "payment.id", "payload->>id": a member of a column, or of something inside of it. */
static bool rules_is_member(const PipelineConfig *pipeline, Slice name)
{
    size_t length = 0;
    while (length < name.length && strchr(".-[:", name.data[length]) == NULL) {
        length++;
    }
    return length < name.length &&
           rules_has_column(pipeline, (Slice){.data = name.data, .length = length});
}

/* "$column" where "${column}" was meant: the column, or NULL; freed by the caller. */
static char *rules_bare_reference(const PipelineConfig *pipeline, Slice text)
{
    for (size_t i = 0; i + 1 < text.length; i++) {
        size_t end = i + 1;
        while (end < text.length &&
               (isalnum((unsigned char)text.data[end]) || text.data[end] == '_')) {
            end++;
        }
        Slice name = {.data = text.data + i + 1, .length = end - i - 1};
        if (text.data[i] == '$' && rules_has_column(pipeline, name)) {
            return x_strndup(name.data, name.length);
        }
    }
    return NULL;
}

/* What to do about a member that a template names; the caller frees it. NULL for other problems. */
static char *rules_member_remedy(const PipelineConfig *pipeline, Slice name)
{
    if (slice_is_null(name) || rules_has_column(pipeline, name) ||
        !rules_is_member(pipeline, name)) {
        return NULL;
    }
    return x_strdup("a template can only use whole columns: write the value into a column when you "
                    "create the event (aggregate_id, aggregate_type), or add a column GENERATED "
                    "ALWAYS AS (payload ->> '...') STORED and name it in header_columns");
}

/* The problem of one ${name}, or NULL; freed by the caller. */
static char *rules_reference_problem(const PipelineConfig *pipeline, Slice name)
{
    if (slice_is_null(name)) {
        return x_strdup("\"${\" has no closing \"}\" (write $${ for a literal ${)");
    }
    if (rules_has_column(pipeline, name)) {
        return NULL;
    }
    AUTO_TEXT wanted = x_strndup(name.data, name.length);
    if (rules_is_member(pipeline, name)) {
        return x_format("\"%s\" is not a column of %s, but a part of one", wanted,
                        pipeline->outbox.table);
    }
    const char *meant = rules_nearest_column(pipeline, wanted);
    return x_format("no column \"%s\" in %s%s%s%s", wanted, pipeline->outbox.table,
                    meant ? "; did you mean \"" : "", meant ? meant : "", meant ? "\"?" : "");
}

/* "$column": a topic cannot be that, and a key hardly is meant to be. */
static void rules_say_bare(Load *load, const char *place, const char *kind, const char *text,
                           const char *column)
{
    AUTO_TEXT remedy = x_format("write ${%s}", column);
    problems_add(
        load->problems, strcmp(kind, "key") == 0, place, remedy,
        "%s template \"%s\": $%s without braces is plain text, not the value of the column", kind,
        text, column);
}

/* One template of the pipeline or of one of its routes (base). */
static void rules_check_template(Load *load, const PipelineConfig *pipeline, OptionScope scope,
                                 const void *base, bool topic, const char *text)
{
    const char *kind = topic ? "topic" : "key";
    const char *cursor = text;
    TemplatePart part;
    bool fixed = true;
    int parts = 0;
    size_t literal = 0;
    while (template_next(&cursor, &part)) {
        if (++parts == TEMPLATE_PARTS_MAX) {
            rules_problem(load, scope, kind, base, NULL, "%s template has more than %d parts", kind,
                          TEMPLATE_PARTS_MAX - 1);
        }
        if (part.is_column) {
            fixed = false;
            AUTO_TEXT problem = rules_reference_problem(pipeline, part.text);
            if (problem != NULL) {
                AUTO_TEXT remedy = rules_member_remedy(pipeline, part.text);
                rules_problem(load, scope, kind, base, remedy, "%s template \"%s\": %s", kind, text,
                              problem);
            }
            continue;
        }
        AUTO_TEXT column = rules_bare_reference(pipeline, part.text);
        if (column != NULL) {
            AUTO_TEXT place = rules_place(load, scope, kind, base);
            rules_say_bare(load, place, kind, text, column);
            continue;
        }
        literal += part.text.length;
        if (topic && !rules_topic_letters(part.text)) {
            rules_problem(load, scope, kind, base,
                          "a topic name consists of a-z, A-Z, 0-9, '.', '_', '-'; ${column} stands "
                          "for the value of a column",
                          "topic \"%s\" contains a character that Kafka does not allow", text);
        }
    }
    if (topic && *text != '\0' && literal > TOPIC_LENGTH_MAX) {
        rules_problem(load, scope, kind, base, NULL, "topic \"%s\" is longer than %d bytes", text,
                      TOPIC_LENGTH_MAX);
    } else if (topic && fixed && (strcmp(text, ".") == 0 || strcmp(text, "..") == 0)) {
        rules_problem(load, scope, kind, base, NULL, "Kafka does not allow a topic named \"%s\"",
                      text);
    }
}

void rules_check_routes(Load *load, const PipelineConfig *pipeline)
{
    rules_check_template(load, pipeline, SCOPE_PIPELINE, pipeline, true, pipeline->route.topic);
    rules_check_template(load, pipeline, SCOPE_PIPELINE, pipeline, false, pipeline->route.key);
    for (size_t i = 0; i < pipeline->route.rule_count; i++) {
        const RouteConfig *route = &pipeline->route.rules[i];
        if (route->topic != NULL) {
            rules_check_template(load, pipeline, SCOPE_ROUTE, route, true, route->topic);
        }
        if (route->key != NULL) {
            rules_check_template(load, pipeline, SCOPE_ROUTE, route, false, route->key);
        }
        if (route->event_type == NULL && route->aggregate_type == NULL &&
            i + 1 < pipeline->route.rule_count) {
            AUTO_TEXT place = rules_place(load, SCOPE_ROUTE, "topic", route);
            problems_add(load->problems, true, place, "move it to the end, or give it a condition",
                         "route %zu has no condition: the routes after it are never reached",
                         i + 1);
        }
        if (route->aggregate_type != NULL &&
            *pipeline->outbox.columns[FIELD_AGGREGATE_TYPE] == '\0') {
            rules_problem(load, SCOPE_ROUTE, "aggregate_type", route, NULL,
                          "a route uses aggregate_type, but columns.aggregate_type is \"\"");
        }
    }
    if (*pipeline->route.topic == '\0' && pipeline->route.rule_count == 0 &&
        !pipeline->route.allow_row_topic) {
        rules_problem(load, SCOPE_PIPELINE, "topic", pipeline, "give topic or routes",
                      "pipeline \"%s\" has no topic and no routes: nothing could be published",
                      pipeline->name);
    }
}

void rules_complete_templates(Load *load, PipelineConfig *pipeline)
{
    if (pipeline->capture == CAPTURE_TABLES) {
        free(pipeline->route.topic);
        free(pipeline->route.key);
        pipeline->route.topic = x_strdup("${topic}");
        pipeline->route.key = x_strdup("${aggregate_id}");
        return;
    }
    if (load_origin(load, pipeline, option_find(SCOPE_PIPELINE, "topic")) == NULL) {
        const char *column = pipeline->outbox.columns[FIELD_AGGREGATE_TYPE];
        free(pipeline->route.topic);
        pipeline->route.topic = *column != '\0' ? x_format("${%s}.events", column) : x_strdup("");
    }
    if (load_origin(load, pipeline, option_find(SCOPE_PIPELINE, "key")) == NULL) {
        const char *column = pipeline->outbox.columns[FIELD_AGGREGATE_ID];
        free(pipeline->route.key);
        pipeline->route.key = *column != '\0' ? x_format("${%s}", column) : x_strdup("");
    }
}

/* What options say together: contradictions, templates against columns, properties against
 * guarantees. */

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/kafka_rules.h"
#include "config/lists.h"
#include "config/load.h"
#include "config/nearest.h"
#include "config/sink_rules.h"
#include "config/template.h"

enum { TOPIC_LENGTH_MAX = 249, TEMPLATE_PARTS_MAX = 32 };

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

static bool rules_topic_letters(Slice text)
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

static void rules_check_routes(Load *load, const PipelineConfig *pipeline)
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

static void rules_check_columns(Load *load, const PipelineConfig *pipeline)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        const OutboxColumn *column = &OUTBOX_COLUMNS[i];
        if (column->because != NULL && *pipeline->outbox.columns[i] == '\0') {
            rules_problem(load, SCOPE_PIPELINE, column->path, pipeline, NULL,
                          "\"%s\" cannot be empty: polling needs that column", column->path);
        }
    }
    if (*pipeline->outbox.columns[FIELD_PAYLOAD] == '\0' &&
        *pipeline->outbox.columns[FIELD_PAYLOAD_BYTES] == '\0') {
        rules_problem(load, SCOPE_PIPELINE, "columns.payload", pipeline, NULL,
                      "columns.payload and columns.payload_bytes are both empty: no record would "
                      "have a value");
    }
    if (pipeline->outbox.on_publish == ON_PUBLISH_MARK &&
        *pipeline->outbox.columns[FIELD_PUBLISHED_AT] == '\0') {
        rules_problem(load, SCOPE_PIPELINE, "columns.published_at", pipeline,
                      "name a nullable timestamp column, or use on_publish = \"delete\"",
                      "on_publish = \"mark\" needs columns.published_at");
    }
    if (pipeline->route.allow_row_topic && *pipeline->outbox.columns[FIELD_TOPIC] == '\0') {
        rules_problem(load, SCOPE_PIPELINE, "allow_row_topic", pipeline, NULL,
                      "allow_row_topic = true, but columns.topic is \"\"");
    }
}

static void rules_check_order(Load *load, const PipelineConfig *pipeline, const char *less,
                              const char *more)
{
    const Option *a = option_find(SCOPE_PIPELINE, less);
    const Option *b = option_find(SCOPE_PIPELINE, more);
    int64_t small = *(const int64_t *)(const void *)((const char *)pipeline + a->offset);
    int64_t large = *(const int64_t *)(const void *)((const char *)pipeline + b->offset);
    if (small > large) {
        const char *blamed = load_origin(load, pipeline, a) != NULL ? less : more;
        rules_problem(load, SCOPE_PIPELINE, blamed, pipeline, NULL,
                      "\"%s\" is greater than \"%s\" in pipeline \"%s\"", less, more,
                      pipeline->name);
    }
}

/* PostgreSQL's rule for the names of slots; publications keep to it, too. */
static bool rules_slot_name(const char *name)
{
    return *name != '\0' && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static void rules_check_capture(Load *load, const PipelineConfig *pipeline)
{
    if (pipeline->capture == CAPTURE_WAL) {
        if (!rules_slot_name(pipeline->wal.slot)) {
            rules_problem(load, SCOPE_PIPELINE, "slot", pipeline, "use a-z, 0-9 and '_' only",
                          "\"%s\" cannot be the name of a replication slot", pipeline->wal.slot);
        }
        return;
    }
    const struct {
        const char *path;
        bool set;
    } wal_only[] = {{"messages", pipeline->wal.messages},
                    {"failover_slot", pipeline->wal.failover_slot}};
    for (size_t i = 0; i < sizeof(wal_only) / sizeof(wal_only[0]); i++) {
        if (wal_only[i].set) {
            rules_problem(load, SCOPE_PIPELINE, wal_only[i].path, pipeline,
                          "remove it, or set capture = \"wal\"",
                          "\"%s\" has no effect with capture = \"poll\"", wal_only[i].path);
        }
    }
    if (pipeline->outbox.on_publish == ON_PUBLISH_KEEP) {
        rules_problem(load, SCOPE_PIPELINE, "on_publish", pipeline,
                      "use \"mark\" or \"delete\", or set capture = \"wal\"",
                      "on_publish = \"keep\" needs capture = \"wal\": polling finds events by rows "
                      "that are not marked");
    }
}

static void rules_sink_problem(Load *load, const PipelineConfig *pipeline,
                               const SinkProblem *problem)
{
    AUTO_TEXT message = problem->message;
    AUTO_TEXT place = rules_place(load, SCOPE_PIPELINE, problem->path, pipeline);
    problems_add(load->problems, problem->warning, place, problem->remedy, "%s", message);
}

static void rules_check_pipeline(Load *load, const PipelineConfig *pipeline)
{
    rules_check_table(load, pipeline);
    rules_check_routes(load, pipeline);
    rules_check_patterns(load, pipeline);
    rules_check_columns(load, pipeline);
    if (pipeline->outbox.on_publish != ON_PUBLISH_MARK &&
        pipeline->outbox.retain_ms != DURATION_FOREVER) {
        rules_problem(load, SCOPE_PIPELINE, "retain", pipeline,
                      "leave retain out, or use on_publish = \"mark\"",
                      "retain contradicts on_publish = \"%s\": %s",
                      pipeline->outbox.on_publish == ON_PUBLISH_DELETE ? "delete" : "keep",
                      pipeline->outbox.on_publish == ON_PUBLISH_DELETE ? "deleted rows are not kept"
                                                                       : "no row is marked");
    }
    rules_check_capture(load, pipeline);
    SinkProblem problem;
    if (sink_rules_problem(pipeline, &problem)) {
        rules_sink_problem(load, pipeline, &problem);
    }
    rules_check_order(load, pipeline, "poll_interval_min", "poll_interval_max");
    rules_check_order(load, pipeline, "retry_backoff_min", "retry_backoff_max");
    rules_check_order(load, pipeline, "batch_events", "in_flight_events");
    rules_check_order(load, pipeline, "batch_bytes", "in_flight_bytes");
}

/* The first earlier pipeline that b cannot stand beside. */
static void rules_check_pair(Load *load, const PipelineConfig *a, const PipelineConfig *b)
{
    if (*b->name != '\0' && strcmp(a->name, b->name) == 0) {
        AUTO_TEXT first = rules_place(load, SCOPE_PIPELINE, "name", a);
        rules_problem(load, SCOPE_PIPELINE, "name", b, "give each pipeline its own name",
                      "pipeline name \"%s\" is already used at %s", b->name, first);
    } else if (a->capture == CAPTURE_WAL && b->capture == CAPTURE_WAL &&
               strcmp(a->wal.slot, b->wal.slot) == 0) {
        rules_problem(load, SCOPE_PIPELINE, "slot", b, "give each pipeline its own slot",
                      "pipelines \"%s\" and \"%s\" both read slot \"%s\"", a->name, b->name,
                      b->wal.slot);
    } else if (strcmp(a->outbox.table, b->outbox.table) == 0 &&
               (a->outbox.on_publish != ON_PUBLISH_KEEP ||
                b->outbox.on_publish != ON_PUBLISH_KEEP)) {
        rules_problem(load, SCOPE_PIPELINE, "table", b, "use routes within one pipeline",
                      "pipelines \"%s\" and \"%s\" both publish %s: only one of them could ever "
                      "publish a row",
                      a->name, b->name, a->outbox.table);
    }
}

static void rules_check_places(Load *load, const PipelineConfig *a, const PipelineConfig *b)
{
    SinkProblem problem;
    if (sink_rules_share(a, b, &problem)) {
        rules_sink_problem(load, b, &problem);
    }
}

static void rules_check_pairs(Load *load)
{
    const Config *config = load->config;
    for (size_t i = 0; i < config->pipeline_count; i++) {
        size_t before = load->problems->count;
        for (size_t j = 0; j < i && load->problems->count == before; j++) {
            if (config->pipelines[j].outbox.table != NULL &&
                config->pipelines[i].outbox.table != NULL) {
                rules_check_pair(load, &config->pipelines[j], &config->pipelines[i]);
                rules_check_places(load, &config->pipelines[j], &config->pipelines[i]);
            }
        }
    }
}

/* "key=value" each. */
static void rules_check_properties(Load *load)
{
    StringList *list = &load->config->kafka.properties;
    for (size_t i = 0, number = 1; i < list->count; i++, number++) {
        const char *place = load->property_places.items[i];
        const char *equals = strchr(list->items[i], '=');
        if (equals == NULL || equals == list->items[i]) {
            /* the text may be a secret: do not repeat it */
            problems_add(load->problems, false, place, "write \"key=value\"",
                         "item %zu of kafka.properties is not a key=value pair", number);
            continue;
        }
        Slice key = {.data = list->items[i], .length = (size_t)(equals - list->items[i])};
        for (size_t j = 0; j < i; j++) {
            if (strncmp(list->items[j], list->items[i], key.length + 1) == 0) {
                problems_add(load->problems, false, place, "remove one of them",
                             "Kafka property \"%.*s\" is given twice", SLICE_ARG(key));
                break;
            }
        }
        const KafkaRule *rule = kafka_rule_broken(key, slice_of(equals + 1));
        if (rule != NULL) {
            problems_add(load->problems, false, place, rule->remedy,
                         "Kafka property \"%s\" is refused: %s", rule->property, rule->reason);
            string_list_remove(list, i); /* `outboxd check` goes on without it */
            string_list_remove(&load->property_places, i);
            i--;
        }
    }
}

static void rules_check_config(Load *load)
{
    Config *config = load->config;
    rules_check_monitor(load);
    const Option *dsn = option_find(SCOPE_CONFIG, "database.dsn");
    if (*config->database.dsn == '\0' && load_origin(load, config, dsn) == NULL) {
        rules_problem(load, SCOPE_CONFIG, "database.dsn", config,
                      "set database.dsn, OUTBOXD_DATABASE_DSN or --dsn", "no database is given");
    }
    if (config_has_sink(config, SINK_KAFKA) && *config->kafka.brokers == '\0') {
        rules_problem(load, SCOPE_CONFIG, "kafka.brokers", config,
                      "set kafka.brokers, OUTBOXD_KAFKA_BROKERS or --brokers",
                      "no brokers are given");
    }
    if (config->pipeline_count == 0) {
        rules_problem(load, SCOPE_CONFIG, "pipelines", config,
                      "add pipelines = ( { name = \"orders\"; } ); see outboxd config print",
                      "no pipeline is given");
    }
}

/* Without topic or key in the file, those of the envelope, by the names that this table has. */
static void rules_complete_templates(Load *load, PipelineConfig *pipeline)
{
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

/* "outboxd_" and the pipeline's name, as far as the name of a slot can hold it. */
static void rules_complete_slot(const PipelineConfig *pipeline, char **name)
{
    if (*name == NULL || **name != '\0') {
        return;
    }
    free(*name);
    *name = x_format("outboxd_%.55s", pipeline->name);
    for (char *c = *name; *c != '\0'; c++) {
        *c = (char)tolower((unsigned char)*c);
        *c = (char)(islower((unsigned char)*c) || isdigit((unsigned char)*c) ? *c : '_');
    }
}

void rules_check(Load *load)
{
    rules_check_config(load);
    rules_check_properties(load);
    rules_check_oauth(load);
    for (size_t i = 0; i < load->config->pipeline_count; i++) {
        PipelineConfig *pipeline = &load->config->pipelines[i];
        if (pipeline->outbox.table != NULL) { /* it was a group */
            rules_complete_templates(load, pipeline);
            rules_complete_slot(pipeline, &pipeline->wal.slot);
            rules_complete_slot(pipeline, &pipeline->wal.publication);
            rules_check_pipeline(load, pipeline);
        }
    }
    rules_check_pairs(load);
}

void rules_complete(Config *config)
{
    for (size_t i = 0; i < config->pipeline_count; i++) {
        PipelineConfig *pipeline = &config->pipelines[i];
        if (pipeline->encode.source != NULL && *pipeline->encode.source == '\0') {
            free(pipeline->encode.source);
            pipeline->encode.source = x_format("/%s/%s", config->name, pipeline->name);
        }
    }
    if (strcmp(config->monitor.listen, "off") == 0) {
        *config->monitor.listen = '\0';
    }
}

/* What options say together: contradictions, properties against guarantees. */

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/kafka_rules.h"
#include "config/lists.h"
#include "config/load.h"
#include "config/sink_rules.h"

/* Of an outbox. */
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
    if (pipeline->capture == CAPTURE_TABLES) {
        rules_check_mappings(load, pipeline);
    } else {
        rules_check_routes(load, pipeline);
        rules_check_patterns(load, pipeline);
        rules_check_columns(load, pipeline);
    }
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
    } else if (a->capture != CAPTURE_POLL && b->capture != CAPTURE_POLL &&
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

void rules_check(Load *load)
{
    rules_check_config(load);
    rules_check_properties(load);
    rules_check_oauth(load);
    for (size_t i = 0; i < load->config->pipeline_count; i++) {
        PipelineConfig *pipeline = &load->config->pipelines[i];
        if (pipeline->outbox.table != NULL) { /* it was a group */
            rules_complete_templates(load, pipeline);
            rules_complete_capture(load, pipeline);
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

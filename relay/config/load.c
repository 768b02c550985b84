/* Defaults, then the file, then the environment, then the command line; then what options say
 * together. Problems come out in the order of the file. */
#include "config/load.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "config/columns.h"
#include "config/lists.h"

enum { EVENT_BEYOND_RECORD = 1024 * 1024 }; /* columns that are no part of the record */

static void load_defaults(Load *load, OptionScope scope, void *base)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (options[i].scope == scope) {
            value_set_default(load, &options[i], base);
        }
    }
}

/* The one pipeline of a start without a file. */
static void load_default_pipeline(Load *load)
{
    load->config->pipelines = x_calloc(1, sizeof(PipelineConfig));
    load->config->pipeline_count = 1;
    PipelineConfig *pipeline = &load->config->pipelines[0];
    load_defaults(load, SCOPE_PIPELINE, pipeline);
    free(pipeline->name);
    pipeline->name = x_strdup("outbox");
}

static void load_command_line(Load *load, const ConfigOverrides *overrides)
{
    if (overrides->dsn != NULL) {
        value_set_text(load, option_find(SCOPE_CONFIG, "database.dsn"), load->config,
                       overrides->dsn, "--dsn");
    }
    if (overrides->brokers != NULL) {
        value_set_text(load, option_find(SCOPE_CONFIG, "kafka.brokers"), load->config,
                       overrides->brokers, "--brokers");
    }
}

/* A column that somebody names must be there; a default name may stand for none. */
static void load_note_columns(Load *load)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        size_t column = column_index(&options[i]);
        for (size_t j = 0; column < COLUMN_COUNT && j < load->config->pipeline_count; j++) {
            PipelineConfig *pipeline = &load->config->pipelines[j];
            bool named = load_origin(load, pipeline, &options[i]) != NULL;
            pipeline->outbox.columns_named |= (uint32_t)named << column;
        }
    }
}

/* The value of librdkafka's message.max.bytes, or 0. */
static int64_t load_record_bytes(const Config *config)
{
    static const char NAME[] = "message.max.bytes=";
    int64_t bytes = 0;
    for (size_t i = 0; i < config->kafka.properties.count; i++) {
        const char *property = config->kafka.properties.items[i];
        if (strncmp(property, NAME, sizeof(NAME) - 1) == 0) {
            bytes = strtoll(property + sizeof(NAME) - 1, NULL, 10);
        }
    }
    return bytes;
}

/* Whoever lets larger records be sent need not say it twice. */
static void load_note_sizes(Load *load)
{
    const Option *option = option_find(SCOPE_PIPELINE, "event_bytes_max");
    int64_t bytes = load_record_bytes(load->config) + EVENT_BEYOND_RECORD;
    bytes = bytes < option->max ? bytes : option->max;
    for (size_t i = 0; i < load->config->pipeline_count; i++) {
        PipelineConfig *pipeline = &load->config->pipelines[i];
        if (load_origin(load, pipeline, option) == NULL && pipeline->limits.event_bytes < bytes) {
            pipeline->limits.event_bytes = bytes;
        }
    }
}

/* The flat line of a place of the file, or one behind all lines. */
static size_t load_rank(const Load *load, const char *place)
{
    const Source *source = load->source;
    const char *colon = strrchr(place, ':');
    int line = colon != NULL ? atoi(colon + 1) : 0; // NOLINT(cert-err34-c): ours
    for (size_t i = 0; line > 0 && i < source->line_count; i++) {
        const char *file = source->files.items[source->lines[i].file];
        if (source->lines[i].line == line && strncmp(file, place, (size_t)(colon - place)) == 0 &&
            file[colon - place] == '\0') {
            return i;
        }
    }
    return source->line_count;
}

typedef struct RankedProblem {
    size_t rank;
    size_t index; /* keeps the order of those of one place */
    Problem problem;
} RankedProblem;

static int load_compare_problems(const void *a, const void *b)
{
    const RankedProblem *first = a;
    const RankedProblem *second = b;
    if (first->rank != second->rank) {
        return first->rank < second->rank ? -1 : 1;
    }
    return first->index < second->index ? -1 : 1;
}

static void load_sort_problems(Load *load)
{
    Problems *problems = load->problems;
    if (problems->count < 2) {
        return;
    }
    RankedProblem *ranked = x_calloc(problems->count, sizeof(*ranked));
    for (size_t i = 0; i < problems->count; i++) {
        Problem problem = problems->items[i];
        ranked[i] = (RankedProblem){load_rank(load, problem.place), i, problem};
    }
    qsort(ranked, problems->count, sizeof(*ranked), load_compare_problems);
    for (size_t i = 0; i < problems->count; i++) {
        problems->items[i] = ranked[i].problem;
    }
    free(ranked);
}

void load_free(Load *load)
{
    if (load->source != NULL) {
        source_free(load->source);
        free(load->source);
    }
    for (size_t i = 0; i < load->origin_count; i++) {
        free(load->origins[i].place);
        free(load->origins[i].raw);
    }
    free(load->origins);
    string_list_free(&load->property_places);
    string_list_free(&load->secret_files);
    replaced_free(&load->items);
    replaced_free(&load->references);
    free(load->directory);
    *load = (Load){0};
}

Status load_run(Load *load, const ConfigOverrides *overrides, char *const *environment,
                Problems *problems)
{
    *load = (Load){.problems = problems, .environment = environment};
    const char *path = overrides->file;
    if (path == NULL && access(CONFIG_DEFAULT_FILE, F_OK) == 0) {
        path = CONFIG_DEFAULT_FILE;
    }
    load->source = x_calloc(1, sizeof(*load->source));
    load->config = x_calloc(1, sizeof(Config));
    load->config->file = x_strdup(path != NULL ? path : "");
    load->directory = source_directory(path != NULL ? path : "");
    load_defaults(load, SCOPE_CONFIG, load->config);
    bool readable = true;
    if (path == NULL) {
        load_default_pipeline(load);
    } else {
        readable = source_read(load->source, path, problems) == OK;
        if (readable) {
            file_read(load);
        }
    }
    size_t before = problems->errors;
    environment_read(load, path != NULL);
    load_command_line(load, overrides);
    load_note_columns(load);
    load_note_sizes(load);
    /* A file that could not be parsed says nothing: what it lacks is no news. */
    if (readable && (load->config->pipeline_count > 0 || before == 0)) {
        rules_check(load);
    }
    rules_check_database(load);
    rules_complete(load->config);
    load_hide_references(load, problems, 0);
    load_sort_problems(load);
    return problems->errors > 0 ? FAILED : OK;
}

Status config_load(const ConfigOverrides *overrides, Config **ret_config, Problems *problems)
{
    Load load;
    Status status = load_run(&load, overrides, environ, problems);
    if (status != OK) {
        config_free(&load.config);
    }
    *ret_config = load.config;
    load_free(&load);
    return status;
}

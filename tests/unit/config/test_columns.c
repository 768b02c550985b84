#include <criterion/criterion.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/columns.h"
#include "loading.h"

static Loading loading;

static size_t index_of(const char *path)
{
    const Option *option = option_find(SCOPE_PIPELINE, path);
    cr_assert_not_null(option, "%s", path);
    size_t index = column_index(option);
    cr_assert_lt(index, COLUMN_COUNT, "%s", path);
    return index;
}

static void expect_need(const char *path, const char *need)
{
    AUTO_TEXT said = column_need(&loading.load.config->pipelines[0], index_of(path));
    if (need == NULL) {
        cr_expect_null(said, "%s: %s", path, said);
    } else {
        cr_expect_str_eq(said, need, "%s", path);
    }
}

Test(columns, what_is_named_in_file_or_environment_is_needed_and_no_default)
{
    loading_begin(&loading);
    loading_run(&loading,
                BASICS
                "pipelines: ( { name = \"orders\"; columns: { headers = \"headers\"; topic = "
                "\"\"; }; } );\n",
                NULL, NULL);
    const PipelineConfig *pipeline = &loading_config(&loading)->pipelines[0];
    cr_expect_eq(pipeline->outbox.columns_named,
                 1U << index_of("columns.headers") | 1U << index_of("columns.topic"));
    expect_need("columns.headers", "the configuration names it");
    expect_need("columns.topic", NULL); /* the table has none */
    expect_need("columns.traceparent", NULL);
    loading_end(&loading);
    loading_begin(&loading);
    loading_run(&loading, NULL, &(ConfigOverrides){.dsn = "host=db", .brokers = "k:1"},
                LOADING_ENVIRONMENT("OUTBOXD_PIPELINE_COLUMNS_CAUSATION_ID=cause"));
    (void)loading_config(&loading);
    expect_need("columns.causation_id", "the configuration names it");
    expect_need("columns.correlation_id", NULL);
    loading_end(&loading);
}

Test(columns, what_the_rest_of_the_configuration_rests_on_is_needed)
{
    loading_begin(&loading);
    loading_run(&loading,
                BASICS
                "pipelines: ( { name = \"orders\"; topic = \"\"; key = \"\"; on_publish = "
                "\"delete\"; allow_row_topic = true; routes = ( { aggregate_type = \"a\"; "
                "topic = \"t.${correlation_id}\"; key = \"${aggregate_version}\"; } ); } );\n",
                NULL, NULL);
    (void)loading_config(&loading);
    expect_need("columns.seq", "the relay identifies rows by it");
    expect_need("columns.topic", "allow_row_topic = true needs it");
    expect_need("columns.aggregate_type", "a route needs it");
    expect_need("columns.correlation_id", "the topic t.${correlation_id} needs it");
    expect_need("columns.aggregate_version", "the key ${aggregate_version} needs it");
    expect_need("columns.aggregate_id", NULL);
    expect_need("columns.published_at", NULL); /* rows are deleted */
    loading_end(&loading);
}

Test(columns, a_value_is_needed_where_there_is_no_other)
{
    loading_begin(&loading);
    loading_run(&loading,
                BASICS "pipelines: ( { name = \"orders\"; columns: { payload = \"\"; }; } );\n",
                NULL, NULL);
    (void)loading_config(&loading);
    expect_need("columns.payload_bytes", "it is the record's value");
    expect_need("columns.payload", NULL);
    expect_need("columns.published_at", "on_publish = \"mark\" sets it");
    expect_need("columns.aggregate_type", "the topic ${aggregate_type}.events needs it");
    loading_end(&loading);
}

Test(columns, an_option_that_is_no_column_has_no_index)
{
    cr_expect_eq(column_index(option_find(SCOPE_PIPELINE, "header_columns")), COLUMN_COUNT);
    cr_expect_eq(column_index(option_find(SCOPE_PIPELINE, "name")), COLUMN_COUNT);
    cr_expect_eq(column_index(option_find(SCOPE_CONFIG, "name")), COLUMN_COUNT);
}

static void expect_headers(bool cloudevents)
{
    for (EventField i = 0; i < FIELD_COUNT; i++) {
        ColumnHeader a = cloudevents ? OUTBOX_COLUMNS[i].cloudevents : OUTBOX_COLUMNS[i].plain;
        cr_expect_eq(a.name == NULL, a.rank == 0, "%s", OUTBOX_COLUMNS[i].name);
        for (EventField j = 0; j < i && a.name != NULL; j++) {
            ColumnHeader b = cloudevents ? OUTBOX_COLUMNS[j].cloudevents : OUTBOX_COLUMNS[j].plain;
            bool same = b.name != NULL && (strcmp(a.name, b.name) == 0 || a.rank == b.rank);
            cr_expect(!same, "%s and %s", OUTBOX_COLUMNS[i].name, OUTBOX_COLUMNS[j].name);
        }
    }
}

Test(columns, each_is_declared_whole_and_once)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        const OutboxColumn *column = &OUTBOX_COLUMNS[i];
        const Option *option = option_find(SCOPE_PIPELINE, column->path);
        cr_assert_not_null(option, "%s", column->path);
        cr_expect_str_eq(column->path + strlen("columns."), column->name);
        cr_expect_str_eq(option->fallback, column->name);
        cr_expect_eq(option->offset, offsetof(PipelineConfig, outbox.columns) + i * sizeof(char *));
        cr_expect(option->help[0] != '\0', "%s", column->name);
        cr_expect(!column->in_message || column->made_as != NULL, "%s", column->name);
    }
    expect_headers(true);
    expect_headers(false);
    for (size_t i = FIELD_COUNT; i < FIELD_COUNT + 64; i++) { /* header columns */
        cr_expect_eq(column_class(i), COLUMN_TEXT);
        cr_expect_not(column_has_form(i) || column_is_bytes(i) || column_is_body(i));
    }
}

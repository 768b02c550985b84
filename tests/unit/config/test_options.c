#include "config/options.h"
#include "config/units.h"
#include "loading.h"

Test(options, each_path_and_each_variable_is_there_once)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(option_find(options[i].scope, options[i].path), &options[i], "%s",
                     options[i].path);
        Text name = TEXT_EMPTY;
        bool has_name = option_environment(&options[i], &name);
        for (size_t j = 0; has_name && j < i; j++) {
            Text other = TEXT_EMPTY;
            cr_assert_not(option_environment(&options[j], &other) &&
                              strcmp(name.data, other.data) == 0,
                          "%s", name.data);
            text_free(&other);
        }
        text_free(&name);
    }
}

Test(options, variables_have_the_names_of_the_contract)
{
    const struct {
        OptionScope scope;
        const char *path;
        const char *name;
    } cases[] = {
        {SCOPE_CONFIG, "database.dsn", "OUTBOXD_DATABASE_DSN"},
        {SCOPE_CONFIG, "kafka.brokers", "OUTBOXD_KAFKA_BROKERS"},
        {SCOPE_CONFIG, "monitor.listen", "OUTBOXD_MONITOR_LISTEN"},
        {SCOPE_PIPELINE, "table", "OUTBOXD_PIPELINE_TABLE"},
        {SCOPE_PIPELINE, "snapshot_wal_max", "OUTBOXD_PIPELINE_SNAPSHOT_WAL_MAX"},
    };
    for (size_t i = 0; i < 5; i++) {
        Text name = TEXT_EMPTY;
        cr_assert(option_environment(option_find(cases[i].scope, cases[i].path), &name));
        cr_assert_str_eq(name.data, cases[i].name);
        text_free(&name);
    }
}

Test(options, what_stands_in_a_group_of_a_list_has_no_variable)
{
    static const struct {
        OptionScope scope;
        const char *path;
    } cases[] = {{SCOPE_PIPELINE, "mappings"}, {SCOPE_PIPELINE, "routes"}, {SCOPE_ROUTE, "topic"},
                 {SCOPE_MAPPING, "table"},     {SCOPE_MASK, "column"},     {SCOPE_CUT, "column"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_BUFFER name = TEXT_EMPTY;
        cr_assert_not(option_environment(option_find(cases[i].scope, cases[i].path), &name));
    }
}

Test(options, every_option_explains_itself_and_every_number_has_a_range)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        const Option *option = &options[i];
        cr_assert_not_null(option->help, "%s", option->path);
        if ((option->flags & OPTION_NOT_BUILT) != 0) {
            continue;
        }
        bool number = option->type == OPTION_INT || option->type == OPTION_DURATION ||
                      option->type == OPTION_SIZE;
        cr_assert(!number || option->min < option->max, "%s", option->path);
        cr_assert(option->type != OPTION_ENUM || option->choices != NULL, "%s", option->path);
        cr_assert(option->fallback != NULL || option->example != NULL ||
                      option->type == OPTION_GROUPS || strcmp(option->path, "source") == 0,
                  "%s has neither default nor example", option->path);
    }
}

Test(options, every_default_is_a_value_that_a_user_may_write)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        const Option *option = &options[i];
        if (option->scope != SCOPE_PIPELINE || option->fallback == NULL ||
            strchr(option->path, '.') != NULL) {
            continue;
        }
        bool bare = option->type == OPTION_BOOL || option->type == OPTION_INT;
        bool tables = (option->flags & OPTION_TABLES) != 0;
        AUTO_TEXT text = x_format(
            BASICS "pipelines: ( { name = \"a\"; %s %s = %s%s%s; } );",
            tables
                ? "capture = \"tables\"; topic_prefix = \"p\"; mappings = ( { table = \"s.t\"; } );"
                : "",
            option->path, bare ? "" : "\"", option->fallback, bare ? "" : "\"");
        assert_loads(text);
    }
}

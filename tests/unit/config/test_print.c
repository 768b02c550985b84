#include <jansson.h>

#include "config/print.h"
#include "loading.h"

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    Text text = TEXT_EMPTY;
    char chunk[4096];
    size_t count;
    while ((count = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        text_append(&text, chunk, count);
    }
    cr_assert_eq(fclose(file), 0);
    return text.data;
}

static char *sample(void)
{
    Text text = TEXT_EMPTY;
    print_sample(&text);
    return text.data;
}

Test(print, the_committed_sample_is_what_the_program_prints)
{
    AUTO_TEXT printed = sample();
    AUTO_TEXT committed = read_file(SOURCE_DIR "/conf/outboxd.conf");
    cr_assert_str_eq(committed, printed,
                     "conf/outboxd.conf is out of date: outboxd config print > conf/outboxd.conf");
}

Test(print, the_sample_loads)
{
    AUTO_TEXT printed = sample();
    assert_loads(printed);
}

/* The option that a line of the sample has behind its //, in that group ("" or "file."); NULL: the
 * line is prose, or of a list. */
static const Option *commented_option(const char *line, const char *group)
{
    if (strncmp(line, "//", 2) != 0 || line[2] == ' ' || line[2] == '\n') {
        return NULL;
    }
    AUTO_TEXT path = x_format("%s%.*s", group, (int)strcspn(line + 2, " "), line + 2);
    const Option *option = option_find(SCOPE_PIPELINE, path);
    return option != NULL ? option : option_find(SCOPE_CONFIG, path);
}

/* Takes the // of every option away that is of use to the capture; comments that are prose keep it.
 */
static char *uncommented(const char *text, Capture capture)
{
    Text result = TEXT_EMPTY;
    char group[64] = "";
    while (*text != '\0') {
        size_t length = strcspn(text, "\n") + 1;
        size_t indent = strspn(text, " ");
        const Option *found = commented_option(text + indent, group);
        if (length > indent + 2 && text[length - 2] == ':' && text[indent] != '/') {
            (void)snprintf(group, sizeof(group), "%.*s.", (int)(length - indent - 2),
                           text + indent);
        } else if (text[indent] == '}') {
            group[0] = '\0';
        }
        bool option = found != NULL && option_applies(found, capture);
        text_append(&result, text, indent);
        text_append(&result, text + indent + (option ? 2 : 0), length - indent - (option ? 2 : 0));
        text += length;
    }
    return result.data;
}

Test(print, the_sample_loads_with_every_option_uncommented_and_changes_no_default)
{
    AUTO_TEXT printed = sample();
    AUTO_TEXT all = uncommented(printed, CAPTURE_POLL);
    cr_assert_str_neq(printed, all);
    Loading plain;
    Loading full;
    loading_begin(&plain);
    loading_begin(&full);
    loading_run(&plain, printed, NULL, NULL);
    loading_run(&full, all, NULL, NULL);
    loading_config(&plain);
    loading_config(&full);
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        const Option *option = &options[i];
        bool number = option->type == OPTION_INT || option->type == OPTION_DURATION ||
                      option->type == OPTION_SIZE;
        if (option->scope == SCOPE_PIPELINE && number) {
            const char *a = (const char *)&plain.load.config->pipelines[0] + option->offset;
            const char *b = (const char *)&full.load.config->pipelines[0] + option->offset;
            cr_assert_eq(memcmp(a, b, sizeof(int64_t)), 0, "%s", option->path);
        }
        if (option->scope == SCOPE_PIPELINE && (option->flags & OPTION_NOT_BUILT) == 0 &&
            option->type != OPTION_GROUPS && option_applies(option, CAPTURE_POLL)) {
            cr_assert_not_null(load_origin(&full.load, &full.load.config->pipelines[0], option),
                               "%s is missing", option->path);
        }
    }
    loading_end(&plain);
    loading_end(&full);
}

/* The sample as one of a pipeline of tables, with its list of mappings. */
static char *sample_of_tables(const char *text)
{
    AUTO_BUFFER lists = TEXT_EMPTY;
    bool inside = false;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n") + 1;
        size_t indent = strspn(text, " ");
        const char *rest = text + indent;
        inside = inside || strncmp(rest, "// mappings = (", 15) == 0;
        text_append(&lists, text, indent);
        size_t mark = inside && strncmp(rest, "// ", 3) == 0 ? 3 : 0;
        text_append(&lists, rest + mark, length - indent - mark);
        inside = inside && strncmp(rest, "// );", 5) != 0;
        text += length;
    }
    char *all = uncommented(lists.data, CAPTURE_TABLES);
    static const char POLL[] = "capture = \"poll\";";
    char *capture = strstr(all, POLL);
    cr_assert_not_null(capture);
    AUTO_TEXT rest = x_strdup(capture + strlen(POLL));
    *capture = '\0';
    AUTO_TEXT before = all;
    return x_format("%scapture = \"tables\";%s", before, rest);
}

Test(print, the_sample_of_tables_loads_and_changes_no_default)
{
    AUTO_TEXT printed = sample();
    AUTO_TEXT all = sample_of_tables(printed);
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, all, NULL, NULL);
    const PipelineConfig *pipeline = &loading_config(&loading)->pipelines[0];
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        cr_expect((options[i].flags & OPTION_TABLES) == 0 ||
                      load_origin(&loading.load, pipeline, &options[i]) != NULL,
                  "%s is missing", options[i].path);
    }
    cr_assert_eq(pipeline->tables.snapshot_wal_max_bytes, INT64_C(10) << 30);
    cr_assert_eq(pipeline->tables.mapping_count, 1);
    cr_assert_str_eq(pipeline->tables.mappings[0].topic, "${prefix}.${schema}.${table}");
    loading_end(&loading);
}

static char *effective(const char *text, char *const *environment, const ConfigOverrides *overrides)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, text, overrides, environment);
    loading_config(&loading);
    Text printed = TEXT_EMPTY;
    print_effective(&printed, &loading.load);
    loading_end(&loading);
    return printed.data;
}

static void assert_line(const char *text, const char *start, const char *end)
{
    const char *line = strstr(text, start);
    cr_assert_not_null(line, "no %s in %s", start, text);
    AUTO_TEXT whole = x_strndup(line, strcspn(line, "\n"));
    cr_assert_geq(strlen(whole), strlen(end));
    cr_assert_str_eq(whole + strlen(whole) - strlen(end), end, "%s", whole);
}

Test(print, effective_values_say_where_they_came_from)
{
    ConfigOverrides overrides = {.brokers = "line:1"};
    AUTO_TEXT text =
        effective(BASICS PIPELINE, LOADING_ENVIRONMENT("OUTBOXD_LOG_LEVEL=debug"), &overrides);
    assert_line(text, "dsn = \"host=db\";", "main.conf:1");
    assert_line(text, "brokers = \"line:1\";", "// command line --brokers");
    assert_line(text, "level = \"debug\";", "// environment OUTBOXD_LOG_LEVEL");
    assert_line(text, "lease = \"10s\";", "// default");
    assert_line(text, "name = \"orders\";", "main.conf:2");
}

Test(print, secrets_are_masked_wherever_they_come_from)
{
    AUTO_TEXT text = effective(
        "database: { dsn = \"host=db password=s3cret\"; };\n"
        "kafka: { brokers = \"k\"; properties = [ \"sasl.password=s3cret\" ]; };\n" PIPELINE,
        LOADING_ENVIRONMENT("OUTBOXD_KAFKA_PROPERTY_SSL_KEY_PASSWORD=s3cret"), NULL);
    cr_assert_null(strstr(text, "s3cret"), "%s", text);
    assert_line(text, "\"sasl.password=***\"", "main.conf:2");
    assert_line(text, "\"ssl.key.password=***\"", "OUTBOXD_KAFKA_PROPERTY_SSL_KEY_PASSWORD");
    AUTO_TEXT uri =
        effective(BASICS PIPELINE,
                  LOADING_ENVIRONMENT("OUTBOXD_DATABASE_DSN=postgresql://u:s3cret@db/x"), NULL);
    cr_assert_null(strstr(uri, "s3cret"), "%s", uri);
    assert_line(uri, "dsn = \"postgresql://u:***@db/x\";", "// environment OUTBOXD_DATABASE_DSN");
}

Test(print, effective_values_load_again_as_the_same)
{
    AUTO_TEXT orders = read_file(SOURCE_DIR "/conf/orders.conf");
    AUTO_TEXT first = effective(orders, NULL, NULL);
    AUTO_TEXT second = effective(first, NULL, NULL);
    AUTO_TEXT third = effective(second, NULL, NULL);
    cr_assert_eq(strlen(second), strlen(third));
    const char *values[] = {"retain = \"7d\";", "event_type = \"payment.*\";",
                            "\"compression.type=lz4\"", "on_poison = \"dead_letter\";",
                            "source = \"/shop/orders\";"};
    for (size_t i = 0; i < 5; i++) {
        cr_assert_not_null(strstr(first, values[i]), "%s", values[i]);
        cr_assert_not_null(strstr(third, values[i]), "%s", values[i]);
    }
}

Test(print, a_pipeline_of_tables_is_shown_with_what_it_reads_and_no_salt)
{
    AUTO_TEXT first = effective(
        BASICS "pipelines: ( { name = \"a\"; capture = \"tables\"; topic_prefix = \"shop\";\n"
               "mappings = ( { table = \"public.item\"; operations = \"td\"; key = [ \"id\" ];\n"
               "hash_columns = [ \"email\" ]; hash_salt = \"s3cret\";\n"
               "mask_columns = [ { column = \"phone\"; characters = 4; } ]; },\n"
               "{ table = \"s.\\\"T\\\"\"; topic = \"x.${table}\"; } ); } );\n",
        NULL, NULL);
    cr_assert_null(strstr(first, "s3cret"));
    assert_line(first, "hash_salt = \"***\";", "main.conf:4");
    assert_line(first, "operations = \"dt\";", "main.conf:3");
    assert_line(first, "column = \"phone\";", "main.conf:5");
    assert_line(first, "table = \"outbox.position\";", "// default");
    assert_line(first, "table = \"s.\\\"T\\\"\";", "main.conf:6");
    cr_assert_null(strstr(first, "on_publish"), "an outbox has it");
    AUTO_TEXT second = effective(first, NULL, NULL);
    AUTO_TEXT third = effective(second, NULL, NULL);
    cr_assert_eq(strlen(second), strlen(third));
    cr_assert_not_null(strstr(third, "topic = \"x.${table}\";"));
}

Test(print, strings_with_quotes_and_references_read_back)
{
    AUTO_TEXT text = effective(BASICS "pipelines: ( { name = \"a\"; source = \"x=\\\"y\\\\z\\\"' "
                                      "$${env:HOME}\"; } );\n",
                               NULL, NULL);
    assert_line(text, "source = \"x=\\\"y\\\\z\\\"' $${env:HOME}\";", "main.conf:2");
}

Test(print, the_schema_is_json_and_describes_every_option_that_is_built)
{
    Text text = TEXT_EMPTY;
    print_schema(&text);
    json_t *schema = json_loads(text.data, 0, NULL);
    cr_assert_not_null(schema);
    size_t built = 0;
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        built += (options[i].flags & OPTION_NOT_BUILT) == 0 ? 1 : 0;
    }
    cr_assert_eq(json_array_size(json_object_get(schema, "options")), built);
    json_decref(schema);
    text_free(&text);
}

/* --- the examples --- */

static void assert_example(const char *name, char *const *environment)
{
    Loading loading;
    loading_begin(&loading);
    AUTO_TEXT path = x_format(SOURCE_DIR "/conf/%s", name);
    ConfigOverrides overrides = {.file = path};
    loading_run(&loading, NULL, &overrides, environment);
    loading_config(&loading);
    cr_assert_eq(loading.problems.count, 0);
    loading_end(&loading);
}

Test(print, examples_load_without_a_warning)
{
    assert_example("outboxd.conf", NULL);
    assert_example("minimal.conf", NULL);
    assert_example("orders.conf", NULL);
    assert_example("tables.conf", NULL);
}

Test(print, the_sidecar_example_loads_with_its_secrets_in_place)
{
    AUTO_TEXT text = read_file(SOURCE_DIR "/conf/sidecar.conf");
    Loading loading;
    loading_begin(&loading);
    Text moved = TEXT_EMPTY;
    for (const char *c = text; *c != '\0';) {
        bool secret = strncmp(c, "/run/secrets/", 13) == 0;
        text_append(&moved, c, secret ? 0 : 1);
        c += secret ? 13 : 1;
    }
    loading_write(&loading, "postgres", "s3cret\n");
    loading_write(&loading, "kafka", "s3cret\n");
    loading_run(&loading, moved.data, NULL, LOADING_ENVIRONMENT("PGHOST=db", "KAFKA_BROKERS=k:1"));
    const Config *config = loading_config(&loading);
    cr_assert_eq(loading.problems.count, 0);
    cr_assert_str_eq(config->kafka.properties.items[3], "sasl.password=s3cret");
    cr_assert_str_eq(config->pipelines[0].route.key, "${aggregateid}");
    text_free(&moved);
    loading_end(&loading);
}

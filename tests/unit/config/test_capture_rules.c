#include "loading.h"

/* One pipeline of tables, with the given options on line 3. */
#define TABLES(options)                                                                            \
    BASICS "pipelines: ( { name = \"Catalog\"; capture = \"tables\"; topic_prefix = \"shop\";\n"   \
           "mappings = ( { table = \"public.item\"; } ); " options " } );\n"
#define WITH(options) BASICS "pipelines: ( { name = \"orders\"; " options " } );\n"

Test(capture_rules, what_tables_are_told_nothing_of_has_the_defaults_of_the_contract)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, TABLES(""), NULL, NULL);
    const PipelineConfig *pipeline = &loading_config(&loading)->pipelines[0];
    cr_assert_eq(pipeline->capture, CAPTURE_TABLES);
    cr_assert_str_eq(pipeline->outbox.table, "outbox.position");
    cr_assert_eq(pipeline->outbox.on_publish, ON_PUBLISH_KEEP);
    cr_assert_eq(pipeline->outbox.retain_ms, DURATION_FOREVER);
    cr_assert_str_eq(pipeline->wal.slot, "outboxd_catalog");
    cr_assert_str_eq(pipeline->wal.publication, "outboxd_catalog");
    cr_assert_str_eq(pipeline->route.topic, "${topic}");
    cr_assert_str_eq(pipeline->route.key, "${aggregate_id}");
    cr_assert_eq(pipeline->route.on_unrouted, ON_UNROUTED_STOP);
    const TablesConfig *tables = &pipeline->tables;
    cr_assert_str_eq(tables->topic_prefix, "shop");
    cr_assert_eq(tables->format, TABLES_FORMAT_DEBEZIUM);
    cr_assert_eq(tables->toast, TOAST_PLACEHOLDER);
    cr_assert_eq(tables->snapshot, SNAPSHOT_MODE_INITIAL);
    cr_assert_eq(tables->snapshot_workers, 1);
    cr_assert_eq(tables->snapshot_xmin_max_ms, 3600000);
    cr_assert_eq(tables->snapshot_wal_max_bytes, INT64_C(10) << 30);
    cr_assert_eq(tables->heartbeat_ms, 0);
    cr_assert_eq(tables->modes.told, 0); /* schemas, transaction_topic */
    cr_assert_eq(tables->modes.decimal, DECIMAL_PRECISE);
    cr_assert_eq(tables->modes.time, TIME_ADAPTIVE);
    cr_assert_eq(tables->modes.interval, INTERVAL_NUMERIC);
    cr_assert_eq(tables->modes.binary, BINARY_BYTES);
    cr_assert_eq(tables->modes.hstore, HSTORE_JSON);
    cr_assert_eq(tables->modes.unknown, UNKNOWN_TEXT);
    cr_assert_eq(tables->mapping_count, 1);
    const MappingConfig *mapping = &tables->mappings[0];
    cr_assert_str_eq(mapping->table, "public.item");
    cr_assert_str_eq(mapping->topic, "${prefix}.${schema}.${table}");
    cr_assert_eq(mapping->operations, OPERATION_CREATE | OPERATION_UPDATE | OPERATION_DELETE);
    cr_assert_eq(mapping->key_table, false);
    cr_assert_eq(mapping->key.count + mapping->columns.count + mapping->exclude.count +
                     mapping->hash.count + mapping->mask_count + mapping->cut_count,
                 0);
    cr_assert_str_eq(mapping->hash_salt, "");
    cr_assert_eq(mapping->line, 3);
    loading_end(&loading);
}

/* The pipeline "catalog" of the contract, and with the rest of a mapping. */
Test(capture_rules, the_example_of_the_contract_is_read)
{
    Loading loading;
    loading_begin(&loading);
    loading_write(&loading, "salt", "pepper\n");
    loading_run(
        &loading,
        BASICS
        "pipelines: (\n"
        "  { name = \"catalog\"; capture = \"tables\"; topic_prefix = \"shop\";\n"
        "    format = \"debezium\"; schemas = true; snapshot = \"when_needed\";\n"
        "    snapshot_workers = 4; snapshot_xmin_max = \"2h\"; snapshot_wal_max = \"1GiB\";\n"
        "    transaction_topic = true; heartbeat_interval = \"5s\"; unknown_types = \"omit\";\n"
        "    decimal = \"double\"; time = \"isostring\"; interval = \"string\";\n"
        "    binary = \"base64-url-safe\"; hstore = \"map\"; toast = \"placeholder\";\n"
        "    slot = \"mine\"; publication = \"ours\"; table = \"events.position\";\n"
        "    messages = true; failover_slot = true; mark_interval = \"1s\";\n"
        "    pg_shutdown_grace = \"1s\"; on_poison = \"dead_letter\"; on_unrouted = \"drop\";\n"
        "    on_missing_topic = \"dead_letter\";\n"
        "    mappings = ( { table = \"public.item\"; key = [ \"id\" ]; operations = \"tc\"; },\n"
        "      { table = \"public.stock_*\"; topic = \"catalog.stock\"; key_table = true;\n"
        "        exclude_columns = [ \"note\" ];\n"
        "        mask_columns = [ { column = \"phone\"; characters = 4; } ];\n"
        "        truncate_columns = ( { column = \"text\"; characters = 100; },\n"
        "                             { column = \"more\"; characters = 0; } );\n"
        "        hash_columns = [ \"email\" ]; hash_salt = \"${file:salt}\";\n"
        "        filter = \"active\"; } ); } );\n",
        NULL, NULL);
    const PipelineConfig *pipeline = &loading_config(&loading)->pipelines[0];
    cr_assert_str_eq(pipeline->outbox.table, "events.position");
    cr_assert_str_eq(pipeline->wal.slot, "mine");
    cr_assert_str_eq(pipeline->wal.publication, "ours");
    cr_assert(pipeline->wal.messages && pipeline->wal.failover_slot);
    cr_assert_eq(pipeline->on_poison, ON_POISON_DEAD_LETTER);
    cr_assert_eq(pipeline->route.on_unrouted, ON_UNROUTED_DROP);
    cr_assert_eq(pipeline->route.on_missing_topic, ON_MISSING_TOPIC_DEAD_LETTER);
    const TablesConfig *tables = &pipeline->tables;
    cr_assert_eq(tables->modes.told, TOLD_SCHEMAS | TOLD_TRANSACTIONS);
    cr_assert_eq(tables->snapshot, SNAPSHOT_MODE_WHEN_NEEDED);
    cr_assert_eq(tables->snapshot_workers, 4);
    cr_assert_eq(tables->heartbeat_ms, 5000);
    cr_assert_eq(tables->modes.unknown, UNKNOWN_OMIT);
    cr_assert_eq(tables->modes.decimal, DECIMAL_DOUBLE);
    cr_assert_eq(tables->modes.time, TIME_ISOSTRING);
    cr_assert_eq(tables->modes.interval, INTERVAL_STRING);
    cr_assert_eq(tables->modes.binary, BINARY_BASE64_URL_SAFE);
    cr_assert_eq(tables->modes.hstore, HSTORE_MAP);
    cr_assert_eq(tables->mapping_count, 2);
    cr_assert_eq(tables->mappings[0].operations, OPERATION_TRUNCATE | OPERATION_CREATE);
    cr_assert_str_eq(tables->mappings[0].key.items[0], "id");
    const MappingConfig *stock = &tables->mappings[1];
    cr_assert(stock->key_table);
    cr_assert_str_eq(stock->topic, "catalog.stock");
    cr_assert_str_eq(stock->exclude.items[0], "note");
    cr_assert_eq(stock->mask_count, 1);
    cr_assert_str_eq(stock->masks[0].column, "phone");
    cr_assert_eq(stock->masks[0].characters, 4);
    cr_assert_eq(stock->cut_count, 2);
    cr_assert_str_eq(stock->cuts[1].column, "more");
    cr_assert_str_eq(stock->hash.items[0], "email");
    cr_assert_str_eq(stock->hash_salt, "pepper");
    cr_assert_str_eq(stock->filter, "active");
    cr_assert_str_eq(tables->mappings[0].filter, "");
    loading_end(&loading);
}

Test(capture_rules, what_is_not_built_of_tables_is_refused_by_name)
{
    ASSERT_PROBLEMS(TABLES("format = \"flat\";"),
                    "main.conf:3: format = \"flat\" is not built yet in version " OUTBOXD_VERSION);
    ASSERT_PROBLEMS(
        TABLES("format = \"cloudevents\";"),
        "main.conf:3: format = \"cloudevents\" is not built yet in version " OUTBOXD_VERSION);
}

/* Each with what to write instead. */
Test(capture_rules, an_option_of_an_outbox_is_refused_for_tables)
{
    static const struct {
        const char *option;
        const char *path;
        const char *instead;
    } CASES[] = {
        {"topic = \"a\";", "topic", "each mapping its topic"},
        {"key = \"\";", "key", "a mapping its key"},
        {"routes = ( { topic = \"a\"; } );", "routes", "each mapping its topic and key"},
        {"on_publish = \"keep\";", "on_publish", "no row of the tables is marked"},
        {"retain = \"7d\";", "retain", "no row of the tables is marked"},
        {"allow_unstored = true;", "allow_unstored", "no row of the tables is marked"},
        {"headers = \"plain\";", "headers", "those of format"},
        {"source = \"/x\";", "source", "topic_prefix"},
        {"timestamp = \"publish\";", "timestamp", "source.ts_ms"},
        {"position_headers = true;", "position_headers", "source.lsn"},
        {"allow_row_topic = true;", "allow_row_topic", "each mapping its topic"},
        {"poll_interval_min = \"1ms\";", "poll_interval_min", "is not polled"},
        {"poll_interval_max = \"1s\";", "poll_interval_max", "is not polled"},
        {"sweep_interval = \"1s\";", "sweep_interval", "is not polled"},
        {"unseen_after = \"1s\";", "unseen_after", "is not polled"},
        {"messages_from = \"anyone\";", "messages_from", "every logical message"},
        {"columns: { seq = \"id\"; };", "columns.seq", "exclude_columns"},
        {"header_columns = [ \"a\" ];", "header_columns", "in the record's value"},
    };
    size_t refused = 0;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO_TEXT text = x_format(TABLES("%s"), CASES[i].option);
        Loading loading;
        loading_begin(&loading);
        loading_run(&loading, text, NULL, NULL);
        AUTO_TEXT expected =
            x_format("main.conf:3: \"%s\" has no effect with capture = \"tables\"", CASES[i].path);
        AUTO_TEXT problem = loading_problem(&loading, 0);
        cr_expect_str_eq(problem, expected);
        cr_expect_eq(loading.problems.count, 1, "%s", CASES[i].path);
        cr_expect_not_null(strstr(loading.problems.items[0].remedy, CASES[i].instead), "%s: %s",
                           CASES[i].path, loading.problems.items[0].remedy);
        loading_end(&loading);
    }
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        bool column = strncmp(options[i].path, "columns.", 8) == 0;
        refused += (options[i].flags & OPTION_OUTBOX) != 0 && !column ? 1 : 0;
    }
    cr_assert_eq(refused, sizeof(CASES) / sizeof(CASES[0]) - 1, "one case each, and one column");
}

/* All of them, as the table has them. */
Test(capture_rules, an_option_of_tables_is_refused_for_an_outbox)
{
    size_t count;
    const Option *options = options_all(&count);
    size_t refused = 0;
    for (size_t i = 0; i < count; i++) {
        const Option *option = &options[i];
        if ((option->flags & OPTION_TABLES) == 0) {
            continue;
        }
        bool bare = option->type == OPTION_BOOL || option->type == OPTION_INT;
        const char *value = option->type == OPTION_GROUPS ? "( { table = \"s.t\"; } )"
                            : option->fallback != NULL    ? option->fallback
                                                          : option->example;
        const char *quote = bare || option->type == OPTION_GROUPS ? "" : "\"";
        const char *capture = refused++ % 2 == 0 ? "poll" : "wal";
        AUTO_TEXT text = x_format(WITH("capture = \"%s\";\n%s = %s%s%s;"), capture, option->path,
                                  quote, value, quote);
        AUTO_TEXT problem = x_format("main.conf:3: \"%s\" has no effect with capture = \"%s\"",
                                     option->path, capture);
        ASSERT_PROBLEMS(text, problem);
    }
    cr_assert_eq(refused, 17);
}

Test(capture_rules, an_option_of_tables_is_refused_by_the_variable_that_set_it)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, NULL, NULL,
                LOADING_ENVIRONMENT("OUTBOXD_DATABASE_DSN=host=db", "OUTBOXD_KAFKA_BROKERS=k:1",
                                    "OUTBOXD_PIPELINE_SNAPSHOT=never"));
    cr_assert_eq(loading.problems.count, 1);
    AUTO_TEXT problem = loading_problem(&loading, 0);
    cr_assert_str_eq(problem, "OUTBOXD_PIPELINE_SNAPSHOT: \"snapshot\" has no effect with capture "
                              "= \"poll\"");
    loading_end(&loading);
}

Test(capture_rules, mappings_need_a_file)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, NULL, NULL,
                LOADING_ENVIRONMENT("OUTBOXD_DATABASE_DSN=host=db", "OUTBOXD_KAFKA_BROKERS=k:1",
                                    "OUTBOXD_PIPELINE_CAPTURE=tables",
                                    "OUTBOXD_PIPELINE_MAPPINGS=x",
                                    "OUTBOXD_PIPELINE_TOPIC_PREFIX=shop"));
    cr_assert_eq(loading.problems.count, 2);
    AUTO_TEXT refused = loading_problem(&loading, 0);
    AUTO_TEXT missing = loading_problem(&loading, 1);
    cr_assert_str_eq(refused, "OUTBOXD_PIPELINE_MAPPINGS: \"mappings\" cannot be given by an "
                              "environment variable");
    cr_assert_str_eq(missing, "OUTBOXD_PIPELINE_CAPTURE: pipeline \"outbox\" has no mappings: "
                              "capture = \"tables\" would publish nothing");
    loading_end(&loading);
}

Test(capture_rules, tables_share_no_slot_but_the_table_of_positions)
{
    assert_loads(
        BASICS "pipelines: ( { name = \"a\"; capture = \"tables\"; topic_prefix = \"a\"; "
               "mappings = ( { table = \"s.t\"; } ); },\n"
               " { name = \"b\"; capture = \"tables\"; topic_prefix = \"b\"; "
               "mappings = ( { table = \"s.t\"; } ); },\n"
               " { name = \"c\"; capture = \"wal\"; },\n { name = \"d\"; table = \"s.u\"; } );\n");
    ASSERT_PROBLEMS(BASICS "pipelines: ( { name = \"a\"; capture = \"wal\"; },\n"
                           " { name = \"b\"; capture = \"tables\"; topic_prefix = \"b\";\n"
                           " slot = \"outboxd_a\"; mappings = ( { table = \"s.t\"; } ); } );\n",
                    "main.conf:4: pipelines \"a\" and \"b\" both read slot \"outboxd_a\"");
    ASSERT_PROBLEMS(TABLES("slot = \"my-slot\";"),
                    "main.conf:3: \"my-slot\" cannot be the name of a replication slot");
}

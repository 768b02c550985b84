#include "loading.h"

/* --- defaults, and who beats whom --- */

Test(load, what_the_contract_promises_holds_without_being_written)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, BASICS PIPELINE, NULL, NULL);
    const Config *config = loading_config(&loading);
    cr_assert_str_eq(config->name, "outboxd");
    cr_assert_eq(config->on_failure, ON_FAILURE_STOP_PIPELINE);
    cr_assert_eq(config->shutdown_timeout_ms, 30000);
    cr_assert_eq(config->database.pooler, POOLER_NONE);
    cr_assert_eq(config->database.connect_timeout_ms, 5000);
    cr_assert_eq(config->kafka.create_topics, false);
    cr_assert_eq(config->kafka.properties.count, 0);
    cr_assert_str_eq(config->monitor.listen, "127.0.0.1:9480");
    cr_assert_eq(config->log.format, LOG_FORMAT_LOGFMT);
    cr_assert_eq(config->log.level, LOG_INFO);
    const PipelineConfig *pipeline = &config->pipelines[0];
    cr_assert_str_eq(pipeline->outbox.table, "outbox.event");
    cr_assert_str_eq(pipeline->route.topic, "${aggregate_type}.events");
    cr_assert_str_eq(pipeline->route.key, "${aggregate_id}");
    cr_assert_str_eq(pipeline->encode.source, "/outboxd/orders");
    cr_assert_eq(pipeline->sink, SINK_KAFKA);
    cr_assert_eq(pipeline->outbox.on_publish, ON_PUBLISH_MARK);
    cr_assert_eq(pipeline->outbox.retain_ms, DURATION_FOREVER);
    cr_assert_eq(pipeline->delivery, DELIVERY_AT_LEAST_ONCE);
    cr_assert_eq(pipeline->encode.headers, HEADERS_CLOUDEVENTS);
    cr_assert_eq(pipeline->on_poison, ON_POISON_STOP);
    cr_assert_eq(pipeline->route.on_unrouted, ON_UNROUTED_STOP);
    cr_assert_eq(pipeline->encode.timestamp, TIMESTAMP_OCCURRED_AT);
    cr_assert_eq(pipeline->poll.interval_min_ms, 1);
    cr_assert_eq(pipeline->poll.interval_max_ms, 100);
    cr_assert_eq(pipeline->limits.batch_events, 2000);
    cr_assert_eq(pipeline->limits.batch_bytes, 4 << 20);
    cr_assert_eq(pipeline->limits.in_flight_events, 10000);
    cr_assert_eq(pipeline->limits.in_flight_bytes, 16 << 20);
    cr_assert_eq(pipeline->claim.lease_ms, 10000);
    cr_assert_str_eq(pipeline->outbox.columns[FIELD_PUBLISHED_AT], "published_at");
    cr_assert_eq(pipeline->capture, CAPTURE_POLL);
    cr_assert_str_eq(pipeline->wal.slot, "outboxd_orders");
    cr_assert_str_eq(pipeline->wal.publication, "outboxd_orders");
    cr_assert_eq(pipeline->wal.messages, false);
    cr_assert_eq(pipeline->wal.failover_slot, false);
    cr_assert_eq(pipeline->wal.shutdown_grace_ms, 10000);
    loading_end(&loading);
}

Test(load, the_bound_of_an_event_follows_the_records_that_may_be_sent)
{
    static const struct {
        const char *properties;
        const char *option;
        int64_t bytes;
    } cases[] = {
        {"", "", 8 << 20},
        {"\"message.max.bytes=1000000\"", "", 8 << 20},
        {"\"message.max.bytes=60000000\"", "", 60000000 + (1 << 20)},
        {"\"message.max.bytes=60000000\"", " event_bytes_max = \"8MiB\";", 8 << 20},
        {"\"message.max.bytes=4000000000\"", "", 1 << 30},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_TEXT text = x_format("database: { dsn = \"host=db\"; };\n"
                                  "kafka: { brokers = \"k\"; properties = [ %s ]; };\n"
                                  "pipelines: ( { name = \"orders\";%s } );\n",
                                  cases[i].properties, cases[i].option);
        Loading loading;
        loading_begin(&loading);
        loading_run(&loading, text, NULL, NULL);
        cr_assert_eq(loading_config(&loading)->pipelines[0].limits.event_bytes, cases[i].bytes,
                     "case %zu", i);
        loading_end(&loading);
    }
}

Test(load, every_kind_of_value_is_taken_from_the_file)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(
        &loading,
        "name = \"shop\"; on_failure = \"exit\"; shutdown_timeout = \"1min\";\n"
        "database: { dsn = \"host=db\"; pooler = \"session\"; };\n"
        "kafka: { brokers = \"k\"; create_topics = true; properties = [ \"a=1\", \"b=2\" ]; };\n"
        "log = { level = \"warn\"; format = \"json\"; };\n"
        "monitor: { listen = \"off\"; };\n"
        "pipelines = ( { name = \"a\"; table = \"s.t\"; batch_events = 7; batch_bytes = \"1MB\";\n"
        "  on_publish = \"delete\"; position_headers = true; header_columns = ( \"tenant\" );\n"
        "  columns: { seq = \"position\"; topic = \"\"; };\n"
        "  routes = ( { event_type = \"p.*\"; topic = \"payments\"; },\n"
        "             { aggregate_type = \"order\"; topic = \"orders\"; key = \"${tenant}\"; } ); "
        "},\n"
        " { name = \"b\"; sink = \"stdout\"; allow_unstored = true; table = \"s.u\"; source = "
        "\"/x\"; retain = \"7d\"; } "
        ");\n",
        NULL, NULL);
    const Config *config = loading_config(&loading);
    cr_assert_eq(config->on_failure, ON_FAILURE_EXIT);
    cr_assert_eq(config->shutdown_timeout_ms, 60000);
    cr_assert_eq(config->database.pooler, POOLER_SESSION);
    cr_assert_eq(config->kafka.create_topics, true);
    cr_assert_eq(config->kafka.properties.count, 2);
    cr_assert_str_eq(config->kafka.properties.items[1], "b=2");
    cr_assert_eq(config->log.level, LOG_WARN);
    cr_assert_eq(config->log.format, LOG_FORMAT_JSON);
    cr_assert_str_empty(config->monitor.listen);
    cr_assert_eq(config->pipeline_count, 2);
    const PipelineConfig *a = &config->pipelines[0];
    cr_assert_eq(a->line, 6);
    cr_assert_eq(a->limits.batch_events, 7);
    cr_assert_eq(a->limits.batch_bytes, 1000000);
    cr_assert_eq(a->outbox.on_publish, ON_PUBLISH_DELETE);
    cr_assert_eq(a->encode.position_headers, true);
    cr_assert_str_eq(a->outbox.header_columns.items[0], "tenant");
    cr_assert_str_eq(a->outbox.columns[FIELD_SEQ], "position");
    cr_assert_str_empty(a->outbox.columns[FIELD_TOPIC]);
    cr_assert_eq(a->route.rule_count, 2);
    cr_assert_str_eq(a->route.rules[0].event_type, "p.*");
    cr_assert_null(a->route.rules[0].aggregate_type);
    cr_assert_null(a->route.rules[0].key);
    cr_assert_str_eq(a->route.rules[1].key, "${tenant}");
    cr_assert_eq(a->route.rules[1].line, 10);
    cr_assert_str_eq(a->encode.source, "/shop/a");
    const PipelineConfig *b = &config->pipelines[1];
    cr_assert_eq(b->sink, SINK_STDOUT);
    cr_assert_str_eq(b->encode.source, "/x");
    cr_assert_eq(b->outbox.retain_ms, INT64_C(604800000));
    loading_end(&loading);
}

Test(load, the_environment_beats_the_file_and_the_command_line_beats_both)
{
    Loading loading;
    loading_begin(&loading);
    ConfigOverrides overrides = {.brokers = "line:3"};
    loading_run(&loading, "name = \"file\"; log: { level = \"warn\"; };\n" BASICS PIPELINE,
                &overrides,
                LOADING_ENVIRONMENT("OUTBOXD_DATABASE_DSN=host=env", "OUTBOXD_KAFKA_BROKERS=env:2",
                                    "OUTBOXD_LOG_LEVEL=debug", "OUTBOXD_SHUTDOWN_TIMEOUT=2s",
                                    "OUTBOXD_KAFKA_CREATE_TOPICS=true"));
    const Config *config = loading_config(&loading);
    cr_assert_str_eq(config->name, "file");
    cr_assert_str_eq(config->database.dsn, "host=env");
    cr_assert_str_eq(config->kafka.brokers, "line:3");
    cr_assert_eq(config->log.level, LOG_DEBUG);
    cr_assert_eq(config->shutdown_timeout_ms, 2000);
    cr_assert_eq(config->kafka.create_topics, true);
    cr_assert_str_eq(config->monitor.listen, "127.0.0.1:9480");
    loading_end(&loading);
}

Test(load, a_kafka_property_of_the_environment_replaces_that_of_the_file)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading,
                "database: { dsn = \"host=y\"; }; kafka: { brokers = \"k\"; properties = [\n"
                "\"sasl.password=file\", \"linger.ms=5\" ]; };\n" PIPELINE,
                NULL,
                LOADING_ENVIRONMENT("OUTBOXD_KAFKA_PROPERTY_SASL_PASSWORD=env",
                                    "OUTBOXD_KAFKA_PROPERTY_CLIENT_RACK=a"));
    const StringList *properties = &loading_config(&loading)->kafka.properties;
    cr_assert_eq(properties->count, 3);
    cr_assert_str_eq(properties->items[0], "linger.ms=5");
    cr_assert_str_eq(properties->items[1], "client.rack=a");
    cr_assert_str_eq(properties->items[2], "sasl.password=env");
    loading_end(&loading);
}

/* --- without a file --- */

Test(load, a_dsn_and_brokers_alone_make_one_pipeline)
{
    Loading loading;
    loading_begin(&loading);
    ConfigOverrides overrides = {.dsn = "host=db", .brokers = "k:1"};
    loading_run(&loading, NULL, &overrides,
                LOADING_ENVIRONMENT("OUTBOXD_PIPELINE_ON_PUBLISH=delete",
                                    "OUTBOXD_PIPELINE_COLUMNS_AGGREGATE_ID=aggregateid",
                                    "OUTBOXD_PIPELINE_HEADER_COLUMNS=tenant, region"));
    const Config *config = loading_config(&loading);
    cr_assert_eq(config->pipeline_count, 1);
    const PipelineConfig *pipeline = &config->pipelines[0];
    cr_assert_str_eq(pipeline->name, "outbox");
    cr_assert_str_eq(pipeline->outbox.table, "outbox.event");
    cr_assert_str_eq(pipeline->encode.source, "/outboxd/outbox");
    cr_assert_str_eq(pipeline->route.key, "${aggregateid}", "the default key follows the column");
    cr_assert_eq(pipeline->outbox.on_publish, ON_PUBLISH_DELETE);
    cr_assert_eq(pipeline->outbox.header_columns.count, 2);
    cr_assert_str_eq(pipeline->outbox.header_columns.items[1], "region");
    loading_end(&loading);
}

Test(load, without_anything_it_says_what_is_missing)
{
    ASSERT_PROBLEMS(NULL, "configuration: no database is given",
                    "configuration: no brokers are given");
}

Test(load, pipelines_of_the_environment_count_only_without_a_file)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, BASICS PIPELINE, NULL,
                LOADING_ENVIRONMENT("OUTBOXD_PIPELINE_TABLE=other.event"));
    cr_assert_str_eq(loading_config(&loading)->pipelines[0].outbox.table, "outbox.event");
    AUTO_TEXT problem = loading_problem(&loading, 0);
    cr_assert_str_eq(problem,
                     "OUTBOXD_PIPELINE_TABLE: warning: ignored: OUTBOXD_PIPELINE_* applies "
                     "only without a configuration file");
    loading_end(&loading);
}

Test(load, unknown_variables_only_warn_and_say_what_they_may_have_meant)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, BASICS PIPELINE, NULL,
                LOADING_ENVIRONMENT("OUTBOXD_DATABSE_DSN=x", "OUTBOXD_PORT_9480_TCP_PROTO=tcp",
                                    "OUTBOXD_FAILPOINTS=", "PATH=/bin"));
    loading_config(&loading);
    cr_assert_eq(loading.problems.count, 2);
    AUTO_TEXT first = loading_problem(&loading, 0);
    cr_assert_str_eq(first, "OUTBOXD_DATABSE_DSN: warning: this environment variable belongs to "
                            "no option and is ignored; did you mean OUTBOXD_DATABASE_DSN?");
    loading_end(&loading);
}

Test(load, a_bad_value_of_the_environment_names_the_variable)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, BASICS PIPELINE, NULL,
                LOADING_ENVIRONMENT("OUTBOXD_KAFKA_CREATE_TOPICS=maybe", "OUTBOXD_LOG_LEVEL=infos",
                                    "OUTBOXD_SHUTDOWN_TIMEOUT=5", "OUTBOXD_MONITOR_INTERVAL=5"));
    cr_assert_eq(loading.status, FAILED);
    const char *expected[] = {
        "OUTBOXD_KAFKA_CREATE_TOPICS: \"kafka.create_topics\" cannot be \"maybe\"",
        "OUTBOXD_LOG_LEVEL: \"log.level\" cannot be \"infos\"; did you mean \"info\"?",
        "OUTBOXD_MONITOR_INTERVAL: \"monitor.interval\" cannot be \"5\": it has no unit",
        "OUTBOXD_SHUTDOWN_TIMEOUT: \"shutdown_timeout\" cannot be \"5\": it has no unit",
    };
    for (size_t i = 0; i < 4; i++) {
        AUTO_TEXT problem = loading_problem(&loading, i);
        cr_assert_str_eq(problem, expected[i]);
    }
    loading_end(&loading);
}

/* --- references --- */

Test(load, references_work_in_every_string_also_of_the_environment)
{
    Loading loading;
    loading_begin(&loading);
    loading_write(&loading, "secret", "s3cret\n");
    loading_run(
        &loading,
        "name = \"${env:NAME}\"; database: { dsn = \"host=db password=${file:secret}\"; };\n"
        "kafka: { brokers = \"k\"; properties = [ \"sasl.password=${file:secret}\" ]; };\n"
        "pipelines: ( { name = \"a\"; topic = \"${env:NAME}.${aggregate_type}\";\n"
        "  batch_events = \"${env:COUNT}\"; lease = \"${env:LEASE}\"; } );\n",
        NULL,
        LOADING_ENVIRONMENT("NAME=shop", "COUNT=12", "LEASE=3s", "LEVEL=warn",
                            "OUTBOXD_LOG_LEVEL=${env:LEVEL}"));
    const Config *config = loading_config(&loading);
    cr_assert_str_eq(config->name, "shop");
    cr_assert_str_eq(config->database.dsn, "host=db password=s3cret");
    cr_assert_str_eq(config->kafka.properties.items[0], "sasl.password=s3cret");
    cr_assert_str_eq(config->pipelines[0].route.topic, "shop.${aggregate_type}");
    cr_assert_eq(config->pipelines[0].limits.batch_events, 12);
    cr_assert_eq(config->pipelines[0].claim.lease_ms, 3000);
    cr_assert_eq(config->log.level, LOG_WARN);
    loading_end(&loading);
}

Test(load, a_reference_that_cannot_be_replaced_is_an_error_with_its_place)
{
    ASSERT_PROBLEMS("database: { dsn = \"host=db\n${env:NOPE}\"; };\n"
                    "kafka: { brokers = \"k\"; properties = [ \"a=b\",\n"
                    "\"c=${file:/nonexistent}\" ]; };\n" PIPELINE,
                    "main.conf:1: environment variable \"NOPE\" is not set",
                    "main.conf:4: cannot read file \"/nonexistent\": No such file or directory");
}

/* --- the shape of the file --- */

Test(load, unknown_options_are_errors_with_the_nearest_known_name)
{
    ASSERT_PROBLEMS(BASICS "pipelines: (\n"
                           "  { name = \"orders\"; capure = \"poll\";\n"
                           "    routes = ( { topic = \"t\"; event_typ = \"x\"; } );\n"
                           "    columns: { sequence = \"x\"; }; } );\n"
                           "wholly_different = 1;\n",
                    "main.conf:3: unknown option \"capure\" in pipeline \"orders\"; did you mean "
                    "\"capture\"?",
                    "main.conf:4: unknown option \"event_typ\" in route 1 of pipeline \"orders\"; "
                    "did you mean \"event_type\"?",
                    "main.conf:5: unknown option \"columns.sequence\" in pipeline \"orders\"",
                    "main.conf:6: unknown option \"wholly_different\"");
}

Test(load, values_of_the_wrong_type_are_errors)
{
    ASSERT_PROBLEMS(
        "name = 5;\n"
        "database = \"host=db\";\n"
        "kafka: { brokers = [ \"a\" ]; create_topics = \"yes\"; properties = \"a=b\"; };\n"
        "shutdown_timeout = 30;\n"
        "pipelines: ( 5, { name = \"a\"; batch_events = 1.5; batch_bytes = 4096;\n"
        "  lease = true; header_columns = ( 5 ); routes: { topic = \"x\"; }; } );\n"
        "log: ( 1 );\n",
        "main.conf:1: \"name\" is a number, but must be a string",
        "main.conf:2: \"database\" is a string, but must be a group",
        "main.conf:3: \"kafka.brokers\" is an array [ ], but must be a string",
        "main.conf:3: \"kafka.create_topics\" is a string, but must be true or false",
        "main.conf:3: \"kafka.properties\" is a string, but must be a list of strings",
        "main.conf:4: \"shutdown_timeout\" is a number, but must be a duration",
        "main.conf:5: \"pipelines\" holds a number, but must hold groups",
        "main.conf:5: \"pipelines.batch_events\" is a number with a fraction, but must "
        "be a whole number",
        "main.conf:5: \"pipelines.batch_bytes\" is a number, but must be a size",
        "main.conf:6: \"pipelines.lease\" is true or false, but must be a duration",
        "main.conf:6: \"header_columns\" holds a number, but must hold strings",
        "main.conf:6: \"pipelines.routes\" is a group { }, but must be a list of groups",
        "main.conf:7: \"log\" is a list ( ), but must be a group",
        "main.conf: no database is given", "main.conf: no brokers are given");
}

Test(load, numbers_out_of_range_say_the_range)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading,
                BASICS "pipelines: ( { name = \"a\"; batch_events = 0; lease = \"1ms\"; } );\n",
                NULL, NULL);
    cr_assert_eq(loading.problems.errors, 2);
    cr_assert_str_eq(loading.problems.items[0].message,
                     "\"pipelines.batch_events\" is out of range: 0");
    cr_assert_str_eq(loading.problems.items[0].remedy, "give a value from 1 to 100000");
    cr_assert_str_eq(loading.problems.items[1].message, "\"pipelines.lease\" is out of range: 1ms");
    cr_assert_str_eq(loading.problems.items[1].remedy, "give a value from 500ms to 10min");
    loading_end(&loading);
}

Test(load, what_is_known_but_not_built_is_refused_by_name)
{
    ASSERT_PROBLEMS(
        BASICS "pipelines: ( { name = \"a\"; delivery = \"exactly-once\";\n"
               "  headers = \"debezium\"; preset = \"s\"; tables = [ \"x\" ]; } );\n",
        "main.conf:2: delivery = \"exactly-once\" is not built yet in version " OUTBOXD_VERSION,
        "main.conf:3: headers = \"debezium\" is not built yet in version " OUTBOXD_VERSION,
        "main.conf:3: \"preset\" in pipeline \"a\" is not built yet in version " OUTBOXD_VERSION,
        "main.conf:3: \"tables\" in pipeline \"a\" is not built yet in version " OUTBOXD_VERSION);
}

Test(load, a_syntax_error_has_its_line_and_hides_nothing_that_is_wrong_elsewhere)
{
    ASSERT_PROBLEMS(BASICS "pipelines: (\n  { name = \"a\" lease = }\n);\n",
                    "main.conf:3: syntax error");
    ASSERT_PROBLEMS(
        BASICS "a = 99999999999;\n b = ;\n",
        "main.conf:2: \"a\" cannot be 99999999999: it does not fit into a 32-bit integer",
        "main.conf:3: syntax error");
    ASSERT_PROBLEMS(BASICS PIPELINE "kafka: { };\n", "main.conf:3: duplicate setting name");
}

Test(load, a_file_that_cannot_be_read_is_the_only_problem)
{
    Loading loading;
    loading_begin(&loading);
    ConfigOverrides overrides = {.file = "/nonexistent/outboxd.conf"};
    loading_run(&loading, NULL, &overrides, NULL);
    cr_assert_eq(loading.problems.count, 1);
    cr_assert_str_eq(loading.problems.items[0].message,
                     "cannot read \"/nonexistent/outboxd.conf\": No such file or directory");
    loading_end(&loading);
}

Test(load, a_file_without_pipelines_says_so)
{
    ASSERT_PROBLEMS(BASICS, "main.conf: no pipeline is given");
    ASSERT_PROBLEMS(BASICS "pipelines: ( );\n", "main.conf:2: no pipeline is given");
    ASSERT_PROBLEMS(BASICS "pipelines: ( { table = \"s.t\"; } );\n",
                    "main.conf:2: no \"name\" in pipeline 1");
}

/* --- the database --- */

#define DATABASE(options) "database: { " options " }; kafka: { brokers = \"k:1\"; };\n" PIPELINE

static void assert_dsn(const char *text, char *const *environment, const char *dsn)
{
    Loading loading;
    loading_begin(&loading);
    loading_write(&loading, "secret", "pass word\\\n");
    loading_run(&loading, text, NULL, environment);
    cr_assert_str_eq(loading_config(&loading)->database.dsn, dsn);
    loading_end(&loading);
}

Test(load, a_password_comes_from_an_option_a_file_or_the_environment)
{
    assert_dsn(DATABASE("dsn = \"host=db\"; password = \"a'b\";"), NULL,
               "host=db password='a\\'b'");
    assert_dsn(DATABASE("dsn = \"postgresql://db\"; password_file = \"secret\";"), NULL,
               "host=db password='pass word\\\\'");
    assert_dsn(DATABASE("dsn = \"host=db password=${file:secret}\";"), NULL,
               "host=db password='pass word\\\\'");
    assert_dsn(DATABASE("dsn = \"host=db\";"), LOADING_ENVIRONMENT("OUTBOXD_DATABASE_PASSWORD=x y"),
               "host=db password='x y'");
}

Test(load, a_password_is_given_once)
{
    ASSERT_PROBLEMS(DATABASE("dsn = \"host=db\"; password = \"s3\"; password_file = \"s3\";"),
                    "main.conf:1: database.password and database.password_file are both given");
    ASSERT_PROBLEMS(DATABASE("dsn = \"host=db password=s3\"; password = \"s3\";"),
                    "main.conf:1: both database.password and database.dsn give a password");
    ASSERT_PROBLEMS(DATABASE("dsn = \"postgresql://u:s3@db\"; password_file = \"s3\";"),
                    "main.conf:1: both database.password_file and database.dsn give a password");
    ASSERT_PROBLEMS(
        DATABASE("dsn = \"host=db\"; password_file = \"/dev/null\";"),
        "main.conf:1: cannot read file \"/dev/null\": it is a device, not a regular file");
}

Test(load, the_connection_string_of_replication_gets_the_same_password)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(
        &loading,
        DATABASE("dsn = \"host=pooler\"; replication_dsn = \"host=db\"; password = \"s3\";"), NULL,
        NULL);
    const Config *config = loading_config(&loading);
    cr_assert_str_eq(config->database.dsn, "host=pooler password=s3");
    cr_assert_str_eq(*config_replication_dsn(config), "host=db password=s3");
    loading_end(&loading);
    loading_begin(&loading);
    loading_run(&loading, DATABASE("dsn = \"host=db\";"), NULL, NULL);
    cr_assert_str_eq(*config_replication_dsn(loading_config(&loading)), "host=db");
    loading_end(&loading);
    ASSERT_PROBLEMS(DATABASE("dsn = \"host=db\"; replication_dsn = \"host=db password=s3\"; "
                             "password = \"s3\";"),
                    "main.conf:1: both database.password and database.replication_dsn give a "
                    "password");
    ASSERT_PROBLEMS(DATABASE("dsn = \"host=db\";\n replication_dsn = \"postgresql://u:1%s3@db\";"),
                    "main.conf:2: database.replication_dsn is malformed: a '%' in the password is "
                    "not followed by two hex digits");
}

Test(load, a_malformed_connection_string_is_an_error_of_its_place)
{
    ASSERT_PROBLEMS(
        DATABASE("\n dsn = \"postgresql://u:100%s3@db\";"),
        "main.conf:2: database.dsn is malformed: a '%' in the password is not followed by "
        "two hex digits");
}

Test(load, what_a_reference_stood_for_is_in_no_problem)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading,
                BASICS "pipelines: ( { name = \"${env:X}\"; table = \"${env:X}\"; lease = "
                       "\"${env:X}\"; capture = \"${env:X}\"; topic = \"x${env:X}\"; } );",
                NULL, LOADING_ENVIRONMENT("X=s3 s3"));
    cr_assert_geq(loading.problems.count, 5);
    for (size_t i = 0; i < loading.problems.count; i++) {
        const Problem *problem = &loading.problems.items[i];
        cr_assert_null(strstr(problem->message, "s3"), "%s", problem->message);
        cr_assert(problem->remedy == NULL || strstr(problem->remedy, "s3") == NULL);
    }
    loading_end(&loading);
}

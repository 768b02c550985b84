#include <math.h>

#include "loading.h"

/* One pipeline with the given options on line 2. */
#define WITH(options) BASICS "pipelines: ( { name = \"orders\"; " options " } );\n"

Test(rules, templates_may_name_only_columns_of_the_table)
{
    ASSERT_PROBLEMS(WITH("topic = \"${agregate_type}.events\";"),
                    "main.conf:2: topic template \"${agregate_type}.events\": no column "
                    "\"agregate_type\" in outbox.event; did you mean \"aggregate_type\"?");
    ASSERT_PROBLEMS(WITH("key = \"${}\";"),
                    "main.conf:2: key template \"${}\": no column \"\" in outbox.event");
    ASSERT_PROBLEMS(WITH("key = \"${published_at}\";"),
                    "main.conf:2: key template \"${published_at}\": no column \"published_at\" in "
                    "outbox.event");
    ASSERT_PROBLEMS(WITH("topic = \"${topic\";"),
                    "main.conf:2: topic template \"${topic\": \"${\" has no closing \"}\" (write "
                    "$${ for a literal ${)");
    ASSERT_PROBLEMS(WITH("routes = ( { topic = \"t\"; key = \"${tenat}\"; } ); "
                         "header_columns = [ \"tenant\" ];"),
                    "main.conf:2: key template \"${tenat}\": no column \"tenat\" in outbox.event; "
                    "did you mean \"tenant\"?");
    assert_loads(
        WITH("key = \"$${x}-${aggregate_id}-${tenant}\"; header_columns = [ \"tenant\" ];"));
}

Test(rules, templates_of_an_adopted_table_use_its_names)
{
    assert_loads(WITH("columns: { aggregate_type = \"aggregatetype\"; aggregate_id = "
                      "\"aggregateid\"; }; topic = \"x.${aggregatetype}\";"));
    ASSERT_PROBLEMS(WITH("columns: { aggregate_type = \"aggregatetype\"; }; "
                         "topic = \"x.${aggregate_type}\";"),
                    "main.conf:2: topic template \"x.${aggregate_type}\": no column "
                    "\"aggregate_type\" in outbox.event; did you mean \"aggregatetype\"?");
    ASSERT_PROBLEMS(WITH("columns: { topic = \"\"; }; key = \"${topic}\";"),
                    "main.conf:2: key template \"${topic}\": no column \"topic\" in outbox.event");
}

Test(rules, topics_are_what_kafka_takes)
{
    assert_loads(WITH("topic = \"aZ0._-\";"));
    ASSERT_PROBLEMS(WITH("topic = \"a b\";"),
                    "main.conf:2: topic \"a b\" contains a character that Kafka does not allow");
    ASSERT_PROBLEMS(
        WITH("topic = \"gr\xC3\xBC\xC3\x9F\";"),
        "main.conf:2: topic \"gr\xC3\xBC\xC3\x9F\" contains a character that Kafka does "
        "not allow");
    ASSERT_PROBLEMS(WITH("topic = \"..\";"),
                    "main.conf:2: Kafka does not allow a topic named \"..\"");
    AUTO_TEXT longest = x_format("%0249d", 0);
    AUTO_TEXT fits = x_format(BASICS "pipelines: ( { name = \"a\"; topic = \"%s\"; } );", longest);
    assert_loads(fits);
    AUTO_TEXT beyond =
        x_format(BASICS "pipelines: ( { name = \"a\"; topic = \"%s0\"; } );", longest);
    AUTO_TEXT message = x_format("main.conf:2: topic \"%s0\" is longer than 249 bytes", longest);
    ASSERT_PROBLEMS(beyond, message);
}

Test(rules, lag_target_is_a_percentage_below_100)
{
    static const struct {
        const char *text;
        double ratio;
    } GOOD[] = {{"99.9%", 0.999}, {"99.95%", 0.9995}, {"50%", 0.5}, {"0.5%", 0.005}};
    for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
        AUTO_TEXT text =
            x_format(BASICS PIPELINE "monitor: { lag_target = \"%s\"; };", GOOD[i].text);
        Loading loading;
        loading_begin(&loading);
        loading_run(&loading, text, NULL, NULL);
        double ratio = loading_config(&loading)->monitor.lag_target_ratio;
        cr_assert(fabs(ratio - GOOD[i].ratio) < 1e-12, "%s is %.9g", GOOD[i].text, ratio);
        loading_end(&loading);
    }
    static const char *const BAD[] = {"99.9", "100%",   "100.0%", "0%",   "%",      "",
                                      "99.%", ".9%",    "-1%",    "1e1%", "99,9%",  "99.9 %",
                                      "nan%", "99.9%%", "often",  "101%", "0.000%", "9.9.9%"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        AUTO_TEXT text = x_format(BASICS PIPELINE "monitor: { lag_target = \"%s\"; };", BAD[i]);
        AUTO_TEXT problem = x_format("main.conf:3: \"monitor.lag_target\" cannot be \"%s\": it is "
                                     "not a percentage below 100",
                                     BAD[i]);
        ASSERT_PROBLEMS(text, problem);
    }
}

Test(rules, patterns_are_checked)
{
    ASSERT_PROBLEMS(
        WITH("routes = ( { event_type = \"pay[ment\"; topic = \"t\"; } );"),
        "main.conf:2: \"pipelines.routes.event_type\" cannot be \"pay[ment\": \"[\" has "
        "no closing \"]\"");
    assert_loads(WITH("routes = ( { event_type = \"pay[mn]ent.?*\"; topic = \"t\"; } );"));
}

Test(rules, a_route_that_takes_everything_hides_those_behind_it)
{
    ASSERT_PROBLEMS(
        WITH("routes = ( { topic = \"a\"; }, { event_type = \"x\"; topic = \"b\"; } );"),
        "main.conf:2: warning: route 1 has no condition: the routes after it are never "
        "reached");
    assert_loads(WITH("routes = ( { event_type = \"x\"; topic = \"b\"; }, { topic = \"a\"; } );"));
}

Test(rules, contradictions_are_errors)
{
    ASSERT_PROBLEMS(WITH("on_publish = \"delete\"; retain = \"7d\";"),
                    "main.conf:2: retain contradicts on_publish = \"delete\": deleted rows are not "
                    "kept");
    ASSERT_PROBLEMS(WITH("poll_interval_min = \"1min\";"),
                    "main.conf:2: \"poll_interval_min\" is greater than \"poll_interval_max\" in "
                    "pipeline \"orders\"");
    ASSERT_PROBLEMS(
        WITH("in_flight_events = 10;"),
        "main.conf:2: \"batch_events\" is greater than \"in_flight_events\" in pipeline "
        "\"orders\"");
    ASSERT_PROBLEMS(WITH("columns: { published_at = \"\"; };"),
                    "main.conf:2: on_publish = \"mark\" needs columns.published_at");
    ASSERT_PROBLEMS(WITH("columns: { topic = \"\"; }; allow_row_topic = true;"),
                    "main.conf:2: allow_row_topic = true, but columns.topic is \"\"");
    ASSERT_PROBLEMS(WITH("columns: { payload = \"\"; payload_bytes = \"\"; };"),
                    "main.conf:2: columns.payload and columns.payload_bytes are both empty: no "
                    "record would have a value");
    ASSERT_PROBLEMS(WITH("columns: { seq = \"\"; };"),
                    "main.conf:2: \"columns.seq\" cannot be empty: polling needs that column");
    ASSERT_PROBLEMS(WITH("topic = \"\";"), "main.conf:2: pipeline \"orders\" has no topic and no "
                                           "routes: nothing could be published");
}

Test(rules, pipelines_need_names_and_tables_of_their_own)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading,
                BASICS "pipelines: ( { name = \"a\"; },\n { name = \"a\"; table = \"s.t\"; },\n"
                       " { name = \"b\"; } );\n",
                NULL, NULL);
    cr_assert_eq(loading.problems.count, 2);
    AUTO_TEXT expected =
        x_format("pipeline name \"a\" is already used at %s/main.conf:2", loading.directory);
    cr_assert_str_eq(loading.problems.items[0].message, expected);
    AUTO_TEXT second = loading_problem(&loading, 1);
    cr_assert_str_eq(second, "main.conf:4: pipelines \"a\" and \"b\" both publish outbox.event: "
                             "only one of them could ever publish a row");
    loading_end(&loading);
}

Test(rules, slot_and_publication_are_named_after_the_pipeline)
{
    const struct {
        const char *pipeline;
        const char *slot;
    } cases[] = {
        {"orders", "outboxd_orders"},
        {"Shop.Orders-2", "outboxd_shop_orders_2"},
        {"a23456789012345678901234567890123456789012345678901234567890123",
         "outboxd_a234567890123456789012345678901234567890123456789012345"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Loading loading;
        loading_begin(&loading);
        AUTO_TEXT text = x_format(BASICS "pipelines: ( { name = \"%s\"; capture = \"wal\"; } );",
                                  cases[i].pipeline);
        loading_run(&loading, text, NULL, NULL);
        const PipelineConfig *pipeline = &loading_config(&loading)->pipelines[0];
        cr_assert_str_eq(pipeline->wal.slot, cases[i].slot);
        cr_assert_str_eq(pipeline->wal.publication, cases[i].slot);
        cr_assert_leq(strlen(pipeline->wal.slot), 63, "PostgreSQL's limit of a name");
        loading_end(&loading);
    }
}

Test(rules, given_names_of_slot_and_publication_hold)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading,
                WITH("capture = \"wal\"; slot = \"mine_1\"; publication = \"theirs\"; "
                     "messages = true; failover_slot = true; on_publish = \"keep\"; "
                     "pg_shutdown_grace = \"3s\"; mark_interval = \"0s\";"),
                NULL, NULL);
    const PipelineConfig *pipeline = &loading_config(&loading)->pipelines[0];
    cr_assert_eq(pipeline->capture, CAPTURE_WAL);
    cr_assert_str_eq(pipeline->wal.slot, "mine_1");
    cr_assert_str_eq(pipeline->wal.publication, "theirs");
    cr_assert(pipeline->wal.messages && pipeline->wal.failover_slot);
    cr_assert_eq(pipeline->outbox.on_publish, ON_PUBLISH_KEEP);
    cr_assert_eq(pipeline->wal.shutdown_grace_ms, 3000);
    cr_assert_eq(pipeline->outbox.mark_interval_ms, 0);
    loading_end(&loading);
    ASSERT_PROBLEMS(WITH("capture = \"wal\"; slot = \"my-slot\";"),
                    "main.conf:2: \"my-slot\" cannot be the name of a replication slot");
    ASSERT_PROBLEMS(WITH("capture = \"wal\"; slot = \"Mine\";"),
                    "main.conf:2: \"Mine\" cannot be the name of a replication slot");
}

Test(rules, a_slot_has_one_reader)
{
    ASSERT_PROBLEMS(BASICS "pipelines: ( { name = \"a\"; capture = \"wal\"; },\n"
                           " { name = \"b\"; capture = \"wal\"; table = \"s.t\"; slot = "
                           "\"outboxd_a\"; } );\n",
                    "main.conf:3: pipelines \"a\" and \"b\" both read slot \"outboxd_a\"");
    /* names that differ only in what a slot's name cannot hold */
    ASSERT_PROBLEMS(BASICS "pipelines: ( { name = \"a.b\"; capture = \"wal\"; },\n"
                           " { name = \"A-B\"; capture = \"wal\"; table = \"s.t\"; } );\n",
                    "main.conf:3: pipelines \"a.b\" and \"A-B\" both read slot \"outboxd_a_b\"");
    /* a slot is not what a polling pipeline reads */
    assert_loads(BASICS "pipelines: ( { name = \"a.b\"; capture = \"wal\"; },\n"
                        " { name = \"a-b\"; table = \"s.t\"; } );\n");
}

Test(rules, a_table_has_several_pipelines_only_when_all_of_them_leave_its_rows_alone)
{
    assert_loads(BASICS
                 "pipelines: ( { name = \"a\"; capture = \"wal\"; on_publish = \"keep\"; },\n"
                 " { name = \"b\"; capture = \"wal\"; on_publish = \"keep\"; } );\n");
    ASSERT_PROBLEMS(
        BASICS "pipelines: ( { name = \"a\"; capture = \"wal\"; on_publish = \"keep\"; },\n"
               " { name = \"b\"; } );\n",
        "main.conf:3: pipelines \"a\" and \"b\" both publish outbox.event: only one of them could "
        "ever publish a row");
}

Test(rules, what_only_the_log_can_give_is_refused_when_polling)
{
    ASSERT_PROBLEMS(WITH("messages = true;"),
                    "main.conf:2: \"messages\" has no effect with capture = \"poll\"");
    ASSERT_PROBLEMS(WITH("failover_slot = true;"),
                    "main.conf:2: \"failover_slot\" has no effect with capture = \"poll\"");
    ASSERT_PROBLEMS(
        WITH("on_publish = \"keep\";"),
        "main.conf:2: on_publish = \"keep\" needs capture = \"wal\": polling finds events "
        "by rows that are not marked");
    assert_loads(WITH("messages = false;"));
}

Test(rules, rows_that_are_kept_cannot_be_pruned)
{
    ASSERT_PROBLEMS(WITH("capture = \"wal\"; on_publish = \"keep\"; retain = \"7d\";"),
                    "main.conf:2: retain contradicts on_publish = \"keep\": no row is "
                    "marked");
    assert_loads(WITH("capture = \"wal\"; retain = \"7d\";"));
    assert_loads(
        WITH("capture = \"wal\"; on_publish = \"keep\"; columns: { published_at = \"\"; };"));
}

Test(rules, names_are_plain)
{
    ASSERT_PROBLEMS("name = \"my shop\";\n" BASICS PIPELINE,
                    "main.conf:1: \"name\" cannot be \"my shop\": only letters, digits, '.', '_' "
                    "and '-'");
    ASSERT_PROBLEMS(BASICS "pipelines: ( { name = \"\"; } );\n",
                    "main.conf:2: \"pipelines.name\" must not be empty");
}

Test(rules, listen_addresses_are_checked)
{
    const char *good[] = {"127.0.0.1:9480", "[::1]:9480", "localhost:0", "off", "",
                          "0.0.0.0:65535"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        AUTO_TEXT text = x_format(BASICS PIPELINE "monitor: { listen = \"%s\"; };", good[i]);
        assert_loads(text);
    }
    const char *bad[][2] = {
        {"9480", "it has no port"},
        {":9480", "it has no address"},
        {"::1:9480", "an IPv6 address stands in brackets"},
        {"[::1:9480", "an IPv6 address stands in brackets"},
        {"localhost:", "its port is not a number from 0 to 65535"},
        {"localhost:65536", "its port is not a number from 0 to 65535"},
        {"localhost:94x", "its port is not a number from 0 to 65535"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        AUTO_TEXT text = x_format(BASICS PIPELINE "monitor: { listen = \"%s\"; };", bad[i][0]);
        AUTO_TEXT expected =
            x_format("main.conf:3: \"monitor.listen\" cannot be \"%s\": %s", bad[i][0], bad[i][1]);
        ASSERT_PROBLEMS(text, expected);
    }
}

Test(rules, kafka_is_needed_only_by_pipelines_that_publish_to_it)
{
    ASSERT_PROBLEMS("database: { dsn = \"host=y\"; };\n" PIPELINE,
                    "main.conf: no brokers are given");
    assert_loads("database: { dsn = \"host=y\"; };\n"
                 "pipelines: ( { name = \"a\"; sink = \"null\"; allow_unstored = true; } );\n");
}

#define SINK_OF(options)                                                                           \
    "database: { dsn = \"host=y\"; }; pipelines: ( { name = \"a\"; " options " } );\n"

Test(rules, what_no_sink_stores_is_marked_only_when_that_is_said)
{
    ASSERT_PROBLEMS(SINK_OF("sink = \"stdout\";"),
                    "main.conf:1: sink = \"stdout\" stores no record, and on_publish = \"mark\" "
                    "would let nobody publish these events again");
    ASSERT_PROBLEMS(SINK_OF("sink = \"null\"; on_publish = \"delete\";"),
                    "main.conf:1: sink = \"null\" stores no record, and on_publish = \"delete\" "
                    "would let nobody publish these events again");
    assert_loads(SINK_OF("sink = \"stdout\"; allow_unstored = true;"));
    assert_loads(SINK_OF("sink = \"stdout\"; capture = \"wal\"; on_publish = \"keep\";"));
}

Test(rules, a_file_sink_needs_a_path_of_its_own)
{
    ASSERT_PROBLEMS(SINK_OF("sink = \"file\";"), "main.conf:1: sink = \"file\" needs file.path");
    ASSERT_PROBLEMS(SINK_OF("sink = \"file\"; file: { path = \"a.jsonl\"; };"),
                    "main.conf:1: file.path \"a.jsonl\" is not an absolute path");
    assert_loads(SINK_OF("sink = \"file\"; file: { path = \"/a.jsonl\"; format = \"raw\"; "
                         "rotate_bytes = \"0B\"; rotate_interval = \"1h\"; };"));
    ASSERT_PROBLEMS(
        "database: { dsn = \"host=y\"; }; pipelines: (\n"
        "{ name = \"a\"; sink = \"file\"; file: { path = \"/x\"; }; },\n"
        "{ name = \"b\"; table = \"o.e\"; sink = \"file\"; file: { path = \"/x\"; }; } );\n",
        "main.conf:3: pipelines \"a\" and \"b\" both write '/x'");
    ASSERT_PROBLEMS(
        "database: { dsn = \"host=y\"; }; pipelines: (\n"
        "{ name = \"a\"; sink = \"file\"; file: { path = \"/x\"; }; },\n"
        "{ name = \"b\"; table = \"o.e\"; sink = \"file\"; file: { path = \"/./x\"; }; } );\n",
        "main.conf:3: pipelines \"a\" and \"b\" both write one file: '/x' and '/./x'");
    ASSERT_PROBLEMS("database: { dsn = \"host=y\"; }; kafka: { brokers = \"k\"; };\n"
                    "pipelines: ( { name = \"a\"; file: { path = \"/x\"; }; } );\n",
                    "main.conf:2: warning: file.path has an effect only with sink = \"file\"");
}

Test(rules, one_file_is_one_file_whatever_it_is_called)
{
    char directory[] = "/tmp/outboxd-rules-XXXXXX";
    cr_assert_not_null(mkdtemp(directory));
    AUTO_TEXT make = x_format("cd %s && mkdir real && ln -s real link && touch real/a real/b &&"
                              " ln real/a hard",
                              directory);
    cr_assert_eq(system(make), 0);
    static const char *const PAIRS[][2] = {
        {"real/a", "link/a"}, {"real/new", "link/new"}, {"real/a", "hard"}, {"real/a", "real/b"}};
    for (size_t i = 0; i < 4; i++) {
        AUTO_TEXT text = x_format(
            "database: { dsn = \"host=y\"; }; pipelines: (\n"
            "{ name = \"a\"; sink = \"file\"; file: { path = \"%s/%s\"; }; },\n"
            "{ name = \"b\"; table = \"o.e\"; sink = \"file\"; file: { path = \"%s/%s\"; }; } );\n",
            directory, PAIRS[i][0], directory, PAIRS[i][1]);
        AUTO_TEXT problem = x_format("main.conf:3: pipelines \"a\" and \"b\" both write one file: "
                                     "'%s/%s' and '%s/%s'",
                                     directory, PAIRS[i][0], directory, PAIRS[i][1]);
        if (i < 3) {
            ASSERT_PROBLEMS(text, problem);
        } else {
            assert_loads(text);
        }
    }
    AUTO_TEXT remove = x_format("rm -r %s", directory);
    cr_assert_eq(system(remove), 0);
}

Test(rules, a_table_is_named_with_its_schema)
{
    ASSERT_PROBLEMS(WITH("table = \"event\";"),
                    "main.conf:2: table \"event\" of pipeline \"orders\" has no schema");
    ASSERT_PROBLEMS(WITH("table = \"\\\"a.b\\\"\";"),
                    "main.conf:2: table \"\"a.b\"\" of pipeline \"orders\" has no schema");
    static const char *const BAD[] = {"a.b.c", ".b",      "a.",        " a.b",
                                      "a b.c", "a.\\\"b", "\\\"\\\".b"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        AUTO_TEXT text =
            x_format(BASICS "pipelines: ( { name = \"orders\"; table = \"%s\"; } );", BAD[i]);
        Loading loading;
        loading_begin(&loading);
        loading_run(&loading, text, NULL, NULL);
        cr_assert_eq(loading.problems.count, 1, "%s", BAD[i]);
        cr_assert_not_null(
            strstr(loading.problems.items[0].message, "is not written as schema.table"));
        loading_end(&loading);
    }
    assert_loads(WITH("table = \"Shop.Event\";"));
    assert_loads(WITH("table = \"\\\"My \\\"\\\"Shop\\\".event\";"));
}

Test(rules, tables_is_answered_with_what_there_is)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, WITH("tables = [ \"a.b\" ];"), NULL, NULL);
    cr_assert_eq(loading.problems.count, 1);
    cr_assert_not_null(strstr(loading.problems.items[0].message, "not built yet"));
    cr_assert_not_null(
        strstr(loading.problems.items[0].remedy, "capture = \"tables\" and mappings"));
    loading_end(&loading);
}

#define ROUTES(first, second)                                                                      \
    WITH("routes = ( { " first " topic = \"a\"; },\n { " second " topic = \"b\"; } );")
#define NEVER                                                                                      \
    "main.conf:3: warning: route 2 of pipeline \"orders\" can never match: route 1 takes all of "  \
    "its events"

Test(rules, a_route_that_can_never_match_is_named)
{
    ASSERT_PROBLEMS(ROUTES("event_type = \"*\";", "event_type = \"x\";"), NEVER);
    ASSERT_PROBLEMS(ROUTES("event_type = \"*\";", "aggregate_type = \"x\";"), NEVER);
    ASSERT_PROBLEMS(ROUTES("event_type = \"order.*\";", "event_type = \"order.placed\";"), NEVER);
    ASSERT_PROBLEMS(ROUTES("event_type = \"order.*\";", "event_type = \"order.line.*\";"), NEVER);
    ASSERT_PROBLEMS(ROUTES("event_type = \"x\";", "event_type = \"x\"; aggregate_type = \"y\";"),
                    NEVER);
    assert_loads(ROUTES("event_type = \"order.placed\";", "event_type = \"order.*\";"));
    assert_loads(ROUTES("event_type = \"*\"; aggregate_type = \"a\";", "event_type = \"x\";"));
    assert_loads(ROUTES("event_type = \"order.?\";", "event_type = \"order.*\";"));
}

Test(rules, a_regular_expression_is_recognised)
{
    static const struct {
        const char *pattern;
        const char *glob; /* NULL: none is proposed */
    } REGEXES[] = {{"^order.*", "order*"},
                   {"order\\\\..*", "order.*"},
                   {"order$", "order"},
                   {"(a|b)", NULL},
                   {".*", "*"},
                   {"[a-z]+", NULL},
                   {"order\\\\.\\\\d", NULL}};
    for (size_t i = 0; i < sizeof(REGEXES) / sizeof(REGEXES[0]); i++) {
        AUTO_TEXT text = x_format(BASICS "pipelines: ( { name = \"p\"; routes = ( { event_type = "
                                         "\"%s\"; topic = \"t\"; } ); } );",
                                  REGEXES[i].pattern);
        Loading loading;
        loading_begin(&loading);
        loading_run(&loading, text, NULL, NULL);
        cr_assert_eq(loading.problems.count, 1, "%s", REGEXES[i].pattern);
        cr_assert(loading.problems.items[0].warning);
        AUTO_TEXT proposed = x_format("write \"%s\"", REGEXES[i].glob ? REGEXES[i].glob : "");
        cr_assert_eq(strstr(loading.problems.items[0].remedy, proposed) != NULL,
                     REGEXES[i].glob != NULL, "%s: %s", REGEXES[i].pattern,
                     loading.problems.items[0].remedy);
        loading_end(&loading);
    }
    assert_loads(WITH("routes = ( { event_type = \"payment.*\"; topic = \"t\"; } );"));
}

Test(rules, templates_of_other_tools_are_explained)
{
    ASSERT_PROBLEMS(
        WITH("key = \"${payload.id}\";"),
        "main.conf:2: key template \"${payload.id}\": \"payload.id\" is not a column of "
        "outbox.event, but a part of one");
    ASSERT_PROBLEMS(WITH("topic = \"$aggregate_type.events\";"),
                    "main.conf:2: topic template \"$aggregate_type.events\": $aggregate_type "
                    "without braces is plain text, not the value of the column");
    ASSERT_PROBLEMS(WITH("key = \"$aggregate_id\";"),
                    "main.conf:2: warning: key template \"$aggregate_id\": $aggregate_id without "
                    "braces is plain text, not the value of the column");
}

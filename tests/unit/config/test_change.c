/* What differs between two configurations, and what a reload does about it. */
#include <criterion/criterion.h>
#include <string.h>

#include "config/change.h"
#include "loading.h"

TestSuite(change, .timeout = 20);

#define WITH(options) BASICS "pipelines: ( { name = \"orders\"; " options " } );\n"
#define DSN(dsn)      "database: { dsn = \"" dsn "\"; }; kafka: { brokers = \"k:9092\"; };\n" PIPELINE

typedef struct Pair {
    Loading a;
    Loading b;
    Config *from;
    Config *to;
} Pair;

static void pair_begin(Pair *pair, const char *from, const char *to)
{
    loading_begin(&pair->a);
    loading_begin(&pair->b);
    loading_write(&pair->a, "secret", "hush");
    loading_run(&pair->a, from, NULL, NULL);
    loading_run(&pair->b, to, NULL, NULL);
    pair->from = loading_config(&pair->a);
    pair->to = loading_config(&pair->b);
}

static void pair_end(Pair *pair)
{
    loading_end(&pair->a);
    loading_end(&pair->b);
}

static void assert_pipeline(const char *from, const char *to, Change expected, const char *names)
{
    Pair pair;
    AUTO_BUFFER told = TEXT_EMPTY;
    pair_begin(&pair, from, to);
    Change change = change_of_pipeline(pair.from->pipelines, pair.to->pipelines, &told);
    cr_assert_eq(change, expected, "%s -> %s: %d", from, to, change);
    cr_assert_str_eq(text_string(&told), names);
    pair_end(&pair);
}

static void assert_config(const char *from, const char *to, Change expected, const char *names)
{
    Pair pair;
    AUTO_BUFFER told = TEXT_EMPTY;
    pair_begin(&pair, from, to);
    Change change = change_of_config(pair.from, pair.to, "", &told);
    cr_assert_eq(change, expected, "%s -> %s: %d", from, to, change);
    cr_assert_str_eq(text_string(&told), names);
    pair_end(&pair);
}

Test(change, the_same_file_differs_in_nothing)
{
    assert_pipeline(WITH("topic = \"a\"; routes = ( { event_type = \"x\"; topic = \"b\"; } );"),
                    WITH("topic = \"a\"; routes = ( { event_type = \"x\"; topic = \"b\"; } );"),
                    CHANGE_NONE, "");
    assert_config(WITH(""), WITH(""), CHANGE_NONE, "");
}

Test(change, what_is_read_between_two_batches_is_live)
{
    assert_pipeline(WITH("topic = \"a\";"), WITH("topic = \"b\";"), CHANGE_LIVE, "pipelines.topic");
    assert_pipeline(WITH(""), WITH("on_poison = \"dead_letter\"; retry_backoff_max = \"1s\";"),
                    CHANGE_LIVE, "pipelines.on_poison pipelines.retry_backoff_max");
}

Test(change, routes_count_one_by_one)
{
    assert_pipeline(WITH(""), WITH("routes = ( { event_type = \"x\"; topic = \"b\"; } );"),
                    CHANGE_LIVE, "pipelines.routes");
    assert_pipeline(WITH("routes = ( { event_type = \"x\"; topic = \"b\"; } );"),
                    WITH("routes = ( { event_type = \"y\"; topic = \"b\"; } );"), CHANGE_LIVE,
                    "pipelines.routes");
    assert_pipeline(WITH("routes = ( { event_type = \"x\"; topic = \"b\"; } );"),
                    WITH("routes = ( { event_type = \"x\"; topic = \"b\"; key = \"k\"; } );"),
                    CHANGE_LIVE, "pipelines.routes");
}

#define TABLES(prefix, mapping)                                                                    \
    BASICS "pipelines: ( { name = \"a\"; capture = \"tables\"; topic_prefix = \"" prefix "\";\n"   \
           "mappings = ( { table = \"s.t\"; " mapping " } ); } );\n"
#define MASK(characters) "mask_columns = [ { column = \"a\"; characters = " #characters "; } ];"

Test(change, of_tables_everything_starts_anew)
{
    static const char BEFORE[] = TABLES("p", MASK(4));
    assert_pipeline(BEFORE, TABLES("p", MASK(4)), CHANGE_NONE, "");
    assert_pipeline(BEFORE, TABLES("p", MASK(5)), CHANGE_RENEWS, "pipelines.mappings");
    assert_pipeline(BEFORE, TABLES("p", ""), CHANGE_RENEWS, "pipelines.mappings");
    assert_pipeline(BEFORE, TABLES("p", MASK(4) "operations = \"c\";"), CHANGE_RENEWS,
                    "pipelines.mappings");
    assert_pipeline(BEFORE, TABLES("p", MASK(4) "}, { table = \"s.u\";"), CHANGE_RENEWS,
                    "pipelines.mappings");
    assert_pipeline(BEFORE, TABLES("q", MASK(4)), CHANGE_RENEWS, "pipelines.topic_prefix");
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        bool of_tables =
            (options[i].flags & OPTION_TABLES) != 0 ||
            strncmp(option_scope_prefix(options[i].scope), "pipelines.mappings.", 19) == 0;
        cr_expect(!of_tables || strcmp(option_reload(&options[i]), "pipeline") == 0, "%s",
                  options[i].path);
    }
}

Test(change, what_source_and_sink_are_made_by_starts_anew)
{
    assert_pipeline(WITH(""), WITH("table = \"a.b\";"), CHANGE_RENEWS, "pipelines.table");
    assert_pipeline(WITH(""), WITH("on_publish = \"delete\";"), CHANGE_RENEWS,
                    "pipelines.on_publish");
    assert_pipeline(WITH(""), WITH("columns: { seq = \"id\"; };"), CHANGE_RENEWS,
                    "pipelines.columns.seq");
    assert_pipeline(WITH(""), WITH("batch_events = 7; topic = \"b\";"), CHANGE_RENEWS,
                    "pipelines.topic pipelines.batch_events");
}

/* It may be absent from the table: only a start finds out. */
Test(change, a_column_on_which_nothing_rested_needs_a_start)
{
    assert_pipeline(WITH("topic = \"a\";"), WITH("topic = \"${correlation_id}\";"), CHANGE_RENEWS,
                    "pipelines.topic");
    assert_pipeline(WITH("topic = \"${correlation_id}\";"), WITH("topic = \"a\";"), CHANGE_LIVE,
                    "pipelines.topic");
}

Test(change, of_a_connection_string_the_password_alone_is_no_new_database)
{
    assert_config(DSN("host=db user=u password=a"), DSN("host=db user=u password=b"), CHANGE_LIVE,
                  "database.dsn");
    assert_config(DSN("host=db user=u"), DSN("host=db password=b user=u"), CHANGE_LIVE,
                  "database.dsn");
    assert_config(DSN("host=db user=u password=a"), DSN("host=db user=v password=a"), CHANGE_RENEWS,
                  "database.dsn");
    assert_config(DSN("host=db user=u password=a"), DSN("host=db password=a"), CHANGE_RENEWS,
                  "database.dsn");
    assert_config(DSN("host=db"), DSN("host=db port=6000"), CHANGE_RENEWS, "database.dsn");
}

Test(change, the_connection_string_of_replication_counts_by_itself)
{
    assert_config(DSN("host=db\"; replication_dsn = \"host=a"),
                  DSN("host=db\"; replication_dsn = \"host=b"), CHANGE_RENEWS,
                  "database.replication_dsn");
    assert_config(DSN("host=db"), DSN("host=db\"; replication_dsn = \"host=b"), CHANGE_RENEWS,
                  "database.replication_dsn");
    assert_config(DSN("host=db\"; replication_dsn = \"host=a\"; password = \"x"),
                  DSN("host=db\"; replication_dsn = \"host=a\"; password = \"y"), CHANGE_LIVE,
                  "database.dsn database.replication_dsn database.password");
}

Test(change, prefixes_choose_what_is_compared)
{
    Pair pair;
    pair_begin(&pair, BASICS PIPELINE, BASICS PIPELINE "log: { level = \"debug\"; };\n");
    cr_assert_eq(change_of_config(pair.from, pair.to, "kafka.", NULL), CHANGE_NONE);
    cr_assert_eq(change_of_config(pair.from, pair.to, "log.", NULL), CHANGE_LIVE);
    pair_end(&pair);
}

Test(change, what_needs_a_restart_keeps_its_value_and_is_named)
{
    Pair pair;
    AUTO_BUFFER names = TEXT_EMPTY;
    pair_begin(&pair, BASICS PIPELINE "monitor: { listen = \"127.0.0.1:1\"; };\n",
               BASICS PIPELINE "monitor: { listen = \"127.0.0.1:2\"; interval = \"1s\"; };\n");
    change_keep_fixed(pair.from, pair.to, &names);
    cr_assert_str_eq(text_string(&names), "monitor.listen");
    cr_assert_str_eq(pair.to->monitor.listen, "127.0.0.1:1");
    cr_assert_eq(pair.to->monitor.interval_ms, 1000, "all else is new");
    pair_end(&pair);
}

/* The same properties with a token, and without. */
#define TOKEN_BY(command, brokers, more)                                                           \
    "database: { dsn = \"host=db\"; };\nkafka: { " command "brokers = \"" brokers                  \
    "\"; properties = [\"security.protocol=sasl_plaintext\", " more "]; };\n" PIPELINE
#define COMMAND "oauth_command = \"/bin/print\"; "

Test(change, with_a_token_command_that_comes_brokers_and_properties_wait_too)
{
    Pair pair;
    AUTO_BUFFER names = TEXT_EMPTY;
    pair_begin(&pair,
               TOKEN_BY("", "a:1",
                        "\"sasl.mechanisms=PLAIN\", \"sasl.username=u\","
                        "\"sasl.password=${file:secret}\""),
               TOKEN_BY(COMMAND, "b:1", "\"sasl.mechanisms=OAUTHBEARER\""));
    change_keep_fixed(pair.from, pair.to, &names);
    cr_assert_str_eq(text_string(&names), "kafka.oauth_command kafka.brokers kafka.properties");
    cr_assert_eq(change_of_config(pair.from, pair.to, "kafka.", NULL), CHANGE_NONE);
    cr_assert_eq(pair.to->kafka.written.count, 1);
    pair_end(&pair);
}

Test(change, another_token_command_holds_nothing_else_back)
{
    Pair pair;
    AUTO_BUFFER names = TEXT_EMPTY;
    pair_begin(
        &pair, TOKEN_BY(COMMAND, "a:1", "\"sasl.mechanisms=OAUTHBEARER\""),
        TOKEN_BY("oauth_command = \"/bin/other\"; ", "b:1", "\"sasl.mechanisms=OAUTHBEARER\""));
    change_keep_fixed(pair.from, pair.to, &names);
    cr_assert_str_eq(text_string(&names), "kafka.oauth_command");
    cr_assert_str_eq(pair.to->kafka.brokers, "b:1");
    pair_end(&pair);
}

Test(change, what_is_applied_makes_both_the_same_in_all_that_is_live)
{
    Pair pair;
    pair_begin(&pair, WITH("topic = \"a\"; routes = ( { event_type = \"x\"; topic = \"b\"; } );"),
               WITH("topic = \"c\"; key = \"\"; retain = \"7d\"; position_headers = true;"
                    "timestamp = \"publish\"; source = \"/s\"; routes = ("
                    "{ event_type = \"y\"; topic = \"d\"; key = \"k\"; }, { topic = \"e\"; } );"));
    change_apply(pair.from->pipelines, pair.to->pipelines);
    cr_assert_eq(change_of_pipeline(pair.from->pipelines, pair.to->pipelines, NULL), CHANGE_NONE);
    cr_assert_eq(pair.from->pipelines->route.rule_count, 2);
    cr_assert_neq(pair.from->pipelines->route.rules[0].topic,
                  pair.to->pipelines->route.rules[0].topic, "a copy of its own");
    pair_end(&pair);
}

Test(change, a_password_is_taken_over)
{
    Pair pair;
    pair_begin(&pair, DSN("host=db password=a"), DSN("host=db password=b"));
    change_password(pair.from, pair.to);
    cr_assert_str_eq(pair.from->database.dsn, pair.to->database.dsn);
    cr_assert_neq(pair.from->database.dsn, pair.to->database.dsn);
    pair_end(&pair);
}

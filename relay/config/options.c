#include "config/options.h"

#include "config/config.h"

#define MS     INT64_C(1)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define KIB    INT64_C(1024)
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)

static const OptionChoice CAPTURES[] = {
    {"poll", CAPTURE_POLL, false},
    {"wal", CAPTURE_WAL, false},
    {"tables", CAPTURE_TABLES, true},
    {NULL, 0, false},
};
static const OptionChoice SINKS[] = {
    {"kafka", SINK_KAFKA, false},
    {"stdout", SINK_STDOUT, false},
    {"null", SINK_NULL, false},
    {NULL, 0, false},
};
static const OptionChoice ON_PUBLISHES[] = {
    {"mark", ON_PUBLISH_MARK, false},
    {"delete", ON_PUBLISH_DELETE, false},
    {"keep", ON_PUBLISH_KEEP, false},
    {NULL, 0, false},
};
static const OptionChoice DELIVERIES[] = {
    {"at-least-once", DELIVERY_AT_LEAST_ONCE, false},
    {"exactly-once", DELIVERY_EXACTLY_ONCE, true},
    {NULL, 0, false},
};
static const OptionChoice HEADER_STYLES[] = {
    {"cloudevents", HEADERS_CLOUDEVENTS, false},
    {"plain", HEADERS_PLAIN, false},
    {"debezium", HEADERS_DEBEZIUM, true},
    {NULL, 0, false},
};
static const OptionChoice MESSAGES_FROM[] = {
    {"granted", MESSAGES_FROM_GRANTED, false},
    {"anyone", MESSAGES_FROM_ANYONE, false},
    {NULL, 0, false},
};
static const OptionChoice ON_POISONS[] = {
    {"stop", ON_POISON_STOP, false},
    {"dead_letter", ON_POISON_DEAD_LETTER, false},
    {NULL, 0, false},
};
static const OptionChoice ON_MISSING_TOPICS[] = {
    {"wait", ON_MISSING_TOPIC_WAIT, false},
    {"dead_letter", ON_MISSING_TOPIC_DEAD_LETTER, false},
    {NULL, 0, false},
};
static const OptionChoice ON_UNROUTEDS[] = {
    {"stop", ON_UNROUTED_STOP, false},
    {"drop", ON_UNROUTED_DROP, false},
    {"dead_letter", ON_UNROUTED_DEAD_LETTER, false},
    {NULL, 0, false},
};
static const OptionChoice TIMESTAMPS[] = {
    {"occurred_at", TIMESTAMP_OCCURRED_AT, false},
    {"publish", TIMESTAMP_PUBLISH, false},
    {NULL, 0, false},
};
static const OptionChoice ON_FAILURES[] = {
    {"stop", ON_FAILURE_STOP_PIPELINE, false},
    {"exit", ON_FAILURE_EXIT, false},
    {NULL, 0, false},
};
static const OptionChoice POOLERS[] = {
    {"none", POOLER_NONE, false},
    {"session", POOLER_SESSION, false},
    {NULL, 0, false},
};
static const OptionChoice LOG_FORMATS[] = {
    {"logfmt", LOG_FORMAT_LOGFMT, false},
    {"json", LOG_FORMAT_JSON, false},
    {NULL, 0, false},
};
static const OptionChoice LOG_LEVELS[] = {
    {"debug", LOG_DEBUG, false}, {"info", LOG_INFO, false}, {"warn", LOG_WARN, false},
    {"error", LOG_ERROR, false}, {NULL, 0, false},
};

/* scope, path, type and offset in one go */
#define AT_CONFIG(p, t, field)                                                                     \
    .scope = SCOPE_CONFIG, .path = (p), .type = OPTION_##t, .offset = offsetof(Config, field)
#define AT_PIPELINE(p, t, field)                                                                   \
    .scope = SCOPE_PIPELINE, .path = (p), .type = OPTION_##t,                                      \
    .offset = offsetof(PipelineConfig, field)
#define AT_ROUTE(p, t, field)                                                                      \
    .scope = SCOPE_ROUTE, .path = (p), .type = OPTION_##t, .offset = offsetof(RouteConfig, field)
#define NOT_BUILT(s, p, t, text, instead)                                                          \
    {                                                                                              \
        .scope = (s), .path = (p), .type = OPTION_##t, .flags = OPTION_NOT_BUILT, .help = (text),  \
        .example = (instead)                                                                       \
    }
/* An option for each column of the outbox. */
#define COLUMN(field, column, class, made, message, ce_rank, ce_name, plain_rank, plain_name,      \
               because, elsewhere, text)                                                           \
    {AT_PIPELINE("columns." #column, STRING, outbox.columns[FIELD_##field]), .fallback = #column,  \
     .max = 63, .help = (text)},

static const Option OPTIONS[] = {
    {AT_CONFIG("name", STRING, name), .fallback = "outboxd", .max = 63,
     .flags = OPTION_NAME | OPTION_REQUIRED,
     .help =
         "Name of this relay: application_name in PostgreSQL, client.id in Kafka, and the first "
         "part of ce_source. Letters, digits, '.', '_' and '-'."},
    {AT_CONFIG("on_failure", ENUM, on_failure), .fallback = "stop", .choices = ON_FAILURES,
     .help =
         "When a pipeline stops because a human must act: \"stop\" leaves the others running (the "
         "process exits when none runs any more), \"exit\" ends the process at once. The exit code "
         "is "
         "that of the first pipeline that stopped."},
    {AT_CONFIG("shutdown_timeout", DURATION, shutdown_timeout_ms), .fallback = "30s", .min = 0,
     .max = HOUR,
     .help =
         "How long SIGTERM waits for the broker to acknowledge what is in flight. After that the "
         "process exits with code 5: nothing is lost, duplicates are possible."},

    {AT_CONFIG("database.dsn", STRING, database.dsn), .fallback = "", .max = 8192,
     .example = "host=localhost dbname=shop user=outboxd_relay",
     .flags = OPTION_SECRET | OPTION_REQUIRED | OPTION_IN_SAMPLE | OPTION_DSN,
     .help =
         "Connection string of libpq, as key=value pairs or as a postgresql:// URI. A ${file:} or "
         "${env:} that is only a part of it stands for one value, whatever characters that holds; "
         "one that is all of it is the connection string itself. Passwords are better in "
         "password_file or ~/.pgpass than here; they are masked wherever the string is shown."},
    {AT_CONFIG("database.password", STRING, database.password), .fallback = "", .max = 65536,
     .flags = OPTION_SECRET,
     .help = "Password of the connection string's user, as it is: no character needs quoting. Not "
             "beside password_file, or a password in dsn."},
    {AT_CONFIG("database.password_file", STRING, database.password_file), .fallback = "",
     .max = 4096,
     .help = "File that holds the password and nothing else; one line end behind it is left out. "
             "Read at the start, from beside this file when the path is relative. Others should "
             "not be able to read it."},
    {AT_CONFIG("database.pooler", ENUM, database.pooler), .fallback = "none", .choices = POOLERS,
     .help =
         "What stands between the relay and PostgreSQL. A pooler in transaction mode breaks the "
         "advisory lock that keeps two relays apart and is always refused; say \"session\" when "
         "the pooler keeps one server connection for each of ours."},
    {AT_CONFIG("database.connect_timeout", DURATION, database.connect_timeout_ms), .fallback = "5s",
     .min = 100 * MS, .max = 10 * MINUTE,
     .help = "How long one attempt to connect may take before it counts as failed."},
    {AT_CONFIG("database.statement_timeout", DURATION, database.statement_timeout_ms),
     .fallback = "30s", .min = 100 * MS, .max = HOUR,
     .help = "statement_timeout of the relay's own sessions."},

    {AT_CONFIG("kafka.brokers", STRING, kafka.brokers), .fallback = "", .max = 8192,
     .example = "localhost:9092", .flags = OPTION_IN_SAMPLE,
     .help =
         "Brokers to start from, host:port separated by commas. Required unless no pipeline has "
         "sink = \"kafka\"."},
    {AT_CONFIG("kafka.properties", STRING_LIST, kafka.properties), .max = 8192,
     .example = "[ \"compression.type=lz4\" ]", .flags = OPTION_SECRET,
     .help =
         "Any property of librdkafka as \"key=value\". In the environment: one variable for each, "
         "OUTBOXD_KAFKA_PROPERTY_ and the key in upper case with '_' for '.'. Properties that "
         "would break a guarantee are refused with the reason; those with password, secret or "
         "token in their name are masked wherever they are shown."},
    {AT_CONFIG("kafka.create_topics", BOOL, kafka.create_topics), .fallback = "false",
     .help =
         "Whether the broker may create a topic that an event names and that does not exist, with "
         "the broker's defaults. Better: outboxd check --create-topics."},

    {AT_CONFIG("monitor.listen", STRING, monitor.listen), .fallback = "127.0.0.1:9480", .max = 255,
     .help = "Address and port of /metrics, /livez, /readyz and /status. \"[::1]:9480\" for IPv6, "
             "\"0.0.0.0:9480\" for all interfaces (there is no authentication), \"off\" for none."},
    {AT_CONFIG("monitor.interval", DURATION, monitor.interval_ms), .fallback = "5s", .min = 100,
     .max = 10 * MINUTE,
     .help = "How often PostgreSQL is asked about lag, slots, dead letters and long transactions."},
    {AT_CONFIG("monitor.lag_objective", DURATION, monitor.lag_objective_ms), .fallback = "5s",
     .min = 1, .max = DAY,
     .help = "The lag that is still good: what the error budget and the burn rates are about, and "
             "outboxd status --fail-if-late."},
    {AT_CONFIG("monitor.lag_target", STRING, monitor.lag_target), .fallback = "99.9%", .max = 16,
     .help = "The share of time in which the lag shall be within lag_objective: a percentage "
             "above 0 and below 100."},
    {AT_CONFIG("monitor.consumer_groups", STRING_LIST, monitor.consumer_groups), .max = 255,
     .example = "[ \"billing\", \"search-*\" ]",
     .help = "Consumer groups (globs) whose distance from the end of our topics is shown; none by "
             "default. The relay's principal needs DESCRIBE on the groups and the topics."},
    {AT_CONFIG("monitor.groups_interval", DURATION, monitor.groups_interval_ms), .fallback = "15s",
     .min = 100, .max = 10 * MINUTE, .help = "How often Kafka is asked about them."},

    {AT_CONFIG("log.format", ENUM, log.format), .fallback = "logfmt", .choices = LOG_FORMATS,
     .help = "One line for each fact, as key=value pairs or as a JSON object."},
    {AT_CONFIG("log.level", ENUM, log.level), .fallback = "info", .choices = LOG_LEVELS,
     .flags = OPTION_RELOADABLE, .help = "The least level that is written."},
    {AT_CONFIG("log.summary_interval", DURATION, log.summary_interval_ms), .fallback = "5m",
     .min = 0, .max = DAY,
     .help =
         "How often one line sums up what a pipeline published, while it publishes or something "
         "waits; of an idle time there is one line. \"0s\": never."},

    {.scope = SCOPE_CONFIG,
     .path = "pipelines",
     .type = OPTION_GROUPS,
     .help = "What is moved where: a list of groups, one for each pipeline."},

    {AT_PIPELINE("name", STRING, name), .example = "orders", .max = 63,
     .flags = OPTION_NAME | OPTION_REQUIRED | OPTION_IN_SAMPLE,
     .help = "Name of the pipeline in logs, metrics and commands; unique. Letters, digits, '.', "
             "'_' and "
             "'-'. The pipeline of a start without a file is called \"outbox\"."},
    {AT_PIPELINE("capture", ENUM, capture), .fallback = "poll", .choices = CAPTURES,
     .help =
         "How events are found: \"poll\" reads the rows of an outbox table that are not published "
         "yet; \"wal\" reads the same rows from the write-ahead log by logical replication "
         "(wal_level = logical)."},
    {AT_PIPELINE("table", STRING, outbox.table), .fallback = "outbox.event", .max = 127,
     .flags = OPTION_REQUIRED,
     .help = "The outbox table, as schema.table. Double quotes as in SQL keep capitals: "
             "\"\\\"Shop\\\".event\"."},
    {AT_PIPELINE("sink", ENUM, sink), .fallback = "kafka", .choices = SINKS,
     .help = "Where records go. \"stdout\" prints them and \"null\" throws them away: both mark "
             "rows as "
             "published, so they are for trying things out."},
    {AT_PIPELINE("topic", TEMPLATE, route.topic), .fallback = "${aggregate_type}.events",
     .max = 512,
     .help = "Topic of an event that no route takes. ${column} stands for the value of a column of "
             "the table, $${ for a literal ${. Empty: such an event is unrouted, see on_unrouted."},
    {AT_PIPELINE("key", TEMPLATE, route.key), .fallback = "${aggregate_id}", .max = 512,
     .help = "Key of the record: events with the same key stay in order. Empty: no key."},
    {.scope = SCOPE_PIPELINE,
     .path = "routes",
     .type = OPTION_GROUPS,
     .help =
         "Routes are tried in the order of the file, and the first whose conditions all hold wins; "
         "when none does, topic and key of the pipeline hold."},
    {AT_PIPELINE("on_publish", ENUM, outbox.on_publish), .fallback = "mark",
     .choices = ON_PUBLISHES,
     .help =
         "What happens to a row when the broker has acknowledged it: \"mark\" sets published_at, "
         "\"delete\" removes it; with capture = \"wal\" also \"keep\", which leaves it alone."},
    {AT_PIPELINE("retain", DURATION, outbox.retain_ms), .fallback = "forever", .min = SECOND,
     .max = 3650 * DAY, .flags = OPTION_FOREVER,
     .help = "Marked rows older than this are pruned in small batches. Only with on_publish = "
             "\"mark\"."},
    {AT_PIPELINE("delivery", ENUM, delivery), .fallback = "at-least-once", .choices = DELIVERIES,
     .help =
         "An event of a committed transaction always reaches Kafka; after a crash some may come "
         "twice, with the same id."},
    {AT_PIPELINE("headers", ENUM, encode.headers), .fallback = "cloudevents",
     .choices = HEADER_STYLES,
     .help = "Names of the record's headers: CloudEvents 1.0 binary mode (ce_id, ce_type, ...) or "
             "plain "
             "(event_id, event_type, ...)."},
    {AT_PIPELINE("source", STRING, encode.source), .max = 512,
     .help =
         "The header ce_source. Default: \"/\", the relay's name, \"/\" and the pipeline's name."},
    {AT_PIPELINE("timestamp", ENUM, encode.timestamp), .fallback = "occurred_at",
     .choices = TIMESTAMPS,
     .help = "The record's Kafka timestamp: when the event happened (the publish time where Kafka "
             "would "
             "refuse or at once expire that), or when it was published."},
    {AT_PIPELINE("position_headers", BOOL, encode.position_headers), .fallback = "false",
     .help = "Adds where the event stands: outboxd_seq, the row's sequence number, when polling; "
             "outboxd_lsn (LSN of the commit) and outboxd_ordinal (number within the transaction) "
             "with capture = \"wal\"."},
    {AT_PIPELINE("allow_row_topic", BOOL, route.allow_row_topic), .fallback = "false",
     .help = "Whether the row's own topic column, when it is set, overrides routes and topic. Then "
             "whoever "
             "may insert events chooses any topic the relay may write to."},
    {AT_PIPELINE("on_poison", ENUM, on_poison), .fallback = "stop", .choices = ON_POISONS,
     .help =
         "An event that cannot be published as it is (too large, invalid headers, refused by the "
         "broker): \"stop\" holds back the events of its topic until it is mended, removed, or "
         "accepted, and says so; \"dead_letter\" sets it aside in outbox.dead_letter with the "
         "reason. The events of all other topics go on in both cases."},
    {AT_PIPELINE("on_unrouted", ENUM, route.on_unrouted), .fallback = "stop",
     .choices = ON_UNROUTEDS,
     .help =
         "An event for which there is no topic: \"stop\" holds back the events of its aggregate "
         "type, \"drop\" drops it (counted in a metric), \"dead_letter\" sets it aside."},
    {AT_PIPELINE("on_missing_topic", ENUM, route.on_missing_topic), .fallback = "wait",
     .choices = ON_MISSING_TOPICS,
     .help =
         "An event whose topic does not exist or is denied: \"wait\" keeps it, and all later "
         "events of that topic, until the topic is there; \"dead_letter\" sets them aside when "
         "the brokers say so for a minute. The events of all other topics go on in both cases."},
    {AT_PIPELINE("poll_interval_min", DURATION, poll.interval_min_ms), .fallback = "1ms",
     .min = 1 * MS, .max = MINUTE, .help = "Pause between two polls while events keep coming."},
    {AT_PIPELINE("poll_interval_max", DURATION, poll.interval_max_ms), .fallback = "100ms",
     .min = 1 * MS, .max = 10 * MINUTE,
     .help =
         "Longest pause between two polls when nothing comes: the worst added latency of the first "
         "event after a quiet time."},
    {AT_PIPELINE("sweep_interval", DURATION, poll.sweep_interval_ms), .fallback = "30s",
     .min = 100 * MS, .max = DAY,
     .help = "The relay looks at every number of the table, not only at those that a running "
             "transaction could still fill, at least this often, and at each poll while that costs "
             "next "
             "to nothing. A row that was published and is unmarked again and again is published at "
             "most "
             "this often."},
    {AT_PIPELINE("unseen_after", DURATION, outbox.unseen_after_ms), .fallback = "15s",
     .min = 1 * SECOND, .max = DAY,
     .help =
         "How long an unpublished event may stay in the table that the relay has not seen although "
         "it has read everything. Halfway a poll looks at it again; after all of it (poll: at "
         "least "
         "two sweeps) the relay is not ready and says EVENT_UNSEEN."},
    {AT_PIPELINE("batch_events", INT, limits.batch_events), .fallback = "2000", .min = 1,
     .max = 100000, .help = "Most rows of one fetch, and of one mark or delete."},
    {AT_PIPELINE("batch_bytes", SIZE, limits.batch_bytes), .fallback = "4MiB", .min = 4 * KIB,
     .max = 1 * GIB,
     .help =
         "A fetch is cut short when its rows exceed this. A single larger row is still published."},
    {AT_PIPELINE("event_bytes_max", SIZE, limits.event_bytes), .fallback = "8MiB", .min = 64 * KIB,
     .max = 1 * GIB,
     .help =
         "An event whose columns take more together is refused by its sizes, without being "
         "fetched: EVENT_TOO_LARGE, then as on_poison says. It bounds the relay's memory. Where "
         "kafka.properties raise message.max.bytes, the default follows."},
    {AT_PIPELINE("in_flight_events", INT, limits.in_flight_events), .fallback = "10000", .min = 1,
     .max = 10000000,
     .help =
         "Most events read but not yet acknowledged and marked: also the most duplicates after a "
         "crash."},
    {AT_PIPELINE("in_flight_bytes", SIZE, limits.in_flight_bytes), .fallback = "16MiB",
     .min = 4 * KIB, .max = 16 * GIB,
     .help = "Most bytes read but not yet acknowledged: bounds the relay's memory."},
    {AT_PIPELINE("lease", DURATION, claim.lease_ms), .fallback = "10s", .min = 500 * MS,
     .max = 10 * MINUTE,
     .help =
         "How long the publisher's lock outlives a relay that hangs or is cut off. A standby takes "
         "over at most this long, plus a few seconds, after that."},
    {AT_PIPELINE("slot", STRING, wal.slot), .max = 63, .example = "outboxd_orders",
     .help = "With capture = \"wal\": the logical replication slot. Default: \"outboxd_\" and the "
             "pipeline's "
             "name, in lower case and with '_' for what a slot's name cannot hold. The relay "
             "creates it when it may and there was none before."},
    {AT_PIPELINE("publication", STRING, wal.publication), .max = 63, .example = "outboxd_orders",
     .help = "With capture = \"wal\": the publication, of inserts into the outbox table only. "
             "Default: like slot."},
    {AT_PIPELINE("messages", BOOL, wal.messages), .fallback = "false",
     .help =
         "With capture = \"wal\": also publish what outbox.emit_message writes to the log without "
         "any row (PostgreSQL 14 and later). One that is no event is always a dead letter, "
         "whatever "
         "on_poison says."},
    {AT_PIPELINE("messages_from", ENUM, wal.messages_from), .fallback = "granted",
     .choices = MESSAGES_FROM,
     .help =
         "Who may write what messages = true publishes: PostgreSQL lets every role call "
         "pg_logical_emit_message(), and so make an event. granted: the relay does not start, and "
         "waits, while PUBLIC may (`outboxd migrate --guard-messages` closes it); anyone: every "
         "role that can connect to the database is trusted."},
    {AT_PIPELINE("failover_slot", BOOL, wal.failover_slot), .fallback = "false",
     .help = "With capture = \"wal\": create the slot so that PostgreSQL 17 and later copies it to "
             "standbys; needs sync_replication_slots and synchronized_standby_slots there."},
    {AT_PIPELINE("mark_interval", DURATION, outbox.mark_interval_ms), .fallback = "50ms", .min = 0,
     .max = MINUTE,
     .help =
         "With capture = \"wal\": how long acknowledged events wait for one statement that marks "
         "them and notes the position. More of them together cost the database less; what waits "
         "may "
         "come twice after a crash."},
    {AT_PIPELINE("pg_shutdown_grace", DURATION, wal.shutdown_grace_ms), .fallback = "10s", .min = 0,
     .max = 10 * MINUTE,
     .help = "With capture = \"wal\": a PostgreSQL that shuts down waits for the relay to confirm "
             "what it "
             "was sent. After this long the relay hangs up, and goes on when the server is back."},
    {AT_PIPELINE("standby_interval", DURATION, claim.standby_interval_ms), .fallback = "1s",
     .min = 10 * MS, .max = MINUTE,
     .help = "How often a standby tries to get the publisher's lock."},
    {AT_PIPELINE("retry_backoff_min", DURATION, claim.backoff_min_ms), .fallback = "100ms",
     .min = 1 * MS, .max = 10 * MINUTE,
     .help = "First pause after a failure that may heal by itself; it doubles, with jitter."},
    {AT_PIPELINE("retry_backoff_max", DURATION, claim.backoff_max_ms), .fallback = "10s",
     .min = 1 * MS, .max = HOUR, .help = "Longest pause between two attempts."},
#include "config/outbox_columns.inc"
    {AT_PIPELINE("header_columns", STRING_LIST, outbox.header_columns), .max = 63,
     .example = "[ \"tenant\" ]",
     .help =
         "Further columns of the table that become headers of the same name. In the environment: "
         "separated by commas."},
    NOT_BUILT(SCOPE_PIPELINE, "preset", STRING, "Column names of a well-known outbox table.",
              "name the columns in columns"),
    NOT_BUILT(SCOPE_PIPELINE, "snapshot", STRING, "What tables begins with.", NULL),
    NOT_BUILT(SCOPE_PIPELINE, "format", STRING, "Form of the change events of tables.", NULL),
    NOT_BUILT(SCOPE_PIPELINE, "mappings", GROUPS, "Tables and their topics.", NULL),
    NOT_BUILT(SCOPE_PIPELINE, "tables", STRING_LIST,
              "Tables whose changes are published without an outbox.",
              "a pipeline publishes the rows of one outbox table: write table = "
              "\"outbox.event\", and one pipeline for each further table"),

    {AT_ROUTE("event_type", GLOB, event_type), .example = "payment.*", .max = 255,
     .help = "Pattern of the event type: *, ? and [...]."},
    {AT_ROUTE("aggregate_type", GLOB, aggregate_type), .example = "order", .max = 255,
     .help = "Pattern of the aggregate type."},
    {AT_ROUTE("topic", TEMPLATE, topic), .example = "payments.events", .max = 512,
     .flags = OPTION_REQUIRED, .help = "Topic of the events of this route."},
    {AT_ROUTE("key", TEMPLATE, key), .example = "${aggregate_id}", .max = 512,
     .help = "Key of the records of this route. Default: the pipeline's."},
};

const Option *options_all(size_t *ret_count)
{
    *ret_count = sizeof(OPTIONS) / sizeof(OPTIONS[0]);
    return OPTIONS;
}

#include "config/options.h"

#include "config/config.h"
#include "config/lists.h"
#include "config/option_choices.h"

#define MS     INT64_C(1)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define KIB    INT64_C(1024)
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)

/* scope, path, type and offset in one go */
#define AT_CONFIG(p, t, field)                                                                     \
    .scope = SCOPE_CONFIG, .path = (p), .type = OPTION_##t, .offset = offsetof(Config, field)
#define AT_PIPELINE(p, t, field)                                                                   \
    .scope = SCOPE_PIPELINE, .path = (p), .type = OPTION_##t,                                      \
    .offset = offsetof(PipelineConfig, field)
#define GROUPS(p, list, in) .scope = (in), .path = (p), .type = OPTION_GROUPS, .groups = &(list)
#define AT_ROUTE(p, t, field)                                                                      \
    .scope = SCOPE_ROUTE, .path = (p), .type = OPTION_##t, .offset = offsetof(RouteConfig, field)
#define NOT_BUILT(s, p, t, text, instead)                                                          \
    {                                                                                              \
        .scope = (s), .path = (p), .type = OPTION_##t, .flags = OPTION_NOT_BUILT, .help = (text),  \
        .example = (instead)                                                                       \
    }
#define AT_MAPPING(p, t, field)                                                                    \
    .scope = SCOPE_MAPPING, .path = (p), .type = OPTION_##t,                                       \
    .offset = offsetof(MappingConfig, field)
/* An option for each column of the outbox. */
#define COLUMN(field, column, class, made, message, ce_rank, ce_name, plain_rank, plain_name,      \
               because, elsewhere, text)                                                           \
    {AT_PIPELINE("columns." #column, STRING, outbox.columns[FIELD_##field]), .fallback = #column,  \
     .max = 63, .flags = OPTION_OUTBOX, .help = (text)},

/* The lists of groups. */
static const OptionGroups PIPELINES = {
    .scope = SCOPE_PIPELINE,
    .size = sizeof(PipelineConfig),
    .line = offsetof(PipelineConfig, line),
    .count = offsetof(Config, pipeline_count),
    .most = PIPELINES_MAX,
    .called = "pipeline",
};
static const OptionGroups ROUTES = {
    .scope = SCOPE_ROUTE,
    .size = sizeof(RouteConfig),
    .line = offsetof(RouteConfig, line),
    .count = offsetof(PipelineConfig, route.rule_count),
    .most = LIST_ITEMS_MAX,
    .called = "route",
};
static const OptionGroups MAPPINGS = {
    .scope = SCOPE_MAPPING,
    .size = sizeof(MappingConfig),
    .line = offsetof(MappingConfig, line),
    .count = offsetof(PipelineConfig, tables.mapping_count),
    .most = LIST_ITEMS_MAX,
    .called = "mapping",
};
static const OptionGroups MASKS = {
    .scope = SCOPE_MASK,
    .size = sizeof(ColumnLength),
    .line = NO_LINE,
    .count = offsetof(MappingConfig, mask_count),
    .most = LIST_ITEMS_MAX,
    .called = "mask",
};
static const OptionGroups CUTS = {
    .scope = SCOPE_CUT,
    .size = sizeof(ColumnLength),
    .line = NO_LINE,
    .count = offsetof(MappingConfig, cut_count),
    .most = LIST_ITEMS_MAX,
    .called = "limit",
};

static const Option OPTIONS[] = {
    {AT_CONFIG("name", STRING, name), .fallback = "outboxd", .max = 63,
     .flags = OPTION_NAME | OPTION_REQUIRED,
     .help = "The name of this relay. It is the application_name in PostgreSQL, the client.id in "
             "Kafka, and the first part of ce_source. Letters, digits, '.', '_' and '-'."},
    {AT_CONFIG("on_failure", ENUM, on_failure), .fallback = "stop", .choices = CHOICES_ON_FAILURES,
     .flags = OPTION_RELOADABLE,
     .help = "What the process does when a pipeline stops until an operator acts. \"stop\": the "
             "other pipelines continue, and the process exits when none is left. \"exit\": the "
             "process ends at once. The exit code is that of the first pipeline that stopped."},
    {AT_CONFIG("shutdown_timeout", DURATION, shutdown_timeout_ms), .fallback = "30s", .min = 0,
     .max = HOUR, .flags = OPTION_RELOADABLE,
     .help = "How long the relay waits after SIGTERM until the events in flight are acknowledged "
             "and marked. If draining takes longer, outboxd exits with code 5: no event is lost, "
             "and duplicates are possible. A pipeline that a reload ends has the same time."},

    {AT_CONFIG("database.dsn", STRING, database.dsn), .fallback = "", .max = 8192,
     .example = "host=localhost dbname=shop user=outboxd_relay",
     .flags = OPTION_SECRET | OPTION_REQUIRED | OPTION_IN_SAMPLE | OPTION_DSN,
     .help = "Connection string of libpq, as key=value pairs or as a postgresql:// URI. A ${file:} "
             "or ${env:} inside the string stands for one value, whatever characters it has. A "
             "reference that is the whole string is itself the connection string. Keep passwords "
             "in password_file or ~/.pgpass rather than here. They are masked wherever the string "
             "is shown."},
    {AT_CONFIG("database.replication_dsn", STRING, database.replication_dsn), .fallback = "",
     .max = 8192, .flags = OPTION_SECRET | OPTION_DSN,
     .help = "Connection string of the replication connection of capture = \"wal\", if dsn leads "
             "through a connection pooler. It must lead to the same server and the same database "
             "as dsn; outboxd compares the two. Its form is that of dsn. The password options "
             "apply to both. Default: dsn."},
    {AT_CONFIG("database.password", STRING, database.password), .fallback = "", .max = 65536,
     .flags = OPTION_RELOADABLE | OPTION_SECRET,
     .help = "The password of the user in the connection string. No character needs quoting. Give "
             "it here, in password_file or in dsn, but only in one of them."},
    {AT_CONFIG("database.password_file", STRING, database.password_file), .fallback = "",
     .max = 4096, .flags = OPTION_RELOADABLE,
     .help = "A file that holds only the password. One newline at its end is ignored. outboxd "
             "reads the file at the start and at each reload. A relative path starts from the "
             "directory of the configuration file. Other users should not be able to read the "
             "file."},
    {AT_CONFIG("database.password_command", STRING, database.password_command), .fallback = "",
     .max = 4096, .flags = OPTION_FIXED,
     .help =
         "A program that prints the password, for tokens that expire after some minutes. The first "
         "word is its absolute path. Blanks separate words; '...' and \"...\" keep them. No "
         "shell reads the text, and nothing in it is expanded. It prints the password in one "
         "line, or a JSON object with token and expires_in. outboxd runs it when it connects "
         "and has no password that is valid for long enough. Other users can see its arguments."},
    {AT_CONFIG("database.password_lifetime", DURATION, database.password_lifetime_ms),
     .fallback = "10min", .min = 1 * SECOND, .max = 30 * DAY, .flags = OPTION_FIXED,
     .help =
         "How long a password of password_command can be used if the program does not say. "
         "When three quarters of its lifetime are over, the next connection fetches a new one."},
    {AT_CONFIG("database.password_timeout", DURATION, database.password_timeout_ms),
     .fallback = "30s", .min = 100 * MS, .max = 10 * MINUTE, .flags = OPTION_FIXED,
     .help = "How long password_command may run. Then outboxd kills it, with the processes that it "
             "has started."},
    {AT_CONFIG("database.pooler", ENUM, database.pooler), .fallback = "none",
     .choices = CHOICES_POOLERS,
     .help = "The connection pooler between the relay and PostgreSQL. With \"none\", outboxd "
             "refuses every pooler. With \"session\", it accepts a pooler in session mode, which "
             "keeps one server connection for each client connection. capture = \"wal\" then also "
             "needs replication_dsn. No value permits transaction mode, which breaks the advisory "
             "lock that keeps two relays apart."},
    {AT_CONFIG("database.connect_timeout", DURATION, database.connect_timeout_ms), .fallback = "5s",
     .min = 100 * MS, .max = 10 * MINUTE,
     .help = "How long one attempt to connect may take before it counts as failed."},
    {AT_CONFIG("database.statement_timeout", DURATION, database.statement_timeout_ms),
     .fallback = "30s", .min = 100 * MS, .max = HOUR,
     .help = "How long a statement of the relay may run before PostgreSQL cancels it."},

    {AT_CONFIG("kafka.brokers", STRING, kafka.brokers), .fallback = "", .max = 8192,
     .example = "localhost:9092", .flags = OPTION_IN_SAMPLE | OPTION_RELOADABLE,
     .help = "The brokers to contact first, as host:port separated by commas. Required if a "
             "pipeline has sink = \"kafka\"."},
    {AT_CONFIG("kafka.properties", STRING_LIST, kafka.properties), .max = 8192,
     .example = "[ \"compression.type=lz4\" ]", .flags = OPTION_SECRET | OPTION_RELOADABLE,
     .help = "Properties of librdkafka as \"key=value\". In the environment, each property has its "
             "own variable: OUTBOXD_KAFKA_PROPERTY_ and the key in upper case with '_' for '.'. "
             "outboxd refuses properties that would break a guarantee, and says why. If a broker "
             "refuses the login, a ${file:} of sasl.username or sasl.password is read again. "
             "Properties "
             "with password, secret or token in their name are masked wherever they are shown."},
    {AT_CONFIG("kafka.create_topics", BOOL, kafka.create_topics), .fallback = "false",
     .flags = OPTION_RELOADABLE,
     .help = "Whether the broker may create a missing topic with its own defaults when an event is "
             "published to it. We recommend outboxd check --create-topics instead."},
    {AT_CONFIG("kafka.oauth_command", STRING, kafka.oauth_command), .fallback = "", .max = 4096,
     .flags = OPTION_FIXED,
     .help = "A program that prints a token for SASL/OAUTHBEARER, written and run like "
             "database.password_command. In JSON it may add principal and extensions. "
             "kafka.properties need security.protocol=sasl_ssl (or sasl_plaintext) and "
             "sasl.mechanisms=OAUTHBEARER."},
    {AT_CONFIG("kafka.oauth_lifetime", DURATION, kafka.oauth_lifetime_ms), .fallback = "10min",
     .min = 1 * SECOND, .max = 30 * DAY, .flags = OPTION_FIXED,
     .help = "How long a token of oauth_command can be used if neither the program nor the token "
             "says. outboxd fetches a new one when four fifths of its lifetime are over."},
    {AT_CONFIG("kafka.oauth_timeout", DURATION, kafka.oauth_timeout_ms), .fallback = "30s",
     .min = 100 * MS, .max = 10 * MINUTE, .flags = OPTION_FIXED,
     .help =
         "How long oauth_command may run. Then outboxd kills it, with the processes that it has "
         "started."},

    {AT_CONFIG("monitor.listen", STRING, monitor.listen), .fallback = "127.0.0.1:9480", .max = 255,
     .flags = OPTION_FIXED,
     .help = "The address and port of /metrics, /livez, /readyz and /status. Use \"[::1]:9480\" "
             "for IPv6, \"0.0.0.0:9480\" for all interfaces (there is no authentication), or "
             "\"off\" for none."},
    {AT_CONFIG("monitor.interval", DURATION, monitor.interval_ms), .fallback = "5s", .min = 100,
     .max = 10 * MINUTE, .flags = OPTION_RELOADABLE,
     .help = "How often the relay asks PostgreSQL about lag, slots, dead letters and long "
             "transactions."},
    {AT_CONFIG("monitor.lag_objective", DURATION, monitor.lag_objective_ms), .fallback = "5s",
     .min = 1, .max = DAY, .flags = OPTION_RELOADABLE,
     .help = "The highest acceptable lag. The error budget, the burn rates and outboxd status "
             "--fail-if-late use it."},
    {AT_CONFIG("monitor.lag_target", STRING, monitor.lag_target), .fallback = "99.9%", .max = 16,
     .flags = OPTION_RELOADABLE,
     .help = "The share of time in which the lag should be within lag_objective: a percentage "
             "above 0 and below 100."},
    {AT_CONFIG("monitor.consumer_groups", STRING_LIST, monitor.consumer_groups), .max = 255,
     .example = "[ \"billing\", \"search-*\" ]", .flags = OPTION_RELOADABLE,
     .help = "The consumer groups (globs) whose lag on the topics of this relay is shown. None by "
             "default. The relay's principal needs DESCRIBE on the groups and the topics."},
    {AT_CONFIG("monitor.groups_interval", DURATION, monitor.groups_interval_ms), .fallback = "15s",
     .min = 100, .max = 10 * MINUTE, .flags = OPTION_RELOADABLE,
     .help = "How often the relay asks Kafka about consumer groups."},

    {AT_CONFIG("log.format", ENUM, log.format), .fallback = "logfmt",
     .choices = CHOICES_LOG_FORMATS, .flags = OPTION_RELOADABLE,
     .help = "How log lines are written: as key=value pairs (\"logfmt\") or as JSON objects "
             "(\"json\")."},
    {AT_CONFIG("log.level", ENUM, log.level), .fallback = "info", .choices = CHOICES_LOG_LEVELS,
     .flags = OPTION_RELOADABLE, .help = "The lowest level of log lines that are written."},
    {AT_CONFIG("log.summary_interval", DURATION, log.summary_interval_ms), .fallback = "5m",
     .min = 0, .max = DAY, .flags = OPTION_RELOADABLE,
     .help = "How often one line sums up what a pipeline has published, while it publishes or "
             "events wait. An idle pipeline writes one such line. \"0s\" turns it off."},

    {GROUPS("pipelines", PIPELINES, SCOPE_CONFIG), .offset = offsetof(Config, pipelines),
     .help = "The pipelines: a list of groups, one for each pipeline. Each says which events are "
             "published, and where to."},

    {AT_PIPELINE("name", STRING, name), .example = "orders", .max = 63,
     .flags = OPTION_NAME | OPTION_REQUIRED | OPTION_IN_SAMPLE,
     .help = "The unique name of the pipeline in logs, metrics and commands. Letters, digits, '.', "
             "'_' and '-'. If outboxd starts without a file, its pipeline is called \"outbox\"."},
    {AT_PIPELINE("capture", ENUM, capture), .fallback = "poll", .choices = CHOICES_CAPTURES,
     .help =
         "How the relay finds events. \"poll\" reads the unpublished rows of an outbox table. "
         "\"wal\" reads the same rows from the write-ahead log by logical replication "
         "(wal_level = logical). \"tables\" needs no outbox: it reads every change of the tables "
         "that mappings name from the write-ahead log."},
    {AT_PIPELINE("table", STRING, outbox.table), .fallback = "outbox.event", .max = 127,
     .flags = OPTION_REQUIRED,
     .help = "The outbox table, as schema.table. Use double quotes as in SQL to keep capitals: "
             "\"\\\"Shop\\\".event\". With capture = \"tables\" it is the table in which the relay "
             "keeps its position, by default \"outbox.position\"; name it only if outboxd migrate "
             "installed another schema."},
    {AT_PIPELINE("sink", ENUM, sink), .fallback = "kafka", .choices = CHOICES_SINKS,
     .help =
         "Where records go, and what counts as acknowledged. \"kafka\": all in-sync replicas "
         "have the record. \"file\": the record is flushed to disk. \"stdout\": the pipe accepted "
         "one line of JSON; its reader may still lose it. \"null\": the record is discarded. Use "
         "the last two only to try things out, see allow_unstored."},
    {AT_PIPELINE("allow_unstored", BOOL, allow_unstored), .fallback = "false",
     .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help =
         "Whether rows may be marked or deleted although sink = \"stdout\" or \"null\" does not "
         "store their records. If it is false, these sinks require on_publish = \"keep\"."},
    {AT_PIPELINE("file.path", STRING, file.path), .fallback = "", .max = 4000,
     .example = "/var/lib/outboxd/orders.jsonl",
     .help =
         "With sink = \"file\": the absolute path of the file to which the relay appends records. "
         "Its directory must exist. Each pipeline needs its own file, and no other program may "
         "write to it."},
    {AT_PIPELINE("file.format", ENUM, file.format), .fallback = "json",
     .choices = CHOICES_FILE_FORMATS,
     .help = "With sink = \"file\": \"json\" writes one JSON object per record, with topic, key, "
             "value, headers, id and time. \"raw\" writes only the value, and refuses a value that "
             "contains a line break. With \"raw\", the relay cannot recognise its own file: it "
             "appends to any file at file.path, and removes an incomplete last line."},
    {AT_PIPELINE("file.rotate_bytes", SIZE, file.rotate_bytes), .fallback = "1GiB", .min = 0,
     .max = 1024 * GIB,
     .help =
         "With sink = \"file\": the largest size of the file. Before a write that would exceed it, "
         "the relay renames the file, adding the time (UTC) to its name, and starts a new one. "
         "\"0B\": no limit."},
    {AT_PIPELINE("file.rotate_interval", DURATION, file.rotate_interval_ms), .fallback = "0s",
     .min = 0, .max = 366 * DAY,
     .help = "With sink = \"file\": the relay also rotates the file at every multiple of this time "
             "(UTC), for example \"1h\" on the hour and \"1d\" at midnight. \"0s\": never."},
    {AT_PIPELINE("topic", TEMPLATE, route.topic), .fallback = "${aggregate_type}.events",
     .max = 512, .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "The topic of an event that no route matches. ${column} stands for the value of a "
             "column of the table, and $${ for a literal ${. If topic is empty, such an event is "
             "unrouted, see on_unrouted."},
    {AT_PIPELINE("key", TEMPLATE, route.key), .fallback = "${aggregate_id}", .max = 512,
     .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "The key of the record. Events with the same key stay in order. Empty: no key."},
    {GROUPS("routes", ROUTES, SCOPE_PIPELINE), .offset = offsetof(PipelineConfig, route.rules),
     .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "Routes are tried in the order of this file. The first whose conditions all match "
             "wins. If none does, the pipeline's topic and key apply."},
    {AT_PIPELINE("on_publish", ENUM, outbox.on_publish), .fallback = "mark",
     .choices = CHOICES_ON_PUBLISHES, .flags = OPTION_OUTBOX,
     .help = "What happens to a row when its record is acknowledged (see sink). \"mark\" sets "
             "published_at. \"delete\" deletes the row. \"keep\" (only with capture = \"wal\") "
             "leaves it "
             "unchanged."},
    {AT_PIPELINE("retain", DURATION, outbox.retain_ms), .fallback = "forever", .min = SECOND,
     .max = 3650 * DAY, .flags = OPTION_RELOADABLE | OPTION_FOREVER | OPTION_OUTBOX,
     .help = "How long marked rows are kept. Older rows are deleted in small batches. Only with "
             "on_publish = \"mark\": if you change it to \"delete\", the rows that are already "
             "marked stay in the table."},
    {AT_PIPELINE("delivery", ENUM, delivery), .fallback = "at-least-once",
     .choices = CHOICES_DELIVERIES,
     .help = "Every event of a committed transaction reaches its sink. After a crash, duplicates "
             "with the same id are possible."},
    {AT_PIPELINE("headers", ENUM, encode.headers), .fallback = "cloudevents",
     .choices = CHOICES_HEADER_STYLES, .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "The names of the record's headers: CloudEvents 1.0 binary mode (ce_id, ce_type, ...) "
             "or plain (event_id, event_type, ...)."},
    {AT_PIPELINE("source", STRING, encode.source), .max = 512,
     .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "The value of the header ce_source. Default: \"/\", the relay's name, \"/\" and the "
             "pipeline's name."},
    {AT_PIPELINE("timestamp", ENUM, encode.timestamp), .fallback = "occurred_at",
     .choices = CHOICES_TIMESTAMPS, .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "The record's timestamp. \"occurred_at\": when the event happened, or the time of "
             "publishing if the topic would refuse that time or delete such a record at once. "
             "\"publish\": the time of publishing."},
    {AT_PIPELINE("position_headers", BOOL, encode.position_headers), .fallback = "false",
     .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "Adds headers with the position of the event. Polling adds outboxd_seq, the sequence "
             "number of the row. capture = \"wal\" adds outboxd_lsn (the LSN of the commit) and "
             "outboxd_ordinal (the number within the transaction)."},
    {AT_PIPELINE("allow_row_topic", BOOL, route.allow_row_topic), .fallback = "false",
     .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "Whether the topic column of a row overrides routes and topic when it is set. If so, "
             "anyone who may insert events can choose any topic that the relay may write to."},
    {AT_PIPELINE("on_poison", ENUM, on_poison), .fallback = "stop", .choices = CHOICES_ON_POISONS,
     .flags = OPTION_RELOADABLE,
     .help = "What happens to an event that cannot be published as it is (too large, invalid "
             "headers, refused by the sink). \"stop\" holds the row: it and the later events of "
             "its topic wait until somebody corrects or deletes it, or raises the limit that it "
             "exceeds, and outboxd says so. "
             "\"dead_letter\" stores the event in outbox.dead_letter with the reason. In both "
             "cases the events of all other topics are published."},
    {AT_PIPELINE("on_unrouted", ENUM, route.on_unrouted), .fallback = "stop",
     .choices = CHOICES_ON_UNROUTEDS, .flags = OPTION_RELOADABLE,
     .help = "What happens to an event that has no topic. \"stop\" holds back the events of its "
             "aggregate type. \"drop\" discards the event and counts it "
             "(outboxd_events_dropped_total). "
             "\"dead_letter\" stores it as a dead letter."},
    {AT_PIPELINE("on_missing_topic", ENUM, route.on_missing_topic), .fallback = "wait",
     .choices = CHOICES_ON_MISSING_TOPICS, .flags = OPTION_RELOADABLE,
     .help = "What happens to an event whose Kafka topic is missing or denied. \"wait\" keeps it, "
             "and all later events of that topic, until the topic can be written. \"dead_letter\" "
             "stores these events as dead letters when the brokers have reported the problem for a "
             "minute. In both cases the events of all other topics are published."},
    {AT_PIPELINE("poll_interval_min", DURATION, poll.interval_min_ms), .fallback = "1ms",
     .min = 1 * MS, .max = MINUTE, .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "With capture = \"poll\": the pause between two polls while there are new events."},
    {AT_PIPELINE("poll_interval_max", DURATION, poll.interval_max_ms), .fallback = "100ms",
     .min = 1 * MS, .max = 10 * MINUTE, .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "With capture = \"poll\": the longest pause between two polls while there are no new "
             "events. It is the most that polling adds to the latency of the first event after a "
             "quiet time."},
    {AT_PIPELINE("sweep_interval", DURATION, poll.sweep_interval_ms), .fallback = "30s",
     .min = 100 * MS, .max = DAY, .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "With capture = \"poll\": the longest time between two sweeps. A sweep is a poll that "
             "looks for unpublished rows in the whole table, and not only where a running "
             "transaction can still add rows. While sweeps are cheap, every poll is one. If "
             "somebody repeatedly unmarks a row, it is published again at most this often."},
    {AT_PIPELINE("unseen_after", DURATION, outbox.unseen_after_ms), .fallback = "15s",
     .min = 1 * SECOND, .max = DAY, .flags = OPTION_RELOADABLE | OPTION_OUTBOX,
     .help = "How long an unpublished event may stay in the table without the relay having seen "
             "it, although the relay has read everything. After half of this time, polling looks "
             "at the event again. After all of it (with polling, at least two sweeps) the relay is "
             "not ready and reports EVENT_UNSEEN."},
    {AT_PIPELINE("batch_events", INT, limits.batch_events), .fallback = "2000", .min = 1,
     .max = 100000, .help = "The largest number of rows in one fetch, and in one mark or delete."},
    {AT_PIPELINE("batch_bytes", SIZE, limits.batch_bytes), .fallback = "4MiB", .min = 4 * KIB,
     .max = 1 * GIB,
     .help = "A fetch ends early when its rows exceed this size. A single larger row is still "
             "published."},
    {AT_PIPELINE("event_bytes_max", SIZE, limits.event_bytes), .fallback = "8MiB", .min = 64 * KIB,
     .max = 1 * GIB,
     .help =
         "The largest event, counted over all its columns. The relay refuses a larger one by its "
         "size, without fetching it: EVENT_TOO_LARGE, then as on_poison says. This limits the "
         "relay's memory. If kafka.properties raise message.max.bytes, the default rises with it."},
    {AT_PIPELINE("in_flight_events", INT, limits.in_flight_events), .fallback = "10000", .min = 1,
     .max = 10000000,
     .help = "The largest number of events that are read but not yet acknowledged and marked. "
             "This is also the largest number of duplicates after a crash."},
    {AT_PIPELINE("in_flight_bytes", SIZE, limits.in_flight_bytes), .fallback = "16MiB",
     .min = 4 * KIB, .max = 16 * GIB,
     .help = "The largest number of bytes that are read but not yet acknowledged. This limits the "
             "relay's memory."},
    {AT_PIPELINE("lease", DURATION, claim.lease_ms), .fallback = "10s", .min = 500 * MS,
     .max = 10 * MINUTE,
     .help = "How long a relay that hangs, or that is cut off from PostgreSQL, keeps the "
             "publisher's lock. A standby takes over after this time, plus at most a few seconds."},
    {AT_PIPELINE("slot", STRING, wal.slot), .max = 63, .example = "outboxd_orders",
     .help = "With capture = \"wal\" or \"tables\": the logical replication slot. Default: "
             "\"outboxd_\" and the "
             "pipeline's name, in lower case and with '_' for characters that a slot name cannot "
             "have. The relay creates the slot if it may and none existed before."},
    {AT_PIPELINE("publication", STRING, wal.publication), .max = 63, .example = "outboxd_orders",
     .help =
         "With capture = \"wal\": the publication, of inserts into the outbox table only. With "
         "capture = \"tables\": the publication of the mapped tables. The default is the same as "
         "for slot."},
    {AT_PIPELINE("messages", BOOL, wal.messages), .fallback = "false",
     .help =
         "With capture = \"wal\": also publish what outbox.emit_message writes to the WAL "
         "without a row (PostgreSQL 14 and later). A message that is not an event always "
         "becomes a dead letter, whatever on_poison says. With capture = \"tables\": publish every "
         "logical message as a record of its own."},
    {AT_PIPELINE("messages_from", ENUM, wal.messages_from), .fallback = "granted",
     .choices = CHOICES_MESSAGES_FROM, .flags = OPTION_OUTBOX,
     .help = "Whom the relay trusts with messages = true. PostgreSQL lets every role call "
             "pg_logical_emit_message() and so create an event. \"granted\": while PUBLIC may call "
             "it, the relay does not start or waits (`outboxd migrate --guard-messages` revokes "
             "it). \"anyone\": the relay trusts every role that can connect to the database."},
    {AT_PIPELINE("failover_slot", BOOL, wal.failover_slot), .fallback = "false",
     .help = "With capture = \"wal\" or \"tables\": create the slot so that PostgreSQL 17 and "
             "later copies it to "
             "standbys. The servers need sync_replication_slots and synchronized_standby_slots."},
    {AT_PIPELINE("mark_interval", DURATION, outbox.mark_interval_ms), .fallback = "50ms", .min = 0,
     .max = MINUTE, .flags = OPTION_RELOADABLE,
     .help = "With capture = \"wal\" or \"tables\": how long acknowledged events wait until one "
             "statement marks the rows of an outbox and saves the position. A longer time costs "
             "the database less, and means more "
             "possible duplicates after a crash."},
    {AT_PIPELINE("pg_shutdown_grace", DURATION, wal.shutdown_grace_ms), .fallback = "10s", .min = 0,
     .max = 10 * MINUTE, .flags = OPTION_RELOADABLE,
     .help = "With capture = \"wal\" or \"tables\": how long the relay lets PostgreSQL wait for it "
             "when "
             "PostgreSQL shuts down. PostgreSQL waits until the relay has confirmed what it was "
             "sent. After this time the relay disconnects, and continues when the server is back."},
    {AT_PIPELINE("standby_interval", DURATION, claim.standby_interval_ms), .fallback = "1s",
     .min = 10 * MS, .max = MINUTE, .flags = OPTION_RELOADABLE,
     .help = "How often a standby tries to get the publisher's lock."},
    {AT_PIPELINE("retry_backoff_min", DURATION, claim.backoff_min_ms), .fallback = "100ms",
     .min = 1 * MS, .max = 10 * MINUTE, .flags = OPTION_RELOADABLE,
     .help = "The first pause after a temporary failure. The pause doubles with each failure, with "
             "jitter."},
    {AT_PIPELINE("retry_backoff_max", DURATION, claim.backoff_max_ms), .fallback = "10s",
     .min = 1 * MS, .max = HOUR, .flags = OPTION_RELOADABLE,
     .help = "The longest pause between two attempts."},
#include "config/outbox_columns.inc"
    {AT_PIPELINE("header_columns", STRING_LIST, outbox.header_columns), .max = 63,
     .example = "[ \"tenant\" ]", .flags = OPTION_OUTBOX,
     .help = "Further columns of the table that become headers of the same name. In the "
             "environment, separate them by commas."},
    {AT_PIPELINE("topic_prefix", STRING, tables.topic_prefix), .example = "shop", .max = 100,
     .flags = OPTION_TABLES | OPTION_NAME,
     .help =
         "The logical name of the database: the first part of topics and of the names of "
         "schemas, and source.name in each record. Letters, digits, '.', '_' and '-'. Required."},
    {AT_PIPELINE("format", ENUM, tables.format), .fallback = "debezium", .choices = CHOICES_FORMATS,
     .flags = OPTION_TABLES,
     .help = "The form of the change events. \"debezium\": those of Debezium's PostgreSQL "
             "connector, as JSON."},
    {AT_PIPELINE("schemas", BOOL, tables.modes.told), .bit = TOLD_SCHEMAS, .fallback = "false",
     .flags = OPTION_TABLES,
     .help =
         "Whether each key and each value carries its schema, as Kafka Connect's JSON converter "
         "does with schemas.enable."},
    {AT_PIPELINE("snapshot", ENUM, tables.snapshot), .fallback = "initial",
     .choices = CHOICES_SNAPSHOTS, .flags = OPTION_TABLES,
     .help =
         "What the pipeline begins with. \"initial\": at the first start, the rows that are "
         "there, and then every change. \"initial_only\": the rows alone. \"never\": the "
         "changes alone. \"when_needed\": as \"initial\", and again when the slot cannot be read "
         "on; deletes from before the new snapshot are then never published."},
    {AT_PIPELINE("snapshot_workers", INT, tables.snapshot_workers), .fallback = "1", .min = 1,
     .max = 64, .flags = OPTION_TABLES,
     .help = "How many connections read the first snapshot side by side."},
    {AT_PIPELINE("snapshot_xmin_max", DURATION, tables.snapshot_xmin_max_ms), .fallback = "1h",
     .min = MINUTE, .max = 30 * DAY, .flags = OPTION_TABLES,
     .help = "How long the first snapshot may keep VACUUM from removing dead rows, before the "
             "relay reports it."},
    {AT_PIPELINE("snapshot_wal_max", SIZE, tables.snapshot_wal_max_bytes), .fallback = "10GiB",
     .min = 64 * MIB, .max = 16 * 1024 * GIB, .flags = OPTION_TABLES,
     .help = "How much WAL the slot may retain while the first snapshot is read, before the relay "
             "reports it."},
    {AT_PIPELINE("transaction_topic", BOOL, tables.modes.told), .bit = TOLD_TRANSACTIONS,
     .fallback = "false", .flags = OPTION_TABLES,
     .help = "Whether begin and end of each transaction are published, to the topic "
             "topic_prefix.transaction, and each change carries its place in the transaction."},
    {AT_PIPELINE("heartbeat_interval", DURATION, tables.heartbeat_ms), .fallback = "0s", .min = 0,
     .max = DAY, .flags = OPTION_TABLES,
     .help =
         "How often a record is published to __debezium-heartbeat.topic_prefix. \"0s\": never."},
    {AT_PIPELINE("unknown_types", ENUM, tables.modes.unknown), .fallback = "text",
     .choices = CHOICES_UNKNOWN_TYPES, .flags = OPTION_TABLES,
     .help = "What becomes of columns whose type has no form of its own in a record. \"text\": "
             "the text that PostgreSQL prints. \"omit\": they are left out, Debezium's default. "
             "\"bytes\": the bytes of that text."},
    {AT_PIPELINE("decimal", ENUM, tables.modes.decimal), .fallback = "precise",
     .choices = CHOICES_DECIMALS, .flags = OPTION_TABLES,
     .help = "How numeric and money are expressed: Debezium's decimal.handling.mode."},
    {AT_PIPELINE("time", ENUM, tables.modes.time), .fallback = "adaptive", .choices = CHOICES_TIMES,
     .flags = OPTION_TABLES,
     .help = "How dates and times are expressed: Debezium's time.precision.mode."},
    {AT_PIPELINE("interval", ENUM, tables.modes.interval), .fallback = "numeric",
     .choices = CHOICES_INTERVALS, .flags = OPTION_TABLES,
     .help = "How intervals are expressed: Debezium's interval.handling.mode."},
    {AT_PIPELINE("binary", ENUM, tables.modes.binary), .fallback = "bytes",
     .choices = CHOICES_BINARIES, .flags = OPTION_TABLES,
     .help = "How bytea is expressed: Debezium's binary.handling.mode."},
    {AT_PIPELINE("hstore", ENUM, tables.modes.hstore), .fallback = "json",
     .choices = CHOICES_HSTORES, .flags = OPTION_TABLES,
     .help = "How hstore is expressed: Debezium's hstore.handling.mode."},
    {AT_PIPELINE("toast", ENUM, tables.toast), .fallback = "placeholder", .choices = CHOICES_TOASTS,
     .flags = OPTION_TABLES,
     .help =
         "What stands for a large value that an update left unchanged, so that PostgreSQL does "
         "not send it. \"placeholder\": the text __debezium_unavailable_value. \"reselect\": the "
         "value as it is in the table when the relay reads the row again."},
    {GROUPS("mappings", MAPPINGS, SCOPE_PIPELINE),
     .offset = offsetof(PipelineConfig, tables.mappings), .flags = OPTION_TABLES,
     .help = "The tables whose changes are published, and what becomes of each. A table is "
             "published by one mapping. Required with capture = \"tables\"."},

    NOT_BUILT(SCOPE_PIPELINE, "preset", STRING, "Column names of a well-known outbox table.",
              "name the columns in columns"),
    NOT_BUILT(
        SCOPE_PIPELINE, "tables", STRING_LIST,
        "Tables whose changes are published without an outbox.",
        "to publish the changes of tables, write capture = \"tables\" and mappings; a pipeline "
        "of an outbox publishes one table, such as table = \"outbox.event\""),

    {AT_ROUTE("event_type", GLOB, event_type), .example = "payment.*", .max = 255,
     .flags = OPTION_RELOADABLE | OPTION_IN_SAMPLE,
     .help = "A pattern of the event type: *, ? and [...]."},
    {AT_ROUTE("aggregate_type", GLOB, aggregate_type), .example = "order", .max = 255,
     .flags = OPTION_RELOADABLE | OPTION_IN_SAMPLE,
     .help = "A pattern of the aggregate type: *, ? and [...]."},
    {AT_ROUTE("topic", TEMPLATE, topic), .example = "payments.events", .max = 512,
     .flags = OPTION_REQUIRED | OPTION_RELOADABLE | OPTION_IN_SAMPLE,
     .help = "The topic of the events of this route."},
    {AT_ROUTE("key", TEMPLATE, key), .example = "${aggregate_id}", .max = 512,
     .flags = OPTION_RELOADABLE | OPTION_IN_SAMPLE,
     .help = "The key of the records of this route. Default: the pipeline's."},

#include "config/mapping_options.inc"
};

const Option *options_all(size_t *ret_count)
{
    *ret_count = sizeof(OPTIONS) / sizeof(OPTIONS[0]);
    return OPTIONS;
}

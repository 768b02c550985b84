/* config: the effective configuration, as plain structs.
 *
 * Every option is declared once, in the table of options.c; parsing, defaults, ranges, units,
 * environment names, secret masking, reload flags, --help, `config print` and conf/outboxd.conf all
 * come from that table. Precedence: command line, then environment, then file, then default.
 *
 * All strings are owned by the Config and are never NULL unless said so. Durations are
 * milliseconds, sizes are bytes. Immutable after loading, but for what a reload changes under a
 * pipeline that goes on (change.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"
#include "config/outbox_columns.h"
#include "config/string_list.h"
#include "config/tables.h"

typedef enum Capture {
#define CAPTURE(kind, name, make) CAPTURE_##kind,
#include "config/captures.inc"
#undef CAPTURE
} Capture;
typedef enum OnPublish { ON_PUBLISH_MARK, ON_PUBLISH_DELETE, ON_PUBLISH_KEEP } OnPublish;
typedef enum Delivery { DELIVERY_AT_LEAST_ONCE, DELIVERY_EXACTLY_ONCE } Delivery;
typedef enum HeaderStyle { HEADERS_CLOUDEVENTS, HEADERS_PLAIN, HEADERS_DEBEZIUM } HeaderStyle;
typedef enum MessagesFrom { MESSAGES_FROM_GRANTED, MESSAGES_FROM_ANYONE } MessagesFrom;
typedef enum OnPoison { ON_POISON_STOP, ON_POISON_DEAD_LETTER } OnPoison;
typedef enum OnMissingTopic { ON_MISSING_TOPIC_WAIT, ON_MISSING_TOPIC_DEAD_LETTER } OnMissingTopic;
typedef enum OnUnrouted { ON_UNROUTED_STOP, ON_UNROUTED_DROP, ON_UNROUTED_DEAD_LETTER } OnUnrouted;
typedef enum TimestampMode { TIMESTAMP_OCCURRED_AT, TIMESTAMP_PUBLISH } TimestampMode;
typedef enum SinkKind {
#define SINK(kind, name, make, check, stores) SINK_##kind,
#include "config/sinks.inc"
#undef SINK
} SinkKind;
typedef enum FileFormat { FILE_FORMAT_JSON, FILE_FORMAT_RAW } FileFormat;
typedef enum OnFailure { ON_FAILURE_STOP_PIPELINE, ON_FAILURE_EXIT } OnFailure;
typedef enum Pooler { POOLER_NONE, POOLER_SESSION } Pooler;

enum { DURATION_FOREVER = -1 }; /* of `retain` */

typedef struct RouteConfig {
    char *event_type;     /* glob; NULL: any */
    char *aggregate_type; /* glob; NULL: any */
    char *topic;          /* template */
    char *key;            /* template; NULL: the pipeline's */
    int line;             /* in the file; 0: none */
} RouteConfig;

/* The table that events are written to, and what becomes of its rows. */
typedef struct OutboxConfig {
    char *table;                 /* schema-qualified, as written */
    char *columns[COLUMN_COUNT]; /* their names, by EventField; "": there is no such column */
    uint32_t columns_named;      /* bit i: the i-th of columns was named, it is no default */
    StringList header_columns;
    OnPublish on_publish;
    int64_t retain_ms; /* or DURATION_FOREVER */
    int64_t mark_interval_ms;
    int64_t unseen_after_ms;
} OutboxConfig;

/* capture = "poll" alone. */
typedef struct PollConfig {
    int64_t interval_min_ms;
    int64_t interval_max_ms;
    int64_t sweep_interval_ms;
} PollConfig;

/* capture = "wal" alone. */
typedef struct WalConfig {
    char *slot;
    char *publication;
    bool messages;
    MessagesFrom messages_from;
    bool failover_slot;
    int64_t shutdown_grace_ms;
} WalConfig;

/* Where an event goes. */
typedef struct RoutingConfig {
    RouteConfig *rules;
    size_t rule_count;
    char *topic; /* template, "" = none: unmatched events are unrouted */
    char *key;   /* template, default "${aggregate_id}" */
    bool allow_row_topic;
    OnUnrouted on_unrouted;
    OnMissingTopic on_missing_topic;
} RoutingConfig;

/* What a record looks like. */
typedef struct EncodeConfig {
    HeaderStyle headers;
    char *source; /* ce_source; default "/<name>/<pipeline>" */
    TimestampMode timestamp;
    bool position_headers;
} EncodeConfig;

/* How much may be in memory, and on its way. */
typedef struct LimitsConfig {
    int64_t batch_events;
    int64_t batch_bytes;
    int64_t event_bytes;
    int64_t in_flight_events;
    int64_t in_flight_bytes;
} LimitsConfig;

/* The right to publish, and how long the relay waits before it asks again. */
typedef struct ClaimConfig {
    int64_t lease_ms;
    int64_t standby_interval_ms;
    int64_t backoff_min_ms;
    int64_t backoff_max_ms;
} ClaimConfig;

/* sink = "file" alone. */
typedef struct FileConfig {
    char *path;
    FileFormat format;
    int64_t rotate_bytes;       /* 0: never */
    int64_t rotate_interval_ms; /* 0: never */
} FileConfig;

typedef struct PipelineConfig {
    char *name;
    int line; /* in the file; 0: none */
    Capture capture;
    SinkKind sink;
    bool allow_unstored; /* mark or delete rows whose records no sink stores */
    Delivery delivery;
    OnPoison on_poison;
    OutboxConfig outbox;
    PollConfig poll;
    WalConfig wal; /* slot, publication, failover_slot and shutdown_grace of tables, too */
    TablesConfig tables;
    RoutingConfig route;
    EncodeConfig encode;
    FileConfig file;
    LimitsConfig limits;
    ClaimConfig claim;
} PipelineConfig;

/* It reads the write-ahead log: it has a slot, a publication and a position. */
static inline bool pipeline_reads_log(const PipelineConfig *pipeline)
{
    return pipeline->capture != CAPTURE_POLL;
}

/* Where the outboxes are. */
typedef struct DatabaseConfig {
    char *dsn;             /* whole, with the password: what libpq is given; well-formed */
    char *dsn_shown;       /* as it was written, secrets masked, for people; may be NULL */
    char *replication_dsn; /* the same for replication connections; "" = dsn */
    char *replication_dsn_shown;
    char *password;               /* "" = none; is in both */
    char *password_file;          /* likewise */
    char *password_command;       /* "" = none; prints the password (token/token.h) */
    int64_t password_lifetime_ms; /* of one that does not say */
    int64_t password_timeout_ms;
    Pooler pooler;
    int64_t connect_timeout_ms;
    int64_t statement_timeout_ms;
} DatabaseConfig;

/* Where records go, with sink = "kafka". */
typedef struct KafkaConfig {
    char *brokers;
    StringList properties; /* "key=value", in file order, environment ones last */
    StringList written;    /* those that a ${file:} is in, as they were written (reread.h) */
    bool create_topics;
    char *oauth_command; /* "" = none; prints a token for OAUTHBEARER */
    int64_t oauth_lifetime_ms;
    int64_t oauth_timeout_ms;
} KafkaConfig;

/* What the relay says of itself. */
typedef struct MonitorConfig {
    char *listen; /* "host:port"; "" = off */
    int64_t interval_ms;
    int64_t lag_objective_ms;
    char *lag_target;           /* "99.9%" */
    double lag_target_ratio;    /* the same as 0.999; more than 0, less than 1 */
    StringList consumer_groups; /* globs */
    int64_t groups_interval_ms;
} MonitorConfig;

/* What it writes. */
typedef struct LogConfig {
    LogFormat format;
    LogLevel level;
    int64_t summary_interval_ms; /* 0: off */
} LogConfig;

typedef struct Config {
    char *name;
    DatabaseConfig database;
    KafkaConfig kafka;
    PipelineConfig *pipelines;
    size_t pipeline_count;
    MonitorConfig monitor;
    LogConfig log;
    int64_t shutdown_timeout_ms;
    OnFailure on_failure;
    bool new_slot; /* run --new-slot: a gap of the slot is accepted and closed as far as possible */
    char *file;    /* path that was read; "" = none */
} Config;

/* What the command line says; NULL = not given. */
typedef struct ConfigOverrides {
    const char *file; /* -c; NULL: CONFIG_DEFAULT_FILE if it exists */
    const char *dsn;
    const char *brokers;
} ConfigOverrides;

#define CONFIG_DEFAULT_FILE "/etc/outboxd/outboxd.conf"

/* Every problem found, in order of place: a user mends them all at once. */
typedef struct Problem {
    bool warning;
    char *place;   /* "outboxd.conf:14", "database", "kafka", "OUTBOXD_KAFKA_BROKERS" */
    char *message; /* lower case */
    char *remedy;  /* or NULL */
} Problem;

typedef struct Problems {
    Problem *items;
    size_t count;
    size_t capacity; /* vec.h */
    size_t errors;   /* of which are errors, not warnings */
} Problems;

/** Adds a problem; the texts are copied, remedy may be NULL. */
void problems_add(Problems *problems, bool warning, const char *place, const char *remedy,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));
void problems_free(Problems *problems);

/** Reads file, environment and overrides into *ret_config (to be freed with config_free). Returns
 * FAILED when *problems holds at least one error; then *ret_config is NULL. Warnings do not fail.
 */
Status config_load(const ConfigOverrides *overrides, Config **ret_config, Problems *problems);
void config_free(Config **config);

/** Whether a pipeline writes there. */
bool config_has_sink(const Config *config, SinkKind sink);
/** Where what replication connections are given stands. */
char *const *config_replication_dsn(const Config *config);

/** The pipeline of that name, or NULL. */
const PipelineConfig *config_pipeline(const Config *config, const char *name);

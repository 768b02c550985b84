/* stats: the metrics of one pipeline; names and meanings: packaging/guide/metrics.md. */
#pragma once

#include <stdint.h>

#include "base/reason.h"
#include "metrics/metrics.h"

/* As they are now: refreshed before each scrape (pipeline_collect), but for `leader`. */
typedef struct StatsNow {
    double *in_flight_events;
    double *in_flight_bytes;
    double *unmarked_events;
    double *window_events;  /* in flight + unmarked: the bound of duplicates after a crash */
    double *waiting_events; /* for their topic */
    double *waiting_topics;
    double *held_rows; /* that hold back their topic */
    double *lag_seconds;
    double *backlog_events;
    double *leader;
    double *last_publish; /* unix time */
} StatsNow;

/* Of the source: what it did with rows. */
typedef struct StatsRows {
    uint64_t *marked; /* rows marked or deleted, committed */
    uint64_t *swept;  /* rows found below the low-water bound */
    uint64_t *pruned;
    uint64_t *tables_dropped; /* old ones, before they were known to be finished */
    Histogram *fetch_duration;
    double *postgres_connected;
} StatsRows;

/* Of the sink: how the destination stands; as set by one that knows. */
typedef struct StatsBroker {
    double *kafka_connected;
    double *brokers_up;
    double *queue_messages; /* in the client library, sent or not */
    double *queue_bytes;
    double *rtt_p50; /* seconds; of the slowest broker */
    double *rtt_p99;
} StatsBroker;

typedef struct Stats {
    uint64_t *read;            /* events taken from PostgreSQL */
    uint64_t *read_bytes;      /* of event data */
    uint64_t *published;       /* acknowledged, all topics: for the status screen */
    uint64_t *published_bytes; /* keys and values */
    uint64_t *dead_lettered[REASON_COUNT];
    uint64_t *dropped;  /* unrouted, by policy */
    uint64_t *replayed; /* sent again with unknown outcome: the duplicates there may be */
    uint64_t *rewinds;
    uint64_t *refused_requests; /* by the broker, for what a record in them is */
    uint64_t *overtaken;        /* events, by a later one of their key, after a refusal */
    uint64_t *timestamps_replaced;
    uint64_t *headers_shadowed;
    uint64_t *reconnects;
    uint64_t *producers_recreated;
    Histogram *publish_latency; /* occurred_at to acknowledged */
    Histogram *produce_latency; /* produce to acknowledged */
    StatsNow *now;
    StatsRows *rows;
    StatsBroker *broker;
} Stats;

/** Events written to the dead-letter table, whatever the reason. */
uint64_t stats_dead_lettered(const Stats *stats);

/** Creates every series of the pipeline with value 0. */
void stats_init(Stats *stats, Metrics *metrics, const char *pipeline);
/** Lets go of what stats_init() made; the series are the registry's. */
void stats_release(Stats *stats);

#include "flow/stats.h"

#include <math.h>
#include <stddef.h>

#define COUNTER(name, help) metrics_counter(m, "outboxd_" name, help, "pipeline", pipeline, NULL)
#define GAUGE(name, help)   metrics_gauge(m, "outboxd_" name, help, "pipeline", pipeline, NULL)
#define ROUND_TRIP(quantile)                                                                       \
    metrics_gauge(m, "outboxd_rdkafka_rtt_seconds",                                                \
                  "Round trip of requests to the slowest broker, over the last seconds.",          \
                  "pipeline", pipeline, "quantile", quantile, NULL)
#define HISTOGRAM(name, help)                                                                      \
    metrics_histogram(m, "outboxd_" name, help, "pipeline", pipeline, NULL)

static void init_counters(Stats *s, Metrics *m, const char *pipeline)
{
    s->read = COUNTER("events_read_total", "Events taken from PostgreSQL.");
    s->read_bytes = COUNTER("read_bytes_total", "Bytes of event data taken from PostgreSQL.");
    s->published = COUNTER("events_acknowledged_total", "Events acknowledged, all topics.");
    s->published_bytes = COUNTER("published_bytes_total", "Bytes of keys and values acknowledged.");
    for (Reason reason = 0; reason < REASON_COUNT; reason++) {
        s->dead_lettered[reason] = metrics_counter(
            m, "outboxd_events_dead_lettered_total", "Events written to the dead-letter table.",
            "pipeline", pipeline, "reason", reason_name(reason), NULL);
    }
    s->dropped = COUNTER("events_dropped_total", "Unrouted events dropped by on_unrouted.");
    s->replayed = COUNTER("events_replayed_total",
                          "Events sent again with unknown outcome: duplicates at most.");
    s->rewinds =
        COUNTER("rewinds_total", "Recoveries that went back to the acknowledged position.");
    s->refused_requests = COUNTER("refused_requests_total",
                                  "Requests that the broker refused for what a record in them is.");
    s->overtaken = COUNTER("events_overtaken_total",
                           "Events behind a refused one that a later event of their key overtook.");
    s->timestamps_replaced = COUNTER("timestamps_replaced_total",
                                     "Records sent with the publish time, because the topic would "
                                     "refuse or at once expire occurred_at.");
    s->headers_shadowed = COUNTER("headers_shadowed_total",
                                  "Headers of rows that were left out, because the envelope "
                                  "has their names.");
    s->marked = COUNTER("rows_marked_total", "Rows marked published or deleted.");
    s->swept = COUNTER("rows_swept_total", "Unpublished rows found below the low-water bound.");
    s->pruned = COUNTER("rows_pruned_total", "Published rows removed by retain.");
    s->tables_dropped =
        COUNTER("old_tables_dropped_total",
                "Rotated outbox tables that were dropped before they were known to be finished.");
    s->reconnects = COUNTER("pg_reconnects_total", "Connections to PostgreSQL made again.");
    s->producers_recreated = COUNTER("producer_recreated_total", "Kafka producers made again.");
}

static void init_gauges(Stats *s, Metrics *m, const char *pipeline)
{
    s->in_flight_events = GAUGE("inflight_events", "Events read and not settled yet.");
    s->in_flight_bytes = GAUGE("inflight_bytes", "Bytes of events read and not settled yet.");
    s->unmarked_events =
        GAUGE("unmarked_events", "Events acknowledged by Kafka and not marked yet.");
    s->window_events = GAUGE("window_events",
                             "In flight and unmarked: how many duplicates a crash now could make.");
    s->waiting_events =
        GAUGE("waiting_events", "Events that wait for their topic, or behind a row of it.");
    s->waiting_topics = GAUGE("waiting_topics", "Topics that events wait for.");
    s->held_rows = GAUGE("held_rows", "Rows that cannot be published and hold back their topic.");
    s->lag_seconds = GAUGE("lag_seconds", "Age of the oldest unpublished event, 0 when none.");
    s->backlog_events = GAUGE("backlog_events", "Unpublished rows (a capped count).");
    s->leader = GAUGE("leader", "1 when this process is the publisher of the outbox.");
    s->last_publish =
        GAUGE("last_publish_timestamp_seconds", "Time of the last acknowledgement, unix time.");
    s->postgres_connected = GAUGE("pg_connected", "1 when connected to PostgreSQL.");
    s->kafka_connected = GAUGE("kafka_connected", "1 when a broker is connected.");
    s->brokers_up = GAUGE("kafka_brokers_up", "Brokers that are connected.");
    s->queue_messages =
        GAUGE("rdkafka_queue_messages", "Records that librdkafka holds, sent or not.");
    s->queue_bytes = GAUGE("rdkafka_queue_bytes", "Bytes of the records that librdkafka holds.");
    s->rtt_p50 = ROUND_TRIP("0.5");
    s->rtt_p99 = ROUND_TRIP("0.99");
    *s->rtt_p50 = *s->rtt_p99 = NAN;
    s->publish_latency =
        HISTOGRAM("publish_latency_seconds", "From occurred_at to the broker's acknowledgement.");
    s->produce_latency =
        HISTOGRAM("produce_latency_seconds", "From produce to the broker's acknowledgement.");
    s->fetch_duration = HISTOGRAM("fetch_duration_seconds", "One read of the outbox table.");
}

#undef COUNTER
#undef GAUGE
#undef ROUND_TRIP
#undef HISTOGRAM

void stats_init(Stats *s, Metrics *m, const char *pipeline)
{
    init_counters(s, m, pipeline);
    init_gauges(s, m, pipeline);
}

uint64_t stats_dead_lettered(const Stats *stats)
{
    uint64_t total = 0;
    for (Reason reason = 0; reason < REASON_COUNT; reason++) {
        total += *stats->dead_lettered[reason];
    }
    return total;
}

#include "flow/stats.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/memory.h"

#define COUNTER(name, help) metrics_counter(m, "outboxd_" name, help, "pipeline", pipeline, NULL)
#define GAUGE(name, help)   metrics_gauge(m, "outboxd_" name, help, "pipeline", pipeline, NULL)
#define ROUND_TRIP(quantile)                                                                       \
    metrics_gauge(m, "outboxd_rdkafka_rtt_seconds",                                                \
                  "Round-trip time of requests to the slowest broker, over the last seconds.",     \
                  "pipeline", pipeline, "quantile", quantile, NULL)
#define HISTOGRAM(name, help)                                                                      \
    metrics_histogram(m, "outboxd_" name, help, "pipeline", pipeline, NULL)

static void init_counters(Stats *s, Metrics *m, const char *pipeline)
{
    s->read = COUNTER("events_read_total", "Events read from PostgreSQL.");
    s->read_bytes = COUNTER("read_bytes_total", "Bytes of event data read from PostgreSQL.");
    s->published = COUNTER("events_acknowledged_total", "Events acknowledged by the sink.");
    s->published_bytes =
        COUNTER("published_bytes_total", "Bytes of the keys and values of acknowledged events.");
    for (Reason reason = 0; reason < REASON_COUNT; reason++) {
        s->dead_lettered[reason] = metrics_counter(m, "outboxd_events_dead_lettered_total",
                                                   "Events stored as dead letters.", "pipeline",
                                                   pipeline, "reason", reason_name(reason), NULL);
    }
    s->dropped =
        COUNTER("events_dropped_total", "Unrouted events discarded because of on_unrouted.");
    s->replayed =
        COUNTER("events_replayed_total",
                "Events sent again because their outcome was unknown. Each may be a duplicate.");
    s->rewinds =
        COUNTER("rewinds_total", "Recoveries that continued from the acknowledged position.");
    s->refused_requests =
        COUNTER("refused_requests_total",
                "Requests that the broker refused because of the content of a record.");
    s->overtaken =
        COUNTER("events_overtaken_total",
                "Events behind a refused one that were overtaken by a later event of their key.");
    s->timestamps_replaced = COUNTER("timestamps_replaced_total",
                                     "Records sent with the time of publishing, because the topic "
                                     "would refuse occurred_at or delete such a record at once.");
    s->headers_shadowed = COUNTER(
        "headers_shadowed_total",
        "Headers of rows that were left out because headers of the envelope have their names.");
    s->rows->marked = COUNTER("rows_marked_total", "Rows marked published or deleted.");
    s->rows->swept = COUNTER("rows_swept_total",
                             "Unpublished rows that a sweep found below numbers already read.");
    s->rows->pruned = COUNTER("rows_pruned_total", "Published rows deleted because of retain.");
    s->rows->tables_dropped =
        COUNTER("old_tables_dropped_total",
                "Rotated outbox tables that were dropped before the relay had finished them.");
    s->reconnects = COUNTER("pg_reconnects_total", "Reconnections to PostgreSQL.");
    s->producers_recreated =
        COUNTER("producer_recreated_total", "Kafka producers that were replaced.");
}

static void init_gauges(Stats *s, Metrics *m, const char *pipeline)
{
    s->now->in_flight_events =
        GAUGE("inflight_events", "Events that are read and not acknowledged yet.");
    s->now->in_flight_bytes =
        GAUGE("inflight_bytes", "Bytes of events that are read and not acknowledged yet.");
    s->now->unmarked_events = GAUGE("unmarked_events", "Events acknowledged and not marked yet.");
    s->now->window_events = GAUGE(
        "window_events",
        "Events in flight or unmarked: the number of duplicates that a crash would create now.");
    s->now->waiting_events =
        GAUGE("waiting_events", "Events that wait for their topic, or behind a held row of it.");
    s->now->waiting_topics = GAUGE("waiting_topics", "Topics that events wait for.");
    s->now->held_rows =
        GAUGE("held_rows", "Held rows: rows that cannot be published and hold back their topic.");
    s->now->lag_seconds =
        GAUGE("lag_seconds", "Age of the oldest unpublished event. 0 if there is none.");
    s->now->backlog_events = GAUGE("backlog_events", "Unpublished rows, counted up to a limit.");
    s->now->leader = GAUGE("leader", "1 if this process is the publisher of the outbox.");
    s->now->last_publish =
        GAUGE("last_publish_timestamp_seconds", "Unix time of the last acknowledgement.");
    s->rows->postgres_connected = GAUGE("pg_connected", "1 if connected to PostgreSQL.");
    s->broker->kafka_connected = GAUGE("kafka_connected", "1 if connected to a broker.");
    s->broker->brokers_up = GAUGE("kafka_brokers_up", "Brokers that are connected.");
    s->broker->queue_messages =
        GAUGE("rdkafka_queue_messages", "Records in librdkafka, sent or not.");
    s->broker->queue_bytes = GAUGE("rdkafka_queue_bytes", "Bytes of the records in librdkafka.");
    s->broker->rtt_p50 = ROUND_TRIP("0.5");
    s->broker->rtt_p99 = ROUND_TRIP("0.99");
    *s->broker->rtt_p50 = *s->broker->rtt_p99 = NAN;
    s->publish_latency =
        HISTOGRAM("publish_latency_seconds", "Time from occurred_at to the acknowledgement.");
    s->produce_latency =
        HISTOGRAM("produce_latency_seconds",
                  "Time from handing a record to the sink to the acknowledgement.");
    s->rows->fetch_duration =
        HISTOGRAM("fetch_duration_seconds", "Duration of one read of the outbox table.");
}

#undef COUNTER
#undef GAUGE
#undef ROUND_TRIP
#undef HISTOGRAM

void stats_init(Stats *s, Metrics *m, const char *pipeline)
{
    s->now = x_calloc(1, sizeof(*s->now));
    s->rows = x_calloc(1, sizeof(*s->rows));
    s->broker = x_calloc(1, sizeof(*s->broker));
    init_counters(s, m, pipeline);
    init_gauges(s, m, pipeline);
}

void stats_release(Stats *s)
{
    free(s->now);
    free(s->rows);
    free(s->broker);
    *s = (Stats){0};
}

uint64_t stats_dead_lettered(const Stats *stats)
{
    uint64_t total = 0;
    for (Reason reason = 0; reason < REASON_COUNT; reason++) {
        total += *stats->dead_lettered[reason];
    }
    return total;
}

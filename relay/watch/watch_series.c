#include "watch/watch_series.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const char *const SLOT_STATUS[] = {"reserved", "extended", "unreserved", "lost"};
enum { SLOT_STATUS_COUNT = sizeof(SLOT_STATUS) / sizeof(SLOT_STATUS[0]) };

struct WatchSeries {
    bool of_slot;
    double *paused;
    double *dead_letters;
    double *oldest_transaction;
    double *retained;
    double *confirmed_lag;
    double *safe;
    double *seconds_left;
    double *active;
    double *spill;
    double *status[SLOT_STATUS_COUNT];
    double *unseen;
    uint64_t *unseen_found;
};

WatchSeries *watch_series_new(Metrics *m, const PipelineConfig *config)
{
    WatchSeries *series = x_calloc(1, sizeof(*series));
    const char *name = config->name;
    const char *slot = config->wal.slot;
    series->of_slot = pipeline_reads_log(config);
#define GAUGE(name_, help) metrics_gauge(m, "outboxd_" name_, help, "pipeline", name, NULL)
#define SLOT_GAUGE(name_, help)                                                                    \
    metrics_gauge(m, "outboxd_slot_" name_, help, "pipeline", name, "slot", slot, NULL)
    series->unseen = GAUGE(
        "unseen_events", "Unpublished events in the table that the relay has not seen for longer "
                         "than unseen_after, although it has read everything (counted up to 400).");
    series->unseen_found = metrics_counter(
        m, "outboxd_unseen_events_found_total",
        "Events that the relay had not seen and then found in the table.", "pipeline", name, NULL);
    series->paused = GAUGE("paused", "1 if the pipeline is paused.");
    series->dead_letters =
        GAUGE("dead_letters", "Dead letters of the pipeline (counted up to 100000).");
    series->oldest_transaction =
        GAUGE("oldest_transaction_age_seconds",
              "Age of the oldest transaction of the server that has an xid. Exact for a role with "
              "pg_read_all_stats and for prepared transactions, otherwise a lower bound: the time "
              "since the relay first saw it.");
    if (!series->of_slot) {
        return series;
    }
    series->retained = SLOT_GAUGE("retained_wal_bytes", "WAL that the slot retains.");
    series->confirmed_lag = SLOT_GAUGE(
        "confirmed_lag_bytes", "WAL between the slot's confirmed position and the end of the WAL.");
    series->safe = SLOT_GAUGE("safe_wal_bytes", "WAL that can be written before the slot may be "
                                                "lost. Absent without max_slot_wal_keep_size.");
    series->seconds_left =
        SLOT_GAUGE("seconds_left", "Time until the slot may be lost, if its WAL grows as fast as "
                                   "in the last minute. Absent if it does not grow.");
    series->active = SLOT_GAUGE("active", "1 if a client reads the slot.");
    series->spill = metrics_counter_seconds(
        m, "outboxd_slot_spill_bytes_total",
        "Bytes of large transactions that decoding spilled to disk (PostgreSQL 14 and later).",
        "pipeline", name, "slot", slot, NULL);
    for (int i = 0; i < SLOT_STATUS_COUNT; i++) {
        series->status[i] =
            metrics_gauge(m, "outboxd_slot_status", "1 for the wal_status of pg_replication_slots.",
                          "pipeline", name, "slot", slot, "status", SLOT_STATUS[i], NULL);
    }
#undef GAUGE
#undef SLOT_GAUGE
    return series;
}

static void series_show_slot(const WatchSeries *series, const WatchSlot *slot)
{
    *series->retained = slot->retained_wal_bytes;
    *series->confirmed_lag = slot->confirmed_lag_bytes;
    *series->safe = slot->safe_wal_bytes;
    *series->seconds_left = slot->seconds_left;
    *series->spill = slot->spill_bytes;
    *series->active = !slot->present ? NAN : slot->active ? 1 : 0;
    for (int i = 0; i < SLOT_STATUS_COUNT; i++) {
        bool is = strcmp(slot->status, SLOT_STATUS[i]) == 0;
        *series->status[i] = !slot->present ? NAN : is ? 1 : 0;
    }
}

void watch_series_show(const WatchSeries *series, const WatchFacts *facts, size_t unseen,
                       double oldest_transaction_seconds)
{
    *series->unseen = (double)unseen;
    *series->paused = facts->paused ? 1 : 0;
    *series->dead_letters = facts->dead_letters;
    *series->oldest_transaction = oldest_transaction_seconds;
    if (series->of_slot) {
        series_show_slot(series, &facts->slot);
    }
}

uint64_t *watch_series_found(const WatchSeries *series)
{
    return series->unseen_found;
}

void watch_series_free(WatchSeries **series)
{
    free(*series);
    *series = NULL;
}

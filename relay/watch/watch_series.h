/* watch_series: what looks found of one pipeline, as metrics. */
#pragma once

#include <stdint.h>

#include "config/config.h"
#include "metrics/metrics.h"
#include "watch/watch.h"

typedef struct WatchSeries WatchSeries;

WatchSeries *watch_series_new(Metrics *metrics, const PipelineConfig *config);
void watch_series_free(WatchSeries **series);

void watch_series_show(const WatchSeries *series, const WatchFacts *facts, size_t unseen,
                       double oldest_transaction_seconds);
/** The counter of events that were looked for again. */
uint64_t *watch_series_found(const WatchSeries *series);

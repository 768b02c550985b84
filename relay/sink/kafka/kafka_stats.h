/* kafka_stats: what librdkafka tells of itself every few seconds, as metrics. */
#pragma once

#include "flow/stats.h"

/** Reads librdkafka's statistics (JSON, its STATISTICS.md); what cannot be read changes nothing. */
void kafka_stats_read(const char *json, size_t length, Stats *stats);

/** The producer is closed: nothing is queued, no broker is up, and no round trip is known. */
void kafka_stats_none(Stats *stats);

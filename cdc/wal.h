/* wal: the source that reads the outbox from logical replication. See README.md of this folder, and
 * source.h for the life of a source. */
#pragma once

#include <event2/event.h>

#include "base/worker.h"
#include "config/config.h"
#include "flow/source.h"
#include "flow/stats.h"

typedef struct WalOptions {
    struct event_base *base;
    Worker *worker;
    const Config *config;
    const PipelineConfig *pipeline;
    Stats *stats;
} WalOptions;

/** Everything in options must outlive the source. The error is FATAL / EXIT_CONFIG. */
Status wal_source_new(const WalOptions *options, Source **ret_source, Error *err);

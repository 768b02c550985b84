/* sinks: the sinks of this room. */
#pragma once

#include <event2/event.h>

#include "base/worker.h"
#include "config/config.h"
#include "flow/sink.h"
#include "flow/stats.h"

typedef struct SinkOptions {
    struct event_base *base;
    Worker *worker;
    const Config *config;
    const PipelineConfig *pipeline;
    Stats *stats;
} SinkOptions;

/** The sink that pipelines.sink names. Everything in options must outlive it. The error is FATAL /
 * EXIT_CONFIG: a property that librdkafka does not know or that its build cannot do. */
Status sink_new(const SinkOptions *options, Sink **ret_sink, Error *err);

Status sink_kafka_new(const SinkOptions *options, Sink **ret_sink, Error *err);

/** Accepts everything and forgets it: for measuring and for trying a configuration out. */
Sink *sink_null_new(void);

/** One JSON line for each record on stdout; acknowledged once the line is written. */
Sink *sink_stdout_new(void);

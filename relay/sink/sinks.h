/* sinks: the sinks of this room. */
#pragma once

#include "flow/sink.h"

/** The sink that pipelines.sink names. Everything in options must outlive it. The error is FATAL /
 * EXIT_CONFIG: a property that librdkafka does not know or that its build cannot do. */
Status sink_new(const SinkOptions *options, Sink **ret_sink, Error *err);

/** Accepts everything and forgets it: for measuring and for trying a configuration out. */
Sink *sink_null_new(void);

/** One JSON line for each record on stdout; acknowledged once the line is written. */
Sink *sink_stdout_new(void);

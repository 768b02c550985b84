/* sinks: the sinks of config/sinks.inc. */
#pragma once

#include "flow/sink.h"

/** The sink that pipelines.sink names. Everything in options must outlive it. The error is FATAL /
 * EXIT_CONFIG: an option that the sink cannot do. */
Status sink_new(const SinkOptions *options, Sink **ret_sink, Error *err);

/** What can be known of the destination without connecting to it: FAILED, and a FATAL *err with the
 * remedy. Changes nothing; blocks. */
Status sink_check(const PipelineConfig *pipeline, Error *err);

/* plain: the sinks that keep nothing. They settle inside send(). */
#pragma once

#include "flow/sink.h"

/** Accepts everything and forgets it: for measuring and for trying a configuration out. */
Status sink_null_new(const SinkOptions *options, Sink **ret_sink, Error *err);

/** One JSON line for each record on stdout; acknowledged once the pipe has taken the line. */
Status sink_stdout_new(const SinkOptions *options, Sink **ret_sink, Error *err);

/* stdout: one JSON line for each record on standard output. */
#pragma once

#include "flow/sink.h"

/** Acknowledged once the pipe has taken the line. */
Status sink_stdout_new(const SinkOptions *options, Sink **ret_sink, Error *err);

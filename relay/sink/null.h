/* null: the sink that keeps nothing. */
#pragma once

#include "flow/sink.h"

/** Accepts everything and forgets it: for measuring and for trying a configuration out. */
Status sink_null_new(const SinkOptions *options, Sink **ret_sink, Error *err);

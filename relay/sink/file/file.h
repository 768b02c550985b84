/* file: the sink that appends records to a file, as JSON lines or raw values. */
#pragma once

#include "flow/sink.h"

Status sink_file_new(const SinkOptions *options, Sink **ret_sink, Error *err);

/** What `check` and the start of the relay can know beforehand: FAILED with a FATAL *err when the
 * path cannot be written, or is no file of this sink. Changes nothing; blocks. */
Status sink_file_check(const PipelineConfig *pipeline, Error *err);

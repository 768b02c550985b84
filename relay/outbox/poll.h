/* poll: the source that reads an outbox table by polling. See README.md of this folder for how a
 * row travels, and source.h for the life of a source. */
#pragma once

#include <event2/event.h>

#include "base/worker.h"
#include "config/config.h"
#include "flow/source.h"
#include "flow/stats.h"

typedef struct PollOptions {
    struct event_base *base;
    Worker *worker;
    const Config *config;
    const PipelineConfig *pipeline;
    Stats *stats;
} PollOptions;

/** Everything in options must outlive the source. The error is FATAL / EXIT_CONFIG. */
Status poll_source_new(const PollOptions *options, Source **ret_source, Error *err);

#include "sink/sinks.h"

#define SINK(kind, name, make, check, stores)                                                      \
    Status make(const SinkOptions *options, Sink **ret_sink, Error *err);                          \
    Status check(const PipelineConfig *pipeline, Error *err);
#include "config/sinks.inc"
#undef SINK

static const struct {
    Status (*make)(const SinkOptions *options, Sink **ret_sink, Error *err);
    Status (*check)(const PipelineConfig *pipeline, Error *err);
} SINKS[] = {
#define SINK(kind, name, make, check, stores) [SINK_##kind] = {make, check},
#include "config/sinks.inc"
#undef SINK
};

/* There is nothing to look at without connecting. */
Status sink_unchecked(const PipelineConfig *pipeline, Error *err)
{
    (void)pipeline;
    (void)err;
    return OK;
}

Status sink_new(const SinkOptions *options, Sink **ret_sink, Error *err)
{
    return SINKS[options->pipeline->sink].make(options, ret_sink, err);
}

Status sink_check(const PipelineConfig *pipeline, Error *err)
{
    return SINKS[pipeline->sink].check(pipeline, err);
}

#include "sink/sinks.h"

#include "sink/kafka/kafka.h"

Status sink_new(const SinkOptions *options, Sink **ret_sink, Error *err)
{
    switch (options->pipeline->sink) {
    case SINK_NULL:
        *ret_sink = sink_null_new();
        return OK;
    case SINK_STDOUT:
        *ret_sink = sink_stdout_new();
        return OK;
    case SINK_KAFKA:
        break;
    }
    return sink_kafka_new(options, ret_sink, err);
}

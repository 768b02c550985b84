/* kafka: the sink that writes to Kafka, by librdkafka. */
#pragma once

#include "flow/sink.h"

/** The error is FATAL / EXIT_CONFIG: a property that librdkafka does not know, or that its build
 * cannot do. */
Status sink_kafka_new(const SinkOptions *options, Sink **ret_sink, Error *err);

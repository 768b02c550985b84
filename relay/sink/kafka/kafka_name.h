/* kafka_name: which texts can be the name of a Kafka topic. */
#pragma once

#include "base/error.h"
#include "base/slice.h"

enum { KAFKA_NAME_MAX = 249 }; /* org.apache.kafka.common.internals.Topic */

/** SinkOps.refuse_topic: FAILED, and a POISON *err, for what is not [a-zA-Z0-9._-]{1,249}, or is
 * "." or "..". */
Status kafka_name_refuse(Slice name, Error *err);

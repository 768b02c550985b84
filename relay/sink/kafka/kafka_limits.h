/* kafka_limits: what is known of a topic's limits before anything is sent to it. Who looks them up,
 * and keeps them true, is kafka_lookup. */
#pragma once

#include "flow/sink.h"
#include "sink/kafka/kafka_topics.h"

/** Whether the topic is known to refuse the record: SEND_POISON, *err says why; SEND_WAIT: it seems
 * so, and its limits are to be looked up again first; SEND_OK: not as far as we know. */
SendResult kafka_limits_refuse(const KafkaTopic *kt, const Record *record, const Event *event,
                               Error *err);

/** A topic's limits are known (again): batch_bytes follows the least of all. */
void kafka_limits_changed(KafkaTopics *topics, const KafkaTopic *kt);

/** Fail point stale_limits: what was looked up is not known. */
void kafka_limits_stale(KafkaTopics *topics, KafkaTopic *kt);

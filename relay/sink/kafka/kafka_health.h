/* kafka_health: whether brokers answer, which cluster they are, and why none does: for the
 * pipeline, the metric and /status. Loop thread. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "flow/sink.h"

typedef struct KafkaHealth KafkaHealth;

/** events: where trouble and healed go; must outlive the health, as what options point to. */
KafkaHealth *kafka_health_new(const SinkOptions *options, const SinkEvents *events);
void kafka_health_free(KafkaHealth **health);

/** A broker answered, or none does. */
void kafka_health_note_answer(KafkaHealth *health, bool answers);
bool kafka_health_answers(const KafkaHealth *health);

/** A look-up was answered by that cluster (NULL: it did not say which) of so many brokers. */
void kafka_health_note_cluster(KafkaHealth *health, const char *cluster, int brokers);
/** Of the cluster that answered last; 0: none yet. */
int kafka_health_brokers(const KafkaHealth *health);

/** kafka.brokers: where it is asked first. */
const char *kafka_health_bootstrap(const KafkaHealth *health);

/** librdkafka says that something failed: if it is of a connection, it is the reason for a while.
 */
void kafka_health_note_reason(KafkaHealth *health, rd_kafka_resp_err_t code, const char *text);
/** Why the producer has nothing to log in with; NULL: it has. */
void kafka_health_note_login(KafkaHealth *health, const Error *err);
/** Class ERROR_NONE: it has. */
const Error *kafka_health_login(const KafkaHealth *health);
/** What helps when a broker refuses the login; copied. NULL: what the error itself says. */
void kafka_health_set_remedy(KafkaHealth *health, const char *text);
/** No broker answers: in *err why, as far as librdkafka has said. */
void kafka_health_unreachable(const KafkaHealth *health, rd_kafka_resp_err_t code, Error *err);

/** A broker refuses the login: in *err its words. */
void kafka_health_refused(const KafkaHealth *health, Error *err);

/** Tells the pipeline. */
void kafka_health_trouble(KafkaHealth *health, const Error *err);
/** Tells the pipeline, if there was trouble. */
void kafka_health_healed(KafkaHealth *health);

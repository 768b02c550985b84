/* kafka_error: what each error of librdkafka means for us. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "base/error.h"

/** Fills *err for a delivery report of a record to that topic; never FATAL. */
void kafka_delivery_error(rd_kafka_resp_err_t code, const char *topic, Error *err);

/** Whether a broker says with this code that a record of the request is bad. */
bool kafka_error_refuses(rd_kafka_resp_err_t code);

/** Fills *err for a topic that cannot be looked up. */
void kafka_topic_error(rd_kafka_resp_err_t code, const char *topic, Error *err);

/** Fills *err for brokers that do not answer: text is librdkafka's reason (NULL: only the code is
 * known), brokers those of the configuration. RETRY, with a remedy. */
void kafka_connection_error(rd_kafka_resp_err_t code, const char *text, const char *brokers,
                            Error *err);

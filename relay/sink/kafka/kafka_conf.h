/* kafka_conf: the producer's configuration: our defaults, then the user's properties. Properties
 * that would break a guarantee were refused when the file was read (config/kafka_rules.h). */
#pragma once

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "config/config.h"

/** batch_bytes bounds a record batch: not above the smallest max.message.bytes of the topics in
 * use. The error is FATAL / EXIT_CONFIG and names the property. */
Status kafka_conf_new(const Config *config, const PipelineConfig *pipeline, size_t batch_bytes,
                      rd_kafka_conf_t **ret_conf, Error *err);

/** Whether librdkafka makes a producer of it, which reads certificates and keys; it connects to
 * nothing, and is gone again. The error is FATAL / EXIT_CONFIG. */
Status kafka_conf_try(const Config *config, const PipelineConfig *pipeline, Error *err);

/** What rd_kafka_new() has just refused, by its text. */
Status kafka_conf_refused(const char *text, Error *err);

/** Whether a token of kafka.oauth_command is what clients log in with (kafka_token.h). */
bool kafka_conf_wants_token(const Config *config);

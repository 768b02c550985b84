#include "sink/kafka/kafka_conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/mask.h"

enum {
    CLIENT_ID_MAX = 60,            /* librdkafka 2.0.2 crashes with much longer ones (issue 4689) */
    RECORD_BYTES_MAX = 1000000000, /* librdkafka's own bound; the topic's bound is checked by us */
    QUEUE_SLACK = 1000,
};

static Status set(rd_kafka_conf_t *conf, const char *property, const char *value, Error *err)
{
    char text[512];
    rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, property, value, text, sizeof(text));
    if (result != RD_KAFKA_CONF_OK) {
        /* librdkafka repeats a value that it does not take */
        bool hidden = result == RD_KAFKA_CONF_INVALID && mask_is_secret(slice_of(property));
        error_set(err, CODE_KAFKA_PROPERTY, "kafka.properties: %s%s",
                  hidden ? "librdkafka does not accept the value of " : "",
                  hidden ? property : text);
        return error_advise(err);
    }
    return OK;
}

static Status set_defaults(rd_kafka_conf_t *conf, const Config *config,
                           const PipelineConfig *pipeline, size_t batch_bytes, Error *err)
{
    char queue[24];
    char batch[24];
    char record[24];
    char client[CLIENT_ID_MAX + 1];
    snprintf(queue, sizeof(queue), "%lld",
             (long long)pipeline->limits.in_flight_events + QUEUE_SLACK);
    snprintf(batch, sizeof(batch), "%zu", batch_bytes);
    snprintf(record, sizeof(record), "%d", RECORD_BYTES_MAX);
    snprintf(client, sizeof(client), "%s", config->name);
    const char *const pairs[][2] = {
        {"bootstrap.servers", config->kafka.brokers},
        {"client.id", client},
        {"enable.idempotence", "true"}, /* order and no duplicates through retries */
        {"acks", "all"},
        {"message.timeout.ms", "0"},       /* a record that expires leaves a gap */
        {"partitioner", "murmur2_random"}, /* what Java clients use */
        {"allow.auto.create.topics", config->kafka.create_topics ? "true" : "false"},
        {"linger.ms", "1"},
        {"socket.nagle.disable", "true"},
        {"socket.keepalive.enable", "true"},
        {"reconnect.backoff.max.ms", "2000"},
        {"retry.backoff.ms", "50"},
        {"topic.metadata.refresh.interval.ms", "60000"},
        /* We look a topic up before anything is sent; what is in the queue of one that was deleted
         * comes back soon, instead of taking the room of others for half a minute. */
        {"topic.metadata.propagation.max.ms", "5000"},
        {"queue.buffering.max.messages", queue},
        {"message.max.bytes", record},
        {"log.queue", "true"},
        {"statistics.interval.ms", "5000"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (set(conf, pairs[i][0], pairs[i][1], err) != OK) {
            return FAILED;
        }
    }
    return set(conf, "batch.size", batch, err);
}

static Status set_properties(rd_kafka_conf_t *conf, const StringList *properties,
                             size_t batch_bytes, Error *err)
{
    for (size_t i = 0; i < properties->count; i++) {
        const char *property = properties->items[i];
        const char *equals = strchr(property, '=');
        if (equals == NULL) {
            return error_set(err, CODE_KAFKA_PROPERTY,
                             "kafka.properties: '%s' is not 'property=value'", property);
        }
        AUTO_TEXT name = x_strndup(property, (size_t)(equals - property));
        if (strcmp(name, "batch.size") == 0 && strtoull(equals + 1, NULL, 10) > batch_bytes) {
            continue; /* a topic in use takes no batches of that size */
        }
        if (set(conf, name, equals + 1, err) != OK) {
            return FAILED;
        }
    }
    return OK;
}

Status kafka_conf_new(const Config *config, const PipelineConfig *pipeline, size_t batch_bytes,
                      rd_kafka_conf_t **ret_conf, Error *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (set_defaults(conf, config, pipeline, batch_bytes, err) != OK ||
        set_properties(conf, &config->kafka.properties, batch_bytes, err) != OK) {
        rd_kafka_conf_destroy(conf);
        return FAILED;
    }
    /* With another way to a token librdkafka serves itself, and must not be kept from it. */
    enum { TOKEN_REFRESH = RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH };
    bool token = kafka_conf_wants_token(config);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG |
                                       RD_KAFKA_EVENT_STATS | (token ? TOKEN_REFRESH : 0));
    *ret_conf = conf;
    return OK;
}

Status kafka_conf_refused(const char *text, Error *err)
{
    bool resource = rd_kafka_last_error() == RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
    return resource ? error_set(err, CODE_RESOURCE_REFUSED, "librdkafka cannot start: %s", text)
                    : error_set(err, CODE_KAFKA_PROPERTY, "kafka.properties: %s", text);
}

Status kafka_conf_try(const Config *config, const PipelineConfig *pipeline, Error *err)
{
    enum { ANY_BYTES = 1000000 };
    rd_kafka_conf_t *conf = NULL;
    char text[512];
    if (kafka_conf_new(config, pipeline, ANY_BYTES, &conf, err) != OK) {
        return FAILED;
    }
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", "", text, sizeof(text));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (rk == NULL) {
        rd_kafka_conf_destroy(conf);
        return kafka_conf_refused(text, err);
    }
    rd_kafka_destroy(rk);
    return OK;
}

bool kafka_conf_wants_token(const Config *config)
{
    return config->kafka.oauth_command != NULL && *config->kafka.oauth_command != '\0';
}

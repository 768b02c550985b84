#include "sink/kafka/kafka_topic.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
    METADATA_TIMEOUT_MS = 3000,
    DESCRIBE_TIMEOUT_MS = 3000,
};

/* Kafka's default of message.timestamp.after.max.ms since 4.0; older brokers accept any. Assumed
 * when the configuration cannot be read: publishing with the publish time then does no harm. */
static const int64_t AFTER_MAX_DEFAULT_MS = 3600000;

static const TopicLimits UNKNOWN_LIMITS = {
    .max_message_bytes = -1,
    .retention_ms = -1,
    .before_max_ms = -1,
    .after_max_ms = AFTER_MAX_DEFAULT_MS,
};

/* 'ret_broker' becomes the id of a broker that is up, or stays untouched. */
static rd_kafka_resp_err_t lookup_metadata(rd_kafka_t *rk, TopicLookup *lookup, int *ret_brokers,
                                           int32_t *ret_broker)
{
    rd_kafka_topic_t *topic = lookup != NULL ? rd_kafka_topic_new(rk, lookup->name, NULL) : NULL;
    if (lookup != NULL && topic == NULL) {
        lookup->error = rd_kafka_last_error();
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, topic, &metadata, METADATA_TIMEOUT_MS);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        *ret_brokers = metadata->broker_cnt;
        if (metadata->broker_cnt > 0) {
            *ret_broker = metadata->brokers[0].id;
        }
        if (lookup != NULL) {
            lookup->error = metadata->topic_cnt == 1 ? metadata->topics[0].err
                                                     : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
            if (lookup->error == RD_KAFKA_RESP_ERR_NO_ERROR &&
                metadata->topics[0].partition_cnt == 0) {
                lookup->error = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
            }
            if (lookup->error == RD_KAFKA_RESP_ERR_NO_ERROR) {
                lookup->partitions = metadata->topics[0].partition_cnt;
            }
        }
        rd_kafka_metadata_destroy(metadata);
    }
    if (topic != NULL) {
        rd_kafka_topic_destroy(topic);
    }
    return err;
}

static const char *config_value(const rd_kafka_ConfigResource_t *resource, const char *name)
{
    size_t count = 0;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0) {
            return rd_kafka_ConfigEntry_value(entries[i]);
        }
    }
    return NULL;
}

static int64_t config_number(const rd_kafka_ConfigResource_t *resource, const char *name,
                             int64_t fallback)
{
    const char *value = config_value(resource, name);
    return value != NULL && *value != '\0' ? strtoll(value, NULL, 10) : fallback;
}

/* -1: no limit. */
static int64_t least_limit(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Brokers before 3.6 have one limit for both directions; from then to 3.9 it counts where the limit
 * of a direction is not set. */
static int64_t time_limit(const rd_kafka_ConfigResource_t *resource, const char *name)
{
    int64_t limit = config_number(resource, name, -1);
    if (limit >= 0 && limit != INT64_MAX) {
        return limit;
    }
    return config_number(resource, "message.timestamp.difference.max.ms", -1);
}

static void read_limits(const rd_kafka_ConfigResource_t *resource, TopicLimits *limits)
{
    const char *policy = config_value(resource, "cleanup.policy");
    const char *time = config_value(resource, "message.timestamp.type");
    bool deletes = policy == NULL || strstr(policy, "delete") != NULL;
    *limits = (TopicLimits){
        .max_message_bytes = least_limit(config_number(resource, "max.message.bytes", -1),
                                         config_number(resource, "segment.bytes", -1)),
        .retention_ms = deletes ? config_number(resource, "retention.ms", -1) : -1,
        .before_max_ms = time_limit(resource, "message.timestamp.before.max.ms"),
        .after_max_ms = time_limit(resource, "message.timestamp.after.max.ms"),
        .compacted = policy != NULL && strstr(policy, "compact") != NULL,
        .append_time = time != NULL && strcmp(time, "LogAppendTime") == 0,
        .known = true,
    };
}

static void read_answer(const rd_kafka_ConfigResource_t *answer, TopicLookup *lookups, size_t count)
{
    if (rd_kafka_ConfigResource_error(answer) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return;
    }
    const char *name = rd_kafka_ConfigResource_name(answer);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, lookups[i].name) == 0) {
            read_limits(answer, &lookups[i].limits);
        }
    }
}

/* Best effort: a cluster that does not answer this, or denies it, leaves the limits unknown. Any
 * broker can answer; librdkafka would wait for the controller, which some clusters (its own mock
 * cluster) never name, and nothing is published meanwhile. */
static void lookup_limits(rd_kafka_t *rk, TopicLookup *lookups, size_t count, int32_t broker)
{
    rd_kafka_ConfigResource_t **resources = x_calloc(count, sizeof(*resources));
    for (size_t i = 0; i < count; i++) {
        resources[i] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, lookups[i].name);
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    char text[128];
    (void)rd_kafka_AdminOptions_set_request_timeout(options, DESCRIBE_TIMEOUT_MS, text,
                                                    sizeof(text));
    (void)rd_kafka_AdminOptions_set_broker(options, broker, text, sizeof(text));
    rd_kafka_DescribeConfigs(rk, resources, count, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, DESCRIBE_TIMEOUT_MS + 500);
    const rd_kafka_DescribeConfigs_result_t *result =
        event != NULL ? rd_kafka_event_DescribeConfigs_result(event) : NULL;
    if (result != NULL && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        size_t found = 0;
        const rd_kafka_ConfigResource_t **answers =
            rd_kafka_DescribeConfigs_result_resources(result, &found);
        for (size_t i = 0; i < found; i++) {
            read_answer(answers[i], lookups, count);
        }
    }
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy_array(resources, count);
    free(resources);
}

rd_kafka_resp_err_t topic_lookup(rd_kafka_t *rk, TopicLookup *lookups, size_t count,
                                 int *ret_brokers)
{
    int32_t broker = -1;
    if (count == 0) {
        return lookup_metadata(rk, NULL, ret_brokers, &broker);
    }
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        rd_kafka_resp_err_t err = lookup_metadata(rk, &lookups[i], ret_brokers, &broker);
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return err;
        }
        lookups[i].limits = UNKNOWN_LIMITS;
        any |= lookups[i].error == RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    if (any && broker >= 0) {
        lookup_limits(rk, lookups, count, broker);
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

int64_t topic_timestamp(const TopicLimits *limits, int64_t timestamp_ms, int64_t now_ms)
{
    if (limits->append_time) {
        return timestamp_ms;
    }
    if (timestamp_ms < 0) {
        return 0; /* Kafka knows no time before 1970 */
    }
    int64_t age_ms = now_ms - timestamp_ms;
    bool expired = limits->retention_ms >= 0 && age_ms >= limits->retention_ms;
    bool too_old = limits->before_max_ms >= 0 && age_ms > limits->before_max_ms;
    bool too_new = limits->after_max_ms >= 0 && -age_ms > limits->after_max_ms;
    return expired || too_old || too_new ? 0 : timestamp_ms;
}

/* kafka_topic: what must be known of a topic before anything is produced to it.
 *
 * A record to a topic that does not exist yet would wait inside librdkafka and fail later, while
 * records behind it may already succeed: so nothing is produced before the topic is known to exist.
 * The look-up also tells the topic's limits: DescribeConfigs, if the cluster and our rights allow
 * it. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

/* What the broker says of a topic. Durations in ms; -1: unlimited or unknown. */
typedef struct TopicLimits {
    int64_t max_message_bytes; /* of a record batch, also by segment.bytes; -1: unknown, the broker
                                  decides */
    int64_t retention_ms;      /* -1 also for a compacted topic */
    int64_t before_max_ms;     /* how much older than now a record may be */
    int64_t after_max_ms;      /* how much newer */
    bool compacted;            /* cleanup.policy has compact: records need a key */
    bool append_time;          /* the broker sets the timestamp: any is fine */
    bool known;                /* the cluster told; else all of this is assumed */
} TopicLimits;

/* One look-up, made by the worker thread. */
typedef struct TopicLookup {
    char *name;
    rd_kafka_resp_err_t error; /* NO_ERROR: it exists, partitions and limits are set */
    int32_t partitions;
    TopicLimits limits;
} TopicLookup;

/** Helper thread: asks the brokers for the topics (count may be 0: only whether a broker answers).
 * Sets the result of each; returns the error of the cluster as a whole. */
rd_kafka_resp_err_t topic_lookup(rd_kafka_t *rk, TopicLookup *lookups, size_t count,
                                 int *ret_brokers);

/** The timestamp that the record gets: timestamp_ms, or 0 (time of publishing) when the topic would
 * refuse it or expire the record at once. */
int64_t topic_timestamp(const TopicLimits *limits, int64_t timestamp_ms, int64_t now_ms);

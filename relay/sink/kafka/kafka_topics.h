/* kafka_topics: the topics that a pipeline's producer writes, and what is known of each: whether it
 * is there, what it accepts, when to look it up, how many records of it are out. Loop thread. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <sys/queue.h>

#include "flow/topic.h"
#include "sink/kafka/kafka_topic.h"

enum { KAFKA_BATCH_BYTES = 1000000 }; /* librdkafka's default of batch.size */

typedef struct KafkaTopic {
    Topic *topic;
    rd_kafka_topic_t *handle; /* of the present producer */
    bool ready;               /* it is there, as far as we know */
    bool missing;             /* the brokers say that it is not there, or not for us */
    Error *error;             /* ... in these words; NULL: never */
    int64_t look_us;          /* monotonic: when to look (again); 0: at once */
    int64_t wait_ms;          /* from one look to the next, while it is missing */
    int64_t found_us;         /* monotonic: since when it is ready */
    unsigned odd;             /* looks in a row that brought another error */
    int64_t looked_us;  /* monotonic: when the last look-up that answered was asked; 0: never */
    int32_t partitions; /* 0: not known */
    size_t out;         /* records that the producer holds */
    TopicLimits limits;
    LIST_ENTRY(KafkaTopic) link;
} KafkaTopic;

typedef struct KafkaTopics {
    LIST_HEAD(, KafkaTopic) all;
    const char *pipeline; /* its name */
    size_t out;           /* records that the producer holds, of all of them */
    size_t missing;       /* topics that are */
    size_t batch_bytes;   /* the least limit of all, at most KAFKA_BATCH_BYTES (kafka_limits.h) */
    bool stale;           /* a test: no limit is known from now on */
} KafkaTopics;

KafkaTopics *kafka_topics_new(const char *pipeline);
void kafka_topics_free(KafkaTopics **topics);

/** The one of that topic, made on first use; rk: the present producer. */
KafkaTopic *kafka_topics_get(KafkaTopics *topics, Topic *topic, rd_kafka_t *rk);
/** NULL: it is not here (any more). */
KafkaTopic *kafka_topics_find(const KafkaTopics *topics, const char *name);
/** The topic is about to be freed. */
void kafka_topics_forget(KafkaTopics *topics, Topic *topic);

/** The producer is another; NULL: it is gone, with all that was out, and each topic is to be looked
 * up anew. */
void kafka_topics_set_producer(KafkaTopics *topics, rd_kafka_t *rk);

/** A record was given to the producer; so many of a topic came back. */
void kafka_topics_sent(KafkaTopics *topics, KafkaTopic *kt);
void kafka_topics_came_back(KafkaTopics *topics, KafkaTopic *kt, size_t records);

/** Whether it is missing: *err says in which words; NULL: it is not. */
void kafka_topics_set_missing(KafkaTopics *topics, KafkaTopic *kt, const Error *err);

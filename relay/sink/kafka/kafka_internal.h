/* The Kafka sink itself; for kafka.c and its tests. */
#pragma once

#include "sink/kafka/kafka_delivery.h"
#include "sink/kafka/kafka_health.h"
#include "sink/kafka/kafka_lookup.h"
#include "sink/kafka/kafka_producer.h"
#include "sink/kafka/kafka_stop.h"
#include "sink/kafka/kafka_token.h"
#include "sink/kafka/kafka_topics.h"

/* Each part answers one question and knows those above it in this list; none knows the sink. */
typedef struct KafkaSink {
    Sink sink; /* first */
    Stats *stats;
    KafkaTopics *topics;
    KafkaHealth *health;
    KafkaProducer *producer;
    KafkaToken *token;
    KafkaLookup *lookup;
    KafkaStop *stop;
    KafkaDelivery *delivery;
    bool full;      /* a send waits for room */
    bool reporting; /* the pipeline asked for another producer: tell it when there is one */
} KafkaSink;

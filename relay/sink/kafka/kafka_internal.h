/* The Kafka sink itself; for kafka.c and its tests. */
#pragma once

#include "sink/kafka/kafka_credentials.h"
#include "sink/kafka/kafka_delivery.h"
#include "sink/kafka/kafka_health.h"
#include "sink/kafka/kafka_lookup.h"
#include "sink/kafka/kafka_producer.h"
#include "sink/kafka/kafka_stop.h"
#include "sink/kafka/kafka_token.h"
#include "sink/kafka/kafka_topics.h"

/* What it logs in with. */
typedef struct KafkaLogin {
    KafkaToken *token;
    KafkaCredentials *credentials;
    bool renewed; /* there are other certificates: another producer is wanted */
} KafkaLogin;

/* What follows when the producer is closed. */
typedef enum KafkaThen {
    THEN_OPEN, /* another producer */
    THEN_TELL, /* the same; the pipeline asked for it: it is told */
    THEN_END,  /* nothing */
} KafkaThen;

/* Each part answers one question and knows those above it in this list; none knows the sink. */
typedef struct KafkaSink {
    Sink sink; /* first */
    Stats *stats;
    KafkaTopics *topics;
    KafkaHealth *health;
    KafkaProducer *producer;
    KafkaLogin *login;
    KafkaLookup *lookup;
    KafkaStop *stop;
    KafkaDelivery *delivery;
    bool full;      /* a send waits for room */
    KafkaThen then; /* once the producer is closed */
} KafkaSink;

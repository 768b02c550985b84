/* kafka_delivery: what librdkafka tells us: delivery reports, errors, log lines and statistics, as
 * events on its queue. Loop thread. */
#pragma once

#include "flow/sink.h"
#include "sink/kafka/kafka_credentials.h"
#include "sink/kafka/kafka_health.h"
#include "sink/kafka/kafka_lookup.h"
#include "sink/kafka/kafka_producer.h"
#include "sink/kafka/kafka_token.h"
#include "sink/kafka/kafka_topics.h"

typedef struct KafkaDelivery KafkaDelivery;

/* What it stands on; all of it must outlive it. */
typedef struct KafkaDeliveryNeeds {
    KafkaProducer *producer;
    KafkaTopics *topics;
    KafkaHealth *health;
    KafkaToken *token;
    KafkaCredentials *credentials;
    KafkaLookup *lookup;
    const SinkEvents *events; /* settled goes there */
    void *arg;
    void (*came_back)(void *arg);  /* the records of a request did, and have settled */
    void (*unanswered)(void *arg); /* no broker answers any more */
} KafkaDeliveryNeeds;

KafkaDelivery *kafka_delivery_new(const SinkOptions *options, const KafkaDeliveryNeeds *needs);
void kafka_delivery_free(KafkaDelivery **delivery);

/** Handles what is in the producer's queue; what that leads to may send, purge or reopen. */
void kafka_delivery_serve(KafkaDelivery *delivery);
/** Delivery reports are being handled: the producer cannot be closed yet. */
bool kafka_delivery_is_serving(const KafkaDelivery *delivery);

/* kafka_lookup: looks topics up before anything is produced to them, and again while they are
 * there, and what that says of the cluster's health. The calls that block are made by the worker.
 * Loop thread. */
#pragma once

#include "flow/sink.h"
#include "sink/kafka/kafka_health.h"
#include "sink/kafka/kafka_producer.h"
#include "sink/kafka/kafka_topics.h"

typedef struct KafkaLookup KafkaLookup;

/* What it stands on; all of it must outlive it. */
typedef struct KafkaLookupNeeds {
    KafkaProducer *producer;
    KafkaTopics *topics;
    KafkaHealth *health;
    const SinkEvents *events; /* missing and found go there */
    void *arg;
    void (*answered)(void *arg); /* a look-up was: sends may succeed again */
} KafkaLookupNeeds;

KafkaLookup *kafka_lookup_new(const SinkOptions *options, const KafkaLookupNeeds *needs);
void kafka_lookup_free(KafkaLookup **lookup);

/** Asks for topics of which it is time to (or only whether a broker answers): new ones at once,
 * missing ones ever more rarely, those that are there each minute. */
void kafka_lookup_go(KafkaLookup *lookup);

/** One is under way. */
bool kafka_lookup_is_busy(const KafkaLookup *lookup);
/** As that, if the topic is due and brokers answer. */
void kafka_lookup_go_if_due(KafkaLookup *lookup, const KafkaTopic *kt);
/** The topic is looked up at once. */
void kafka_lookup_soon(KafkaLookup *lookup, KafkaTopic *kt);
/** The topic is looked up within a few seconds: its limits refuse a record. */
void kafka_lookup_later(KafkaLookup *lookup, KafkaTopic *kt);
/** No broker answers: asks again after a while. */
void kafka_lookup_retry(KafkaLookup *lookup);
/** A record of ours was refused because the topic is denied; the look-up may not show that. */
void kafka_lookup_denied(KafkaLookup *lookup, KafkaTopic *kt, const Error *err);

/* kafka_stop: stopping what the producer holds: nothing leaves a paused partition, neither what
 * waits nor what comes back for a retry. Purged, it is given back; held, it keeps its place and its
 * sequence numbers, so that the broker recognizes what it has already. The next send lets
 * everything go on. Loop thread. */
#pragma once

#include "flow/sink.h"
#include "sink/kafka/kafka_producer.h"
#include "sink/kafka/kafka_topics.h"

typedef struct KafkaStop KafkaStop;

/* What it stands on; all of it must outlive it. */
typedef struct KafkaStopNeeds {
    KafkaProducer *producer;
    const KafkaTopics *topics;
    void *arg;
    void (*through)(void *arg); /* kafka_stop_is_through() has become true */
} KafkaStopNeeds;

KafkaStop *kafka_stop_new(const SinkOptions *options, const KafkaStopNeeds *needs);
void kafka_stop_free(KafkaStop **stop);

void kafka_stop_purge(KafkaStop *stop);
void kafka_stop_hold(KafkaStop *stop, bool hold);
/** Pauses what a broker thread waits for. */
void kafka_stop_serve_brake(KafkaStop *stop);

/** False: a broker thread may still have a purge before it, which would take what is sent now. */
bool kafka_stop_is_through(const KafkaStop *stop);
/** A send follows: ends purge and hold. */
void kafka_stop_before_send(KafkaStop *stop);
/** The producer is gone, and its partitions with it. */
void kafka_stop_forget(KafkaStop *stop);
/** How many partitions are paused. */
int kafka_stop_paused(const KafkaStop *stop);

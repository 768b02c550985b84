/* kafka_producer: one librdkafka producer after another: opening, its queue and what wakes the loop
 * for it, and its end.
 *
 *   closed ─open─▶ open ─fatal error─▶ lost
 *     ▲              └──────close──────┴─▶ closing (the worker destroys it)
 *     └──────────────────closed──────────────┘
 *
 * The worker runs one job after the other, so a producer is never destroyed under another job that
 * uses it. Loop thread. */
#pragma once

#include <librdkafka/rdkafka.h>

#include "flow/sink.h"
#include "sink/kafka/kafka_brake.h"

typedef struct KafkaProducer KafkaProducer;

/* From the loop. */
typedef struct KafkaProducerEvents {
    void *arg;
    /** One is about to be made: the last word on its configuration. */
    void (*configure)(void *arg, rd_kafka_conf_t *conf);
    /** There may be something to poll, and the brake may want something. */
    void (*woken)(void *arg);
    /** After kafka_producer_later() and kafka_producer_lose(): no event of librdkafka is in our
     * hands. */
    void (*later)(void *arg);
    /** After kafka_producer_close(): it is closed. */
    void (*closed)(void *arg);
} KafkaProducerEvents;

KafkaProducer *kafka_producer_new(const SinkOptions *options, const KafkaProducerEvents *events);
/** Blocks until the producer is destroyed, if there is one. */
void kafka_producer_free(KafkaProducer **producer);

/** batch_bytes: the bound of a record batch. */
Status kafka_producer_open(KafkaProducer *producer, size_t batch_bytes, Error *err);
/** Hands the producer to the worker, which destroys it; topic handles of it must be gone. */
void kafka_producer_close(KafkaProducer *producer);
/** It is of no use any more: nothing is sent until it is closed and opened anew. */
void kafka_producer_lose(KafkaProducer *producer, const Error *err);

/** NULL: closed or closing. */
rd_kafka_t *kafka_producer_handle(const KafkaProducer *producer);
bool kafka_producer_is_closing(const KafkaProducer *producer);
bool kafka_producer_is_lost(const KafkaProducer *producer);
/** What it was opened with; 0: it never was. */
size_t kafka_producer_batch_bytes(const KafkaProducer *producer);
Brake *kafka_producer_brake(const KafkaProducer *producer);

/** What it was lost by, once. */
bool kafka_producer_take_loss(KafkaProducer *producer, Error *ret_err);
void kafka_producer_later(KafkaProducer *producer);

/** The next event of its queue; NULL: none. */
rd_kafka_event_t *kafka_producer_poll(KafkaProducer *producer);
/** There is more in the queue than one turn should take. */
void kafka_producer_poll_again(KafkaProducer *producer);

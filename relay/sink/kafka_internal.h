/* What the files of the Kafka sink share; nobody else includes this. */
#pragma once

#include "base/log_limit.h"
#include "sink/kafka_topic.h"
#include "sink/sinks.h"

typedef struct KafkaTopic {
    Topic *topic;
    rd_kafka_topic_t *handle; /* of the present producer */
    bool ready;
    TopicLimits limits;
    struct KafkaTopic *next;
} KafkaTopic;

typedef struct KafkaSink {
    Sink sink; /* first */
    SinkOptions options;
    size_t batch_bytes;
    rd_kafka_t *rk; /* NULL: closed or closing */
    rd_kafka_queue_t *queue;
    int fd;
    struct event *io;
    struct event *retry; /* next look-up */
    struct event *later; /* what must not happen while an event of librdkafka is in our hands */
    Error lost_error;
    KafkaTopic *topics;
    bool looking;   /* a look-up job is under way */
    bool wanted;    /* a send waits for a look-up */
    bool full;      /* a send waits for room */
    bool closing;   /* the worker destroys the old producer */
    bool reporting; /* the pipeline asked for that: tell it when done */
    bool shrink;    /* a topic takes smaller batches: new producer once the queue is empty */
    bool lost;      /* told the pipeline; nothing is sent until reopen */
    bool troubled;
    int brokers;
    LogLimit log_lines; /* of librdkafka's own log */
} KafkaSink;

/* kafka.c */
/** The producer is of no use any more; reported from the loop. */
void kafka_lose(KafkaSink *kafka, const Error *err);
/** A smaller batch.size needs a new producer; with an empty queue nothing is at stake. */
void kafka_reopen_when_empty(KafkaSink *kafka);

/* kafka_lookup.c */
/** Asks, on the worker thread, for every topic that is not ready (or only whether a broker
 * answers). */
void kafka_look_up(KafkaSink *kafka);
void kafka_retry_later(KafkaSink *kafka);
void kafka_on_retry(evutil_socket_t fd, short what, void *arg);
/** Tells the pipeline that sends may succeed again. */
void kafka_ready(KafkaSink *kafka);
void kafka_trouble(KafkaSink *kafka, const Error *err);
void kafka_healed(KafkaSink *kafka);

/* kafka_serve.c */
/** Handles what is in librdkafka's queue. */
void kafka_serve(KafkaSink *kafka);
void kafka_on_io(evutil_socket_t fd, short what, void *arg);

/* What the files of the Kafka sink share; nobody else includes this. */
#pragma once

#include "base/log_limit.h"
#include "sink/kafka/kafka.h"
#include "sink/kafka/kafka_brake.h"
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
    struct event *look;  /* next look-up */
    struct event *again; /* next purge */
    struct event *later; /* what must not happen while an event of librdkafka is in our hands */
    Error lost_error;
    KafkaTopic *topics;
    Brake *brake;
    rd_kafka_topic_partition_list_t *paused; /* partitions; NULL: none */
    bool purging;                            /* what comes back for a retry is taken back, too */
    size_t fences;    /* purges that broker threads may still have before them */
    size_t out;       /* records that the producer holds */
    uint32_t refused; /* requests */
    bool stale;       /* a test: no limit is known from now on */
    size_t missing;   /* topics that are */
    bool looking;     /* a look-up job is under way */
    int64_t retry_us; /* monotonic: no broker answers, ask again then; 0: one does */
    bool full;        /* a send waits for room */
    bool closing;     /* the worker destroys the old producer */
    bool reporting;   /* the pipeline asked for that: tell it when done */
    bool shrink;      /* batch.size is another: new producer once the queue is empty */
    bool lost;        /* told the pipeline; nothing is sent until reopen */
    bool troubled;
    bool answers; /* a broker does, as far as we know */
    int brokers;
    char cluster[64]; /* id of the one that answered; "": none yet */
    char reason[400]; /* what the connection to a broker failed with; "": none since one answered */
    int64_t reason_us; /* monotonic: when */
    rd_kafka_resp_err_t reason_code;
    LogLimit log_lines; /* of librdkafka's own log */
} KafkaSink;

/* kafka.c */
/** The producer is of no use any more; reported from the loop. */
void kafka_lose(KafkaSink *kafka, const Error *err);
/** A smaller batch.size needs a new producer; with an empty queue nothing is at stake. */
void kafka_reopen_when_empty(KafkaSink *kafka);

/* kafka_stop.c */
void kafka_purge(Sink *sink);
void kafka_hold(Sink *sink, bool hold);
/** A send follows: ends purge and hold. */
void kafka_before_send(KafkaSink *kafka);
/** The producer is gone, and its partitions with it. */
void kafka_forget_paused(KafkaSink *kafka);
/** Pauses what a broker thread waits for. */
void kafka_serve_brake(KafkaSink *kafka);
void kafka_on_again(evutil_socket_t fd, short what, void *arg);

/* kafka_limits.c */
/** Whether the topic is known to refuse the record: SEND_POISON, *err says why; SEND_WAIT: it seems
 * so, and its limits are looked up again first; SEND_OK: not as far as we know. */
SendResult kafka_limits_refuse(KafkaSink *kafka, KafkaTopic *kt, const Record *record,
                               const Event *event, Error *err);
/** A topic's limits are known (again): batch.size follows the least of them. */
void kafka_limits_changed(KafkaSink *kafka, const KafkaTopic *kt);
/** Fail point stale_limits: what was looked up is not known. */
void kafka_limits_stale(KafkaSink *kafka, KafkaTopic *kt);

/* kafka_lookup.c */
/** Asks, on the worker thread, for topics of which it is time to (or only whether a broker
 * answers): new ones at once, missing ones ever more rarely, those that are there each minute. */
void kafka_look_up(KafkaSink *kafka);
/** The topic is looked up at once. */
void kafka_look_soon(KafkaSink *kafka, KafkaTopic *kt);
/** Looks a topic up within a few seconds: its limits refuse a record. */
void kafka_look_later(KafkaSink *kafka, KafkaTopic *kt);
/** No broker answers: asks again after a while. */
void kafka_retry_later(KafkaSink *kafka);
void kafka_on_look(evutil_socket_t fd, short what, void *arg);
/** A record of ours was refused because the topic is denied; the look-up may not show that. */
void kafka_topic_denied(KafkaSink *kafka, KafkaTopic *kt, const Error *err);
/** Tells the pipeline that sends may succeed again. */
void kafka_ready(KafkaSink *kafka);
/** A broker answered, or none does: for the pipeline and the metric. */
void kafka_note_answer(KafkaSink *kafka, bool answers);
void kafka_trouble(KafkaSink *kafka, const Error *err);
void kafka_healed(KafkaSink *kafka);

/* kafka_serve.c */
/** No broker answers: in *err why, as far as librdkafka has said. */
void kafka_unreachable(const KafkaSink *kafka, rd_kafka_resp_err_t code, Error *err);
/** Handles what is in librdkafka's queue. */
void kafka_serve(KafkaSink *kafka);
void kafka_on_io(evutil_socket_t fd, short what, void *arg);

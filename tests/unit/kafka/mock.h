/* mock: a Kafka sink on a real event loop, and librdkafka's mock cluster in this process. The
 * pipeline is played: it notes what the sink tells. One for each test process. */
#pragma once

#include <criterion/criterion.h>
#include <event2/event.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/clock.h"
#include "flow/batch.h"
#include "sink/kafka/kafka_internal.h"
#include "sink/kafka/kafka_limits.h"
#include "stub/given.h"

enum { MOCK_EVENTS_MAX = 1000, MOCK_PARTITIONS = 4, API_PRODUCE = 0 };

typedef struct Mock {
    rd_kafka_t *owner;
    rd_kafka_mock_cluster_t *cluster;
    struct event_base *base;
    Worker *worker;
    struct event *worker_io;
    struct event *tick; /* librdkafka's threads wake nobody: once a millisecond is often enough */
    Config config;
    PipelineConfig pipeline;
    char *properties[8];
    Metrics *metrics;
    Stats stats;
    Topics *topics;
    Sink *sink;
    Batch *batch;
    Event *events[MOCK_EVENTS_MAX]; /* by seq */
    /* What the sink told. */
    size_t settled;
    size_t delivered;
    size_t purged;
    size_t failed;
    int64_t order[MOCK_EVENTS_MAX * 4]; /* of settling */
    size_t times[MOCK_EVENTS_MAX];      /* each event settled */
    SinkReport report;                  /* of the last failed delivery */
    Error error;                        /* and its error */
    size_t ready;
    size_t missing;
    Error absence; /* of the last missing topic */
    TopicFault fault;
    size_t found;
    Topic *found_topic;
    size_t troubles;
    size_t healed;
    Error trouble;
    size_t lost;
    Error loss;
    size_t reopened;
} Mock;

extern Mock mock;

#define MOCK_WAIT(condition)                                                                       \
    do {                                                                                           \
        int64_t wait_until_us = clock_monotonic_us() + 20000000;                                   \
        while (!(condition)) {                                                                     \
            event_base_loop(mock.base, EVLOOP_ONCE);                                               \
            cr_assert_lt(clock_monotonic_us(), wait_until_us, "waited in vain for %s: %s",         \
                         #condition, mock_told());                                                 \
        }                                                                                          \
    } while (0)

/** What the sink told so far, in words, for messages; static. */
const char *mock_told(void);

/** Starts the cluster; the configuration may be changed before mock_begin. */
void mock_prepare(void);
/** Makes the sink and opens it. */
void mock_begin(void);
void mock_end(void);
void mock_add_property(const char *property);

/** A fresh event with that number; its record has key "k", value "v<seq>". */
SendResult mock_try(int64_t seq, const char *topic, Error *err);
/** As try, until the sink takes it. */
void mock_send(int64_t seq, const char *topic);
SendResult mock_try_record(Record *record, int64_t seq, const char *topic, Error *err);
void mock_send_record(Record *record, int64_t seq, const char *topic);
void mock_turn(void);

/** What is in the topic: calls take for each record until count of them came. */
void mock_consume(const char *topic, size_t count, void (*take)(rd_kafka_message_t *message));
/** Asserts that the topic holds the values "v1 v2 ..." of one key, in that order. */
void mock_assert_log(const char *topic, const char *expected);

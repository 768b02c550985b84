/* The Kafka sink. Records are produced without copying the value; delivery reports come as events
 * on librdkafka's main queue, which wakes the loop through an eventfd (read before the queue is
 * drained, or a wake-up is lost). Calls that block (look-ups, destroy) are jobs of the worker
 * thread; since that runs one job after the other, a producer is never destroyed under a look-up.
 *
 *   closed ─open─▶ ready ─fatal error / reopen─▶ closing (worker destroys) ─▶ ready
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/document.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "sink/kafka/kafka_conf.h"
#include "sink/kafka/kafka_error.h"
#include "sink/kafka/kafka_internal.h"
#include "sink/kafka/kafka_name.h"
#include "sink/kafka/kafka_stats.h"

enum { PRODUCE_ARGS = 7 };

static KafkaSink *kafka_of(Sink *sink)
{
    return (KafkaSink *)sink;
}

/* Opening and closing the producer. */

void kafka_lose(KafkaSink *kafka, const Error *err)
{
    if (!kafka->lost) {
        kafka->lost = true;
        error_copy(&kafka->lost_error, err);
        event_active(kafka->later, 0, 0);
    }
}

static void kafka_open_now(KafkaSink *kafka)
{
    AUTO_ERROR err = {0};
    rd_kafka_conf_t *conf = NULL;
    char text[512];
    if (kafka_conf_new(kafka->options.config, kafka->options.pipeline, kafka->batch_bytes, &conf,
                       &err) != OK) {
        kafka_lose(kafka, &err);
        return;
    }
    brake_install(kafka->brake, conf);
    kafka->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (kafka->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        error_set(&err, CODE_KAFKA_PROPERTY, "kafka.properties: %s", text);
        kafka_lose(kafka, &err);
        return;
    }
    rd_kafka_set_log_queue(kafka->rk, NULL);
    kafka->queue = rd_kafka_queue_get_main(kafka->rk);
    brake_open(kafka->brake, true);
    uint64_t one = 1;
    rd_kafka_queue_io_event_enable(kafka->queue, kafka->fd, &one, sizeof(one));
    event_active(kafka->io, EV_READ, 0); /* what came before the line above */
    for (KafkaTopic *kt = kafka->topics; kt != NULL; kt = kt->next) {
        kt->handle = rd_kafka_topic_new(kafka->rk, kt->topic->name, NULL);
    }
    kafka_look_up(kafka);
}

typedef struct DestroyJob {
    KafkaSink *kafka;
    rd_kafka_t *rk;
} DestroyJob;

static void destroy_run(void *arg)
{
    DestroyJob *job = arg;
    rd_kafka_destroy(job->rk);
}

static void destroy_done(void *arg)
{
    DestroyJob *job = arg;
    KafkaSink *kafka = job->kafka;
    free(job);
    kafka->closing = false;
    kafka->lost = false;
    kafka->shrink = false;
    kafka_open_now(kafka);
    if (kafka->reporting) {
        kafka->reporting = false;
        kafka->sink.events.reopened(kafka->sink.events.arg);
    }
    kafka_ready(kafka);
}

static rd_kafka_t *kafka_detach(KafkaSink *kafka)
{
    rd_kafka_t *rk = kafka->rk;
    kafka->rk = NULL;
    brake_open(kafka->brake, false);
    kafka_forget_paused(kafka);
    kafka->out = 0;
    kafka_stats_none(kafka->options.stats);
    for (KafkaTopic *kt = kafka->topics; kt != NULL; kt = kt->next) {
        if (kt->handle != NULL) {
            rd_kafka_topic_destroy(kt->handle);
            kt->handle = NULL;
        }
        kt->ready = false;
        kt->out = 0;
        kt->look_us = 0;
    }
    if (kafka->queue != NULL) {
        rd_kafka_queue_io_event_enable(kafka->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(kafka->queue);
        kafka->queue = NULL;
    }
    return rk;
}

static void kafka_close_producer(KafkaSink *kafka)
{
    DestroyJob *job = x_malloc(sizeof(*job));
    *job = (DestroyJob){.kafka = kafka, .rk = kafka_detach(kafka)};
    kafka->closing = true;
    worker_submit(kafka->options.worker, destroy_run, destroy_done, job);
}

void kafka_reopen_when_empty(KafkaSink *kafka)
{
    if (kafka->shrink && !kafka->closing && !kafka->lost && kafka->rk != NULL &&
        rd_kafka_outq_len(kafka->rk) == 0) {
        kafka_close_producer(kafka);
    }
}

static void kafka_on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    KafkaSink *kafka = arg;
    if (kafka->lost && kafka->lost_error.class != ERROR_NONE) {
        AUTO_ERROR err = error_of(&kafka->lost_error);
        error_clear(&kafka->lost_error);
        kafka->sink.events.lost(kafka->sink.events.arg, &err);
    }
    kafka_reopen_when_empty(kafka);
}

/* Sending. */

static KafkaTopic *kafka_topic(KafkaSink *kafka, Topic *topic)
{
    if (topic->sink_data == NULL) {
        KafkaTopic *kt = x_calloc(1, sizeof(*kt));
        kt->topic = topic;
        kt->handle = rd_kafka_topic_new(kafka->rk, topic->name, NULL);
        kt->next = kafka->topics;
        kafka->topics = kt;
        topic->sink_data = kt;
    }
    return topic->sink_data;
}

static rd_kafka_headers_t *kafka_headers(const Record *record)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(record->header_count);
    for (size_t i = 0; i < record->header_count; i++) {
        const RecordHeader *header = &record->headers[i];
        /* A NULL value with size 0 is a null header; an empty one needs a pointer. */
        rd_kafka_header_add(headers, header->name.data, (ssize_t)header->name.length,
                            header->value.data, (ssize_t)header->value.length);
    }
    return headers;
}

static SendResult kafka_produce(KafkaSink *kafka, KafkaTopic *kt, const Record *record,
                                int64_t timestamp_ms, Event *event, Error *err)
{
    rd_kafka_headers_t *headers = kafka_headers(record);
    const rd_kafka_vu_t args[PRODUCE_ARGS] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = kt->handle},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = 0}, /* value is borrowed until the report */
        {.vtype = RD_KAFKA_VTYPE_VALUE,
         .u.mem = {.ptr = (void *)record->value.data, .size = record->value.length}},
        {.vtype = RD_KAFKA_VTYPE_KEY,
         .u.mem = {.ptr = (void *)record->key.data, .size = record->key.length}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = timestamp_ms},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = event},
    };
    rd_kafka_error_t *failed = rd_kafka_produceva(kafka->rk, args, PRODUCE_ARGS);
    if (failed == NULL) {
        kt->out++;
        kafka->out++;
        return SEND_OK;
    }
    rd_kafka_resp_err_t code = rd_kafka_error_code(failed);
    rd_kafka_error_destroy(failed);
    rd_kafka_headers_destroy(headers);
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        kafka->full = true;
        return SEND_FULL;
    }
    kafka_delivery_error(code, kt->topic->name, err);
    if (err->class == ERROR_POISON) {
        return SEND_POISON;
    }
    if (code == RD_KAFKA_RESP_ERR__FATAL) { /* the error event says why */
        return SEND_WAIT;
    }
    kt->ready = false;
    kt->look_us = 0;
    if (err->code == CODE_KAFKA_TOPIC_UNKNOWN) {
        kafka_look_up(kafka); /* librdkafka has learned it before us: is it so? */
        return SEND_WAIT;
    }
    kafka_trouble(kafka, err);
    kafka_retry_later(kafka);
    return SEND_WAIT;
}

/* The topic is not known to be there: a look-up is due or under way, or has said that it is not. */
static SendResult kafka_send_later(KafkaSink *kafka, KafkaTopic *kt, Error *err)
{
    if (kt->missing) {
        error_copy(err, kt->error);
        return SEND_HELD;
    }
    int64_t now_us = clock_monotonic_us();
    if (now_us >= kafka->retry_us && now_us >= kt->look_us) {
        kafka_look_up(kafka);
    }
    return SEND_WAIT;
}

static SendResult kafka_send(Sink *sink, const Record *record, Event *event, Error *err)
{
    KafkaSink *kafka = kafka_of(sink);
    if (kafka->rk == NULL || kafka->lost) {
        return SEND_WAIT;
    }
    KafkaTopic *kt = kafka_topic(kafka, record->topic);
    if (!kt->ready) {
        return kafka_send_later(kafka, kt, err);
    }
    if (kafka->shrink) {
        kafka->full = true;
        kafka_reopen_when_empty(kafka);
        return SEND_FULL;
    }
    SendResult refused = kafka_limits_refuse(kafka, kt, record, event, err);
    if (refused != SEND_OK) {
        return refused;
    }
    int64_t timestamp_ms = record->timestamp_ms;
    if (timestamp_ms != 0) {
        timestamp_ms = topic_timestamp(&kt->limits, timestamp_ms, clock_wall_us() / 1000);
        *kafka->options.stats->timestamps_replaced += timestamp_ms == 0;
    }
    if (kafka->fences > 0) {
        kafka->full = true;
        return SEND_FULL;
    }
    kafka_before_send(kafka);
    return kafka_produce(kafka, kt, record, timestamp_ms, event, err);
}

static void kafka_open(Sink *sink)
{
    KafkaSink *kafka = kafka_of(sink);
    if (kafka->rk == NULL && !kafka->closing) {
        kafka_open_now(kafka);
    }
}

static void kafka_reopen(Sink *sink)
{
    KafkaSink *kafka = kafka_of(sink);
    kafka->reporting = true;
    if (kafka->closing) {
        return;
    }
    if (kafka->rk == NULL) { /* was never open, or could not be opened */
        DestroyJob *job = x_malloc(sizeof(*job));
        *job = (DestroyJob){.kafka = kafka};
        destroy_done(job);
        return;
    }
    /* Reports that are already here still count. */
    (void)rd_kafka_purge(kafka->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                        RD_KAFKA_PURGE_F_NON_BLOCKING);
    kafka_serve(kafka);
    kafka_close_producer(kafka);
}

static void kafka_status(const Sink *sink, json_t *status)
{
    const KafkaSink *kafka = (const KafkaSink *)sink;
    json_t *object = document_object(status, "kafka");
    document_bool(object, "connected", kafka->answers);
    document_count(object, "broker_count", kafka->brokers);
    document_text(object, "brokers", kafka->options.config->kafka.brokers);
}

static void kafka_topic_free(KafkaTopic *kt)
{
    if (kt->handle != NULL) {
        rd_kafka_topic_destroy(kt->handle);
    }
    error_clear(kt->error);
    free(kt->error);
    free(kt);
}

static void kafka_forget(Sink *sink, Topic *topic)
{
    KafkaSink *kafka = kafka_of(sink);
    KafkaTopic *kt = topic->sink_data;
    if (kt == NULL) {
        return;
    }
    KafkaTopic **at = &kafka->topics;
    while (*at != kt) {
        at = &(*at)->next;
    }
    *at = kt->next;
    kafka->missing -= kt->missing;
    topic->sink_data = NULL;
    kafka_topic_free(kt);
}

static void kafka_free(Sink *sink)
{
    KafkaSink *kafka = kafka_of(sink);
    event_free(kafka->io);
    event_free(kafka->look);
    event_free(kafka->later);
    event_free(kafka->again);
    rd_kafka_t *rk = kafka_detach(kafka);
    if (rk != NULL) {
        rd_kafka_destroy(rk);
    }
    for (KafkaTopic *kt = kafka->topics, *next; kt != NULL; kt = next) {
        next = kt->next;
        kafka_topic_free(kt);
    }
    brake_free(&kafka->brake);
    error_clear(&kafka->lost_error);
    close(kafka->fd);
    free(kafka);
}

static bool kafka_answers(const Sink *sink)
{
    return ((const KafkaSink *)sink)->answers;
}

static void kafka_silent(const Sink *sink, int seconds, Error *err)
{
    (void)sink;
    error_set(err, CODE_KAFKA_NO_ACKNOWLEDGEMENT, "no acknowledgement from Kafka for %d s",
              seconds);
    (void)error_advise(err);
}

static const SinkOps KAFKA_OPS = {
    .refuse_topic = kafka_name_refuse,
    .answers = kafka_answers,
    .silent = kafka_silent,
    .open = kafka_open,
    .send = kafka_send,
    .purge = kafka_purge,
    .hold = kafka_hold,
    .reopen = kafka_reopen,
    .forget = kafka_forget,
    .status = kafka_status,
    .free = kafka_free,
};

Status sink_kafka_new(const SinkOptions *options, Sink **ret_sink, Error *err)
{
    /* Mistakes in the properties show now, not at the first take-over. */
    rd_kafka_conf_t *conf = NULL;
    if (kafka_conf_new(options->config, options->pipeline, KAFKA_BATCH_BYTES, &conf, err) != OK) {
        return FAILED;
    }
    rd_kafka_conf_destroy(conf);
    KafkaSink *kafka = x_calloc(1, sizeof(*kafka));
    kafka->sink.ops = &KAFKA_OPS;
    kafka->options = *options;
    kafka->batch_bytes = KAFKA_BATCH_BYTES;
    kafka->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    kafka->io = event_new(options->base, kafka->fd, EV_READ | EV_PERSIST, kafka_on_io, kafka);
    kafka->look = event_new(options->base, -1, 0, kafka_on_look, kafka);
    kafka->later = event_new(options->base, -1, 0, kafka_on_later, kafka);
    kafka->again = event_new(options->base, -1, 0, kafka_on_again, kafka);
    kafka->brake = brake_new(kafka->fd);
    event_add(kafka->io, NULL);
    *ret_sink = &kafka->sink;
    return OK;
}

/* The Kafka sink decides what happens when: its parts (kafka_internal.h) do it, and tell it by the
 * callbacks they were made with. Records are produced without copying the value.
 *
 * A producer is replaced when the pipeline asks for it (reopen), and when a topic with other limits
 * wants another batch.size: then as soon as nothing is out, so that nothing is at stake. */
#include "sink/kafka/kafka.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/document.h"
#include "base/memory.h"
#include "sink/kafka/kafka_conf.h"
#include "sink/kafka/kafka_error.h"
#include "sink/kafka/kafka_internal.h"
#include "sink/kafka/kafka_limits.h"
#include "sink/kafka/kafka_name.h"
#include "sink/kafka/kafka_stats.h"

enum { PRODUCE_ARGS = 7 };

static_assert(offsetof(KafkaSink, sink) == 0, "a Sink is cast to its KafkaSink");

static KafkaSink *kafka_of(Sink *sink)
{
    return (KafkaSink *)sink;
}

/* The producer's life. */

static void kafka_open_now(KafkaSink *kafka)
{
    AUTO_ERROR err = {0};
    if (kafka_producer_open(kafka->producer, kafka->topics->batch_bytes, &err) != OK) {
        if (kafka->login->renewed) { /* of certificate and key one may be there already */
            err.class = ERROR_RETRY;
        }
        kafka_producer_lose(kafka->producer, &err);
        return;
    }
    kafka->login->renewed = false;
    kafka_topics_set_producer(kafka->topics, kafka_producer_handle(kafka->producer));
    kafka_lookup_go(kafka->lookup);
}

/* Nothing of the producer is known any more; what was out does not settle. */
static void kafka_forget_producer(KafkaSink *kafka)
{
    kafka_token_forget(kafka->login->token);
    kafka_stop_forget(kafka->stop);
    kafka_topics_set_producer(kafka->topics, NULL);
    kafka_stats_none(kafka->stats);
}

static void kafka_close(KafkaSink *kafka)
{
    kafka_forget_producer(kafka);
    kafka_producer_close(kafka->producer);
}

/* The topics want another batch.size, or there are other certificates, brokers or properties, which
 * needs another producer. */
static bool kafka_is_outgrown(const KafkaSink *kafka)
{
    return kafka_producer_handle(kafka->producer) != NULL &&
           (kafka->login->renewed ||
            kafka->topics->batch_bytes != kafka_producer_batch_bytes(kafka->producer));
}

/* librdkafka's own count, rd_kafka_outq_len(), has statistics and log lines in it, too. The last
 * record that comes back finds its event still in use: then `came_back` sees to it. */
static void kafka_replace_when_empty(KafkaSink *kafka)
{
    if (kafka_is_outgrown(kafka) && !kafka_producer_is_lost(kafka->producer) &&
        kafka->topics->out == 0 && !kafka_delivery_is_serving(kafka->delivery)) {
        kafka_close(kafka);
    }
}

static void kafka_ready(KafkaSink *kafka)
{
    kafka->full = false;
    kafka->sink.events.ready(kafka->sink.events.arg);
}

/* What the parts tell. */

static void on_closed(void *arg)
{
    KafkaSink *kafka = arg;
    if (kafka->then == THEN_END) {
        return;
    }
    kafka_open_now(kafka);
    if (kafka->then == THEN_TELL) {
        kafka->then = THEN_OPEN;
        kafka->sink.events.reopened(kafka->sink.events.arg);
    }
    kafka_ready(kafka);
}

static void on_configure(void *arg, rd_kafka_conf_t *conf)
{
    kafka_credentials_configure(((KafkaSink *)arg)->login->credentials, conf);
}

/* No broker answers. A producer that is to be replaced waits for nothing then. */
static void on_unanswered(void *arg)
{
    KafkaSink *kafka = arg;
    if (kafka->login->renewed) {
        AUTO_ERROR err = {0};
        error_set(&err, CODE_KAFKA_UNREACHABLE,
                  "no Kafka broker answers, and the certificate files, kafka.brokers or "
                  "kafka.properties have changed; the relay connects again with the new ones");
        kafka_producer_lose(kafka->producer, &err);
    }
}

/* What is out comes back first, so that nothing is sent twice; without a broker it does not. */
static void on_outdated(void *arg)
{
    KafkaSink *kafka = arg;
    if (kafka_producer_handle(kafka->producer) == NULL) {
        kafka->login->renewed |= kafka_producer_is_closing(kafka->producer); /* the next has them */
        return;
    }
    kafka->login->renewed = true;
    if (!kafka_health_answers(kafka->health)) {
        on_unanswered(kafka);
        return;
    }
    kafka_producer_later(kafka->producer);
}

static void on_woken(void *arg)
{
    KafkaSink *kafka = arg;
    kafka_stop_serve_brake(kafka->stop);
    kafka_delivery_serve(kafka->delivery);
}

static void on_later(void *arg)
{
    KafkaSink *kafka = arg;
    AUTO_ERROR err = {0};
    if (kafka_producer_take_loss(kafka->producer, &err)) {
        kafka->sink.events.lost(kafka->sink.events.arg, &err);
    }
    kafka_replace_when_empty(kafka);
}

static void on_answered(void *arg)
{
    KafkaSink *kafka = arg;
    kafka_token_accepted(kafka->login->token);
    kafka_replace_when_empty(kafka);
    kafka_ready(kafka);
}

static void on_came_back(void *arg)
{
    KafkaSink *kafka = arg;
    if (kafka_is_outgrown(kafka)) {
        kafka_producer_later(kafka->producer);
    } else if (kafka->full) {
        kafka_ready(kafka);
    }
}

static void on_through(void *arg)
{
    KafkaSink *kafka = arg;
    if (kafka->full && !kafka_is_outgrown(kafka)) {
        kafka_ready(kafka);
    }
}

/* Sending. */

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
    rd_kafka_error_t *failed =
        rd_kafka_produceva(kafka_producer_handle(kafka->producer), args, PRODUCE_ARGS);
    if (failed == NULL) {
        kafka_topics_sent(kafka->topics, kt);
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
        kafka_lookup_go(kafka->lookup); /* librdkafka has learned it before us: is it so? */
        return SEND_WAIT;
    }
    kafka_health_trouble(kafka->health, err);
    kafka_lookup_retry(kafka->lookup);
    return SEND_WAIT;
}

/* The topic is not known to be there: a look-up is due or under way, or has said that it is not. */
static SendResult kafka_send_later(KafkaSink *kafka, const KafkaTopic *kt, Error *err)
{
    if (kt->missing) {
        error_copy(err, kt->error);
        return SEND_HELD;
    }
    kafka_lookup_go_if_due(kafka->lookup, kt);
    return SEND_WAIT;
}

/* Known limits refuse the record: they are looked up first, or again soon. */
static SendResult kafka_refuse(KafkaSink *kafka, KafkaTopic *kt, const Record *record,
                               const Event *event, Error *err)
{
    SendResult refused = kafka_limits_refuse(kt, record, event, err);
    if (refused == SEND_WAIT) {
        kafka_lookup_soon(kafka->lookup, kt);
    } else if (refused == SEND_POISON) {
        kafka_lookup_later(kafka->lookup, kt);
    }
    return refused;
}

static SendResult kafka_send(Sink *sink, const Record *record, Event *event, Error *err)
{
    KafkaSink *kafka = kafka_of(sink);
    rd_kafka_t *rk = kafka_producer_handle(kafka->producer);
    if (rk == NULL || kafka_producer_is_lost(kafka->producer)) {
        return SEND_WAIT;
    }
    KafkaTopic *kt = kafka_topics_get(kafka->topics, record->topic, rk);
    if (!kt->ready) {
        return kafka_send_later(kafka, kt, err);
    }
    if (kafka_is_outgrown(kafka)) {
        kafka->full = true;
        kafka_replace_when_empty(kafka);
        return SEND_FULL;
    }
    SendResult refused = kafka_refuse(kafka, kt, record, event, err);
    if (refused != SEND_OK) {
        return refused;
    }
    int64_t timestamp_ms = record->timestamp_ms;
    if (timestamp_ms != 0) {
        timestamp_ms = topic_timestamp(&kt->limits, timestamp_ms, clock_wall_us() / 1000);
        *kafka->stats->timestamps_replaced += timestamp_ms == 0;
    }
    if (!kafka_stop_is_through(kafka->stop)) {
        kafka->full = true;
        return SEND_FULL;
    }
    kafka_stop_before_send(kafka->stop);
    return kafka_produce(kafka, kt, record, timestamp_ms, event, err);
}

/* What else the pipeline asks for. */

static void kafka_open(Sink *sink)
{
    KafkaSink *kafka = kafka_of(sink);
    if (kafka_producer_handle(kafka->producer) == NULL && kafka->then != THEN_END &&
        !kafka_producer_is_closing(kafka->producer)) {
        kafka_open_now(kafka);
    }
}

static void kafka_purge(Sink *sink)
{
    kafka_stop_purge(kafka_of(sink)->stop);
}

static void kafka_hold(Sink *sink, bool hold)
{
    kafka_stop_hold(kafka_of(sink)->stop, hold);
}

static void kafka_renew(Sink *sink)
{
    (void)kafka_credentials_renew(kafka_of(sink)->login->credentials);
}

/* Reports that are already here still count. */
static void kafka_give_up(KafkaSink *kafka)
{
    (void)rd_kafka_purge(kafka_producer_handle(kafka->producer), RD_KAFKA_PURGE_F_QUEUE |
                                                                     RD_KAFKA_PURGE_F_INFLIGHT |
                                                                     RD_KAFKA_PURGE_F_NON_BLOCKING);
    kafka_delivery_serve(kafka->delivery);
    kafka_close(kafka);
}

static bool kafka_finish(Sink *sink)
{
    KafkaSink *kafka = kafka_of(sink);
    kafka->then = THEN_END;
    if (kafka_producer_handle(kafka->producer) != NULL) {
        kafka_give_up(kafka);
    }
    return !kafka_producer_is_closing(kafka->producer) && !kafka_lookup_is_busy(kafka->lookup) &&
           kafka_stop_is_through(kafka->stop);
}

static void kafka_reopen(Sink *sink)
{
    KafkaSink *kafka = kafka_of(sink);
    rd_kafka_t *rk = kafka_producer_handle(kafka->producer);
    kafka->then = THEN_TELL;
    if (kafka_producer_is_closing(kafka->producer)) {
        return;
    }
    if (rk == NULL) { /* was never open, or could not be opened */
        on_closed(kafka);
        return;
    }
    kafka_give_up(kafka);
}

static void kafka_status(const Sink *sink, json_t *status)
{
    const KafkaSink *kafka = (const KafkaSink *)sink;
    json_t *object = document_object(status, "kafka");
    document_bool(object, "connected", kafka_health_answers(kafka->health));
    document_count(object, "broker_count", kafka_health_brokers(kafka->health));
    document_text(object, "brokers", kafka_health_bootstrap(kafka->health));
}

static void kafka_forget(Sink *sink, Topic *topic)
{
    kafka_topics_forget(kafka_of(sink)->topics, topic);
}

static void kafka_free(Sink *sink)
{
    KafkaSink *kafka = kafka_of(sink);
    kafka_forget_producer(kafka);
    kafka_delivery_free(&kafka->delivery);
    kafka_stop_free(&kafka->stop);
    kafka_lookup_free(&kafka->lookup);
    kafka_credentials_free(&kafka->login->credentials);
    kafka_token_free(&kafka->login->token);
    free(kafka->login);
    kafka_producer_free(&kafka->producer);
    kafka_health_free(&kafka->health);
    kafka_topics_free(&kafka->topics);
    free(kafka);
}

static bool kafka_answers(const Sink *sink)
{
    return kafka_health_answers(((const KafkaSink *)sink)->health);
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
    .renew = kafka_renew,
    .forget = kafka_forget,
    .close = kafka_finish,
    .status = kafka_status,
    .free = kafka_free,
};

static void kafka_make_parts(KafkaSink *kafka, const SinkOptions *options)
{
    const SinkEvents *events = &kafka->sink.events;
    kafka->topics = kafka_topics_new(options->pipeline->name);
    kafka->health = kafka_health_new(options, events);
    kafka->producer = kafka_producer_new(options, &(KafkaProducerEvents){.arg = kafka,
                                                                         .configure = on_configure,
                                                                         .woken = on_woken,
                                                                         .later = on_later,
                                                                         .closed = on_closed});
    kafka->login = x_calloc(1, sizeof(*kafka->login));
    kafka->login->credentials =
        kafka_credentials_new(options, &(KafkaCredentialsNeeds){.producer = kafka->producer,
                                                                .health = kafka->health,
                                                                .arg = kafka,
                                                                .outdated = on_outdated});
    kafka->login->token =
        kafka_token_new(options->base, options->pipeline->name, kafka->producer, kafka->health);
    kafka->lookup = kafka_lookup_new(options, &(KafkaLookupNeeds){.producer = kafka->producer,
                                                                  .topics = kafka->topics,
                                                                  .health = kafka->health,
                                                                  .events = events,
                                                                  .arg = kafka,
                                                                  .answered = on_answered});
    kafka->stop = kafka_stop_new(options, &(KafkaStopNeeds){.producer = kafka->producer,
                                                            .topics = kafka->topics,
                                                            .arg = kafka,
                                                            .through = on_through});
    kafka->delivery =
        kafka_delivery_new(options, &(KafkaDeliveryNeeds){.producer = kafka->producer,
                                                          .topics = kafka->topics,
                                                          .health = kafka->health,
                                                          .token = kafka->login->token,
                                                          .credentials = kafka->login->credentials,
                                                          .lookup = kafka->lookup,
                                                          .events = events,
                                                          .arg = kafka,
                                                          .came_back = on_came_back,
                                                          .unanswered = on_unanswered});
}

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
    kafka->stats = options->stats;
    kafka_make_parts(kafka, options);
    *ret_sink = &kafka->sink;
    return OK;
}

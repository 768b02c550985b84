#include "sink/kafka/kafka_delivery.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/log_limit.h"
#include "base/memory.h"
#include "sink/kafka/kafka_error.h"
#include "sink/kafka/kafka_stats.h"

enum { SERVE_EVENTS_MAX = 100 }; /* then the loop gets its turn; one event holds many reports */

struct KafkaDelivery {
    KafkaDeliveryNeeds needs;
    const char *pipeline; /* its name */
    Stats *stats;
    uint32_t refused;   /* requests */
    LogLimit log_lines; /* of librdkafka's own log */
    bool serving;       /* delivery reports */
};

/* What a failed delivery tells of its topic. */
static void note_refusal(KafkaLookup *lookup, KafkaTopic *kt, const Error *err)
{
    if (!kt->ready) {
        return; /* another record has told */
    }
    if (err->code == CODE_KAFKA_TOPIC_UNKNOWN) {
        kt->ready = false;
        kafka_lookup_soon(lookup, kt);
    } else if (err->code == CODE_KAFKA_TOPIC_DENIED) {
        kafka_lookup_denied(lookup, kt, err);
    }
}

/* The reports of one event of librdkafka are those of one request. */
typedef struct Request {
    uint32_t number; /* 0: not refused, or not known yet */
    uint32_t events;
    bool counted;
} Request;

/* All of them at once, before the pipeline is told of the first: what it purges then is what the
 * producer still holds. */
static void count_back(KafkaTopics *topics, KafkaTopic *kt, Request *request)
{
    if (!request->counted) {
        request->counted = true;
        kafka_topics_came_back(topics, kt, request->events);
    }
}

/* What the pipeline must do about it. */
static SinkVerdict delivery_verdict(const Error *err)
{
    switch (err->code) {
    case CODE_SINK_PURGED:
        return SINK_TOOK_BACK;
    case CODE_KAFKA_TOPIC_DENIED:
        return SINK_DENIES_TOPIC;
    case CODE_RECORD_TIMESTAMP_REFUSED:
        return SINK_REFUSED_TIME;
    default:
        return err->class == ERROR_POISON ? SINK_REFUSED : SINK_FAILED;
    }
}

static void delivery_failed(KafkaDelivery *delivery, const rd_kafka_message_t *report,
                            Request *request, SinkReport *ret_report, Error *err)
{
    Event *sent = report->_private;
    KafkaTopic *kt = sent->topic->sink_data;
    kafka_delivery_error(report->err, sent->topic->name, err);
    note_refusal(delivery->needs.lookup, kt, err);
    *ret_report = (SinkReport){.verdict = delivery_verdict(err), .error = err};
    if (err->class == ERROR_POISON) {
        if (request->number == 0) {
            request->number = ++delivery->refused;
            kafka_lookup_soon(delivery->needs.lookup, kt); /* its limits may have changed */
        }
        ret_report->request = request->number;
        ret_report->request_events = request->events;
    }
    if (rd_kafka_message_status(report) == RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED) {
        sent->replayed = true;
    }
}

static void delivery_reports(KafkaDelivery *delivery, rd_kafka_event_t *event)
{
    const SinkEvents *events = delivery->needs.events;
    FAILPOINT("delivered");
    const rd_kafka_message_t *reports[256];
    size_t count = 0;
    Request request = {.events = (uint32_t)rd_kafka_event_message_count(event)};
    while ((count = rd_kafka_event_message_array(event, reports, 256)) > 0) {
        for (size_t i = 0; i < count; i++) {
            Event *sent = reports[i]->_private;
            count_back(delivery->needs.topics, sent->topic->sink_data, &request);
            if (reports[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                events->settled(events->arg, sent, NULL);
                continue;
            }
            AUTO_ERROR err = {0};
            SinkReport report;
            delivery_failed(delivery, reports[i], &request, &report, &err);
            events->settled(events->arg, sent, &report);
        }
    }
    kafka_health_note_answer(delivery->needs.health, true);
    delivery->needs.came_back(delivery->needs.arg);
}

/* No broker answers, or one refuses us. */
static void delivery_unanswered(KafkaDelivery *delivery, rd_kafka_resp_err_t code)
{
    KafkaHealth *health = delivery->needs.health;
    AUTO_ERROR err = {0};
    if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION && kafka_token_blamed(delivery->needs.token) &&
        kafka_health_answers(health)) {
        return; /* connections that stand go on, and it is said */
    }
    bool renewed = kafka_credentials_blamed(delivery->needs.credentials);
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        delivery->needs.unanswered(delivery->needs.arg);
    }
    if (renewed) {
        return; /* the next connection is made with others */
    }
    kafka_health_unreachable(health, code, &err);
    kafka_health_trouble(health, &err);
    kafka_lookup_retry(delivery->needs.lookup);
}

static void delivery_error(KafkaDelivery *delivery, rd_kafka_event_t *event)
{
    KafkaProducer *producer = delivery->needs.producer;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    AUTO_ERROR err = {0};
    if (code == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_event_error_is_fatal(event)) {
        char fatal[512] = "";
        rd_kafka_resp_err_t cause =
            rd_kafka_fatal_error(kafka_producer_handle(producer), fatal, sizeof(fatal));
        error_set(&err, CODE_KAFKA_PRODUCER_FATAL, "the producer failed: %s: %s; replacing it",
                  rd_kafka_err2name(cause), fatal);
        if (cause == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED) {
            error_hint(&err,
                       "Grant WRITE on the topics to the relay's principal (before Kafka 3.0 also "
                       "IDEMPOTENT_WRITE on the cluster).");
        }
        kafka_producer_lose(producer, &err);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE) { /* it has no thread for a broker */
        error_set(&err, CODE_RESOURCE_REFUSED, "librdkafka cannot go on: %s", text);
        kafka_producer_lose(producer, &err);
        return;
    }
    kafka_health_note_reason(delivery->needs.health, code, text);
    switch (code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__SSL:
        delivery_unanswered(delivery, code);
        break;
    default: /* of one broker, or what librdkafka deals with itself */
        log_write(LOG_DEBUG, delivery->pipeline, CODE_KAFKA_EVENT,
                  LOG_FIELDS(log_text("error", rd_kafka_err2name(code))), "%s", text);
        break;
    }
}

static void delivery_log(KafkaDelivery *delivery, rd_kafka_event_t *event)
{
    const char *facility = NULL;
    const char *text = NULL;
    int level = 0;
    if (rd_kafka_event_log(event, &facility, &text, &level) == 0) {
        /* What matters comes as an error event, too, and is said once by the pipeline. */
        bool said = level > 2 || strcmp(facility, "FATAL") == 0;
        int64_t now_us = clock_monotonic_us();
        if (!said && !log_limit_take(&delivery->log_lines, now_us) &&
            log_limit_due(&delivery->log_lines, now_us, false) == 0) {
            return;
        }
        log_write(said ? LOG_DEBUG : LOG_ERROR, delivery->pipeline, CODE_KAFKA_LOG,
                  LOG_FIELDS(log_text("facility", facility)), "%s", text);
    }
}

void kafka_delivery_serve(KafkaDelivery *delivery)
{
    for (int i = 0; i < SERVE_EVENTS_MAX; i++) {
        rd_kafka_event_t *event = kafka_producer_poll(delivery->needs.producer);
        if (event == NULL) {
            return;
        }
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_DR:
            delivery->serving = true;
            delivery_reports(delivery, event);
            delivery->serving = false;
            break;
        case RD_KAFKA_EVENT_ERROR:
            delivery_error(delivery, event);
            break;
        case RD_KAFKA_EVENT_LOG:
            delivery_log(delivery, event);
            break;
        case RD_KAFKA_EVENT_STATS: {
            const char *json = rd_kafka_event_stats(event);
            kafka_stats_read(json, strlen(json), delivery->stats);
            break;
        }
        case RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH:
            kafka_token_asked(delivery->needs.token);
            break;
        default:
            break;
        }
        rd_kafka_event_destroy(event);
    }
    kafka_producer_poll_again(delivery->needs.producer);
}

bool kafka_delivery_is_serving(const KafkaDelivery *delivery)
{
    return delivery->serving;
}

KafkaDelivery *kafka_delivery_new(const SinkOptions *options, const KafkaDeliveryNeeds *needs)
{
    KafkaDelivery *delivery = x_calloc(1, sizeof(*delivery));
    delivery->needs = *needs;
    delivery->pipeline = options->pipeline->name;
    delivery->stats = options->stats;
    return delivery;
}

void kafka_delivery_free(KafkaDelivery **delivery)
{
    free(*delivery);
    *delivery = NULL;
}

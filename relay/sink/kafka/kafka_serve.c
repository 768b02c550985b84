/* What librdkafka tells us: delivery reports, errors, log lines, as events on its main queue. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "sink/kafka/kafka_error.h"
#include "sink/kafka/kafka_internal.h"
#include "sink/kafka/kafka_stats.h"

enum {
    SERVE_EVENTS_MAX = 100, /* then the loop gets its turn; one event holds many reports */
    REASON_SECONDS = 10,    /* another reason does not replace one that is so young */
};

/* What a failed delivery tells of its topic. */
static void kafka_note_refusal(KafkaSink *kafka, KafkaTopic *kt, const Error *err)
{
    if (!kt->ready) {
        return; /* another record has told */
    }
    if (err->code == CODE_KAFKA_TOPIC_UNKNOWN) {
        kt->ready = false;
        kafka_look_soon(kafka, kt);
    } else if (err->code == CODE_KAFKA_TOPIC_DENIED) {
        kafka_topic_denied(kafka, kt, err);
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
static void kafka_count_back(KafkaSink *kafka, KafkaTopic *kt, Request *request)
{
    if (!request->counted) {
        request->counted = true;
        kt->out -= request->events;
        kafka->out -= request->events;
    }
}

/* What the pipeline must do about it. */
static SinkVerdict kafka_verdict(const Error *err)
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

static void kafka_on_failure(KafkaSink *kafka, const rd_kafka_message_t *report, Request *request,
                             SinkReport *ret_report, Error *err)
{
    Event *sent = report->_private;
    KafkaTopic *kt = sent->topic->sink_data;
    kafka_delivery_error(report->err, sent->topic->name, err);
    kafka_note_refusal(kafka, kt, err);
    *ret_report = (SinkReport){.verdict = kafka_verdict(err), .error = err};
    if (err->class == ERROR_POISON) {
        if (request->number == 0) {
            request->number = ++kafka->refused;
            kafka_look_soon(kafka, kt); /* its limits may have changed */
        }
        ret_report->request = request->number;
        ret_report->request_events = request->events;
    }
    if (rd_kafka_message_status(report) == RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED) {
        sent->replayed = true;
    }
}

static void kafka_on_reports(KafkaSink *kafka, rd_kafka_event_t *event)
{
    FAILPOINT("delivered");
    const rd_kafka_message_t *reports[256];
    size_t count = 0;
    Request request = {.events = (uint32_t)rd_kafka_event_message_count(event)};
    while ((count = rd_kafka_event_message_array(event, reports, 256)) > 0) {
        for (size_t i = 0; i < count; i++) {
            Event *sent = reports[i]->_private;
            kafka_count_back(kafka, sent->topic->sink_data, &request);
            if (reports[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                kafka->sink.events.settled(kafka->sink.events.arg, sent, NULL);
                continue;
            }
            AUTO_ERROR err = {0};
            SinkReport report;
            kafka_on_failure(kafka, reports[i], &request, &report, &err);
            kafka->sink.events.settled(kafka->sink.events.arg, sent, &report);
        }
    }
    kafka_note_answer(kafka, true);
    if (kafka->shrink) {
        event_active(kafka->later, 0, 0);
    }
    if (kafka->full && !kafka->shrink) {
        kafka_ready(kafka);
    }
}

/* What one broker's connection fails with is the reason that people look for; "all brokers are
 * down" comes behind it. The first of several stays for a while, or two would alternate. */
static void kafka_note_reason(KafkaSink *kafka, rd_kafka_resp_err_t code, const char *text)
{
    int64_t now_us = clock_monotonic_us();
    bool of_connection = code == RD_KAFKA_RESP_ERR__TRANSPORT ||
                         code == RD_KAFKA_RESP_ERR__RESOLVE || code == RD_KAFKA_RESP_ERR__SSL ||
                         code == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
                         code == RD_KAFKA_RESP_ERR__BAD_MSG || code == RD_KAFKA_RESP_ERR__TIMED_OUT;
    bool fresh =
        kafka->reason[0] != '\0' && now_us - kafka->reason_us < REASON_SECONDS * INT64_C(1000000);
    if (!of_connection || fresh) {
        return;
    }
    kafka->reason_us = now_us;
    kafka->reason_code = code;
    const char *times = strstr(text, " (after "); /* the same failure is the same text */
    int length = times != NULL ? (int)(times - text) : (int)strlen(text);
    snprintf(kafka->reason, sizeof(kafka->reason), "%.*s", length, text);
}

void kafka_unreachable(const KafkaSink *kafka, rd_kafka_resp_err_t code, Error *err)
{
    bool known = kafka->reason[0] != '\0';
    kafka_connection_error(known ? kafka->reason_code : code, known ? kafka->reason : NULL,
                           kafka->options.config->kafka.brokers, err);
}

static void kafka_on_error(KafkaSink *kafka, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    AUTO_ERROR err = {0};
    if (code == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_event_error_is_fatal(event)) {
        char fatal[512] = "";
        rd_kafka_resp_err_t cause = rd_kafka_fatal_error(kafka->rk, fatal, sizeof(fatal));
        error_set(&err, CODE_KAFKA_PRODUCER_FATAL, "the producer failed: %s: %s; replacing it",
                  rd_kafka_err2name(cause), fatal);
        if (cause == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED) {
            error_hint(&err,
                       "Grant WRITE on the topics to the relay's principal (before Kafka 3.0 also "
                       "IDEMPOTENT_WRITE on the cluster).");
        }
        kafka_lose(kafka, &err);
        return;
    }
    kafka_note_reason(kafka, code, text);
    switch (code) {
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
        kafka_unreachable(kafka, code, &err);
        kafka_trouble(kafka, &err);
        kafka_retry_later(kafka);
        break;
    default: /* of one broker, or what librdkafka deals with itself */
        log_write(LOG_DEBUG, kafka->options.pipeline->name, CODE_KAFKA_EVENT,
                  LOG_FIELDS(log_text("error", rd_kafka_err2name(code))), "%s", text);
        break;
    }
}

static void kafka_on_log(KafkaSink *kafka, rd_kafka_event_t *event)
{
    const char *facility = NULL;
    const char *text = NULL;
    int level = 0;
    if (rd_kafka_event_log(event, &facility, &text, &level) == 0) {
        /* What matters comes as an error event, too, and is said once by the pipeline. */
        bool said = level > 2 || strcmp(facility, "FATAL") == 0;
        int64_t now_us = clock_monotonic_us();
        if (!said && !log_limit_take(&kafka->log_lines, now_us) &&
            log_limit_due(&kafka->log_lines, now_us, false) == 0) {
            return;
        }
        log_write(said ? LOG_DEBUG : LOG_ERROR, kafka->options.pipeline->name, CODE_KAFKA_LOG,
                  LOG_FIELDS(log_text("facility", facility)), "%s", text);
    }
}

void kafka_serve(KafkaSink *kafka)
{
    for (int i = 0; i < SERVE_EVENTS_MAX; i++) {
        rd_kafka_event_t *event =
            kafka->queue != NULL ? rd_kafka_queue_poll(kafka->queue, 0) : NULL;
        if (event == NULL) {
            return;
        }
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_DR:
            kafka_on_reports(kafka, event);
            break;
        case RD_KAFKA_EVENT_ERROR:
            kafka_on_error(kafka, event);
            break;
        case RD_KAFKA_EVENT_LOG:
            kafka_on_log(kafka, event);
            break;
        case RD_KAFKA_EVENT_STATS: {
            const char *json = rd_kafka_event_stats(event);
            kafka_stats_read(json, strlen(json), kafka->options.stats);
            break;
        }
        default:
            break;
        }
        rd_kafka_event_destroy(event);
    }
    event_active(kafka->io, EV_READ, 0);
}

void kafka_on_io(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    uint64_t count = 0;
    (void)!read(fd, &count, sizeof(count)); /* before the queue: see the top of kafka.c */
    kafka_serve_brake(arg);
    kafka_serve(arg);
}

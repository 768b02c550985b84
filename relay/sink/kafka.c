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
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "sink/kafka_conf.h"
#include "sink/kafka_error.h"
#include "sink/kafka_topic.h"
#include "sink/sinks.h"

enum {
    BATCH_BYTES = 1000000,  /* librdkafka's default of batch.size */
    SERVE_EVENTS_MAX = 100, /* then the loop gets its turn; a report event holds many reports */
    LOOKUP_RETRY_MS = 500,  /* while a topic is missing or no broker answers */
    LOOKUPS_MAX = 64,       /* topics in one look-up */
    PRODUCE_ARGS = 7,
};

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
} KafkaSink;

static KafkaSink *kafka_of(Sink *sink)
{
    return (KafkaSink *)sink;
}

static void kafka_ready(KafkaSink *kafka)
{
    kafka->full = false;
    kafka->wanted = false;
    kafka->sink.events.ready(kafka->sink.events.arg);
}

static void kafka_trouble(KafkaSink *kafka, const Error *err)
{
    kafka->troubled = true;
    *kafka->options.stats->kafka_connected = 0;
    kafka->sink.events.trouble(kafka->sink.events.arg, err);
}

static void kafka_healed(KafkaSink *kafka)
{
    *kafka->options.stats->kafka_connected = 1;
    if (kafka->troubled) {
        kafka->troubled = false;
        kafka->sink.events.healed(kafka->sink.events.arg);
    }
}

/* Look-ups. */

typedef struct LookupJob {
    KafkaSink *kafka;
    rd_kafka_t *rk;
    TopicLookup lookups[LOOKUPS_MAX];
    size_t count;
    int brokers;
    rd_kafka_resp_err_t error;
} LookupJob;

static void lookup_run(void *arg)
{
    LookupJob *job = arg;
    job->error = topic_lookup(job->rk, job->lookups, job->count, &job->brokers);
}

static void kafka_retry_later(KafkaSink *kafka)
{
    struct timeval tv = {.tv_usec = LOOKUP_RETRY_MS * 1000};
    event_add(kafka->retry, &tv);
}

static KafkaTopic *kafka_find(KafkaSink *kafka, const char *name)
{
    for (KafkaTopic *kt = kafka->topics; kt != NULL; kt = kt->next) {
        if (strcmp(kt->topic->name, name) == 0) {
            return kt;
        }
    }
    return NULL;
}

static void kafka_topic_found(KafkaSink *kafka, KafkaTopic *kt, const TopicLimits *limits)
{
    kt->limits = *limits;
    kt->ready = true;
    bool smaller =
        limits->max_message_bytes > 0 && (size_t)limits->max_message_bytes < kafka->batch_bytes;
    if (smaller) {
        kafka->batch_bytes = (size_t)limits->max_message_bytes;
        kafka->shrink = true;
        log_write(LOG_INFO, kafka->options.pipeline->name, "KAFKA_BATCH_BYTES",
                  LOG_FIELDS(log_text("topic", kt->topic->name),
                             log_number("max_message_bytes", limits->max_message_bytes)),
                  "the topic takes smaller batches than batch.size; using its bound");
    }
}

static void kafka_reopen_when_empty(KafkaSink *kafka);

static void lookup_apply(KafkaSink *kafka, LookupJob *job)
{
    Error err = {0};
    bool all = job->error == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!all) {
        kafka_topic_error(job->error, job->count > 0 ? job->lookups[0].name : "", &err);
        error_set(&err, ERROR_RETRY, EXIT_KAFKA, err.code, "no Kafka broker of '%s' answers: %s",
                  kafka->options.config->kafka.brokers, rd_kafka_err2str(job->error));
        error_hint(&err, "Check kafka.brokers and that the brokers are up.");
    } else {
        kafka->brokers = job->brokers;
    }
    for (size_t i = 0; i < job->count && job->error == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        KafkaTopic *kt = kafka_find(kafka, job->lookups[i].name);
        if (job->lookups[i].error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            kafka_topic_found(kafka, kt, &job->lookups[i].limits);
        } else if (all) {
            all = false;
            kafka_topic_error(job->lookups[i].error, job->lookups[i].name, &err);
        }
    }
    if (!all) {
        kafka_trouble(kafka, &err);
        kafka_retry_later(kafka);
        return;
    }
    kafka_healed(kafka);
    kafka_reopen_when_empty(kafka);
    kafka_ready(kafka);
}

static void lookup_done(void *arg)
{
    LookupJob *job = arg;
    KafkaSink *kafka = job->kafka;
    kafka->looking = false;
    if (job->rk == kafka->rk) {
        lookup_apply(kafka, job);
    } else if (kafka->rk != NULL) {
        kafka_retry_later(kafka); /* asked through a producer that is gone */
    }
    for (size_t i = 0; i < job->count; i++) {
        free(job->lookups[i].name);
    }
    free(job);
}

static void kafka_look_up(KafkaSink *kafka)
{
    if (kafka->looking || kafka->rk == NULL) {
        return;
    }
    LookupJob *job = x_calloc(1, sizeof(*job));
    job->kafka = kafka;
    job->rk = kafka->rk;
    for (KafkaTopic *kt = kafka->topics; kt != NULL && job->count < LOOKUPS_MAX; kt = kt->next) {
        if (!kt->ready) {
            job->lookups[job->count++].name = x_strdup(kt->topic->name);
        }
    }
    kafka->looking = true;
    event_del(kafka->retry);
    worker_submit(kafka->options.worker, lookup_run, lookup_done, job);
}

static void kafka_on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    KafkaSink *kafka = arg;
    kafka_look_up(kafka);
}

/* Opening and closing the producer. */

static void kafka_lose(KafkaSink *kafka, const Error *err)
{
    if (!kafka->lost) {
        kafka->lost = true;
        kafka->lost_error = *err;
        event_active(kafka->later, 0, 0);
    }
}

static void kafka_open_now(KafkaSink *kafka)
{
    Error err = {0};
    rd_kafka_conf_t *conf = NULL;
    char text[512];
    if (kafka_conf_new(kafka->options.config, kafka->options.pipeline, kafka->batch_bytes, &conf,
                       &err) != OK) {
        kafka_lose(kafka, &err);
        return;
    }
    kafka->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (kafka->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        error_set(&err, ERROR_FATAL, EXIT_CONFIG, "KAFKA_PROPERTY", "kafka.properties: %s", text);
        kafka_lose(kafka, &err);
        return;
    }
    rd_kafka_set_log_queue(kafka->rk, NULL);
    kafka->queue = rd_kafka_queue_get_main(kafka->rk);
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
    for (KafkaTopic *kt = kafka->topics; kt != NULL; kt = kt->next) {
        if (kt->handle != NULL) {
            rd_kafka_topic_destroy(kt->handle);
            kt->handle = NULL;
        }
        kt->ready = false;
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

/* A smaller batch.size needs a new producer; with an empty queue nothing is at stake. */
static void kafka_reopen_when_empty(KafkaSink *kafka)
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
        Error err = kafka->lost_error;
        kafka->lost_error = (Error){0};
        kafka->sink.events.lost(kafka->sink.events.arg, &err);
    }
    kafka_reopen_when_empty(kafka);
}

/* Events of librdkafka. */

static void kafka_on_reports(KafkaSink *kafka, rd_kafka_event_t *event)
{
    (void)FAILPOINT("delivered");
    const rd_kafka_message_t *reports[256];
    size_t count = 0;
    while ((count = rd_kafka_event_message_array(event, reports, 256)) > 0) {
        for (size_t i = 0; i < count; i++) {
            Event *sent = reports[i]->_private;
            if (reports[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                kafka->sink.events.settled(kafka->sink.events.arg, sent, NULL);
                continue;
            }
            Error err = {0};
            kafka_delivery_error(reports[i]->err, sent->topic->name, &err);
            if (strcmp(err.code, "KAFKA_TOPIC_UNKNOWN") == 0) {
                ((KafkaTopic *)sent->topic->sink_data)->ready = false;
            }
            if (rd_kafka_message_status(reports[i]) == RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED) {
                sent->replayed = true;
            }
            kafka->sink.events.settled(kafka->sink.events.arg, sent, &err);
        }
    }
    *kafka->options.stats->kafka_connected = 1;
    if (kafka->shrink) {
        event_active(kafka->later, 0, 0);
    }
    if (kafka->full && !kafka->shrink) {
        kafka_ready(kafka);
    }
}

static void kafka_on_error(KafkaSink *kafka, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    Error err = {0};
    if (code == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_event_error_is_fatal(event)) {
        char fatal[512] = "";
        rd_kafka_resp_err_t cause = rd_kafka_fatal_error(kafka->rk, fatal, sizeof(fatal));
        error_set(&err, ERROR_RETRY, EXIT_KAFKA, "KAFKA_PRODUCER_FATAL",
                  "the producer failed: %s: %s; making a new one", rd_kafka_err2name(cause), fatal);
        if (cause == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED) {
            error_hint(&err,
                       "Grant WRITE on the topics to the relay's principal (before Kafka 3.0 also "
                       "IDEMPOTENT_WRITE on the cluster).");
        }
        kafka_lose(kafka, &err);
        return;
    }
    switch (code) {
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
        kafka_topic_error(code, "", &err);
        error_set(&err, ERROR_RETRY, EXIT_KAFKA, err.code, "Kafka at '%s': %s",
                  kafka->options.config->kafka.brokers, text);
        error_hint(&err, "Check kafka.brokers and kafka.properties, and that the brokers are up.");
        kafka_trouble(kafka, &err);
        kafka_retry_later(kafka);
        break;
    default: /* of one broker, or what librdkafka deals with itself */
        log_write(LOG_DEBUG, kafka->options.pipeline->name, "KAFKA_EVENT",
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
        log_write(said ? LOG_DEBUG : LOG_ERROR, kafka->options.pipeline->name, "KAFKA_LOG",
                  LOG_FIELDS(log_text("facility", facility)), "%s", text);
    }
}

static void kafka_serve(KafkaSink *kafka)
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
        default:
            break;
        }
        rd_kafka_event_destroy(event);
    }
    event_active(kafka->io, EV_READ, 0);
}

static void kafka_on_io(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    uint64_t count = 0;
    (void)!read(fd, &count, sizeof(count)); /* before the queue: see the top of this file */
    kafka_serve(arg);
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

static SendResult kafka_refuse_size(const KafkaTopic *kt, size_t bytes, Error *err)
{
    error_set(err, ERROR_POISON, EXIT_KAFKA, "RECORD_TOO_LARGE",
              "the record takes %zu bytes, topic '%s' accepts %lld (max.message.bytes)", bytes,
              kt->topic->name, (long long)kt->limits.max_message_bytes);
    error_hint(err, "Raise the topic's max.message.bytes, or keep large bodies out of events.");
    return SEND_POISON;
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
    kafka_trouble(kafka, err);
    kafka_retry_later(kafka);
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
        kafka->wanted = true;
        if (!event_pending(kafka->retry, EV_TIMEOUT, NULL)) {
            kafka_look_up(kafka);
        }
        return SEND_WAIT;
    }
    if (kafka->shrink) {
        kafka->full = true;
        kafka_reopen_when_empty(kafka);
        return SEND_FULL;
    }
    if (kt->limits.max_message_bytes > 0) {
        size_t bytes = record_wire_bytes(record);
        if (bytes > (size_t)kt->limits.max_message_bytes) {
            return kafka_refuse_size(kt, bytes, err);
        }
    }
    int64_t timestamp_ms = record->timestamp_ms;
    if (timestamp_ms != 0) {
        timestamp_ms = topic_timestamp(&kt->limits, timestamp_ms, clock_wall_us() / 1000);
        *kafka->options.stats->timestamps_replaced += timestamp_ms == 0;
    }
    return kafka_produce(kafka, kt, record, timestamp_ms, event, err);
}

static void kafka_open(Sink *sink)
{
    KafkaSink *kafka = kafka_of(sink);
    if (kafka->rk == NULL && !kafka->closing) {
        kafka_open_now(kafka);
    }
}

static void kafka_purge(Sink *sink)
{
    KafkaSink *kafka = kafka_of(sink);
    if (kafka->rk != NULL) {
        (void)rd_kafka_purge(kafka->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
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

static void kafka_status(const Sink *sink, Text *json)
{
    const KafkaSink *kafka = (const KafkaSink *)sink;
    text_printf(json, ",\"kafka\":{\"connected\":%s,\"broker_count\":%d,\"brokers\":",
                *kafka->options.stats->kafka_connected > 0 ? "true" : "false", kafka->brokers);
    text_add_json(json, slice_of(kafka->options.config->kafka.brokers));
    text_add_char(json, '}');
}

static void kafka_free(Sink *sink)
{
    KafkaSink *kafka = kafka_of(sink);
    event_free(kafka->io);
    event_free(kafka->retry);
    event_free(kafka->later);
    rd_kafka_t *rk = kafka_detach(kafka);
    if (rk != NULL) {
        rd_kafka_destroy(rk);
    }
    for (KafkaTopic *kt = kafka->topics, *next; kt != NULL; kt = next) {
        next = kt->next;
        free(kt);
    }
    close(kafka->fd);
    free(kafka);
}

static const SinkOps KAFKA_OPS = {
    .open = kafka_open,
    .send = kafka_send,
    .purge = kafka_purge,
    .reopen = kafka_reopen,
    .status = kafka_status,
    .free = kafka_free,
};

Status sink_kafka_new(const SinkOptions *options, Sink **ret_sink, Error *err)
{
    /* Mistakes in the properties show now, not at the first take-over. */
    rd_kafka_conf_t *conf = NULL;
    if (kafka_conf_new(options->config, options->pipeline, BATCH_BYTES, &conf, err) != OK) {
        return FAILED;
    }
    rd_kafka_conf_destroy(conf);
    KafkaSink *kafka = x_calloc(1, sizeof(*kafka));
    kafka->sink.ops = &KAFKA_OPS;
    kafka->options = *options;
    kafka->batch_bytes = BATCH_BYTES;
    kafka->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    kafka->io = event_new(options->base, kafka->fd, EV_READ | EV_PERSIST, kafka_on_io, kafka);
    kafka->retry = event_new(options->base, -1, 0, kafka_on_retry, kafka);
    kafka->later = event_new(options->base, -1, 0, kafka_on_later, kafka);
    event_add(kafka->io, NULL);
    *ret_sink = &kafka->sink;
    return OK;
}

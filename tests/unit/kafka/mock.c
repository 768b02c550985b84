#include "mock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "sink/kafka/kafka.h"
#include "stub/given_schema.h"
#include "stub/settle.h"

Mock mock;

static void on_settled(void *arg, Event *event, const SinkReport *report)
{
    (void)arg;
    mock.order[mock.settled++] = event->seq;
    mock.times[event->seq]++;
    if (report == NULL) {
        mock.delivered++;
    } else if (report->verdict == SINK_TOOK_BACK) {
        mock.purged++;
    } else {
        mock.failed++;
        mock.report = *report;
        error_copy(&mock.error, report->error);
    }
}

static void on_ready(void *arg)
{
    (void)arg;
    mock.ready++;
}

static void on_missing(void *arg, Topic *topic, TopicFault fault, const Error *err)
{
    (void)arg;
    mock.fault = fault;
    cr_assert_not_null(topic);
    mock.missing++;
    error_copy(&mock.absence, err);
}

static void on_found(void *arg, Topic *topic)
{
    (void)arg;
    mock.found++;
    mock.found_topic = topic;
}

static void on_trouble(void *arg, const Error *err)
{
    (void)arg;
    mock.troubles++;
    error_copy(&mock.trouble, err);
}

static void on_healed(void *arg)
{
    (void)arg;
    mock.healed++;
}

static void on_lost(void *arg, const Error *err)
{
    (void)arg;
    mock.lost++;
    error_copy(&mock.loss, err);
}

static void on_reopened(void *arg)
{
    (void)arg;
    mock.reopened++;
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    (void)context;
}

static void on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    worker_dispatch(mock.worker);
}

const char *mock_told(void)
{
    static char told[2048];
    snprintf(told, sizeof(told),
             "%zu delivered, %zu purged, %zu failed (%s), %zu lost (%s), %zu troubles (%s), %zu "
             "healed, %zu ready",
             mock.delivered, mock.purged, mock.failed, error_message(&mock.error), mock.lost,
             error_message(&mock.loss), mock.troubles, error_message(&mock.trouble), mock.healed,
             mock.ready);
    return told;
}

void mock_add_property(const char *property)
{
    mock.properties[mock.config.kafka.properties.count++] = GIVEN(property);
}

void mock_prepare(void)
{
    char text[256];
    error_clear(&mock.error);
    error_clear(&mock.absence);
    error_clear(&mock.trouble);
    error_clear(&mock.loss);
    memset(&mock, 0, sizeof(mock));
    mock.pipeline = given_pipeline();
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    cr_assert_eq(rd_kafka_conf_set(conf, "client.id", "mock", text, sizeof(text)), 0);
    rd_kafka_conf_set_log_cb(conf, NULL);
    mock.owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    cr_assert_not_null(mock.owner, "%s", text);
    mock.cluster = rd_kafka_mock_cluster_new(mock.owner, 1);
    cr_assert_not_null(mock.cluster);
    mock.config.name = GIVEN("shop");
    mock.config.kafka.brokers = GIVEN(rd_kafka_mock_cluster_bootstraps(mock.cluster));
    mock.config.kafka.properties.items = mock.properties;
    mock.batch = batch_new();
}

void mock_begin(void)
{
    mock.base = event_base_new();
    mock.worker = worker_new();
    mock.worker_io =
        event_new(mock.base, worker_fd(mock.worker), EV_READ | EV_PERSIST, on_worker, NULL);
    event_add(mock.worker_io, NULL);
    mock.tick = event_new(mock.base, -1, EV_PERSIST, on_tick, NULL);
    event_add(mock.tick, &(struct timeval){.tv_usec = 1000});
    mock.metrics = metrics_new();
    stats_init(&mock.stats, mock.metrics, "orders");
    mock.topics = topics_new(mock.metrics, "orders");
    AUTO_ERROR err = {0};
    cr_assert_eq(sink_kafka_new(&(SinkOptions){.base = mock.base,
                                               .worker = mock.worker,
                                               .config = &mock.config,
                                               .pipeline = &mock.pipeline,
                                               .stats = &mock.stats},
                                &mock.sink, &err),
                 OK, "%s", error_message(&err));
    mock.sink->events = (SinkEvents){.settled = on_settled,
                                     .ready = on_ready,
                                     .missing = on_missing,
                                     .found = on_found,
                                     .trouble = on_trouble,
                                     .healed = on_healed,
                                     .lost = on_lost,
                                     .reopened = on_reopened};
    mock.sink->ops->open(mock.sink);
}

void mock_end(void)
{
    if (mock.sink != NULL) {
        worker_settle(mock.worker);
        worker_free(&mock.worker);
        mock.sink->ops->free(mock.sink);
        topics_free(&mock.topics);
        stats_release(&mock.stats);
        metrics_free(&mock.metrics);
        event_free(mock.tick);
        event_free(mock.worker_io);
        event_base_free(mock.base);
    }
    batch_free(&mock.batch);
    rd_kafka_mock_cluster_destroy(mock.cluster);
    rd_kafka_destroy(mock.owner);
}

void mock_turn(void)
{
    for (int i = 0; i < 20; i++) {
        event_base_loop(mock.base, EVLOOP_NONBLOCK);
    }
}

SendResult mock_try_record(Record *record, int64_t seq, const char *topic, Error *err)
{
    cr_assert_eq(topics_get(mock.topics, slice_of(topic), &record->topic, NULL), OK);
    if (mock.events[seq] == NULL) {
        mock.events[seq] = batch_add(mock.batch, given_schema(0));
        mock.events[seq]->seq = seq;
    }
    mock.events[seq]->topic = record->topic;
    return mock.sink->ops->send(mock.sink, record, mock.events[seq], err);
}

void mock_send_record(Record *record, int64_t seq, const char *topic)
{
    AUTO_ERROR err = {0};
    for (int64_t until_us = clock_monotonic_us() + 20000000;;) {
        SendResult result = mock_try_record(record, seq, topic, &err);
        if (result == SEND_OK) {
            return;
        }
        cr_assert_neq(result, SEND_POISON, "%s", error_message(&err));
        size_t ready = mock.ready;
        while (mock.ready == ready) {
            event_base_loop(mock.base, EVLOOP_ONCE);
            cr_assert_lt(clock_monotonic_us(), until_us, "the sink never became ready: %s",
                         error_message(&mock.trouble));
        }
    }
}

static void fill_record(Record *record, int64_t seq)
{
    char *value = arena_alloc(&mock.batch->arena, 24);
    int length = snprintf(value, 24, "v%lld", (long long)seq);
    *record =
        (Record){.key = SLICE_LITERAL("k"), .value = {.data = value, .length = (size_t)length}};
}

SendResult mock_try(int64_t seq, const char *topic, Error *err)
{
    Record record;
    fill_record(&record, seq);
    return mock_try_record(&record, seq, topic, err);
}

void mock_send(int64_t seq, const char *topic)
{
    Record record;
    fill_record(&record, seq);
    mock_send_record(&record, seq, topic);
}

void mock_consume(const char *topic, size_t count, void (*take)(rd_kafka_message_t *message))
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    cr_assert_eq(rd_kafka_conf_set(conf, "bootstrap.servers",
                                   rd_kafka_mock_cluster_bootstraps(mock.cluster), text,
                                   sizeof(text)),
                 0);
    cr_assert_eq(rd_kafka_conf_set(conf, "group.id", "test", text, sizeof(text)), 0);
    rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    cr_assert_not_null(consumer, "%s", text);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(MOCK_PARTITIONS);
    for (int32_t i = 0; i < MOCK_PARTITIONS; i++) {
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    cr_assert_eq(rd_kafka_assign(consumer, list), 0);
    rd_kafka_topic_partition_list_destroy(list);
    int64_t until_us = clock_monotonic_us() + 20000000;
    for (size_t got = 0; got < count;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);
        cr_assert_lt(clock_monotonic_us(), until_us, "only %zu of %zu records", got, count);
        if (message != NULL && message->err == 0) {
            take(message);
            got++;
        }
        if (message != NULL) {
            rd_kafka_message_destroy(message);
        }
    }
    rd_kafka_destroy(consumer);
}

static Text log_seen;

static void take_value(rd_kafka_message_t *message)
{
    text_add(&log_seen, log_seen.length > 0 ? " " : "");
    text_append(&log_seen, message->payload, message->len);
}

void mock_assert_log(const char *topic, const char *expected)
{
    /* One record more, so that repeats show: it comes last, behind the same key. */
    size_t count = 2;
    for (const char *c = expected; *c != '\0'; c++) {
        count += *c == ' ';
    }
    Record end = {.key = SLICE_LITERAL("k"), .value = SLICE_LITERAL("end")};
    size_t delivered = mock.delivered;
    mock_send_record(&end, MOCK_EVENTS_MAX - 1, topic);
    MOCK_WAIT(mock.delivered == delivered + 1);
    text_clear(&log_seen);
    mock_consume(topic, count, take_value);
    AUTO_TEXT with_end = x_format("%s end", expected);
    cr_assert_str_eq(text_string(&log_seen), with_end, "%s", text_string(&log_seen));
    text_free(&log_seen);
}

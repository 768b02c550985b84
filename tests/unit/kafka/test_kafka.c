/* The Kafka sink against librdkafka's mock cluster, in this process: see mock.h. */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "base/document.h"
#include "mock.h"
#include "sink/kafka/kafka_record.h"

TestSuite(kafka, .init = mock_prepare, .fini = mock_end, .timeout = 60);

/* Delivery. */

static struct {
    int32_t partition;
    int64_t timestamp_ms;
    bool key_null;
    bool value_null;
    char key[32];
    char value[32];
    Text headers;
} got;

static void take(rd_kafka_message_t *message)
{
    got.partition = message->partition;
    got.timestamp_ms = rd_kafka_message_timestamp(message, NULL);
    got.key_null = message->key == NULL;
    got.value_null = message->payload == NULL;
    snprintf(got.key, sizeof(got.key), "%.*s", (int)message->key_len, (char *)message->key);
    snprintf(got.value, sizeof(got.value), "%.*s", (int)message->len, (char *)message->payload);
    rd_kafka_headers_t *headers = NULL;
    text_clear(&got.headers);
    if (rd_kafka_message_headers(message, &headers) != 0) {
        return;
    }
    const char *name = NULL;
    const void *value = NULL;
    size_t length = 0;
    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &length) == 0; i++) {
        text_printf(&got.headers, "%s%s%.*s;", name, value != NULL ? "=" : "", (int)length,
                    value != NULL ? (const char *)value : "");
    }
}

/* Java's murmur2 and partitioner, after org.apache.kafka.common.utils.Utils. */
static int32_t murmur2_partition(const char *key, int32_t partitions)
{
    const unsigned char *data = (const unsigned char *)key;
    uint32_t length = (uint32_t)strlen(key);
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28c ^ length;
    for (uint32_t i = 0; i < length / 4; i++) {
        uint32_t k = data[i * 4] | (uint32_t)data[i * 4 + 1] << 8 |
                     (uint32_t)data[i * 4 + 2] << 16 | (uint32_t)data[i * 4 + 3] << 24;
        k *= m;
        k ^= k >> 24;
        k *= m;
        h *= m;
        h ^= k;
    }
    const unsigned char *tail = data + (length & ~3U);
    if (length % 4 >= 3) {
        h ^= (uint32_t)tail[2] << 16;
    }
    if (length % 4 >= 2) {
        h ^= (uint32_t)tail[1] << 8;
    }
    if (length % 4 >= 1) {
        h ^= tail[0];
        h *= m;
    }
    h ^= h >> 13;
    h *= m;
    h ^= h >> 15;
    return (int32_t)((h & 0x7fffffff) % (uint32_t)partitions);
}

Test(kafka, delivers_key_value_headers_and_time)
{
    RecordHeader headers[] = {{SLICE_LITERAL("ce_id"), SLICE_LITERAL("1")},
                              {SLICE_LITERAL("empty"), SLICE_LITERAL("")},
                              {SLICE_LITERAL("null"), SLICE_NULL},
                              {SLICE_LITERAL("ce_id"), SLICE_LITERAL("2")}};
    int64_t now_ms = clock_wall_us() / 1000 - 5000;
    Record record = {.key = SLICE_LITERAL("o-7"),
                     .value = SLICE_LITERAL("{\"a\": 1}"),
                     .headers = headers,
                     .header_count = 4,
                     .timestamp_ms = now_ms};
    mock_begin();
    mock_send_record(&record, 1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    mock_consume("orders", 1, take);
    cr_assert_str_eq(got.key, "o-7");
    cr_assert_str_eq(got.value, "{\"a\": 1}");
    cr_assert_eq(got.timestamp_ms, now_ms);
    cr_assert_str_eq(text_string(&got.headers), "ce_id=1;empty=;null;ce_id=2;");
    cr_assert_eq(*mock.stats.broker->kafka_connected, 1);
    text_free(&got.headers);
}

Test(kafka, null_and_empty_differ)
{
    mock_begin();
    Record tombstone = {.key = SLICE_LITERAL("")};
    mock_send_record(&tombstone, 1, "tombstones");
    Record no_key = {.value = SLICE_LITERAL("")};
    mock_send_record(&no_key, 2, "nokeys");
    MOCK_WAIT(mock.delivered == 2);
    mock_consume("tombstones", 1, take);
    cr_assert(got.value_null);
    cr_assert_not(got.key_null);
    mock_consume("nokeys", 1, take);
    cr_assert(got.key_null);
    cr_assert_not(got.value_null);
    cr_assert_gt(got.timestamp_ms, 0, "the time of publishing");
    text_free(&got.headers);
}

Test(kafka, a_key_goes_where_java_clients_put_it)
{
    static const char *const KEYS[] = {"o-7", "a", "ab", "abc", "abcd", "abcde", "customer-4711"};
    mock_begin();
    for (int64_t i = 0; i < 7; i++) {
        char topic[16];
        snprintf(topic, sizeof(topic), "topic-%d", (int)i);
        Record record = {.key = slice_of(KEYS[i]), .value = SLICE_LITERAL("x")};
        mock_send_record(&record, i, topic);
        MOCK_WAIT(mock.delivered == (size_t)i + 1);
        mock_consume(topic, 1, take);
        cr_assert_eq(got.partition, murmur2_partition(KEYS[i], MOCK_PARTITIONS), "key %s", KEYS[i]);
    }
    text_free(&got.headers);
}

Test(kafka, each_event_settles_once_and_in_order)
{
    mock_begin();
    for (int64_t i = 1; i <= 200; i++) {
        mock_send(i, "orders");
    }
    MOCK_WAIT(mock.settled == 200);
    mock_turn();
    for (int64_t i = 1; i <= 200; i++) {
        cr_assert_eq(mock.order[i - 1], i);
        cr_assert_eq(mock.times[i], 1);
    }
    cr_assert_eq(mock.delivered, 200);
}

/* What heals by itself. */

static void retried(const rd_kafka_resp_err_t *errors, size_t count)
{
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_push_request_errors_array(mock.cluster, API_PRODUCE, count, errors);
    for (int64_t i = 2; i <= 6; i++) {
        mock_send(i, "orders");
    }
    MOCK_WAIT(mock.settled == 6);
    cr_assert_eq(mock.delivered, 6, "%s", error_message(&mock.error));
    cr_assert_eq(mock.lost, 0);
    mock_assert_log("orders", "v1 v2 v3 v4 v5 v6");
}

Test(kafka, a_connection_that_breaks_repeats_nothing)
{
    retried(
        (const rd_kafka_resp_err_t[]){RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__TRANSPORT},
        2);
}

Test(kafka, too_few_replicas_are_waited_for)
{
    retried((const rd_kafka_resp_err_t[]){RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                                          RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                                          RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS},
            3);
}

Test(kafka, a_leader_that_moved_is_followed)
{
    retried((const rd_kafka_resp_err_t[]){RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION}, 1);
}

static void is_held(rd_kafka_resp_err_t code, ErrorCode name)
{
    rd_kafka_mock_topic_set_error(mock.cluster, "orders", code);
    mock_begin();
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try(1, "orders", &err), SEND_WAIT, "not known yet");
    MOCK_WAIT(mock.missing >= 1);
    cr_assert_eq(mock.absence.code, name);
    cr_assert_eq(mock.absence.class, ERROR_RETRY);
    cr_assert_not_null(strstr(error_message(&mock.absence), "orders"));
    cr_assert_eq(*mock.stats.broker->kafka_connected, 1,
                 "a broker that lacks a topic has answered");
    cr_assert_eq(mock.troubles, 0, "others are not troubled");
    cr_assert_eq(mock_try(1, "orders", &err), SEND_HELD, "nothing enters the producer");
    cr_assert_eq(err.code, name);
    mock_send(2, "others");
    MOCK_WAIT(mock.delivered == 1);
    cr_assert_eq(mock.found, 0);
    rd_kafka_mock_topic_set_error(mock.cluster, "orders", RD_KAFKA_RESP_ERR_NO_ERROR);
    MOCK_WAIT(mock.found == 1);
    cr_assert_str_eq(mock.found_topic->name, "orders");
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 2);
    cr_assert_eq(mock.settled, 2);
}

Test(kafka, an_unknown_topic_is_held_until_it_is_there)
{
    is_held(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, CODE_KAFKA_TOPIC_UNKNOWN);
}

Test(kafka, a_topic_that_may_not_be_seen_is_held)
{
    is_held(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, CODE_KAFKA_TOPIC_DENIED);
}

Test(kafka, a_topic_that_is_gone_keeps_no_other_waiting_after_a_new_producer)
{
    mock_begin();
    mock_send(1, "retired");
    mock_send(2, "orders");
    MOCK_WAIT(mock.delivered == 2);
    rd_kafka_mock_topic_set_error(mock.cluster, "retired", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    mock.sink->ops->reopen(mock.sink);
    MOCK_WAIT(mock.reopened == 1);
    mock_send(3, "orders");
    MOCK_WAIT(mock.delivered == 3);
    MOCK_WAIT(mock.missing >= 1);
    cr_assert_eq(mock.troubles, 0);
}

/* librdkafka refreshes what it knows of topics by itself, and then refuses to take records. */
Test(kafka, a_topic_whose_absence_librdkafka_notices_first_is_looked_up_at_once)
{
    mock_add_property("topic.metadata.refresh.interval.ms=100");
    mock_add_property("topic.metadata.propagation.max.ms=0");
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_topic_set_error(mock.cluster, "orders", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    AUTO_ERROR err = {0};
    int64_t seq = 2;
    int64_t until_us = clock_monotonic_us() + 20000000;
    while (mock_try(seq, "orders", &err) != SEND_HELD) {
        while (mock.settled < (size_t)seq && mock.missing == 0) { /* one at a time */
            mock_turn();
            cr_assert_lt(clock_monotonic_us(), until_us, "%s", mock_told());
        }
        seq++;
        cr_assert_lt(seq, MOCK_EVENTS_MAX, "%s", mock_told());
    }
    cr_assert_eq(err.code, CODE_KAFKA_TOPIC_UNKNOWN);
    cr_assert_geq(mock.missing, 1);
    cr_assert_eq(mock.fault, TOPIC_ABSENT);
}

Test(kafka, a_topic_that_refuses_our_records_is_held_and_tried_again_later)
{
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    mock_send(2, "orders");
    MOCK_WAIT(mock.failed == 1);
    cr_assert_eq(mock.report.verdict, SINK_DENIES_TOPIC);
    cr_assert_eq(mock.missing, 1, "the look-up would not tell");
    cr_assert_eq(mock.fault, TOPIC_DENIED);
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try(2, "orders", &err), SEND_HELD);
    cr_assert_eq(err.code, CODE_KAFKA_TOPIC_DENIED);
    MOCK_WAIT(mock.found == 1);
    mock_send(2, "orders");
    MOCK_WAIT(mock.delivered == 2);
}

Test(kafka, a_topic_that_is_forgotten_is_looked_up_anew)
{
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    mock.sink->ops->forget(mock.sink, mock.events[1]->topic);
    cr_assert_null(mock.events[1]->topic->sink_data);
    mock_send(2, "orders");
    MOCK_WAIT(mock.delivered == 2);
}

Test(kafka, brokers_that_are_down_are_trouble_until_they_are_up)
{
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    mock_send(2, "orders");
    MOCK_WAIT(mock.troubles >= 1);
    cr_assert_eq(mock.trouble.code, CODE_KAFKA_UNREACHABLE);
    cr_assert_eq(mock.settled, 1, "a record waits for ever");
    cr_assert_eq(*mock.stats.broker->kafka_connected, 0);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    MOCK_WAIT(mock.delivered == 2 && mock.healed >= 1);
    mock_assert_log("orders", "v1 v2");
}

/* What comes back. */

static void refused(rd_kafka_resp_err_t code, ErrorClass class, ErrorCode name)
{
    mock_add_property("linger.ms=50");
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1, code);
    for (int64_t i = 2; i <= 4; i++) {
        mock_send(i, "orders");
    }
    MOCK_WAIT(mock.settled == 4);
    cr_assert_eq(mock.failed, 3, "one request, one fate");
    cr_assert_eq(mock.error.class, class);
    cr_assert_eq(mock.error.code, name);
    cr_assert_eq(mock.lost, 0);
    for (int64_t i = 2; i <= 4; i++) {
        mock_send(i, "orders"); /* record by record */
        MOCK_WAIT(mock.settled == 3 + (size_t)i);
    }
    cr_assert_eq(mock.delivered, 4);
    mock_assert_log("orders", "v1 v2 v3 v4");
}

Test(kafka, a_request_that_is_too_large_is_poison)
{
    refused(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ERROR_POISON, CODE_RECORD_TOO_LARGE);
}

Test(kafka, a_record_that_the_broker_refuses_is_poison)
{
    refused(RD_KAFKA_RESP_ERR_INVALID_RECORD, ERROR_POISON, CODE_RECORD_REFUSED);
}

Test(kafka, a_denied_topic_is_no_poison)
{
    refused(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ERROR_RETRY, CODE_KAFKA_TOPIC_DENIED);
}

Test(kafka, purging_takes_back_everything_that_has_not_left)
{
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    for (int64_t i = 2; i <= 30; i++) {
        mock_send(i, "orders");
    }
    MOCK_WAIT(mock.troubles >= 1); /* the request that was under way has failed, too */
    mock.sink->ops->purge(mock.sink);
    MOCK_WAIT(mock.purged == 29);
    cr_assert_eq(mock.settled, 30);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    for (int64_t i = 2; i <= 30; i++) {
        mock_send(i, "orders");
    }
    MOCK_WAIT(mock.delivered == 30);
    for (int64_t i = 1; i <= 30; i++) {
        cr_assert_eq(mock.times[i], i == 1 ? 1 : 2);
    }
}

Test(kafka, a_full_queue_says_when_there_is_room)
{
    mock_add_property("queue.buffering.max.messages=3");
    mock_begin();
    mock_send(0, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    AUTO_ERROR err = {0};
    int64_t taken = 1;
    while (mock_try(taken, "orders", &err) == SEND_OK) {
        cr_assert_lt(++taken, 10, "the queue takes more than it should");
    }
    cr_assert_eq(mock_try(taken, "orders", &err), SEND_FULL);
    size_t ready = mock.ready;
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    MOCK_WAIT(mock.ready > ready);
    mock_send(taken, "orders");
    MOCK_WAIT(mock.delivered == (size_t)taken + 1);
}

/* The producer is lost. Issue 4438 of librdkafka 2.0.2: after an answer that leaves open whether
 * the batch was written, an out-of-order answer to a batch behind it is fatal. */

static void lose_producer(void)
{
    mock_add_property("batch.num.messages=1");
    mock_add_property("linger.ms=0");
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    static const rd_kafka_resp_err_t ERRORS[] = {
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    };
    rd_kafka_mock_push_request_errors_array(mock.cluster, API_PRODUCE, 5, ERRORS);
    for (int64_t i = 2; i <= 6; i++) {
        mock_send(i, "orders");
    }
    MOCK_WAIT(mock.lost == 1);
    rd_kafka_mock_clear_request_errors(mock.cluster, API_PRODUCE);
}

Test(kafka, a_fatal_error_is_told_once_and_nothing_is_sent_any_more)
{
    lose_producer();
    cr_assert_eq(mock.loss.code, CODE_KAFKA_PRODUCER_FATAL);
    cr_assert_eq(mock.loss.class, ERROR_RETRY);
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try(7, "orders", &err), SEND_WAIT);
    mock_turn();
    cr_assert_eq(mock.lost, 1);
}

Test(kafka, a_new_producer_goes_on)
{
    lose_producer();
    mock.sink->ops->reopen(mock.sink);
    cr_assert_eq(mock_try(7, "orders", &(Error){0}), SEND_WAIT, "the old one is being closed");
    MOCK_WAIT(mock.reopened == 1);
    size_t settled = mock.settled;
    size_t delivered = mock.delivered;
    mock_turn();
    cr_assert_eq(mock.settled, settled, "what the old producer held does not settle any more");
    for (int64_t i = 2; i <= 7; i++) {
        mock_send(i, "orders");
    }
    MOCK_WAIT(mock.delivered == delivered + 6);
    cr_assert_eq(mock.lost, 1);
    cr_assert_eq(mock.reopened, 1);
}

Test(kafka, a_healthy_producer_can_be_replaced)
{
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    mock_send(2, "orders"); /* the pipeline gave up waiting for it */
    mock.sink->ops->reopen(mock.sink);
    MOCK_WAIT(mock.reopened == 1);
    size_t settled = mock.settled;
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    mock_send(2, "orders");
    MOCK_WAIT(mock.delivered == 2);
    cr_assert_eq(mock.settled, settled + 1);
    cr_assert_eq(mock.lost, 0);
}

Test(kafka, freeing_with_records_under_way_is_safe)
{
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    for (int64_t i = 2; i <= 50; i++) {
        mock_send(i, "orders");
    }
}

Test(kafka, opening_again_after_a_take_over_is_cheap)
{
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_t *producer = kafka_producer_handle(((KafkaSink *)mock.sink)->producer);
    mock.sink->ops->open(mock.sink);
    cr_assert_eq(kafka_producer_handle(((KafkaSink *)mock.sink)->producer), producer);
}

/* Limits of the topic. */

static KafkaTopic *known_topic(const char *name)
{
    mock_begin();
    mock_send(0, name);
    MOCK_WAIT(mock.delivered == 1);
    KafkaTopic *topic = mock.events[0]->topic->sink_data;
    topic->limits.known = true; /* the mock cluster tells none: what the test sets stays */
    return topic;
}

Test(kafka, a_record_larger_than_the_topic_takes_never_leaves)
{
    KafkaTopic *topic = known_topic("orders");
    topic->limits.max_message_bytes = 500;
    static char body[1000];
    Record record = {.key = SLICE_LITERAL("k"), .value = {.data = body, .length = 1000}};
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try_record(&record, 1, "orders", &err), SEND_POISON);
    cr_assert_eq(err.code, CODE_RECORD_TOO_LARGE);
    cr_assert_eq(err.class, ERROR_POISON);
    cr_assert_not_null(strstr(error_message(&err), "500"));
    record.value.length = 500 - (kafka_record_bytes(&record) - 1000);
    cr_assert_eq(kafka_record_bytes(&record), 500);
    cr_assert_eq(mock_try_record(&record, 1, "orders", &err), SEND_OK);
    MOCK_WAIT(mock.delivered == 2);
}

Test(kafka, a_time_that_the_topic_would_refuse_is_replaced_and_counted)
{
    KafkaTopic *topic = known_topic("orders");
    topic->limits.retention_ms = 1000;
    int64_t now_ms = clock_wall_us() / 1000;
    Record record = {.key = SLICE_LITERAL("k"), .timestamp_ms = now_ms - 5000};
    mock_send_record(&record, 1, "orders");
    cr_assert_eq(*mock.stats.timestamps_replaced, 1);
    record.timestamp_ms = 0; /* the time of publishing was asked for */
    mock_send_record(&record, 2, "orders");
    topic->limits.retention_ms = -1;
    record.timestamp_ms = now_ms - 5000;
    mock_send_record(&record, 3, "orders");
    cr_assert_eq(*mock.stats.timestamps_replaced, 1);
    MOCK_WAIT(mock.delivered == 4);
}

Test(kafka, a_smaller_batch_size_waits_until_nothing_is_in_flight)
{
    KafkaTopic *topic = known_topic("orders");
    KafkaSink *kafka = (KafkaSink *)mock.sink;
    rd_kafka_t *producer = kafka_producer_handle(kafka->producer);
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 200);
    mock_send(1, "orders");
    topic->limits.max_message_bytes = 5000; /* what a look-up tells of a smaller topic */
    kafka_limits_changed(kafka->topics, topic);
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try(2, "orders", &err), SEND_FULL);
    cr_assert_eq(kafka_producer_handle(kafka->producer), producer, "a record is in flight");
    cr_assert_eq(mock.delivered, 1);
    mock_send(2, "orders");
    cr_assert_eq(mock.times[1], 1);
    cr_assert_eq(mock.reopened, 0, "the pipeline did not ask for it");
    MOCK_WAIT(mock.delivered == 3);
    cr_assert_eq(mock.failed + mock.purged, 0);
    char size[32];
    size_t length = sizeof(size);
    cr_assert_eq(rd_kafka_conf_get(rd_kafka_conf(kafka_producer_handle(kafka->producer)),
                                   "batch.size", size, &length),
                 0);
    cr_assert_str_eq(size, "5000");
}

Test(kafka, statistics_that_nobody_has_read_do_not_keep_a_producer_from_being_replaced)
{
    KafkaTopic *topic = known_topic("orders");
    KafkaSink *kafka = (KafkaSink *)mock.sink;
    cr_assert_eq(kafka->topics->out, 0);
    int64_t until_us = clock_monotonic_us() + 20000000;
    while (rd_kafka_outq_len(kafka_producer_handle(kafka->producer)) == 0) {
        cr_assert_lt(clock_monotonic_us(), until_us);
        usleep(1000); /* the loop stands still */
    }
    topic->limits.max_message_bytes = 5000;
    kafka_limits_changed(kafka->topics, topic);
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try(1, "orders", &err), SEND_FULL);
    cr_assert_null(kafka_producer_handle(kafka->producer));
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 2);
}

Test(kafka, the_status_tells_the_brokers)
{
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    Text json = TEXT_EMPTY;
    json_t *status = json_object();
    mock.sink->ops->status(mock.sink, status);
    document_write(status, &json);
    json_decref(status);
    Text expected = TEXT_EMPTY;
    text_printf(&expected, "{\"kafka\":{\"connected\":true,\"broker_count\":1,\"brokers\":\"%s\"}}",
                mock.config.kafka.brokers);
    cr_assert_str_eq(json.data, expected.data, "%s", json.data);
    text_free(&json);
    text_free(&expected);
}

/* What a topic is known to refuse never leaves; what is known is looked up again in time. */
#include <criterion/criterion.h>
#include <string.h>

#include "mock.h"

TestSuite(kafka_limits, .init = mock_prepare, .fini = mock_end);

static KafkaTopic *known_topic(void)
{
    mock_begin();
    mock_send(0, "orders");
    MOCK_WAIT(mock.delivered == 1);
    KafkaTopic *topic = mock.events[0]->topic->sink_data;
    topic->limits.known = true; /* the mock cluster tells none: what the test sets stays */
    return topic;
}

Test(kafka_limits, a_record_without_key_never_leaves_for_a_compacted_topic)
{
    KafkaTopic *topic = known_topic();
    topic->limits.compacted = true;
    Record record = {.value = SLICE_LITERAL("v")};
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try_record(&record, 1, "orders", &err), SEND_POISON);
    cr_assert_eq(err.code, CODE_RECORD_KEY_MISSING);
    cr_assert_eq(err.class, ERROR_POISON);
    cr_assert_not_null(strstr(error_message(&err), "orders"));
    record.key = SLICE_LITERAL(""); /* an empty key is a key */
    cr_assert_eq(mock_try_record(&record, 1, "orders", &err), SEND_OK);
    topic->limits.compacted = false;
    record.key = (Slice){0};
    cr_assert_eq(mock_try_record(&record, 2, "orders", &err), SEND_OK);
    MOCK_WAIT(mock.delivered == 3);
}

Test(kafka_limits, limits_are_looked_up_again_before_they_make_a_later_event_poison)
{
    KafkaTopic *topic = known_topic();
    topic->limits.max_message_bytes = 100;
    static char body[1000];
    Record record = {.key = SLICE_LITERAL("k"), .value = {.data = body, .length = 1000}};
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try_record(&record, 1, "orders", &err), SEND_POISON);
    mock.batch->arrived_us = clock_monotonic_us(); /* read after the last look */
    size_t ready = mock.ready;
    cr_assert_eq(mock_try_record(&record, 2, "orders", &err), SEND_WAIT);
    MOCK_WAIT(mock.ready > ready && topic->looked_us >= mock.batch->arrived_us);
    cr_assert_eq(mock_try_record(&record, 2, "orders", &err), SEND_POISON, "still so");
    mock.batch->arrived_us = clock_monotonic_us();
    topic->limits.known = false; /* somebody raised it meanwhile */
    ready = mock.ready;
    cr_assert_eq(mock_try_record(&record, 3, "orders", &err), SEND_WAIT);
    MOCK_WAIT(mock.ready > ready && topic->looked_us >= mock.batch->arrived_us);
    cr_assert_eq(mock_try_record(&record, 3, "orders", &err), SEND_OK);
    MOCK_WAIT(mock.delivered == 2);
}

Test(kafka_limits, limits_are_looked_up_again_each_minute_and_sends_go_on)
{
    KafkaTopic *topic = known_topic();
    KafkaSink *kafka = (KafkaSink *)mock.sink;
    int64_t before_us = topic->looked_us;
    int64_t wait_us = topic->look_us - clock_monotonic_us();
    cr_assert(wait_us > 30000000 && wait_us <= 60000000, "in %lld us", (long long)wait_us);
    topic->look_us = 0; /* as if the minute had passed */
    kafka_lookup_go(kafka->lookup);
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try(1, "orders", &err), SEND_OK);
    MOCK_WAIT(topic->looked_us > before_us);
    MOCK_WAIT(mock.delivered == 2);
    cr_assert_eq(mock.troubles, 0);
}

Test(kafka_limits, a_larger_limit_is_told_soon_while_events_wait_behind_a_refused_record)
{
    KafkaTopic *topic = known_topic();
    topic->limits.max_message_bytes = 100;
    static char body[1000];
    Record record = {.key = SLICE_LITERAL("k"), .value = {.data = body, .length = 1000}};
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try_record(&record, 1, "orders", &err), SEND_POISON);
    int64_t wait_us = topic->look_us - clock_monotonic_us();
    cr_assert(wait_us <= 5000000, "in %lld us", (long long)wait_us);
    struct Hold *hold = (struct Hold *)&record; /* nobody looks into it */
    topic->topic->hold = hold;
    topic->look_us = 0; /* as if those seconds had passed */
    kafka_lookup_go(((KafkaSink *)mock.sink)->lookup);
    int64_t before_us = topic->looked_us;
    MOCK_WAIT(topic->looked_us > before_us);
    cr_assert_eq(mock.found, 0, "it is as it was");
    cr_assert_leq(topic->look_us - clock_monotonic_us(), 5000000);
    topic->limits.known = false; /* somebody raises it */
    before_us = topic->looked_us;
    topic->look_us = 0;
    kafka_lookup_go(((KafkaSink *)mock.sink)->lookup);
    MOCK_WAIT(topic->looked_us > before_us);
    cr_assert_eq(mock.found, 1);
    cr_assert_eq(mock.found_topic, topic->topic);
    topic->topic->hold = NULL;
}

static const char *batch_size(void)
{
    static char size[32];
    size_t length = sizeof(size);
    cr_assert_eq(
        rd_kafka_conf_get(rd_kafka_conf(kafka_producer_handle(((KafkaSink *)mock.sink)->producer)),
                          "batch.size", size, &length),
        0);
    return size;
}

Test(kafka_limits, batch_size_follows_the_least_limit_both_ways)
{
    KafkaTopic *topic = known_topic();
    KafkaSink *kafka = (KafkaSink *)mock.sink;
    mock_send(1, "payments");
    MOCK_WAIT(mock.delivered == 2);
    KafkaTopic *other = mock.events[1]->topic->sink_data;
    other->limits.known = true;
    topic->limits.max_message_bytes = 5000;
    other->limits.max_message_bytes = 7000;
    kafka_limits_changed(kafka->topics, topic);
    mock_send(2, "orders");
    cr_assert_str_eq(batch_size(), "5000");
    topic->limits.max_message_bytes = 2000000;
    kafka_limits_changed(kafka->topics, topic);
    mock_send(3, "orders");
    cr_assert_str_eq(batch_size(), "7000");
    other->limits.max_message_bytes = -1;
    kafka_limits_changed(kafka->topics, other);
    mock_send(4, "orders");
    cr_assert_str_eq(batch_size(), "1000000");
    MOCK_WAIT(mock.delivered == 5);
    cr_assert_eq(mock.reopened + mock.lost + mock.troubles, 0);
}

#include <criterion/criterion.h>

#include "config/kafka_rules.h"

static bool refused(const char *property, const char *value)
{
    return kafka_rule_broken(slice_of(property), slice_of(value)) != NULL;
}

Test(kafka_rules, what_would_lose_repeat_or_reorder_records_is_refused)
{
    const char *bad[][2] = {
        {"acks", "1"},
        {"acks", "0"},
        {"request.required.acks", "1"},
        {"enable.idempotence", "false"},
        {"max.in.flight", "6"},
        {"max.in.flight.requests.per.connection", "1000000"},
        {"max.in.flight", "5x"},
        {"max.in.flight", ""},
        {"max.in.flight", "0"},
        {"message.timeout.ms", "300000"},
        {"delivery.timeout.ms", "1"},
        {"retries", "3"},
        {"message.send.max.retries", "0"},
        {"partitioner", "consistent_random"},
        {"queuing.strategy", "lifo"},
        {"delivery.report.only.error", "true"},
        {"allow.auto.create.topics", "true"},
        {"transactional.id", "x"},
        {"test.mock.num.brokers", "3"},
        {"bootstrap.servers", "other:9092"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert(refused(bad[i][0], bad[i][1]), "%s=%s", bad[i][0], bad[i][1]);
    }
}

Test(kafka_rules, values_that_change_nothing_may_stand)
{
    const char *good[][2] = {
        {"acks", "all"},
        {"acks", "-1"},
        {"enable.idempotence", "TRUE"},
        {"max.in.flight", "1"},
        {"max.in.flight", "5"},
        {"message.timeout.ms", "0"},
        {"partitioner", "murmur2_random"},
        {"compression.type", "lz4"},
        {"sasl.password", "a very long secret that is longer than any value that is allowed here"},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert_not(refused(good[i][0], good[i][1]), "%s=%s", good[i][0], good[i][1]);
    }
}

Test(kafka_rules, every_rule_has_a_reason)
{
    const KafkaRule *rule = kafka_rule_broken(SLICE_LITERAL("acks"), SLICE_LITERAL("1"));
    cr_assert_not_null(rule);
    cr_assert_str_eq(rule->property, "acks");
    cr_assert_str_not_empty(rule->reason);
    cr_assert_str_not_empty(rule->remedy);
}

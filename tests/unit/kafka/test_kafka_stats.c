#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "sink/kafka/kafka_stats.h"

static Metrics *metrics;
static Stats stats;

static void begin(void)
{
    metrics = metrics_new();
    stats_init(&stats, metrics, "orders");
}

static void end(void)
{
    stats_release(&stats);
    metrics_free(&metrics);
}

TestSuite(kafka_stats, .init = begin, .fini = end);

static void told(const char *text)
{
    kafka_stats_read(text, strlen(text), &stats);
}

Test(kafka_stats, brokers_that_are_up_are_counted_and_the_slowest_round_trip_shows)
{
    cr_assert(isnan(*stats.broker->rtt_p50));
    told(
        "{\"msg_cnt\":120,\"msg_size\":45000,\"brokers\":{"
        "\"b:9092/"
        "bootstrap\":{\"nodeid\":-1,\"state\":\"UP\",\"rtt\":{\"cnt\":0,\"p50\":0,\"p99\":0}},"
        "\"b:9092/1\":{\"nodeid\":1,\"state\":\"UP\",\"rtt\":{\"cnt\":9,\"p50\":900,\"p99\":2500}},"
        "\"c:9092/"
        "2\":{\"nodeid\":2,\"state\":\"UP\",\"rtt\":{\"cnt\":4,\"p50\":1500,\"p99\":1800}},"
        "\"d:9092/3\":{\"nodeid\":3,\"state\":\"DOWN\",\"rtt\":{\"cnt\":0,\"p50\":0,\"p99\":0}}}}");
    cr_assert_eq(*stats.broker->brokers_up, 2);
    cr_assert_eq(*stats.broker->queue_messages, 120);
    cr_assert_eq(*stats.broker->queue_bytes, 45000);
    cr_assert_float_eq(*stats.broker->rtt_p50, 0.0015, 1e-9);
    cr_assert_float_eq(*stats.broker->rtt_p99, 0.0025, 1e-9);
}

Test(kafka_stats, without_requests_no_round_trip_is_known)
{
    told("{\"msg_cnt\":0,\"msg_size\":0,\"brokers\":{\"b:9092/1\":{\"nodeid\":1,\"state\":\"UP\","
         "\"rtt\":{\"cnt\":0,\"p50\":0,\"p99\":0}}}}");
    cr_assert_eq(*stats.broker->brokers_up, 1);
    cr_assert(isnan(*stats.broker->rtt_p50) && isnan(*stats.broker->rtt_p99));
}

Test(kafka_stats, what_cannot_be_read_changes_nothing)
{
    *stats.broker->brokers_up = 3;
    static const char *const TEXTS[] = {"", "{", "[]", "null", "17"};
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        told(TEXTS[i]);
        cr_assert_eq(*stats.broker->brokers_up, 3, "%s", TEXTS[i]);
    }
}

Test(kafka_stats, a_closed_producer_has_nothing)
{
    *stats.broker->brokers_up = *stats.broker->queue_messages = *stats.broker->queue_bytes =
        *stats.broker->rtt_p50 = 3;
    kafka_stats_none(&stats);
    cr_assert(*stats.broker->brokers_up == 0 && *stats.broker->queue_messages == 0 &&
              *stats.broker->queue_bytes == 0);
    cr_assert(isnan(*stats.broker->rtt_p50));
}

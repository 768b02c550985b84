#include <criterion/criterion.h>

#include "sink/kafka/kafka_topic.h"

static const int64_t NOW_MS = INT64_C(1795252364000);
enum { HOUR_MS = 3600000 };

Test(kafka_topic, a_time_is_kept_unless_the_topic_would_refuse_or_expire_it)
{
#define LIMITS(bytes, retention, before, after)                                                    \
    {                                                                                              \
        .max_message_bytes = (bytes), .retention_ms = (retention), .before_max_ms = (before),      \
        .after_max_ms = (after)                                                                    \
    }
    static const TopicLimits NONE = {
        .max_message_bytes = -1, .retention_ms = -1, .before_max_ms = -1, .after_max_ms = -1};
    static const struct {
        const char *what;
        TopicLimits limits;
        int64_t age_ms;
        bool kept;
    } CASES[] = {
        {"no limits, old", LIMITS(-1, -1, -1, -1), INT64_C(100000000000), true},
        {"no limits, far ahead", LIMITS(-1, -1, -1, -1), -INT64_C(100000000000), true},
        {"within retention", LIMITS(-1, HOUR_MS, -1, -1), HOUR_MS - 1, true},
        {"at the end of retention", LIMITS(-1, HOUR_MS, -1, -1), HOUR_MS, false},
        {"beyond retention", LIMITS(-1, HOUR_MS, -1, -1), HOUR_MS + 1, false},
        {"as old as accepted", LIMITS(-1, -1, HOUR_MS, -1), HOUR_MS, true},
        {"older than accepted", LIMITS(-1, -1, HOUR_MS, -1), HOUR_MS + 1, false},
        {"as new as accepted", LIMITS(-1, -1, -1, HOUR_MS), -HOUR_MS, true},
        {"newer than accepted", LIMITS(-1, -1, -1, HOUR_MS), -HOUR_MS - 1, false},
        {"now, all limits 0 but retention", LIMITS(-1, -1, 0, 0), 0, true},
        {"retention 0 keeps nothing", LIMITS(-1, 0, -1, -1), 0, false},
        {"the future never expires", LIMITS(-1, HOUR_MS, -1, -1), -5, true},
    };
    cr_assert_eq(topic_timestamp(&NONE, NOW_MS, NOW_MS), NOW_MS);
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        int64_t time_ms = NOW_MS - CASES[i].age_ms;
        cr_assert_eq(topic_timestamp(&CASES[i].limits, time_ms, NOW_MS),
                     CASES[i].kept ? time_ms : 0, "%s", CASES[i].what);
    }
}

Test(kafka_topic, any_time_is_kept_where_the_broker_sets_its_own)
{
    TopicLimits limits = {.max_message_bytes = -1, .append_time = true}; /* and all limits are 0 */
    cr_assert_eq(topic_timestamp(&limits, NOW_MS - HOUR_MS, NOW_MS), NOW_MS - HOUR_MS);
    cr_assert_eq(topic_timestamp(&limits, NOW_MS + HOUR_MS, NOW_MS), NOW_MS + HOUR_MS);
}

Test(kafka_topic, a_time_before_1970_is_replaced)
{
    TopicLimits limits = {
        .max_message_bytes = -1, .retention_ms = -1, .before_max_ms = -1, .after_max_ms = -1};
    cr_assert_eq(topic_timestamp(&limits, -1, NOW_MS), 0);
    cr_assert_eq(topic_timestamp(&limits, -INT64_C(210866803200000), NOW_MS), 0);
    cr_assert_eq(topic_timestamp(&limits, 1, NOW_MS), 1);
}

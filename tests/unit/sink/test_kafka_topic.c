#include <criterion/criterion.h>

#include "sink/kafka_topic.h"

static const int64_t NOW_MS = INT64_C(1795252364000);
enum { HOUR_MS = 3600000 };

Test(kafka_topic, a_time_is_kept_unless_the_topic_would_refuse_or_expire_it)
{
    static const TopicLimits NONE = {
        .max_message_bytes = -1, .retention_ms = -1, .before_max_ms = -1, .after_max_ms = -1};
    static const struct {
        const char *what;
        TopicLimits limits;
        int64_t age_ms;
        bool kept;
    } CASES[] = {
        {"no limits, old", {-1, -1, -1, -1, false}, INT64_C(100000000000), true},
        {"no limits, far ahead", {-1, -1, -1, -1, false}, -INT64_C(100000000000), true},
        {"within retention", {-1, HOUR_MS, -1, -1, false}, HOUR_MS - 1, true},
        {"at the end of retention", {-1, HOUR_MS, -1, -1, false}, HOUR_MS, false},
        {"beyond retention", {-1, HOUR_MS, -1, -1, false}, HOUR_MS + 1, false},
        {"as old as accepted", {-1, -1, HOUR_MS, -1, false}, HOUR_MS, true},
        {"older than accepted", {-1, -1, HOUR_MS, -1, false}, HOUR_MS + 1, false},
        {"as new as accepted", {-1, -1, -1, HOUR_MS, false}, -HOUR_MS, true},
        {"newer than accepted", {-1, -1, -1, HOUR_MS, false}, -HOUR_MS - 1, false},
        {"now, all limits 0 but retention", {-1, -1, 0, 0, false}, 0, true},
        {"retention 0 keeps nothing", {-1, 0, -1, -1, false}, 0, false},
        {"the future never expires", {-1, HOUR_MS, -1, -1, false}, -5, true},
    };
    cr_assert_eq(topic_timestamp(&NONE, NOW_MS, NOW_MS), NOW_MS);
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        int64_t time_ms = NOW_MS - CASES[i].age_ms;
        cr_assert_eq(topic_timestamp(&CASES[i].limits, time_ms, NOW_MS),
                     CASES[i].kept ? time_ms : 0, "%s", CASES[i].what);
    }
}

#include "config/kafka_rules.h"

#include <stdlib.h>
#include <strings.h>

static const char IDEMPOTENT[] =
    "a retry could duplicate or reorder records, so the relay needs the idempotent producer";
static const char ACKS[] = "an event counts as published only when all in-sync replicas have it";
static const char NO_TIMEOUT[] =
    "later records would be published after the gap that a timed-out record leaves; the relay "
    "waits for the broker instead, and says so";
static const char PARTITIONER[] = "records of one key would go to another partition than those of "
                                  "Java producers, and lose their order";
static const char OURS[] = "the relay sets it itself";

static const KafkaRule RULES[] = {
    {"acks", "all|-1", ACKS, "leave it out"},
    {"request.required.acks", "all|-1", ACKS, "leave it out"},
    {"enable.idempotence", "true", IDEMPOTENT, "leave it out"},
    {"max.in.flight", "<=5", IDEMPOTENT, "give 1 to 5, or leave it out"},
    {"max.in.flight.requests.per.connection", "<=5", IDEMPOTENT, "give 1 to 5, or leave it out"},
    {"retries", "2147483647", NO_TIMEOUT, "leave it out"},
    {"message.send.max.retries", "2147483647", NO_TIMEOUT, "leave it out"},
    {"message.timeout.ms", "0", NO_TIMEOUT, "leave it out"},
    {"delivery.timeout.ms", "0", NO_TIMEOUT, "leave it out"},
    {"enable.gapless.guarantee", "false",
     "it stops the producer at the first rejected record, which the relay isolates instead",
     "leave it out"},
    {"queuing.strategy", "fifo", "records of one key would overtake each other", "leave it out"},
    {"partitioner", "murmur2_random", PARTITIONER, "leave it out"},
    {"delivery.report.only.error", "false", "the relay marks a row when its report arrives",
     "leave it out"},
    {"api.version.request", "true",
     "idempotence and headers need a broker that reports what it supports", "leave it out"},
    {"allow.auto.create.topics", "false", "topics are never created by accident",
     "use kafka.create_topics = true"},
    {"transactional.id", "", "the relay does not use Kafka transactions in this version",
     "leave it out"},
    {"test.mock.num.brokers", "", "events would go to a mock cluster inside the relay and be lost",
     "leave it out"},
    {"bootstrap.servers", "", OURS, "use kafka.brokers"},
    {"metadata.broker.list", "", OURS, "use kafka.brokers"},
    {"dr_cb", "", OURS, "leave it out"},
    {"dr_msg_cb", "", OURS, "leave it out"},
    {"enabled_events", "", OURS, "leave it out"},
    {"log.queue", "true", OURS, "leave it out"},
};
enum { RULE_COUNT = sizeof(RULES) / sizeof(RULES[0]) };

static bool kafka_rule_allows(const char *allowed, const char *value)
{
    if (strncmp(allowed, "<=", 2) == 0) {
        char *end;
        long number = strtol(value, &end, 10);
        return end != value && *end == '\0' && number >= 1 &&
               number <= strtol(allowed + 2, NULL, 10);
    }
    size_t length = strlen(value);
    while (*allowed != '\0') {
        size_t word = strcspn(allowed, "|");
        if (word == length && strncasecmp(allowed, value, word) == 0) {
            return true;
        }
        allowed += word + (allowed[word] == '|' ? 1 : 0);
    }
    return false;
}

const KafkaRule *kafka_rule_broken(Slice property, Slice value)
{
    char text[64] = "";
    if (value.length < sizeof(text)) {
        memcpy(text, value.data, value.length);
    } else {
        memset(text, '?', sizeof(text) - 1); /* longer than any allowed value */
    }
    for (int i = 0; i < RULE_COUNT; i++) {
        if (slice_equal(slice_of(RULES[i].property), property)) {
            return kafka_rule_allows(RULES[i].allowed, text) ? NULL : &RULES[i];
        }
    }
    return NULL;
}

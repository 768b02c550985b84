/* kafka_rules: properties of librdkafka that would break a guarantee, and why. */
#pragma once

#include "base/slice.h"

typedef struct KafkaRule {
    const char *property;
    const char *allowed; /* values that may stay, separated by '|'; "" = none; "<=5" = a bound */
    const char *reason;  /* why any other value is refused */
    const char *remedy;  /* or NULL */
} KafkaRule;

/** The rule that the property breaks, or NULL when it may stand. value is compared without case. */
const KafkaRule *kafka_rule_broken(Slice property, Slice value);

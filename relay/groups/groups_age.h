/* groups_age: how long the first record that a group has not consumed has been in its topic. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "groups/lag_history.h"

/* One partition of our topics. */
typedef struct GroupPartition {
    char *topic;
    int32_t partition;
    bool known; /* low and end are of this round */
    int64_t low;
    int64_t end;
    LagHistory history;
    int64_t asked_us; /* groups_age.c: the question under way; 0: none */
} GroupPartition;

typedef struct AgeTarget {
    GroupPartition *partition;
    int64_t offset; /* of a record that is there and not consumed */
} AgeTarget;

/** Asks Kafka until the history of each target's partition tells its time within a second or 5 % of
 * its age, at most interval_us; gives up after a few seconds, and goes on in the next call. */
void groups_age_find(rd_kafka_t *rk, const AgeTarget *targets, size_t count, int64_t interval_us);

/** Seconds since the first record came that is not consumed; 0 when all are, NAN when not known to
 * two intervals or 10 %. */
double groups_age_seconds(const GroupPartition *partition, int64_t committed, int64_t interval_us);

/** The time (wall clock) to ask the broker about next, to know the bracket better; 0: it is known
 * well enough, or cannot be. */
int64_t groups_age_question_us(const LagBracket *bracket, int64_t now_us, int64_t interval_us);

/* groups_ask: questions about consumer groups and offsets to Kafka. Every call blocks, within the
 * time limit of groups_ask.c; callers are a thread of their own, or a command. librdkafka 2.0.2. */
#pragma once

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "config/config.h"

enum { GROUPS_ASKED_MAX = 200 };

/** A client that neither produces nor joins a group, with the properties of kafka.properties.
 * Errors: FATAL / EXIT_CONFIG, names the property. The caller calls rd_kafka_destroy. */
Status groups_client_new(const Config *config, rd_kafka_t **ret_rk, Error *err);

/** True when a right is missing, which does not heal by itself. */
bool groups_is_denied(const Error *err);

/** True when the text names one group; false for a glob. */
bool groups_is_name(const char *pattern);

/** A group name that the glob matches, to ask whether it may be described; NULL when none was
 * found. The caller frees it. */
char *groups_example(const char *pattern);

/** Adds to `names` the visible groups that some glob of `patterns` matches, sorted. Kafka leaves
 * out those that may not be described, and says nothing of that. */
Status groups_list(rd_kafka_t *rk, const StringList *patterns, StringList *names, Error *err);

/** Kafka's list is silent on groups that may not be described: for each glob that none of `found`
 * matches, asks about a group of our own choosing that it does match. The error names the glob and
 * what to grant. */
Status groups_check_globs(rd_kafka_t *rk, const StringList *patterns, const StringList *found,
                          Error *err);

/** Fills *err for a topic whose offsets cannot be had; NO_ERROR: it has no leader now. */
void groups_topic_error(rd_kafka_resp_err_t code, const char *topic, Error *err);

/* What one group has committed. */
typedef struct GroupOffsets {
    const char *group;                          /* of the caller */
    rd_kafka_topic_partition_list_t *committed; /* offset < 0: none; NULL after an error */
    Error error;
} GroupOffsets;

/** Asks for all of `groups` at once, about one partition at least; committed is for the partitions
 * of `partitions` and freed by the caller. */
void groups_offsets(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions,
                    GroupOffsets *groups, size_t count);

/** Replaces each `offset`, a time in ms (or RD_KAFKA_OFFSET_BEGINNING, RD_KAFKA_OFFSET_END), by the
 * offset of the first record of that time or later, -1 when there is none; `err` is set for each.
 */
Status groups_find_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions, Error *err);

/** The partitions of those topics that exist, each with offset = RD_KAFKA_OFFSET_INVALID; *err is
 * set, and the rest returned, when one may not be described or is too many. FAILED: no broker
 * answers. The caller frees *ret_partitions. Topics must have been made known with
 * rd_kafka_topic_new. */
Status groups_partitions(rd_kafka_t *rk, const char *brokers, const StringList *topics,
                         rd_kafka_topic_partition_list_t **ret_partitions, Error *err);

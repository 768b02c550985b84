/* Admin calls answer on a queue; offsets come from rd_kafka_offsets_for_times(), which sends one
 * ListOffsets request to each leader and passes -1 and -2 on, Kafka's codes for "end" and
 * "beginning" (the admin call ListOffsets came with librdkafka 2.3). It needs DESCRIBE only. */
#include "groups/groups_ask.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "sink/kafka/kafka_conf.h"
#include "sink/kafka/kafka_error.h"

enum {
    BATCH_BYTES = 1000000, /* of no meaning here: nothing is produced */
    METADATA_TIMEOUT_MS = 3000,
    REQUEST_TIMEOUT_MS = 5000,
    PARTITIONS_MAX = 5000,
};

/* librdkafka up to 2.11 crashes when a group's coordinator moves under ListConsumerGroupOffsets and
 * the client has no group.id (issue 5040): it then looks for the coordinator of "its" group,
 * without asking whether there is one. So ours has one that it may describe. It never subscribes,
 * so it never joins, and it commits nothing. */
static char *client_group(const StringList *patterns)
{
    char *group = NULL;
    for (size_t i = 0; i < patterns->count && group == NULL; i++) {
        group = groups_is_name(patterns->items[i]) ? x_strdup(patterns->items[i])
                                                   : groups_example(patterns->items[i]);
    }
    return group != NULL ? group : x_strdup("outboxd");
}

Status groups_client_new(const Config *config, rd_kafka_t **ret_rk, Error *err)
{
    const PipelineConfig *pipeline = &config->pipelines[0];
    rd_kafka_conf_t *conf = NULL;
    if (kafka_conf_new(config, pipeline, BATCH_BYTES, &conf, err) != OK) {
        return FAILED;
    }
    AUTO_TEXT group = client_group(&config->monitor.consumer_groups);
    const char *const pairs[][2] = {
        {"group.id", group},
        {"enable.auto.commit", "false"},
        {"isolation.level", "read_uncommitted"}, /* the end, as Kafka's own tools count */
        {"allow.auto.create.topics", "false"},   /* looking must not make topics */
        {"statistics.interval.ms", "0"},         /* of the relay's producer only */
    };
    char text[512];
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        (void)rd_kafka_conf_set(conf, pairs[i][0], pairs[i][1], text, sizeof(text));
    }
    rd_kafka_conf_set_events(
        conf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG |
                  (kafka_conf_wants_token(config) ? RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH : 0));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (rk == NULL) {
        rd_kafka_conf_destroy(conf);
        return error_set(err, CODE_KAFKA_PROPERTY, "kafka.properties: %s", text);
    }
    rd_kafka_set_log_queue(rk, NULL);
    *ret_rk = rk;
    return OK;
}

/* Errors. */

static Status ask_group_error(rd_kafka_resp_err_t code, const char *group, Error *err)
{
    if (code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) {
        error_set(err, CODE_KAFKA_GROUP_DENIED, "consumer group '%s' may not be described (%s)",
                  group, rd_kafka_err2name(code));
        return error_hint(err,
                          "Grant DESCRIBE on the group to the relay's principal: kafka-acls --add "
                          "--allow-principal User:NAME --operation Describe --group '%s'",
                          group);
    }
    kafka_topic_error(code, "", err);
    AUTO_ERROR named = error_of(err);
    return error_set_as(err, ERROR_RETRY, EXIT_KAFKA,
                        named.code == CODE_KAFKA_ERROR ? CODE_KAFKA_GROUP_UNAVAILABLE : named.code,
                        "consumer group '%s': %s (%s)", group, rd_kafka_err2str(code),
                        rd_kafka_err2name(code));
}

void groups_topic_error(rd_kafka_resp_err_t code, const char *topic, Error *err)
{
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        code = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    }
    kafka_topic_error(code, topic, err);
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        error_hint(err,
                   "Grant DESCRIBE on the topic to the relay's principal: kafka-acls --add "
                   "--allow-principal User:NAME --operation Describe --topic '%s'",
                   topic);
    }
}

bool groups_is_denied(const Error *err)
{
    return err->code == CODE_KAFKA_GROUP_DENIED || err->code == CODE_KAFKA_TOPIC_DENIED ||
           err->code == CODE_KAFKA_DENIED;
}

static Status ask_cluster_error(rd_kafka_resp_err_t code, const char *what, Error *err)
{
    kafka_topic_error(code, "", err);
    AUTO_ERROR named = error_of(err);
    error_set_as(err, ERROR_RETRY, EXIT_KAFKA, named.code, "%s: %s (%s)", what,
                 rd_kafka_err2str(code), rd_kafka_err2name(code));
    bool loading = code == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS ||
                   code == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
                   code == RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    return error_hint(err, "%s",
                      loading ? "Another broker is taking over. The relay asks again."
                              : error_own_hint(&named));
}

/* A prefix can be granted as such; for other globs only all groups. */
static Status ask_glob_denied(const char *pattern, Error *err)
{
    size_t prefix = strcspn(pattern, "*?[\\");
    bool prefixed = prefix > 0 && strcmp(pattern + prefix, "*") == 0;
    AUTO_TEXT resource =
        prefixed ? x_format("'%.*s' --resource-pattern-type prefixed", (int)prefix, pattern)
                 : x_strdup("'*'");
    error_set(
        err, CODE_KAFKA_GROUP_DENIED,
        "no consumer group that matches '%s' is visible, and such groups may not be described",
        pattern);
    return error_hint(err,
                      "Grant DESCRIBE on the groups to the relay's principal: kafka-acls --add "
                      "--allow-principal User:NAME --operation Describe --group %s",
                      resource);
}

/* Names. */

bool groups_is_name(const char *pattern)
{
    return strpbrk(pattern, "*?[\\") == NULL;
}

char *groups_example(const char *pattern)
{
    AUTO_BUFFER name = TEXT_EMPTY;
    for (const char *c = pattern; *c != '\0'; c++) {
        if (*c == '\\' && c[1] != '\0') {
            text_add_char(&name, *++c);
        } else if (*c == '?') {
            text_add_char(&name, 'x');
        } else if (*c != '*') {
            text_add_char(&name, *c); /* "[" is given up below */
        }
    }
    const char *example = name.length > 0 ? text_string(&name) : "outboxd";
    return fnmatch(pattern, example, 0) == 0 ? x_strdup(example) : NULL;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool name_wanted(const StringList *patterns, const char *name)
{
    for (size_t i = 0; i < patterns->count; i++) {
        if (!groups_is_name(patterns->items[i]) && fnmatch(patterns->items[i], name, 0) == 0) {
            return true;
        }
    }
    return false;
}

static rd_kafka_AdminOptions_t *ask_options(rd_kafka_t *rk, rd_kafka_admin_op_t operation)
{
    char text[128];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, operation);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, REQUEST_TIMEOUT_MS, text,
                                                    sizeof(text));
    return options;
}

static Status list_read(const rd_kafka_ListConsumerGroups_result_t *result,
                        const StringList *patterns, StringList *names, Error *err)
{
    size_t count = 0;
    const rd_kafka_ConsumerGroupListing_t **groups =
        rd_kafka_ListConsumerGroups_result_valid(result, &count);
    for (size_t i = 0; i < count; i++) {
        const char *name = rd_kafka_ConsumerGroupListing_group_id(groups[i]);
        if (name_wanted(patterns, name)) {
            *vec_add(names) = x_strdup(name);
        }
    }
    if (names->count > 0) {
        qsort(names->items, names->count, sizeof(*names->items), compare_names);
    }
    const rd_kafka_error_t **errors = rd_kafka_ListConsumerGroups_result_errors(result, &count);
    return count == 0 ? OK
                      : ask_cluster_error(rd_kafka_error_code(errors[0]),
                                          "cannot list the consumer groups of every broker", err);
}

Status groups_list(rd_kafka_t *rk, const StringList *patterns, StringList *names, Error *err)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_AdminOptions_t *options = ask_options(rk, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    rd_kafka_ListConsumerGroups(rk, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, REQUEST_TIMEOUT_MS + 500);
    rd_kafka_resp_err_t code =
        event != NULL ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    Status status =
        code == RD_KAFKA_RESP_ERR_NO_ERROR
            ? list_read(rd_kafka_event_ListConsumerGroups_result(event), patterns, names, err)
            : ask_cluster_error(code, "cannot list the consumer groups", err);
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return status;
}

/* Offsets. */

static void offsets_read(const rd_kafka_event_t *event, GroupOffsets *group)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error((rd_kafka_event_t *)event);
    size_t count = 0;
    const rd_kafka_group_result_t *result = NULL;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const rd_kafka_group_result_t **results = rd_kafka_ListConsumerGroupOffsets_result_groups(
            rd_kafka_event_ListConsumerGroupOffsets_result((rd_kafka_event_t *)event), &count);
        result = count == 1 ? results[0] : NULL;
        code = result != NULL ? rd_kafka_error_code(rd_kafka_group_result_error(result))
                              : RD_KAFKA_RESP_ERR__BAD_MSG;
    }
    const rd_kafka_topic_partition_list_t *committed =
        code == RD_KAFKA_RESP_ERR_NO_ERROR ? rd_kafka_group_result_partitions(result) : NULL;
    if (committed == NULL) {
        (void)ask_group_error(code, group->group, &group->error);
        return;
    }
    error_clear(&group->error);
    group->committed = rd_kafka_topic_partition_list_copy(committed);
}

void groups_offsets(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions,
                    GroupOffsets *groups, size_t count)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    for (size_t i = 0; i < count; i++) {
        groups[i].committed = NULL;
        (void)ask_group_error(RD_KAFKA_RESP_ERR__TIMED_OUT, groups[i].group, &groups[i].error);
        rd_kafka_AdminOptions_t *options =
            ask_options(rk, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
        rd_kafka_AdminOptions_set_opaque(options, &groups[i]);
        rd_kafka_ListConsumerGroupOffsets_t *question =
            rd_kafka_ListConsumerGroupOffsets_new(groups[i].group, partitions);
        rd_kafka_ListConsumerGroupOffsets(rk, &question, 1, options, queue);
        rd_kafka_ListConsumerGroupOffsets_destroy(question);
        rd_kafka_AdminOptions_destroy(options);
    }
    int64_t deadline_us = clock_monotonic_us() + (int64_t)(REQUEST_TIMEOUT_MS + 500) * 1000;
    for (size_t answers = 0; answers < count;) {
        int64_t left_ms = (deadline_us - clock_monotonic_us()) / 1000;
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, left_ms > 0 ? (int)left_ms : 0);
        if (event == NULL) {
            break;
        }
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT) {
            offsets_read(event, rd_kafka_event_opaque(event));
            answers++;
        }
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
}

Status groups_check_globs(rd_kafka_t *rk, const StringList *patterns, const StringList *found,
                          Error *err)
{
    Status status = OK;
    for (size_t i = 0; i < patterns->count && status == OK; i++) {
        const char *pattern = patterns->items[i];
        bool matched = groups_is_name(pattern);
        for (size_t k = 0; k < found->count && !matched; k++) {
            matched = fnmatch(pattern, found->items[k], 0) == 0;
        }
        AUTO_TEXT example = matched ? NULL : groups_example(pattern);
        if (example == NULL) {
            continue;
        }
        /* Any partition will do: a list without one is answered by librdkafka itself. */
        rd_kafka_topic_partition_list_t *any = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(any, "outboxd", 0);
        GroupOffsets group = {.group = example};
        groups_offsets(rk, any, &group, 1);
        if (group.committed != NULL) {
            rd_kafka_topic_partition_list_destroy(group.committed);
        } else if (group.error.code == CODE_KAFKA_GROUP_DENIED) {
            status = ask_glob_denied(pattern, err);
        }
        error_clear(&group.error);
        rd_kafka_topic_partition_list_destroy(any);
    }
    return status;
}

Status groups_find_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions, Error *err)
{
    if (partitions->cnt == 0) {
        return OK;
    }
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(rk, partitions, REQUEST_TIMEOUT_MS);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? OK
               : ask_cluster_error(code, "cannot ask for the offsets of the topics", err);
}

static bool topic_wanted(const StringList *topics, const char *name)
{
    for (size_t i = 0; i < topics->count; i++) {
        if (strcmp(topics->items[i], name) == 0) {
            return true;
        }
    }
    return false;
}

Status groups_partitions(rd_kafka_t *rk, const char *brokers, const StringList *topics,
                         rd_kafka_topic_partition_list_t **ret_partitions, Error *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, NULL, &metadata, METADATA_TIMEOUT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        AUTO_TEXT what = x_format("no Kafka broker of '%s' answers", brokers);
        return ask_cluster_error(code, what, err);
    }
    rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(16);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *topic = &metadata->topics[i];
        if (!topic_wanted(topics, topic->topic)) {
            continue; /* a client that knows no topic is told of all */
        }
        if (topic->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
            groups_topic_error(topic->err, topic->topic, err);
        }
        if (partitions->cnt + topic->partition_cnt > PARTITIONS_MAX) {
            error_set(err, CODE_CONSUMER_GROUPS_PARTITIONS,
                      "the topics have more than %d partitions: '%s' is not watched",
                      PARTITIONS_MAX, topic->topic);
            continue;
        }
        for (int p = 0; p < topic->partition_cnt; p++) {
            rd_kafka_topic_partition_list_add(partitions, topic->topic, topic->partitions[p].id);
        }
    }
    rd_kafka_metadata_destroy(metadata);
    *ret_partitions = partitions;
    return OK;
}

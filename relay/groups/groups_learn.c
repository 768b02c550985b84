#include "groups/groups_learn.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/lists.h"
#include "flow/template.h"
#include "groups/groups_ask.h"

enum {
    PORTION_PARTITIONS = 2000, /* asked about at once */
    REST_ROUNDS = 20,
    METADATA_TIMEOUT_MS = 3000,
};

/* Topics. */

static void list_add(StringList *list, const char *text)
{
    if (!string_list_has(list, text)) {
        string_list_add(list, text);
    }
}

static void add_template(const PipelineConfig *pipeline, const char *text, StringList *names,
                         StringList *patterns)
{
    AUTO(Schema, schema_free) schema = schema_of_outbox(pipeline);
    AUTO(Template, template_free) template = NULL;
    if (text == NULL || *text == '\0' || template_compile(text, schema, &template, NULL) != OK) {
        return;
    }
    const char *name = template_constant(template);
    if (name != NULL) {
        list_add(names, name);
        return;
    }
    AUTO_TEXT glob = template_glob(template);
    list_add(patterns, glob);
}

void groups_config_topics(const Config *config, StringList *names, StringList *patterns)
{
    for (size_t i = 0; i < config->pipeline_count; i++) {
        const PipelineConfig *pipeline = &config->pipelines[i];
        if (pipeline->sink != SINK_KAFKA) {
            continue;
        }
        add_template(pipeline, pipeline->route.topic, names, patterns);
        for (size_t r = 0; r < pipeline->route.rule_count; r++) {
            add_template(pipeline, pipeline->route.rules[r].topic, names, patterns);
        }
        if (pipeline->route.allow_row_topic) {
            list_add(patterns, "*");
        }
    }
}

static bool topic_fits(const StringList *patterns, const char *name)
{
    bool internal = strncmp(name, "__", 2) == 0;
    for (size_t i = 0; i < patterns->count && !internal; i++) {
        if (fnmatch(patterns->items[i], name, 0) == 0) {
            return true;
        }
    }
    return false;
}

/* Learning. */

void learner_free(Learner *learner)
{
    free(learner->after);
    *learner = (Learner){0};
}

static int compare_topics(const void *a, const void *b)
{
    const rd_kafka_metadata_topic_t *const *x = a;
    const rd_kafka_metadata_topic_t *const *y = b;
    return strcmp((*x)->topic, (*y)->topic);
}

/* The partitions of the next portion; *ret_last is the topic behind which the one after it begins,
 * NULL: nothing is left. */
static rd_kafka_topic_partition_list_t *learner_portion(const Learner *learner,
                                                        const struct rd_kafka_metadata *metadata,
                                                        const LearnerQuestion *question,
                                                        char **ret_last)
{
    size_t count = 0;
    const rd_kafka_metadata_topic_t **topics =
        x_calloc((size_t)metadata->topic_cnt + 1, sizeof(*topics));
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *topic = &metadata->topics[i];
        bool later = learner->after == NULL || strcmp(topic->topic, learner->after) > 0;
        if (later && topic->err == RD_KAFKA_RESP_ERR_NO_ERROR &&
            topic_fits(question->patterns, topic->topic) &&
            !string_list_has(question->known, topic->topic)) {
            topics[count++] = topic;
        }
    }
    if (count > 0) {
        qsort(topics, count, sizeof(*topics), compare_topics);
    }
    rd_kafka_topic_partition_list_t *portion = rd_kafka_topic_partition_list_new(16);
    *ret_last = NULL;
    for (size_t i = 0; i < count; i++) {
        bool fits = portion->cnt + topics[i]->partition_cnt <= PORTION_PARTITIONS;
        if (!fits && portion->cnt > 0) {
            *ret_last = x_strdup(topics[i - 1]->topic);
            break;
        }
        for (int p = 0; p < topics[i]->partition_cnt && p < PORTION_PARTITIONS; p++) {
            rd_kafka_topic_partition_list_add(portion, topics[i]->topic,
                                              topics[i]->partitions[p].id);
        }
    }
    free(topics);
    return portion;
}

static Status learner_ask(const LearnerQuestion *question,
                          const rd_kafka_topic_partition_list_t *portion, StringList *found,
                          Error *err)
{
    Status status = OK;
    const StringList *groups = question->groups;
    GroupOffsets *offsets = x_calloc(groups->count, sizeof(*offsets));
    for (size_t i = 0; i < groups->count; i++) {
        offsets[i].group = groups->items[i];
    }
    groups_offsets(question->rk, portion, offsets, groups->count);
    for (size_t i = 0; i < groups->count; i++) {
        if (offsets[i].committed == NULL) {
            /* One that may not be described is told by the round itself, and never heals here. */
            if (!groups_is_denied(&offsets[i].error)) {
                error_copy(err, &offsets[i].error);
                status = FAILED;
            }
            continue;
        }
        for (int k = 0; k < offsets[i].committed->cnt; k++) {
            const rd_kafka_topic_partition_t *item = &offsets[i].committed->elems[k];
            if (item->err == RD_KAFKA_RESP_ERR_NO_ERROR && item->offset >= 0) {
                list_add(found, item->topic);
            }
        }
        rd_kafka_topic_partition_list_destroy(offsets[i].committed);
    }
    for (size_t i = 0; i < groups->count; i++) {
        error_clear(&offsets[i].error);
    }
    free(offsets);
    return status;
}

Status learner_run(Learner *learner, const LearnerQuestion *question, StringList *found, Error *err)
{
    if (question->patterns->count == 0 || question->groups->count == 0) {
        return OK;
    }
    if (learner->rest > 0) {
        learner->rest--;
        return OK;
    }
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(question->rk, 1, NULL, &metadata, METADATA_TIMEOUT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return error_set(err, CODE_KAFKA_UNREACHABLE,
                         "the topics of the cluster cannot be listed: %s", rd_kafka_err2str(code));
    }
    char *last = NULL;
    rd_kafka_topic_partition_list_t *portion = learner_portion(learner, metadata, question, &last);
    rd_kafka_metadata_destroy(metadata);
    Status status = portion->cnt > 0 ? learner_ask(question, portion, found, err) : OK;
    rd_kafka_topic_partition_list_destroy(portion);
    if (status == OK) {
        free(learner->after);
        learner->after = last;
        learner->rest = last == NULL ? REST_ROUNDS : 0;
    } else {
        free(last);
    }
    return status;
}

#include "flow/topic.h"

#include <stdlib.h>

#include "base/memory.h"

enum { TOPIC_BUCKETS = 256 };

struct Topics {
    Topic *buckets[TOPIC_BUCKETS];
    Topic *last; /* most events of a batch go to the same topic */
    size_t count;
    Metrics *metrics;
    char *pipeline;
};

Topics *topics_new(Metrics *metrics, const char *pipeline)
{
    Topics *topics = x_calloc(1, sizeof(*topics));
    topics->metrics = metrics;
    topics->pipeline = x_strdup(pipeline);
    return topics;
}

void topics_free(Topics **topics)
{
    if (*topics == NULL) {
        return;
    }
    for (size_t i = 0; i < TOPIC_BUCKETS; i++) {
        for (Topic *topic = (*topics)->buckets[i], *next; topic != NULL; topic = next) {
            next = topic->next;
            free(topic->name);
            free(topic);
        }
    }
    free((*topics)->pipeline);
    free(*topics);
    *topics = NULL;
}

/* FNV-1a, 32 bit. */
static uint32_t topic_hash(Slice name)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < name.length; i++) {
        hash = (hash ^ (unsigned char)name.data[i]) * 16777619U;
    }
    return hash;
}

static bool topic_name_valid(Slice name)
{
    if (name.length == 0 || name.length > TOPIC_NAME_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.length; i++) {
        char c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-') {
            return false;
        }
    }
    return !slice_equal(name, SLICE_LITERAL(".")) && !slice_equal(name, SLICE_LITERAL(".."));
}

/* name may hold NUL bytes: a template can use any column. */
static bool topic_is(const Topic *topic, Slice name)
{
    return slice_equal(slice_of(topic->name), name);
}

Status topics_get(Topics *topics, Slice name, Topic **ret_topic, Error *err)
{
    if (topics->last != NULL && topic_is(topics->last, name)) {
        *ret_topic = topics->last;
        return OK;
    }
    if (!topic_name_valid(name)) {
        error_set(err, ERROR_POISON, EXIT_CONFIG, "TOPIC_NAME_INVALID",
                  "'%.*s' is not a topic name: 1 to %d characters of a-z A-Z 0-9 . _ -",
                  (int)(name.length > 260 ? 260 : name.length), name.data ? name.data : "",
                  TOPIC_NAME_MAX);
        return error_hint(err, "Add a route that gives these events a topic of their own.");
    }
    Topic **bucket = &topics->buckets[topic_hash(name) % TOPIC_BUCKETS];
    for (Topic *topic = *bucket; topic != NULL; topic = topic->next) {
        if (topic_is(topic, name)) {
            topics->last = *ret_topic = topic;
            return OK;
        }
    }
    if (topics->count >= TOPICS_MAX) {
        error_set(err, ERROR_FATAL, EXIT_CONFIG, "TOPICS_TOO_MANY",
                  "more than %d different topics; the next would be '%.*s'", TOPICS_MAX,
                  SLICE_ARG(name));
        return error_hint(err, "The topic template seems to use a column with too many values.");
    }
    Topic *topic = x_calloc(1, sizeof(*topic));
    topic->name = x_strndup(name.data, name.length);
    topic->published = metrics_counter(topics->metrics, "outboxd_events_published_total",
                                       "Events acknowledged by the broker.", "pipeline",
                                       topics->pipeline, "topic", topic->name, NULL);
    topic->next = *bucket;
    *bucket = topic;
    topics->count++;
    topics->last = *ret_topic = topic;
    return OK;
}

void topics_count_failed(Topics *topics, Topic *topic, Reason reason)
{
    if (topic->failed[reason] == NULL) {
        topic->failed[reason] =
            metrics_counter(topics->metrics, "outboxd_events_failed_total",
                            "Delivery reports that were failures.", "pipeline", topics->pipeline,
                            "topic", topic->name, "reason", reason_name(reason), NULL);
    }
    ++*topic->failed[reason];
}

void topics_each(Topics *topics, void (*visit)(void *arg, Topic *topic), void *arg)
{
    for (size_t i = 0; i < TOPIC_BUCKETS; i++) {
        for (Topic *topic = topics->buckets[i]; topic != NULL; topic = topic->next) {
            visit(arg, topic);
        }
    }
}

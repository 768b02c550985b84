#include "flow/topic.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

enum {
    TOPIC_BUCKETS = 1024,
    TYPE_BITS = 65536,    /* which types share the stand-in: another one is taken for one of them
                             once in so many */
    TYPE_SHOWN_MAX = 100, /* bytes */
};

struct Topics {
    Topic *buckets[TOPIC_BUCKETS];
    Topic *last; /* most events of a batch go to the same topic */
    size_t count;
    size_t most;
    Topic *beyond;                 /* the stand-in; NULL: never needed */
    Topic *types[TOPIC_TYPES_MAX]; /* of aggregate types; those without hold are free again */
    size_t type_count;
    Topic *other_types; /* NULL: never needed */
    uint8_t *other_bits;
    int64_t now_us;
    bool (*may_forget)(void *arg, const Topic *topic);
    void (*forget)(void *arg, Topic *topic);
    void *forget_arg;
    TopicRule rule; /* NULL: none */
    Metrics *metrics;
    char *pipeline;
};

Topics *topics_new(Metrics *metrics, const char *pipeline)
{
    Topics *topics = x_calloc(1, sizeof(*topics));
    topics->metrics = metrics;
    topics->pipeline = x_strdup(pipeline);
    topics->most = TOPICS_MAX;
    return topics;
}

void topics_allow(Topics *topics, size_t most)
{
    topics->most = most;
}

static void topics_free_stand_in(Topic *topic)
{
    if (topic != NULL) {
        free(topic->name);
        free(topic);
    }
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
    topics_free_stand_in((*topics)->beyond);
    topics_free_stand_in((*topics)->other_types);
    for (size_t i = 0; i < (*topics)->type_count; i++) {
        topics_free_stand_in((*topics)->types[i]);
    }
    free((*topics)->other_bits);
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

/* What no destination takes, and no label of a metric and no terminal: rules of one destination are
 * the sink's (SinkOps.refuse_topic). */
static Status topic_refuse(Slice name, Error *err)
{
    bool bad =
        name.length == 0 || name.length > TOPIC_NAME_MAX || !utf8_valid(name.data, name.length);
    for (size_t i = 0; i < name.length && !bad;
         i += utf8_sequence(name.data + i, name.length - i)) {
        bad = utf8_steers(utf8_code(name.data + i, utf8_sequence(name.data + i, name.length - i)));
    }
    if (!bad) {
        return OK;
    }
    error_set(err, CODE_TOPIC_NAME_INVALID,
              "'%.*s' is not a topic name: 1 to %d bytes of text without control characters",
              (int)utf8_cut(name.data, name.length, 260), name.data ? name.data : "",
              TOPIC_NAME_MAX);
    return error_advise(err);
}

/* name may hold NUL bytes: a template can use any column. */
static bool topic_is(const Topic *topic, Slice name)
{
    return slice_equal(slice_of(topic->name), name);
}

void topics_set_rule(Topics *topics, TopicRule rule)
{
    topics->rule = rule;
}

void topics_on_forget(Topics *topics, bool (*may_forget)(void *arg, const Topic *topic),
                      void (*forget)(void *arg, Topic *topic), void *arg)
{
    topics->may_forget = may_forget;
    topics->forget = forget;
    topics->forget_arg = arg;
}

void topics_pass_time(Topics *topics, int64_t now_us)
{
    topics->now_us = now_us;
}

/* The one that was not used for the longest, if that is long enough; NULL: none. */
static Topic *topics_idlest(const Topics *topics)
{
    Topic *idlest = NULL;
    int64_t before_us = topics->now_us - TOPIC_IDLE_SECONDS * INT64_C(1000000);
    for (size_t i = 0; i < TOPIC_BUCKETS; i++) {
        for (Topic *topic = topics->buckets[i]; topic != NULL; topic = topic->next) {
            bool idle = topic->in_flight == 0 && topic->used_us < before_us;
            bool older = idlest == NULL || topic->used_us < idlest->used_us;
            if (idle && older &&
                (topics->may_forget == NULL || topics->may_forget(topics->forget_arg, topic))) {
                idlest = topic;
            }
        }
    }
    return idlest;
}

bool topics_have_room(const Topics *topics)
{
    return topics->count < topics->most || topics_idlest(topics) != NULL;
}

static void topics_forget(Topics *topics, Topic *topic)
{
    if (topics->forget != NULL) {
        topics->forget(topics->forget_arg, topic);
    }
    Topic **at = &topics->buckets[topic_hash(slice_of(topic->name)) % TOPIC_BUCKETS];
    while (*at != topic) {
        at = &(*at)->next;
    }
    *at = topic->next;
    topics->count--;
    topics->last = topics->last == topic ? NULL : topics->last;
    metrics_remove(topics->metrics, "outboxd_events_published_total", "pipeline", topics->pipeline,
                   "topic", topic->name, NULL);
    metrics_remove(topics->metrics, "outboxd_topic_partitions", "pipeline", topics->pipeline,
                   "topic", topic->name, NULL);
    for (Reason reason = 0; reason < REASON_COUNT; reason++) {
        if (topic->failed[reason] != NULL) {
            metrics_remove(topics->metrics, "outboxd_events_failed_total", "pipeline",
                           topics->pipeline, "topic", topic->name, "reason", reason_name(reason),
                           NULL);
        }
    }
    free(topic->name);
    free(topic);
}

static void topics_too_many(const Topics *topics, Slice name, Error *err)
{
    error_set(err, CODE_TOPICS_TOO_MANY,
              "more than %zu different topics within an hour; the next would be '%.*s'",
              topics->most, SLICE_ARG(name));
    (void)error_advise(err);
}

/* The stand-in is let go only by a rewind: until then no further name gets a topic of its own, or
 * an event would overtake those of its topic that wait. */
static bool topics_are_too_many(Topics *topics)
{
    if (topics->beyond != NULL && topics->beyond->hold != NULL) {
        return true;
    }
    if (topics->count < topics->most) {
        return false;
    }
    Topic *idlest = topics_idlest(topics);
    if (idlest == NULL) {
        return true;
    }
    topics_forget(topics, idlest);
    return false;
}

static Topic *topics_new_stand_in(Topics *topics, const char *name)
{
    Topic *topic = x_calloc(1, sizeof(*topic));
    topic->name = x_strdup(name);
    topic->owner = topics;
    return topic;
}

static Topic *topics_stand_in(Topics *topics)
{
    if (topics->beyond == NULL) {
        topics->beyond = topics_new_stand_in(topics, "(topics above the limit)");
        topics->beyond->beyond = true;
    }
    return topics->beyond;
}

/* FNV-1a, 64 bit; never 0. */
static uint64_t type_hash(Slice type)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < type.length; i++) {
        hash = (hash ^ (unsigned char)type.data[i]) * UINT64_C(1099511628211);
    }
    return hash | 1;
}

static uint8_t *type_bit(const Topics *topics, uint64_t hash, uint8_t *ret_mask)
{
    size_t bit = (size_t)(hash * UINT64_C(11400714819323198485) >> 32) % TYPE_BITS; /* mixed */
    *ret_mask = (uint8_t)(1U << bit % 8);
    return &topics->other_bits[bit / 8];
}

Topic *topics_held_type(const Topics *topics, Slice aggregate_type)
{
    if (topics->type_count == 0) {
        return NULL;
    }
    uint64_t hash = type_hash(aggregate_type);
    for (size_t i = 0; i < topics->type_count; i++) {
        if (topics->types[i]->type == hash) {
            return topics->types[i]->hold != NULL ? topics->types[i] : NULL;
        }
    }
    if (topics->other_types == NULL || topics->other_types->hold == NULL) {
        return NULL;
    }
    uint8_t mask = 0;
    bool one_of_them = (*type_bit(topics, hash, &mask) & mask) != 0;
    return one_of_them ? topics->other_types : NULL;
}

/* What a metric's label and a terminal show. */
static char *type_name(Slice type)
{
    char shown[TYPE_SHOWN_MAX + 1] = {0};
    for (size_t i = 0; i < type.length && i < TYPE_SHOWN_MAX; i++) {
        shown[i] = type.data[i];
        if (shown[i] < ' ' || shown[i] > '~') {
            shown[i] = '?';
        }
    }
    return x_format("(aggregate type %s)", shown[0] != '\0' ? shown : "none");
}

static Topic *topics_other_types(Topics *topics, uint64_t hash)
{
    if (topics->other_types == NULL) {
        topics->other_types = topics_new_stand_in(topics, "(further aggregate types)");
        topics->other_types->type = UINT64_MAX;
        topics->other_bits = x_calloc(1, TYPE_BITS / 8);
    }
    if (topics->other_types->hold == NULL) {
        memset(topics->other_bits, 0, TYPE_BITS / 8);
    }
    uint8_t mask = 0;
    *type_bit(topics, hash, &mask) |= mask;
    return topics->other_types;
}

Topic *topics_of_type(Topics *topics, Slice aggregate_type)
{
    Topic *held = topics_held_type(topics, aggregate_type);
    if (held != NULL) {
        return held;
    }
    uint64_t hash = type_hash(aggregate_type);
    Topic *topic = NULL;
    for (size_t i = 0; i < topics->type_count; i++) {
        Topic *at = topics->types[i];
        topic = at->type == hash || (topic == NULL && at->hold == NULL) ? at : topic;
    }
    if (topic == NULL && topics->type_count == TOPIC_TYPES_MAX) {
        return topics_other_types(topics, hash);
    }
    if (topic == NULL) {
        topic = topics->types[topics->type_count++] = topics_new_stand_in(topics, "");
    }
    if (topic->type != hash) {
        free(topic->name);
        topic->name = type_name(aggregate_type);
        topic->type = hash;
    }
    return topic;
}

void topic_set_partitions(Topic *topic, int partitions)
{
    Topics *topics = topic->owner;
    if (topic->partitions == NULL) {
        topic->partitions = metrics_gauge(topics->metrics, "outboxd_topic_partitions",
                                          "Partitions of a topic that the pipeline writes to.",
                                          "pipeline", topics->pipeline, "topic", topic->name, NULL);
    }
    *topic->partitions = partitions;
}

Status topics_get(Topics *topics, Slice name, Topic **ret_topic, Error *err)
{
    if (topics->last != NULL && topic_is(topics->last, name)) {
        topics->last->used_us = topics->now_us;
        *ret_topic = topics->last;
        return OK;
    }
    Topic **bucket = &topics->buckets[topic_hash(name) % TOPIC_BUCKETS];
    for (Topic *topic = *bucket; topic != NULL; topic = topic->next) {
        if (topic_is(topic, name)) {
            topic->used_us = topics->now_us;
            topics->last = *ret_topic = topic;
            return OK;
        }
    }
    if ((topics->rule != NULL && topics->rule(name, err) != OK) || topic_refuse(name, err) != OK) {
        return FAILED;
    }
    if (topics_are_too_many(topics)) {
        topics_too_many(topics, name, err);
        *ret_topic = topics_stand_in(topics);
        return OK;
    }
    Topic *topic = x_calloc(1, sizeof(*topic));
    topic->name = x_strndup(name.data, name.length);
    topic->owner = topics;
    topic->used_us = topics->now_us;
    topic->published = metrics_counter(topics->metrics, "outboxd_events_published_total",
                                       "Events acknowledged by the sink, by topic.", "pipeline",
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
        topic->failed[reason] = metrics_counter(
            topics->metrics, "outboxd_events_failed_total", "Failed deliveries.", "pipeline",
            topics->pipeline, "topic", topic->name, "reason", reason_name(reason), NULL);
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

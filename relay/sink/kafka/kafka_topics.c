#include "sink/kafka/kafka_topics.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

KafkaTopics *kafka_topics_new(const char *pipeline)
{
    KafkaTopics *topics = x_calloc(1, sizeof(*topics));
    LIST_INIT(&topics->all);
    topics->pipeline = pipeline;
    topics->batch_bytes = KAFKA_BATCH_BYTES;
    return topics;
}

static void drop_handle(KafkaTopic *kt)
{
    if (kt->handle != NULL) {
        rd_kafka_topic_destroy(kt->handle);
        kt->handle = NULL;
    }
}

static void topic_drop(KafkaTopic *kt)
{
    LIST_REMOVE(kt, link);
    drop_handle(kt);
    error_clear(kt->error);
    free(kt->error);
    free(kt);
}

void kafka_topics_free(KafkaTopics **topics)
{
    if (*topics == NULL) {
        return;
    }
    while (!LIST_EMPTY(&(*topics)->all)) {
        topic_drop(LIST_FIRST(&(*topics)->all));
    }
    free(*topics);
    *topics = NULL;
}

KafkaTopic *kafka_topics_get(KafkaTopics *topics, Topic *topic, rd_kafka_t *rk)
{
    if (topic->sink_data == NULL) {
        KafkaTopic *kt = x_calloc(1, sizeof(*kt));
        kt->topic = topic;
        kt->handle = rd_kafka_topic_new(rk, topic->name, NULL);
        LIST_INSERT_HEAD(&topics->all, kt, link);
        topic->sink_data = kt;
    }
    return topic->sink_data;
}

KafkaTopic *kafka_topics_find(const KafkaTopics *topics, const char *name)
{
    KafkaTopic *kt = NULL;
    LIST_FOREACH(kt, &topics->all, link)
    {
        if (strcmp(kt->topic->name, name) == 0) {
            break;
        }
    }
    return kt;
}

void kafka_topics_forget(KafkaTopics *topics, Topic *topic)
{
    KafkaTopic *kt = topic->sink_data;
    if (kt != NULL) {
        topics->missing -= kt->missing;
        topic->sink_data = NULL;
        topic_drop(kt);
    }
}

void kafka_topics_set_producer(KafkaTopics *topics, rd_kafka_t *rk)
{
    KafkaTopic *kt = NULL;
    LIST_FOREACH(kt, &topics->all, link)
    {
        drop_handle(kt);
        if (rk != NULL) {
            kt->handle = rd_kafka_topic_new(rk, kt->topic->name, NULL);
            continue;
        }
        kt->ready = false;
        kt->out = 0;
        kt->look_us = 0;
    }
    if (rk == NULL) {
        topics->out = 0;
    }
}

void kafka_topics_sent(KafkaTopics *topics, KafkaTopic *kt)
{
    kt->out++;
    topics->out++;
}

void kafka_topics_came_back(KafkaTopics *topics, KafkaTopic *kt, size_t records)
{
    kt->out -= records;
    topics->out -= records;
}

void kafka_topics_set_missing(KafkaTopics *topics, KafkaTopic *kt, const Error *err)
{
    topics->missing -= kt->missing;
    kt->missing = err != NULL;
    topics->missing += kt->missing;
    if (err == NULL) {
        return;
    }
    kt->ready = false;
    if (kt->error == NULL) {
        kt->error = x_calloc(1, sizeof(*kt->error));
    }
    error_copy(kt->error, err);
}

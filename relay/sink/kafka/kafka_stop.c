/* Stopping what the producer holds: nothing leaves a paused partition, neither what waits nor what
 * comes back for a retry. Purged, it is given back; held, it keeps its place and its sequence
 * numbers, so that the broker recognizes what it has already.
 *
 * What is on the wire while we purge may come back for a retry afterwards: purged again, until
 * librdkafka holds nothing any more. The next send lets everything go on. */
#include <stdlib.h>

#include "base/memory.h"
#include "sink/kafka/kafka_internal.h"

enum { PURGE_AGAIN_MS = 20 };

static void kafka_pause(KafkaSink *kafka, rd_kafka_topic_partition_list_t *partitions)
{
    if (kafka->rk == NULL || partitions->cnt == 0) {
        rd_kafka_topic_partition_list_destroy(partitions);
        return;
    }
    (void)rd_kafka_pause_partitions(kafka->rk, partitions);
    if (kafka->paused == NULL) {
        kafka->paused = partitions;
        return;
    }
    for (int i = 0; i < partitions->cnt; i++) {
        const rd_kafka_topic_partition_t *at = &partitions->elems[i];
        if (rd_kafka_topic_partition_list_find(kafka->paused, at->topic, at->partition) == NULL) {
            rd_kafka_topic_partition_list_add(kafka->paused, at->topic, at->partition);
        }
    }
    rd_kafka_topic_partition_list_destroy(partitions);
}

/* All partitions of topics with records that are out. */
static void kafka_pause_all(KafkaSink *kafka)
{
    rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(16);
    for (KafkaTopic *kt = kafka->topics; kt != NULL; kt = kt->next) {
        for (int32_t i = 0; kt->out > 0 && i < kt->partitions; i++) {
            rd_kafka_topic_partition_list_add(partitions, kt->topic->name, i);
        }
    }
    kafka_pause(kafka, partitions);
}

void kafka_serve_brake(KafkaSink *kafka)
{
    char topic[KAFKA_NAME_MAX + 1];
    int32_t partition = 0;
    while (brake_wanted(kafka->brake, topic, &partition)) {
        rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(one, topic, partition);
        kafka_pause(kafka, one);
        brake_paused(kafka->brake);
    }
}

typedef struct PurgeJob {
    KafkaSink *kafka;
    rd_kafka_t *rk;
} PurgeJob;

static void purge_run(void *arg)
{
    PurgeJob *job = arg;
    (void)rd_kafka_purge(job->rk, RD_KAFKA_PURGE_F_QUEUE); /* waits for the broker threads */
}

static void purge_done(void *arg)
{
    PurgeJob *job = arg;
    KafkaSink *kafka = job->kafka;
    free(job);
    kafka->fences--;
    if (kafka->fences == 0 && kafka->full && !kafka->shrink) {
        kafka_ready(kafka);
    }
}

/* Broker threads purge when they come to it. One that comes late would take what was sent after it,
 * and leave what follows: so nothing is sent before all of them are through, which a second purge
 * on the worker thread waits for. */
static void kafka_purge_now(KafkaSink *kafka)
{
    (void)rd_kafka_purge(kafka->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
    PurgeJob *job = x_malloc(sizeof(*job));
    *job = (PurgeJob){.kafka = kafka, .rk = kafka->rk};
    kafka->fences++;
    worker_submit(kafka->options.worker, purge_run, purge_done, job);
    struct timeval tv = {.tv_usec = PURGE_AGAIN_MS * 1000};
    event_add(kafka->again, &tv);
}

void kafka_on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    KafkaSink *kafka = arg;
    if (kafka->purging && kafka->rk != NULL && kafka->out > 0) {
        if (kafka->fences == 0) {
            kafka_purge_now(kafka);
        } else {
            event_add(kafka->again, &(struct timeval){.tv_usec = PURGE_AGAIN_MS * 1000});
        }
    }
}

void kafka_purge(Sink *sink)
{
    KafkaSink *kafka = (KafkaSink *)sink;
    if (kafka->rk == NULL) {
        return;
    }
    kafka->purging = true;
    if (kafka->out > 0) {
        kafka_pause_all(kafka);
        kafka_purge_now(kafka);
    }
}

static void kafka_go_on(KafkaSink *kafka)
{
    kafka->purging = false;
    event_del(kafka->again);
    brake_reset(kafka->brake);
    if (kafka->paused != NULL) {
        if (kafka->rk != NULL) {
            (void)rd_kafka_resume_partitions(kafka->rk, kafka->paused);
            /* Wakes the broker threads: one that last saw a partition paused sleeps on for up to a
             * second, whatever is produced to it. */
            (void)rd_kafka_flush(kafka->rk, 0);
        }
        rd_kafka_topic_partition_list_destroy(kafka->paused);
        kafka->paused = NULL;
    }
}

void kafka_before_send(KafkaSink *kafka)
{
    /* A partition that the brake paused stays so until the pipeline knows of the refusal: then it
     * has purged, or nothing else was out. */
    bool knows = kafka->purging || (kafka->paused != NULL && kafka->out == 0);
    if (knows) {
        kafka_go_on(kafka);
    }
}

void kafka_hold(Sink *sink, bool hold)
{
    KafkaSink *kafka = (KafkaSink *)sink;
    if (hold && kafka->rk != NULL) {
        kafka_pause_all(kafka);
    } else if (!hold && !kafka->purging) {
        kafka_go_on(kafka);
    }
}

void kafka_forget_paused(KafkaSink *kafka)
{
    kafka->purging = false;
    event_del(kafka->again);
    if (kafka->paused != NULL) {
        rd_kafka_topic_partition_list_destroy(kafka->paused);
        kafka->paused = NULL;
    }
}

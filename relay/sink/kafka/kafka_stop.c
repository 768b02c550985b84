/* What is on the wire while we purge may come back for a retry afterwards: purged again, until
 * librdkafka holds nothing any more. */
#include "sink/kafka/kafka_stop.h"

#include <stdlib.h>

#include "base/memory.h"

enum { PURGE_AGAIN_MS = 20 };

struct KafkaStop {
    KafkaStopNeeds needs;
    Worker *worker;
    struct event *again;                     /* next purge */
    rd_kafka_topic_partition_list_t *paused; /* partitions; NULL: none */
    bool purging;                            /* what comes back for a retry is taken back, too */
    size_t fences; /* purges that broker threads may still have before them */
};

static void stop_pause(KafkaStop *stop, rd_kafka_topic_partition_list_t *partitions)
{
    rd_kafka_t *rk = kafka_producer_handle(stop->needs.producer);
    if (rk == NULL || partitions->cnt == 0) {
        rd_kafka_topic_partition_list_destroy(partitions);
        return;
    }
    (void)rd_kafka_pause_partitions(rk, partitions);
    if (stop->paused == NULL) {
        stop->paused = partitions;
        return;
    }
    for (int i = 0; i < partitions->cnt; i++) {
        const rd_kafka_topic_partition_t *at = &partitions->elems[i];
        if (rd_kafka_topic_partition_list_find(stop->paused, at->topic, at->partition) == NULL) {
            rd_kafka_topic_partition_list_add(stop->paused, at->topic, at->partition);
        }
    }
    rd_kafka_topic_partition_list_destroy(partitions);
}

/* All partitions of topics with records that are out. */
static void stop_pause_all(KafkaStop *stop)
{
    rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(16);
    const KafkaTopic *kt = NULL;
    LIST_FOREACH(kt, &stop->needs.topics->all, link)
    {
        for (int32_t i = 0; kt->out > 0 && i < kt->partitions; i++) {
            rd_kafka_topic_partition_list_add(partitions, kt->topic->name, i);
        }
    }
    stop_pause(stop, partitions);
}

void kafka_stop_serve_brake(KafkaStop *stop)
{
    Brake *brake = kafka_producer_brake(stop->needs.producer);
    char topic[KAFKA_NAME_MAX + 1];
    int32_t partition = 0;
    while (brake_wanted(brake, topic, &partition)) {
        rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(one, topic, partition);
        stop_pause(stop, one);
        brake_paused(brake);
    }
}

typedef struct PurgeJob {
    KafkaStop *stop;
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
    KafkaStop *stop = job->stop;
    free(job);
    stop->fences--;
    if (stop->fences == 0) {
        stop->needs.through(stop->needs.arg);
    }
}

/* Broker threads purge when they come to it. One that comes late would take what was sent after it,
 * and leave what follows: so nothing is sent before all of them are through, which a second purge
 * on the worker thread waits for. */
static void stop_purge_now(KafkaStop *stop, rd_kafka_t *rk)
{
    (void)rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
    PurgeJob *job = x_malloc(sizeof(*job));
    *job = (PurgeJob){.stop = stop, .rk = rk};
    stop->fences++;
    worker_submit(stop->worker, purge_run, purge_done, job);
    struct timeval tv = {.tv_usec = PURGE_AGAIN_MS * 1000};
    event_add(stop->again, &tv);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    KafkaStop *stop = arg;
    rd_kafka_t *rk = kafka_producer_handle(stop->needs.producer);
    if (stop->purging && rk != NULL && stop->needs.topics->out > 0) {
        if (stop->fences == 0) {
            stop_purge_now(stop, rk);
        } else {
            event_add(stop->again, &(struct timeval){.tv_usec = PURGE_AGAIN_MS * 1000});
        }
    }
}

void kafka_stop_purge(KafkaStop *stop)
{
    rd_kafka_t *rk = kafka_producer_handle(stop->needs.producer);
    if (rk == NULL) {
        return;
    }
    stop->purging = true;
    if (stop->needs.topics->out > 0) {
        stop_pause_all(stop);
        stop_purge_now(stop, rk);
    }
}

static void stop_end(KafkaStop *stop)
{
    rd_kafka_t *rk = kafka_producer_handle(stop->needs.producer);
    stop->purging = false;
    event_del(stop->again);
    brake_reset(kafka_producer_brake(stop->needs.producer));
    if (stop->paused != NULL) {
        if (rk != NULL) {
            (void)rd_kafka_resume_partitions(rk, stop->paused);
            /* Wakes the broker threads: one that last saw a partition paused sleeps on for up to a
             * second, whatever is produced to it. */
            (void)rd_kafka_flush(rk, 0);
        }
        rd_kafka_topic_partition_list_destroy(stop->paused);
        stop->paused = NULL;
    }
}

bool kafka_stop_is_through(const KafkaStop *stop)
{
    return stop->fences == 0;
}

void kafka_stop_before_send(KafkaStop *stop)
{
    /* A partition that the brake paused stays so until the pipeline knows of the refusal: then it
     * has purged, or nothing else was out. */
    bool knows = stop->purging || (stop->paused != NULL && stop->needs.topics->out == 0);
    if (knows) {
        stop_end(stop);
    }
}

void kafka_stop_hold(KafkaStop *stop, bool hold)
{
    if (hold && kafka_producer_handle(stop->needs.producer) != NULL) {
        stop_pause_all(stop);
    } else if (!hold && !stop->purging) {
        stop_end(stop);
    }
}

void kafka_stop_forget(KafkaStop *stop)
{
    stop->purging = false;
    event_del(stop->again);
    if (stop->paused != NULL) {
        rd_kafka_topic_partition_list_destroy(stop->paused);
        stop->paused = NULL;
    }
}

int kafka_stop_paused(const KafkaStop *stop)
{
    return stop->paused != NULL ? stop->paused->cnt : 0;
}

KafkaStop *kafka_stop_new(const SinkOptions *options, const KafkaStopNeeds *needs)
{
    KafkaStop *stop = x_calloc(1, sizeof(*stop));
    stop->needs = *needs;
    stop->worker = options->worker;
    stop->again = event_new(options->base, -1, 0, on_again, stop);
    return stop;
}

void kafka_stop_free(KafkaStop **stop)
{
    if (*stop != NULL) {
        kafka_stop_forget(*stop);
        event_free((*stop)->again);
        free(*stop);
        *stop = NULL;
    }
}

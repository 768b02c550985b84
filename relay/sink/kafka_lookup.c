/* Looking topics up before anything is produced to them, and what that says of the cluster's
 * health. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "sink/kafka_error.h"
#include "sink/kafka_internal.h"

enum {
    LOOKUP_RETRY_MS = 500, /* while a topic is missing or no broker answers */
    LOOKUPS_MAX = 64,      /* topics in one look-up */
};

void kafka_ready(KafkaSink *kafka)
{
    kafka->full = false;
    kafka->wanted = false;
    kafka->sink.events.ready(kafka->sink.events.arg);
}

void kafka_trouble(KafkaSink *kafka, const Error *err)
{
    /* A broker that refuses one topic has answered. */
    bool answered =
        strncmp(err->code, "KAFKA_TOPIC_", 12) == 0 || strcmp(err->code, "KAFKA_DENIED") == 0;
    kafka->troubled = true;
    *kafka->options.stats->kafka_connected = answered ? 1 : 0;
    kafka->sink.events.trouble(kafka->sink.events.arg, err);
}

void kafka_healed(KafkaSink *kafka)
{
    *kafka->options.stats->kafka_connected = 1;
    if (kafka->troubled) {
        kafka->troubled = false;
        kafka->sink.events.healed(kafka->sink.events.arg);
    }
}

typedef struct LookupJob {
    KafkaSink *kafka;
    rd_kafka_t *rk;
    TopicLookup lookups[LOOKUPS_MAX];
    size_t count;
    int brokers;
    rd_kafka_resp_err_t error;
    int64_t asked_us;
} LookupJob;

static void lookup_run(void *arg)
{
    LookupJob *job = arg;
    job->error = topic_lookup(job->rk, job->lookups, job->count, &job->brokers);
}

void kafka_retry_later(KafkaSink *kafka)
{
    struct timeval tv = {.tv_usec = LOOKUP_RETRY_MS * 1000};
    event_add(kafka->retry, &tv);
}

static KafkaTopic *kafka_find(KafkaSink *kafka, const char *name)
{
    for (KafkaTopic *kt = kafka->topics; kt != NULL; kt = kt->next) {
        if (strcmp(kt->topic->name, name) == 0) {
            return kt;
        }
    }
    return NULL;
}

static void kafka_topic_found(KafkaSink *kafka, KafkaTopic *kt, const TopicLookup *lookup,
                              int64_t asked_us)
{
    kt->ready = true;
    kt->due = false;
    kt->partitions = lookup->partitions;
    kt->looked_us = asked_us;
    if (lookup->limits.known || !kt->limits.known) { /* one that failed changes nothing */
        kt->limits = lookup->limits;
        kafka_limits_stale(kafka, kt);
        kafka_limits_changed(kafka, kt);
    }
}

static void lookup_apply(KafkaSink *kafka, LookupJob *job)
{
    Error err = {0};
    bool all = job->error == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!all) {
        kafka_topic_error(job->error, job->count > 0 ? job->lookups[0].name : "", &err);
        error_set(&err, ERROR_RETRY, EXIT_KAFKA, err.code, "no Kafka broker of '%s' answers: %s",
                  kafka->options.config->kafka.brokers, rd_kafka_err2str(job->error));
        error_hint(&err, "Check kafka.brokers and that the brokers are up.");
    } else {
        kafka->brokers = job->brokers;
    }
    for (size_t i = 0; i < job->count && job->error == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        KafkaTopic *kt = kafka_find(kafka, job->lookups[i].name);
        if (job->lookups[i].error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            kafka_topic_found(kafka, kt, &job->lookups[i], job->asked_us);
        } else if (kt->ready && kt->due) {
            kt->due = false; /* a send will tell whether it is still there */
        } else if (all) {
            all = false;
            kafka_topic_error(job->lookups[i].error, job->lookups[i].name, &err);
        }
    }
    if (!all) {
        kafka_trouble(kafka, &err);
        kafka_retry_later(kafka);
        return;
    }
    kafka_healed(kafka);
    kafka_reopen_when_empty(kafka);
    kafka_ready(kafka);
}

static void lookup_done(void *arg)
{
    LookupJob *job = arg;
    KafkaSink *kafka = job->kafka;
    kafka->looking = false;
    if (job->rk == kafka->rk) {
        lookup_apply(kafka, job);
    } else if (kafka->rk != NULL) {
        kafka_retry_later(kafka); /* asked through a producer that is gone */
    }
    for (const KafkaTopic *kt = kafka->topics; kt != NULL; kt = kt->next) {
        if (kt->ready && kt->due && !event_pending(kafka->retry, EV_TIMEOUT, NULL)) {
            kafka_look_up(kafka);
        }
    }
    for (size_t i = 0; i < job->count; i++) {
        free(job->lookups[i].name);
    }
    free(job);
}

void kafka_look_up(KafkaSink *kafka)
{
    if (kafka->looking || kafka->rk == NULL) {
        return;
    }
    LookupJob *job = x_calloc(1, sizeof(*job));
    job->kafka = kafka;
    job->rk = kafka->rk;
    job->asked_us = clock_monotonic_us();
    for (KafkaTopic *kt = kafka->topics; kt != NULL && job->count < LOOKUPS_MAX; kt = kt->next) {
        if (!kt->ready || kt->due) {
            job->lookups[job->count++].name = x_strdup(kt->topic->name);
        }
    }
    kafka->looking = true;
    event_del(kafka->retry);
    worker_submit(kafka->options.worker, lookup_run, lookup_done, job);
}

void kafka_look_soon(KafkaSink *kafka, KafkaTopic *kt)
{
    kt->due = true;
    if (!event_pending(kafka->retry, EV_TIMEOUT, NULL)) {
        kafka_look_up(kafka);
    }
}

void kafka_on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    KafkaSink *kafka = arg;
    kafka_look_up(kafka);
}

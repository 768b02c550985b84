/* Looking topics up before anything is produced to them, and what that says of the cluster's
 * health. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "sink/kafka/kafka_error.h"
#include "sink/kafka/kafka_internal.h"

enum {
    LOOKUP_RETRY_MS = 500,    /* while no broker answers; the first wait for a missing topic */
    LOOKUP_WAITING_MS = 5000, /* the longest while events wait for it, or behind a record of it */
    LOOKUP_AGAIN_MS = 60000,  /* topics that are there, and missing ones that no event needs */
    LOOKUP_DENIED_MS =
        60000,             /* the longest for one that the look-up shows and a record may not use */
    LOOKUP_SPREAD_MS = 50, /* for each missing topic: many of them are looked up more rarely */
    LOOKUP_ODD_MAX = 3,    /* other errors of a topic may pass; then it counts as missing */
    LOOKUPS_MAX = 64,      /* topics in one look-up */
};

void kafka_ready(KafkaSink *kafka)
{
    kafka->full = false;
    kafka->sink.events.ready(kafka->sink.events.arg);
}

void kafka_note_answer(KafkaSink *kafka, bool answers)
{
    kafka->answers = answers;
    *kafka->options.stats->broker->kafka_connected = answers ? 1 : 0;
}

void kafka_trouble(KafkaSink *kafka, const Error *err)
{
    /* A broker that refuses one topic has answered. */
    bool answered = err->code == CODE_KAFKA_TOPIC_UNKNOWN || err->code == CODE_KAFKA_TOPIC_DENIED ||
                    err->code == CODE_KAFKA_DENIED;
    kafka->troubled = true;
    kafka_note_answer(kafka, answered);
    kafka->sink.events.trouble(kafka->sink.events.arg, err);
}

void kafka_healed(KafkaSink *kafka)
{
    kafka_note_answer(kafka, true);
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
    int64_t asked_us;
    int brokers;
    char *cluster; /* NULL: not known */
    rd_kafka_resp_err_t error;
} LookupJob;

static void lookup_run(void *arg)
{
    LookupJob *job = arg;
    job->error = topic_lookup(job->rk, job->lookups, job->count, &job->brokers);
    if (job->error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        char *id = rd_kafka_clusterid(job->rk, 0); /* of the answer: nothing is asked */
        job->cluster = id != NULL ? x_strdup(id) : NULL;
        rd_kafka_mem_free(job->rk, id);
    }
}

static void lookup_arm(KafkaSink *kafka, int64_t at_us)
{
    int64_t rest_us = at_us - clock_monotonic_us();
    rest_us = rest_us > 0 ? rest_us : 0;
    event_add(kafka->look,
              &(struct timeval){.tv_sec = rest_us / 1000000, .tv_usec = rest_us % 1000000});
}

void kafka_retry_later(KafkaSink *kafka)
{
    kafka->retry_us = clock_monotonic_us() + LOOKUP_RETRY_MS * 1000;
    lookup_arm(kafka, kafka->retry_us);
}

/* The timer for what is due next. */
static void lookup_schedule(KafkaSink *kafka)
{
    int64_t next_us = INT64_MAX;
    for (const KafkaTopic *kt = kafka->topics; kt != NULL; kt = kt->next) {
        next_us = kt->look_us < next_us ? kt->look_us : next_us;
    }
    if (next_us < kafka->retry_us) {
        next_us = kafka->retry_us;
    }
    if (next_us < INT64_MAX) {
        lookup_arm(kafka, next_us);
    }
}

void kafka_look_soon(KafkaSink *kafka, KafkaTopic *kt)
{
    kt->look_us = 0;
    if (!kafka->looking) {
        lookup_schedule(kafka);
    }
}

void kafka_look_later(KafkaSink *kafka, KafkaTopic *kt)
{
    int64_t at_us = clock_monotonic_us() + LOOKUP_WAITING_MS * INT64_C(1000);
    if (kt->look_us > at_us) {
        kt->look_us = at_us;
        if (!kafka->looking) {
            lookup_schedule(kafka);
        }
    }
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

/* Keys move to other partitions, and consumers that rely on the order of a key should know. */
static void kafka_note_partitions(KafkaSink *kafka, KafkaTopic *kt, int partitions)
{
    if (kt->partitions != 0 && kt->partitions != partitions) {
        log_write(LOG_WARN, kafka->options.pipeline->name, CODE_PARTITIONS_CHANGED,
                  LOG_FIELDS(log_text("topic", kt->topic->name), log_number("was", kt->partitions),
                             log_number("is", partitions)),
                  "the number of partitions of the topic changed: keys move, so the order of a key "
                  "is not kept across the change");
    }
    kt->partitions = partitions;
    topic_set_partitions(kt->topic, partitions);
}

/* What was refused may be taken now. */
static bool limits_are_laxer(const TopicLimits *now, const TopicLimits *before)
{
    bool larger =
        before->max_message_bytes > 0 &&
        (now->max_message_bytes < 0 || now->max_message_bytes > before->max_message_bytes);
    return larger || (before->compacted && !now->compacted);
}

static void kafka_topic_found(KafkaSink *kafka, KafkaTopic *kt, const TopicLookup *lookup,
                              int64_t now_us)
{
    bool was_missing = kt->missing;
    kt->found_us = kt->ready ? kt->found_us : now_us;
    kt->ready = true;
    bool waits = kt->topic->hold != NULL;
    kt->look_us = now_us + (waits ? LOOKUP_WAITING_MS : LOOKUP_AGAIN_MS) * INT64_C(1000);
    kt->odd = 0;
    kafka->missing -= was_missing;
    kt->missing = false;
    kafka_note_partitions(kafka, kt, lookup->partitions);
    bool laxer = false;
    if (lookup->limits.known || !kt->limits.known) { /* one that failed changes nothing */
        laxer = waits && limits_are_laxer(&lookup->limits, &kt->limits);
        kt->limits = lookup->limits;
        kafka_limits_stale(kafka, kt);
        kafka_limits_changed(kafka, kt);
    }
    if (was_missing || laxer) {
        kafka->sink.events.found(kafka->sink.events.arg, kt->topic);
    }
}

/* Looked up again ever more rarely: soon while events wait for it, and never so often that many of
 * them keep the brokers busy. */
static void kafka_topic_missing(KafkaSink *kafka, KafkaTopic *kt, const Error *err, int64_t now_us,
                                int64_t most_ms)
{
    if (kt->error == NULL) {
        kt->error = x_calloc(1, sizeof(*kt->error));
    }
    error_copy(kt->error, err);
    kafka->missing += !kt->missing;
    kt->missing = true;
    kt->ready = false;
    int64_t least_ms = (int64_t)kafka->missing * LOOKUP_SPREAD_MS;
    kt->wait_ms = kt->wait_ms > 0 ? kt->wait_ms * 2 : LOOKUP_RETRY_MS;
    kt->wait_ms = kt->wait_ms > most_ms ? most_ms : kt->wait_ms;
    kt->wait_ms = kt->wait_ms < least_ms ? least_ms : kt->wait_ms;
    kt->look_us = now_us + kt->wait_ms * 1000;
    kafka->sink.events.missing(kafka->sink.events.arg, kt->topic,
                               err->code == CODE_KAFKA_TOPIC_DENIED ? TOPIC_DENIED : TOPIC_ABSENT,
                               err);
}

void kafka_topic_denied(KafkaSink *kafka, KafkaTopic *kt, const Error *err)
{
    int64_t now_us = clock_monotonic_us();
    bool again = now_us - kt->found_us < LOOKUP_AGAIN_MS * INT64_C(1000);
    kt->wait_ms = again ? kt->wait_ms : 0;
    kafka_topic_missing(kafka, kt, err, now_us, LOOKUP_DENIED_MS);
    if (!kafka->looking) {
        lookup_schedule(kafka);
    }
}

/* True when the answer is one that may pass by itself: then *ret_odd says which. */
static bool lookup_take(KafkaSink *kafka, const TopicLookup *lookup, int64_t asked_us,
                        Error *ret_odd)
{
    int64_t now_us = clock_monotonic_us();
    KafkaTopic *kt = kafka_find(kafka, lookup->name);
    if (kt == NULL) {
        return false; /* forgotten meanwhile */
    }
    if (lookup->error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        kt->looked_us = asked_us;
        if (!kt->missing || now_us >= kt->look_us) { /* else it was denied while we looked */
            kafka_topic_found(kafka, kt, lookup, now_us);
        }
        return false;
    }
    AUTO_ERROR err = {0};
    kafka_topic_error(lookup->error, lookup->name, &err);
    bool says_no = lookup->error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                   lookup->error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    if (says_no || ++kt->odd > LOOKUP_ODD_MAX) {
        kt->wait_ms = kt->missing ? kt->wait_ms : 0;
        int64_t most_ms = kt->topic->hold != NULL ? LOOKUP_WAITING_MS : LOOKUP_AGAIN_MS;
        kafka_topic_missing(kafka, kt, &err, now_us, most_ms);
        return false;
    }
    kt->ready = false;
    kt->look_us = now_us + LOOKUP_RETRY_MS * 1000;
    error_copy(ret_odd, &err);
    return true;
}

/* Said when the first broker answers, and when another cluster does. */
static void kafka_note_cluster(KafkaSink *kafka, const LookupJob *job)
{
    const char *id = job->cluster != NULL ? job->cluster : "unknown";
    if (strcmp(kafka->cluster, id) == 0 || (job->cluster == NULL && kafka->cluster[0] != '\0')) {
        return;
    }
    snprintf(kafka->cluster, sizeof(kafka->cluster), "%s", id);
    log_write(LOG_INFO, kafka->options.pipeline->name, CODE_KAFKA_CONNECTED,
              LOG_FIELDS(log_text("cluster", kafka->cluster),
                         log_text("bootstrap", kafka->options.config->kafka.brokers),
                         log_number("brokers", job->brokers)),
              "a Kafka broker answers");
}

static void lookup_apply(KafkaSink *kafka, LookupJob *job)
{
    AUTO_ERROR err = {0};
    if (job->error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_unreachable(kafka, job->error, &err);
        kafka_trouble(kafka, &err);
        kafka_retry_later(kafka);
        return;
    }
    kafka->retry_us = 0;
    kafka->brokers = job->brokers;
    kafka->reason[0] = '\0';
    kafka_note_cluster(kafka, job);
    kafka_note_answer(kafka, true);
    bool odd = false;
    for (size_t i = 0; i < job->count; i++) {
        odd |= lookup_take(kafka, &job->lookups[i], job->asked_us, &err);
    }
    lookup_schedule(kafka);
    if (odd) {
        kafka_trouble(kafka, &err);
    } else {
        kafka_healed(kafka);
    }
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
    for (size_t i = 0; i < job->count; i++) {
        free(job->lookups[i].name);
    }
    free(job->cluster);
    free(job);
}

/* New topics alone, so that what waits for them does not wait for others, too. */
static void lookup_pick(const KafkaSink *kafka, bool fresh, LookupJob *job)
{
    int64_t now_us = clock_monotonic_us();
    for (KafkaTopic *kt = kafka->topics; kt != NULL && job->count < LOOKUPS_MAX; kt = kt->next) {
        bool is_fresh = !kt->ready && !kt->missing;
        if (is_fresh == fresh && now_us >= kt->look_us) {
            job->lookups[job->count++].name = x_strdup(kt->topic->name);
        }
    }
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
    lookup_pick(kafka, true, job);
    if (job->count == 0) {
        lookup_pick(kafka, false, job);
    }
    kafka->looking = true;
    event_del(kafka->look);
    worker_submit(kafka->options.worker, lookup_run, lookup_done, job);
}

void kafka_on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    KafkaSink *kafka = arg;
    kafka_look_up(kafka);
}

#include "sink/kafka/kafka_lookup.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "sink/kafka/kafka_error.h"
#include "sink/kafka/kafka_limits.h"

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

struct KafkaLookup {
    KafkaLookupNeeds needs;
    Worker *worker;
    struct event *timer; /* the next look-up */
    bool looking;        /* a job is under way */
    int64_t retry_us;    /* monotonic: no broker answers, ask again then; 0: one does */
};

typedef struct LookupJob {
    KafkaLookup *lookup;
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

static void lookup_arm(KafkaLookup *lookup, int64_t at_us)
{
    int64_t rest_us = at_us - clock_monotonic_us();
    rest_us = rest_us > 0 ? rest_us : 0;
    event_add(lookup->timer,
              &(struct timeval){.tv_sec = rest_us / 1000000, .tv_usec = rest_us % 1000000});
}

void kafka_lookup_retry(KafkaLookup *lookup)
{
    lookup->retry_us = clock_monotonic_us() + LOOKUP_RETRY_MS * 1000;
    lookup_arm(lookup, lookup->retry_us);
}

/* The timer for what is due next. */
static void lookup_schedule(KafkaLookup *lookup)
{
    int64_t next_us = INT64_MAX;
    const KafkaTopic *kt = NULL;
    LIST_FOREACH(kt, &lookup->needs.topics->all, link)
    {
        next_us = kt->look_us < next_us ? kt->look_us : next_us;
    }
    if (next_us < lookup->retry_us) {
        next_us = lookup->retry_us;
    }
    if (next_us < INT64_MAX) {
        lookup_arm(lookup, next_us);
    }
}

void kafka_lookup_soon(KafkaLookup *lookup, KafkaTopic *kt)
{
    kt->look_us = 0;
    if (!lookup->looking) {
        lookup_schedule(lookup);
    }
}

void kafka_lookup_later(KafkaLookup *lookup, KafkaTopic *kt)
{
    int64_t at_us = clock_monotonic_us() + LOOKUP_WAITING_MS * INT64_C(1000);
    if (kt->look_us > at_us) {
        kt->look_us = at_us;
        if (!lookup->looking) {
            lookup_schedule(lookup);
        }
    }
}

/* Keys move to other partitions, and consumers that rely on the order of a key should know. */
static void note_partitions(const KafkaTopics *topics, KafkaTopic *kt, int partitions)
{
    if (kt->partitions != 0 && kt->partitions != partitions) {
        log_write(LOG_WARN, topics->pipeline, CODE_PARTITIONS_CHANGED,
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

static void lookup_found(KafkaLookup *lookup, KafkaTopic *kt, const TopicLookup *found,
                         int64_t now_us)
{
    KafkaTopics *topics = lookup->needs.topics;
    bool was_missing = kt->missing;
    kt->found_us = kt->ready ? kt->found_us : now_us;
    kt->ready = true;
    bool waits = kt->topic->hold != NULL;
    kt->look_us = now_us + (waits ? LOOKUP_WAITING_MS : LOOKUP_AGAIN_MS) * INT64_C(1000);
    kt->odd = 0;
    kafka_topics_set_missing(topics, kt, NULL);
    note_partitions(topics, kt, found->partitions);
    bool laxer = false;
    if (found->limits.known || !kt->limits.known) { /* one that failed changes nothing */
        laxer = waits && limits_are_laxer(&found->limits, &kt->limits);
        kt->limits = found->limits;
        kafka_limits_stale(topics, kt);
        kafka_limits_changed(topics, kt);
    }
    if (was_missing || laxer) {
        lookup->needs.events->found(lookup->needs.events->arg, kt->topic);
    }
}

/* Looked up again ever more rarely: soon while events wait for it, and never so often that many of
 * them keep the brokers busy. */
static void lookup_missing(KafkaLookup *lookup, KafkaTopic *kt, const Error *err, int64_t now_us,
                           int64_t most_ms)
{
    KafkaTopics *topics = lookup->needs.topics;
    kafka_topics_set_missing(topics, kt, err);
    int64_t least_ms = (int64_t)topics->missing * LOOKUP_SPREAD_MS;
    kt->wait_ms = kt->wait_ms > 0 ? kt->wait_ms * 2 : LOOKUP_RETRY_MS;
    kt->wait_ms = kt->wait_ms > most_ms ? most_ms : kt->wait_ms;
    kt->wait_ms = kt->wait_ms < least_ms ? least_ms : kt->wait_ms;
    kt->look_us = now_us + kt->wait_ms * 1000;
    lookup->needs.events->missing(
        lookup->needs.events->arg, kt->topic,
        err->code == CODE_KAFKA_TOPIC_DENIED ? TOPIC_DENIED : TOPIC_ABSENT, err);
}

void kafka_lookup_denied(KafkaLookup *lookup, KafkaTopic *kt, const Error *err)
{
    int64_t now_us = clock_monotonic_us();
    bool again = now_us - kt->found_us < LOOKUP_AGAIN_MS * INT64_C(1000);
    kt->wait_ms = again ? kt->wait_ms : 0;
    lookup_missing(lookup, kt, err, now_us, LOOKUP_DENIED_MS);
    if (!lookup->looking) {
        lookup_schedule(lookup);
    }
}

/* True when the answer is one that may pass by itself: then *ret_odd says which. */
static bool lookup_take(KafkaLookup *lookup, const TopicLookup *found, int64_t asked_us,
                        Error *ret_odd)
{
    int64_t now_us = clock_monotonic_us();
    KafkaTopic *kt = kafka_topics_find(lookup->needs.topics, found->name);
    if (kt == NULL) {
        return false; /* forgotten meanwhile */
    }
    if (found->error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        kt->looked_us = asked_us;
        if (!kt->missing || now_us >= kt->look_us) { /* else it was denied while we looked */
            lookup_found(lookup, kt, found, now_us);
        }
        return false;
    }
    AUTO_ERROR err = {0};
    kafka_topic_error(found->error, found->name, &err);
    bool says_no = found->error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                   found->error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    if (says_no || ++kt->odd > LOOKUP_ODD_MAX) {
        kt->wait_ms = kt->missing ? kt->wait_ms : 0;
        int64_t most_ms = kt->topic->hold != NULL ? LOOKUP_WAITING_MS : LOOKUP_AGAIN_MS;
        lookup_missing(lookup, kt, &err, now_us, most_ms);
        return false;
    }
    kt->ready = false;
    kt->look_us = now_us + LOOKUP_RETRY_MS * 1000;
    error_copy(ret_odd, &err);
    return true;
}

static void lookup_apply(KafkaLookup *lookup, LookupJob *job)
{
    AUTO_ERROR err = {0};
    KafkaHealth *health = lookup->needs.health;
    if (job->error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_health_unreachable(health, job->error, &err);
        kafka_health_trouble(health, &err);
        kafka_lookup_retry(lookup);
        return;
    }
    lookup->retry_us = 0;
    kafka_health_note_cluster(health, job->cluster, job->brokers);
    bool odd = false;
    for (size_t i = 0; i < job->count; i++) {
        odd |= lookup_take(lookup, &job->lookups[i], job->asked_us, &err);
    }
    lookup_schedule(lookup);
    if (odd) {
        kafka_health_trouble(health, &err);
    } else {
        kafka_health_healed(health);
    }
    lookup->needs.answered(lookup->needs.arg);
}

static void lookup_done(void *arg)
{
    LookupJob *job = arg;
    KafkaLookup *lookup = job->lookup;
    rd_kafka_t *now = kafka_producer_handle(lookup->needs.producer);
    lookup->looking = false;
    if (job->rk == now) {
        lookup_apply(lookup, job);
    } else if (now != NULL) {
        kafka_lookup_retry(lookup); /* asked through a producer that is gone */
    }
    for (size_t i = 0; i < job->count; i++) {
        free(job->lookups[i].name);
    }
    free(job->cluster);
    free(job);
}

/* New topics alone, so that what waits for them does not wait for others, too. */
static void lookup_pick(const KafkaTopics *topics, bool fresh, LookupJob *job)
{
    int64_t now_us = clock_monotonic_us();
    const KafkaTopic *kt = NULL;
    LIST_FOREACH(kt, &topics->all, link)
    {
        bool is_fresh = !kt->ready && !kt->missing;
        if (is_fresh == fresh && now_us >= kt->look_us && job->count < LOOKUPS_MAX) {
            job->lookups[job->count++].name = x_strdup(kt->topic->name);
        }
    }
}

void kafka_lookup_go(KafkaLookup *lookup)
{
    rd_kafka_t *rk = kafka_producer_handle(lookup->needs.producer);
    if (lookup->looking || rk == NULL) {
        return;
    }
    LookupJob *job = x_calloc(1, sizeof(*job));
    job->lookup = lookup;
    job->rk = rk;
    job->asked_us = clock_monotonic_us();
    lookup_pick(lookup->needs.topics, true, job);
    if (job->count == 0) {
        lookup_pick(lookup->needs.topics, false, job);
    }
    lookup->looking = true;
    event_del(lookup->timer);
    worker_submit(lookup->worker, lookup_run, lookup_done, job);
}

bool kafka_lookup_is_busy(const KafkaLookup *lookup)
{
    return lookup->looking;
}

void kafka_lookup_go_if_due(KafkaLookup *lookup, const KafkaTopic *kt)
{
    int64_t now_us = clock_monotonic_us();
    if (now_us >= lookup->retry_us && now_us >= kt->look_us) {
        kafka_lookup_go(lookup);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    kafka_lookup_go(arg);
}

KafkaLookup *kafka_lookup_new(const SinkOptions *options, const KafkaLookupNeeds *needs)
{
    KafkaLookup *lookup = x_calloc(1, sizeof(*lookup));
    lookup->needs = *needs;
    lookup->worker = options->worker;
    lookup->timer = event_new(options->base, -1, 0, on_timer, lookup);
    return lookup;
}

void kafka_lookup_free(KafkaLookup **lookup)
{
    if (*lookup != NULL) {
        event_free((*lookup)->timer);
        free(*lookup);
        *lookup = NULL;
    }
}

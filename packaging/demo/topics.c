/* topics.c - waits for a broker, then makes the topics that the demonstration needs.
 *
 *   outboxd-demo-topics --brokers LIST [--partitions N] [--wait SECONDS] --topic NAME...
 *
 * For Apache Kafka only (the embedded broker makes its topics itself, and knows no CreateTopics).
 * Exit code 0 when every topic exists and has a leader for each partition, 3 when not. */
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "life.h"

enum {
    TOPICS_MAX = 64,
    PARTITIONS_DEFAULT = 6,
    PARTITIONS_MAX = 1000,
    WAIT_S_DEFAULT = 60,
    ASK_TIMEOUT_MS = 1000,
    ASK_AGAIN_US = 20000,
};

typedef struct Options {
    const char *brokers;
    int partitions;
    int wait_s;
    int topics;
    const char *topic[TOPICS_MAX];
} Options;

static const char USAGE[] = "usage: outboxd-demo-topics --brokers LIST [--partitions N] "
                            "[--wait SECONDS] --topic NAME...\n";

static Options options_parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"brokers", required_argument, NULL, 'b'}, {"partitions", required_argument, NULL, 'p'},
        {"wait", required_argument, NULL, 'w'},    {"topic", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    Options options = {.partitions = PARTITIONS_DEFAULT, .wait_s = WAIT_S_DEFAULT};
    int c;

    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (c) {
        case 'b':
            options.brokers = optarg;
            break;
        case 'p':
            options.partitions = life_parse_int("--partitions", optarg, 1, PARTITIONS_MAX);
            break;
        case 'w':
            options.wait_s = life_parse_int("--wait", optarg, 1, 3600);
            break;
        case 't':
            if (options.topics == TOPICS_MAX) {
                life_fail(1, "at most %d topics", TOPICS_MAX);
            }
            options.topic[options.topics++] = optarg;
            break;
        case 'h':
            fputs(USAGE, stdout);
            exit(0);
        default:
            fputs(USAGE, stderr);
            exit(1);
        }
    }
    if (optind != argc || options.brokers == NULL || options.topics == 0) {
        fputs(USAGE, stderr);
        exit(1);
    }
    return options;
}

static rd_kafka_t *client_open(const Options *options)
{
    /* The broker is often still starting: try again soon, and keep quiet about it. */
    static const char *const setting[][2] = {{"reconnect.backoff.ms", "20"},
                                             {"reconnect.backoff.max.ms", "200"},
                                             {"log_level", "2"},
                                             {"client.id", "outboxd-demo-topics"}};
    char reason[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    for (size_t i = 0; i < sizeof setting / sizeof setting[0]; i++) {
        if (rd_kafka_conf_set(conf, setting[i][0], setting[i][1], reason, sizeof reason) !=
            RD_KAFKA_CONF_OK) {
            life_fail(70, "%s", reason);
        }
    }
    if (rd_kafka_conf_set(conf, "bootstrap.servers", options->brokers, reason, sizeof reason) !=
        RD_KAFKA_CONF_OK) {
        life_fail(1, "%s", reason);
    }
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    if (rk == NULL) {
        life_fail(70, "%s", reason);
    }
    return rk;
}

/* Asks for all topics until a broker answers or the deadline passes. */
static void broker_wait(rd_kafka_t *rk, const Options *options, int64_t deadline_us)
{
    for (;;) {
        const struct rd_kafka_metadata *metadata = NULL;
        rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 1, NULL, &metadata, ASK_TIMEOUT_MS);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            bool answered = metadata->broker_cnt > 0;
            rd_kafka_metadata_destroy(metadata);
            if (answered) {
                return;
            }
        }
        if (life_monotonic_us() > deadline_us) {
            life_fail(3, "no answer from %s within %d s: %s", options->brokers, options->wait_s,
                      rd_kafka_err2str(error));
        }
        usleep(ASK_AGAIN_US);
    }
}

static void topic_create(rd_kafka_t *rk, const char *name, int partitions)
{
    char reason[512];
    rd_kafka_queue_t *answers = rd_kafka_queue_new(rk);
    rd_kafka_NewTopic_t *request =
        rd_kafka_NewTopic_new(name, partitions, 1, reason, sizeof reason);

    if (request == NULL) {
        life_fail(1, "topic '%s': %s", name, reason);
    }
    rd_kafka_CreateTopics(rk, &request, 1, NULL, answers);
    rd_kafka_event_t *event = rd_kafka_queue_poll(answers, 30000);
    if (event == NULL) {
        life_fail(3, "topic '%s': no answer within 30 s", name);
    }
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        life_fail(3, "topic '%s': %s", name, rd_kafka_event_error_string(event));
    }
    size_t count = 0;
    const rd_kafka_topic_result_t **result =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    rd_kafka_resp_err_t error =
        count == 1 ? rd_kafka_topic_result_error(result[0]) : RD_KAFKA_RESP_ERR__FAIL;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR && error != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        life_fail(3, "topic '%s': %s", name, rd_kafka_err2str(error));
    }
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(request);
    rd_kafka_queue_destroy(answers);
}

static bool topic_has_leaders(rd_kafka_t *rk, rd_kafka_topic_t *topic)
{
    const struct rd_kafka_metadata *metadata = NULL;
    bool ready = false;

    if (rd_kafka_metadata(rk, 0, topic, &metadata, ASK_TIMEOUT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return false;
    }
    if (metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        ready = metadata->topics[0].partition_cnt > 0;
        for (int i = 0; i < metadata->topics[0].partition_cnt; i++) {
            if (metadata->topics[0].partitions[i].leader < 0) {
                ready = false;
            }
        }
    }
    rd_kafka_metadata_destroy(metadata);
    return ready;
}

static void topic_wait(rd_kafka_t *rk, const char *name, int64_t deadline_us)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);

    if (topic == NULL) {
        life_fail(1, "topic '%s': %s", name, rd_kafka_err2str(rd_kafka_last_error()));
    }
    while (!topic_has_leaders(rk, topic)) {
        if (life_monotonic_us() > deadline_us) {
            life_fail(3, "topic '%s' was created but has no leader yet", name);
        }
        usleep(ASK_AGAIN_US);
    }
    rd_kafka_topic_destroy(topic);
}

int main(int argc, char **argv)
{
    Options options = options_parse(argc, argv);

    life_tie_to_parent();
    int64_t deadline_us = life_monotonic_us() + (int64_t)options.wait_s * 1000000;
    rd_kafka_t *rk = client_open(&options);
    broker_wait(rk, &options, deadline_us);
    for (int i = 0; i < options.topics; i++) {
        topic_create(rk, options.topic[i], options.partitions);
    }
    for (int i = 0; i < options.topics; i++) {
        topic_wait(rk, options.topic[i], deadline_us);
    }
    rd_kafka_destroy(rk);
    return 0;
}

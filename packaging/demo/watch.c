/* watch.c - an independent consumer: shows events as they arrive and keeps the evidence.
 *
 *   outboxd-demo-watch --brokers LIST --topic NAME... [--ids FILE] [--report FILE]
 *                      [--shown-per-minute N] [--fetch-wait-ms N]
 *
 * Reads every partition of the topics from the beginning, without a consumer group. The id of each
 * record goes to the ids file, one a line, in order of arrival: comparing that file with the ids
 * that were committed in PostgreSQL gives lost events and duplicates. SIGUSR1 means "no more will
 * be produced": it reads to the end of each partition, writes the report and ends. SIGTERM and
 * SIGINT end it at once. Exit code 0, or 3 when the end of a partition could not be reached. */
#include <errno.h>
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lag.h"
#include "life.h"
#include "seen.h"
#include "view.h"

enum {
    TOPICS_MAX = 64,
    PARTITIONS_MAX = 1024, /* of all topics together */
    POLL_MS = 20,
    ASK_TIMEOUT_MS = 5000,
    FINISH_LIMIT_US = 20000000, /* to reach the end of the partitions */
};

typedef struct Options {
    const char *brokers;
    const char *ids_path;
    const char *report_path;
    const char *fetch_wait_ms;
    int shown_per_minute;
    int topics;
    const char *topic[TOPICS_MAX];
} Options;

typedef struct Partition {
    rd_kafka_topic_t *topic;
    int32_t id;
    int64_t next; /* offset of the record to come */
    int64_t end;  /* high watermark; set while finishing */
} Partition;

typedef struct Watch {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int topics;
    rd_kafka_topic_t *topic[TOPICS_MAX];
    int partitions;
    Partition partition[PARTITIONS_MAX];
    FILE *ids;
    Lag lag;
    View view;
    uint64_t received;
    uint64_t unidentified; /* records without ce_id */
    uint64_t skipped;      /* offsets that were never delivered: the broker deleted them */
    char last_error[256];
} Watch;

static volatile sig_atomic_t finish_asked, stop_asked;

static const char USAGE[] =
    "usage: outboxd-demo-watch --brokers LIST --topic NAME... [--ids FILE] [--report FILE]\n"
    "                          [--shown-per-minute N] [--fetch-wait-ms N]\n"
    "shows the events of these topics; SIGUSR1: read to the end, write the report, exit\n";

static void on_signal(int number)
{
    if (number == SIGUSR1) {
        finish_asked = 1;
    } else {
        stop_asked = 1;
    }
}

static void signals_open(void)
{
    static const int caught[] = {SIGUSR1, SIGTERM, SIGINT, SIGHUP};

    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        sigaction(caught[i], &(struct sigaction){.sa_handler = on_signal}, NULL);
    }
}

static void option_take(Options *options, int option, const char *value)
{
    switch (option) {
    case 'b':
        options->brokers = value;
        break;
    case 'i':
        options->ids_path = value;
        break;
    case 'r':
        options->report_path = value;
        break;
    case 's':
        options->shown_per_minute = life_parse_int("--shown-per-minute", value, 1, 60000);
        break;
    case 'w':
        life_parse_int("--fetch-wait-ms", value, 0, 60000);
        options->fetch_wait_ms = value;
        break;
    case 't':
        if (options->topics == TOPICS_MAX) {
            life_fail(1, "at most %d topics", TOPICS_MAX);
        }
        options->topic[options->topics++] = value;
        break;
    case 'h':
        fputs(USAGE, stdout);
        exit(0);
    default:
        fputs(USAGE, stderr);
        exit(1);
    }
}

static Options options_parse(int argc, char **argv)
{
    static const struct option known[] = {{"brokers", required_argument, NULL, 'b'},
                                          {"topic", required_argument, NULL, 't'},
                                          {"ids", required_argument, NULL, 'i'},
                                          {"report", required_argument, NULL, 'r'},
                                          {"shown-per-minute", required_argument, NULL, 's'},
                                          {"fetch-wait-ms", required_argument, NULL, 'w'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    Options options = {.shown_per_minute = 1200, .fetch_wait_ms = "100"};
    int c;

    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        option_take(&options, c, optarg);
    }
    if (optind != argc || options.brokers == NULL || options.topics == 0) {
        fputs(USAGE, stderr);
        exit(1);
    }
    return options;
}

static void consumer_open(Watch *watch, const Options *options)
{
    const char *const setting[][2] = {{"bootstrap.servers", options->brokers},
                                      {"fetch.wait.max.ms", options->fetch_wait_ms},
                                      {"fetch.min.bytes", "1"},
                                      {"fetch.error.backoff.ms", "50"},
                                      {"reconnect.backoff.max.ms", "500"},
                                      {"socket.nagle.disable", "true"},
                                      {"client.id", "outboxd-demo-watch"}};
    char reason[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    for (size_t i = 0; i < sizeof setting / sizeof setting[0]; i++) {
        if (rd_kafka_conf_set(conf, setting[i][0], setting[i][1], reason, sizeof reason) !=
            RD_KAFKA_CONF_OK) {
            life_fail(1, "%s", reason);
        }
    }
    watch->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
    if (watch->rk == NULL) {
        life_fail(70, "%s", reason);
    }
    watch->queue = rd_kafka_queue_new(watch->rk);
}

static void topic_open(Watch *watch, const char *name)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(watch->rk, name, NULL);

    if (topic == NULL) {
        life_fail(1, "topic '%s': %s", name, rd_kafka_err2str(rd_kafka_last_error()));
    }
    watch->topic[watch->topics++] = topic;
    rd_kafka_resp_err_t error = rd_kafka_metadata(watch->rk, 0, topic, &metadata, ASK_TIMEOUT_MS);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        error = metadata->topics[0].err;
    }
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        life_fail(3, "topic '%s': %s", name, rd_kafka_err2str(error));
    }
    for (int i = 0; i < metadata->topics[0].partition_cnt; i++) {
        if (watch->partitions == PARTITIONS_MAX) {
            life_fail(1, "at most %d partitions", PARTITIONS_MAX);
        }
        Partition *p = &watch->partition[watch->partitions++];
        *p = (Partition){.topic = topic, .id = metadata->topics[0].partitions[i].id};
        if (rd_kafka_consume_start_queue(topic, p->id, RD_KAFKA_OFFSET_BEGINNING, watch->queue) !=
            0) {
            life_fail(3, "topic '%s': %s", name, rd_kafka_err2str(rd_kafka_last_error()));
        }
    }
    rd_kafka_metadata_destroy(metadata);
}

static Partition *partition_of(Watch *watch, const rd_kafka_message_t *record)
{
    for (int i = 0; i < watch->partitions; i++) {
        if (watch->partition[i].topic == record->rkt &&
            watch->partition[i].id == record->partition) {
            return &watch->partition[i];
        }
    }
    life_fail(70, "a record of a partition that was not asked for");
}

static void error_tell(Watch *watch, const rd_kafka_message_t *record)
{
    const char *text = rd_kafka_message_errstr(record);

    if (strncmp(watch->last_error, text, sizeof watch->last_error - 1) == 0) {
        return;
    }
    snprintf(watch->last_error, sizeof watch->last_error, "%s", text);
    fprintf(stderr, "outboxd-demo-watch: %s\n", text);
}

static void record_take(Watch *watch, const rd_kafka_message_t *record)
{
    Partition *partition = partition_of(watch, record);
    Seen seen;

    seen_read(record, life_now_us(), &seen);
    watch->received++;
    /* Offsets that are missing were deleted before we came: they count as lost, and this says why.
     */
    watch->skipped += (uint64_t)(record->offset - partition->next);
    partition->next = record->offset + 1;
    if (seen.id[0] == '\0') {
        watch->unidentified++;
    } else if (watch->ids != NULL) {
        fprintf(watch->ids, "%s\n", seen.id);
    }
    if (seen.has_time) {
        lag_add(&watch->lag, seen.lag_us);
    }
    view_event(&watch->view, &seen);
}

static void consume(Watch *watch)
{
    rd_kafka_message_t *record = rd_kafka_consume_queue(watch->queue, POLL_MS);

    if (record == NULL) {
        return;
    }
    if (record->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        record_take(watch, record);
    } else if (record->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        error_tell(watch, record);
    }
    rd_kafka_message_destroy(record);
}

/* Notes where each partition ends now; false when a broker does not answer. */
static bool ends_ask(Watch *watch)
{
    for (int i = 0; i < watch->partitions; i++) {
        Partition *p = &watch->partition[i];
        int64_t low = 0;
        rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(
            watch->rk, rd_kafka_topic_name(p->topic), p->id, &low, &p->end, ASK_TIMEOUT_MS);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
            fprintf(stderr, "outboxd-demo-watch: the end of %s [%d]: %s\n",
                    rd_kafka_topic_name(p->topic), p->id, rd_kafka_err2str(error));
            return false;
        }
    }
    return true;
}

static bool ends_reached(const Watch *watch)
{
    for (int i = 0; i < watch->partitions; i++) {
        if (watch->partition[i].next < watch->partition[i].end) {
            return false;
        }
    }
    return true;
}

static bool finish(Watch *watch)
{
    int64_t deadline_us = life_monotonic_us() + FINISH_LIMIT_US;

    if (!ends_ask(watch)) {
        return false;
    }
    while (!ends_reached(watch) && !stop_asked) {
        if (life_monotonic_us() > deadline_us) {
            fprintf(stderr, "outboxd-demo-watch: the end of a partition was not reached in %d s\n",
                    FINISH_LIMIT_US / 1000000);
            return false;
        }
        consume(watch);
        view_progress(&watch->view, &watch->lag);
    }
    return !stop_asked;
}

/* The report is a file of "name=value" lines, readable by a shell without evaluating it. */
static void report_write(const Watch *watch, const char *path)
{
    char text[LAG_TEXT_MAX];
    FILE *report = fopen(path, "we");

    if (report == NULL) {
        life_fail(70, "%s: %s", path, strerror(errno));
    }
    fprintf(report, "received=%llu\n", (unsigned long long)watch->received);
    fprintf(report, "unidentified=%llu\n", (unsigned long long)watch->unidentified);
    fprintf(report, "skipped=%llu\n", (unsigned long long)watch->skipped);
    fprintf(report, "timed=%llu\n", (unsigned long long)watch->lag.count);
    fprintf(report, "lag_p50=%s\n", lag_text(lag_percentile_us(&watch->lag, 50), text));
    fprintf(report, "lag_p99=%s\n", lag_text(lag_percentile_us(&watch->lag, 99), text));
    fprintf(report, "lag_max=%s\n", lag_text(watch->lag.max_us, text));
    if (fclose(report) != 0) {
        life_fail(70, "%s: %s", path, strerror(errno));
    }
}

static void watch_close(Watch *watch)
{
    view_close(&watch->view);
    if (watch->ids != NULL && fclose(watch->ids) != 0) {
        life_fail(70, "the ids file: %s", strerror(errno));
    }
    for (int i = 0; i < watch->partitions; i++) {
        rd_kafka_consume_stop(watch->partition[i].topic, watch->partition[i].id);
    }
    rd_kafka_queue_destroy(watch->queue);
    for (int i = 0; i < watch->topics; i++) {
        rd_kafka_topic_destroy(watch->topic[i]);
    }
    rd_kafka_destroy(watch->rk);
}

int main(int argc, char **argv)
{
    static Watch watch;
    Options options = options_parse(argc, argv);
    bool whole = true;

    signals_open();
    life_tie_to_parent();
    if (options.ids_path != NULL) {
        watch.ids = fopen(options.ids_path, "we");
        if (watch.ids == NULL) {
            life_fail(70, "%s: %s", options.ids_path, strerror(errno));
        }
    }
    consumer_open(&watch, &options);
    for (int i = 0; i < options.topics; i++) {
        topic_open(&watch, options.topic[i]);
    }
    view_open(&watch.view, options.shown_per_minute);

    while (!stop_asked && !finish_asked) {
        consume(&watch);
        view_progress(&watch.view, &watch.lag);
    }
    if (!stop_asked) {
        whole = finish(&watch);
        if (options.report_path != NULL) {
            report_write(&watch, options.report_path);
        }
    }
    watch_close(&watch);
    return whole ? 0 : 3;
}

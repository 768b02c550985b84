/* broker.c - a Kafka broker in memory, small enough to start in milliseconds.
 *
 * librdkafka carries a mock cluster for tests: one broker on a free port of 127.0.0.1 that speaks
 * the real protocol (idempotent producers included) and keeps up to 5 MB a partition. This program
 * runs one by itself, so that the relay and the consumer of the demonstration reach it as they
 * would reach Apache Kafka.
 *
 *   outboxd-demo-broker [--partitions N] [--topic NAME]...
 *
 * Prints "bootstrap HOST:PORT" once it answers. Ends on SIGTERM or SIGINT, when its parent ends,
 * and when standard input, if that is a pipe, is closed. Topics not named here appear at first use,
 * with four partitions. */
#include <errno.h>
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "life.h"

enum { TOPICS_MAX = 64, PARTITIONS_DEFAULT = 6, PARTITIONS_MAX = 1000 };

typedef struct Options {
    int partitions;
    int topics;
    const char *topic[TOPICS_MAX];
} Options;

static const char USAGE[] =
    "usage: outboxd-demo-broker [--partitions N] [--topic NAME]...\n"
    "  --partitions N   partitions of each topic named here (default 6)\n"
    "  --topic NAME     create this topic at start; may be given again\n"
    "prints 'bootstrap HOST:PORT', then serves until SIGTERM or the end of its input pipe\n";

static Options options_parse(int argc, char **argv)
{
    static const struct option known[] = {{"partitions", required_argument, NULL, 'p'},
                                          {"topic", required_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    Options options = {.partitions = PARTITIONS_DEFAULT};
    int c;

    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (c) {
        case 'p':
            options.partitions = life_parse_int("--partitions", optarg, 1, PARTITIONS_MAX);
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
    if (optind != argc) {
        life_fail(1, "unexpected argument '%s'", argv[optind]);
    }
    return options;
}

/* Signals arrive through a descriptor; librdkafka's threads must inherit the mask, so this runs
 * before they start. */
static int signals_open(void)
{
    sigset_t stop;

    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGHUP);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    int fd = signalfd(-1, &stop, SFD_CLOEXEC);
    if (fd < 0) {
        life_fail(70, "signalfd: %s", strerror(errno));
    }
    return fd;
}

/* A shell gives its background jobs /dev/null as input, which is at its end from the start and says
 * nothing about the shell: only a pipe or a socket is watched. */
static bool input_is_a_pipe(void)
{
    struct stat input;

    return fstat(STDIN_FILENO, &input) == 0 && (S_ISFIFO(input.st_mode) || S_ISSOCK(input.st_mode));
}

static void serve_until_told(int signals)
{
    struct pollfd watched[] = {{.fd = signals, .events = POLLIN},
                               {.fd = input_is_a_pipe() ? STDIN_FILENO : -1, .events = POLLIN}};
    char ignored[256];

    for (;;) {
        if (poll(watched, 2, -1) < 0) {
            if (errno == EINTR) {
                continue;
            }
            life_fail(70, "poll: %s", strerror(errno));
        }
        if (watched[0].revents != 0) {
            return;
        }
        if (watched[1].revents != 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) {
            return;
        }
    }
}

int main(int argc, char **argv)
{
    Options options = options_parse(argc, argv);
    char reason[512];

    int signals = signals_open();
    life_tie_to_parent();

    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "log_level", "3", reason, sizeof reason) != RD_KAFKA_CONF_OK) {
        life_fail(70, "%s", reason);
    }
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    if (rk == NULL) {
        life_fail(3, "%s", reason);
    }
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(rk, 1);
    if (cluster == NULL) {
        life_fail(3, "the embedded broker did not start");
    }
    for (int i = 0; i < options.topics; i++) {
        rd_kafka_resp_err_t error =
            rd_kafka_mock_topic_create(cluster, options.topic[i], options.partitions, 1);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
            life_fail(3, "topic '%s': %s", options.topic[i], rd_kafka_err2str(error));
        }
    }
    printf("bootstrap %s\n", rd_kafka_mock_cluster_bootstraps(cluster));
    fflush(stdout);

    serve_until_told(signals);

    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(rk);
    close(signals);
    return 0;
}

/* bare: what the two libraries cost without a relay between them.
 *
 *   bare produce CONFIG FROM TO COUNT RATE
 *     Reads COUNT records of the topic FROM into memory, then sends them to the topic TO with the
 *     producer's configuration of the relay (sink/kafka/kafka_conf.c), in bursts of batch_events,
 *     RATE records a second (0: as fast as it goes).
 *   bare stream CONFIG SLOT COUNT RATE NAME=VALUE...
 *     Reads COUNT rows of the slot and throws them away, about RATE of them a second (0: as fast as
 *     it goes), with these options of pgoutput.
 *
 * Prints one JSON object; CPU is that of the process (librdkafka's threads, too) between the first
 * send, or START_REPLICATION, and the last answer. */
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cdc/wire.h"
#include "config/config.h"
#include "flow/record.h"
#include "pg/ident.h"
#include "sink/kafka/kafka_conf.h"

enum { BATCH_BYTES = 1000000, QUIET_MS = 20000, STATUS_US = 1000000, PRODUCE_ARGS = 7 };

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bare: %s: %s\n", what, why);
    exit(EXIT_INTERNAL);
}

static double cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void report(long long count, int64_t begin_us, double cpu)
{
    double seconds = (double)(clock_monotonic_us() - begin_us) / 1e6;
    printf("{\"count\":%lld,\"seconds\":%.6f,\"cpu_us\":%.3f}\n", count, seconds,
           count > 0 ? cpu / (double)count : 0);
}

/* Sleeps until `count` things are due. */
static void pace(int64_t begin_us, long long count, long long rate)
{
    int64_t left_us = rate > 0 ? begin_us + count * 1000000 / rate - clock_monotonic_us() : 0;
    if (left_us > 0) {
        struct timespec wait = {.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
        nanosleep(&wait, NULL);
    }
}

static Config *read_config(const char *path)
{
    Config *config = NULL;
    Problems problems = {0};
    if (config_load(&(ConfigOverrides){.file = path}, &config, &problems) != OK) {
        die(path, problems.count > 0 ? problems.items[0].message : "unreadable");
    }
    problems_free(&problems);
    return config;
}

/* Records. */

/* One record, in memory of ours: what the consumer allocates would slow the producer down. */
static void keep_record(Arena *arena, const rd_kafka_message_t *message, Record *ret)
{
    rd_kafka_headers_t *from = NULL;
    size_t count = 0;
    if (rd_kafka_message_headers(message, &from) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        count = rd_kafka_header_cnt(from);
    }
    RecordHeader *headers = arena_alloc(arena, (count + 1) * sizeof(*headers));
    for (size_t i = 0; i < count; i++) {
        const char *name = NULL;
        const void *value = NULL;
        size_t size = 0;
        (void)rd_kafka_header_get_all(from, i, &name, &value, &size);
        headers[i].name = arena_copy(arena, slice_of(name));
        headers[i].value = arena_copy(arena, (Slice){.data = value, .length = size});
    }
    *ret = (Record){
        .key = arena_copy(arena, (Slice){.data = message->key, .length = message->key_len}),
        .value = arena_copy(arena, (Slice){.data = message->payload, .length = message->len}),
        .headers = headers,
        .header_count = count,
        .timestamp_ms = rd_kafka_message_timestamp(message, NULL)};
}

static rd_kafka_t *open_consumer(const Config *config, const char *topic)
{
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", config->kafka.brokers, why, sizeof(why));
    (void)rd_kafka_conf_set(conf, "group.id", "bare", why, sizeof(why));
    (void)rd_kafka_conf_set(conf, "enable.auto.commit", "false", why, sizeof(why));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (rk == NULL) {
        die("consumer", why);
    }
    rd_kafka_poll_set_consumer(rk);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, handle, &metadata, QUIET_MS);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR || metadata->topic_cnt != 1) {
        die(topic, rd_kafka_err2str(err));
    }
    int partitions = metadata->topics[0].partition_cnt;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int i = 0; i < partitions; i++) {
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    rd_kafka_assign(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
    return rk;
}

static Record *read_records(const Config *config, const char *topic, long long count, Arena *arena)
{
    rd_kafka_t *rk = open_consumer(config, topic);
    Record *records = x_calloc((size_t)count, sizeof(*records));
    for (long long got = 0; got < count; got++) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, QUIET_MS);
        if (message == NULL || message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            die(topic, message != NULL ? rd_kafka_message_errstr(message) : "too few records");
        }
        keep_record(arena, message, &records[got]);
        rd_kafka_message_destroy(message);
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    malloc_trim(0);
    return records;
}

static rd_kafka_headers_t *copy_headers(const Record *record)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(record->header_count);
    for (size_t i = 0; i < record->header_count; i++) {
        const RecordHeader *header = &record->headers[i];
        rd_kafka_header_add(headers, header->name.data, (ssize_t)header->name.length,
                            header->value.data, (ssize_t)header->value.length);
    }
    return headers;
}

static long long take_reports(rd_kafka_queue_t *queue, int wait_ms)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, wait_ms);
    long long count = 0;
    const rd_kafka_message_t *reports[256];
    size_t got = 0;
    while (event != NULL && rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR &&
           (got = rd_kafka_event_message_array(event, reports, 256)) > 0) {
        for (size_t i = 0; i < got; i++) {
            if (reports[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
                die("delivery", rd_kafka_err2str(reports[i]->err));
            }
        }
        count += (long long)got;
    }
    rd_kafka_event_destroy(event);
    return count;
}

static bool send_one(rd_kafka_t *rk, rd_kafka_topic_t *topic, const Record *record)
{
    rd_kafka_headers_t *headers = copy_headers(record);
    const rd_kafka_vu_t args[PRODUCE_ARGS - 1] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = 0},
        {.vtype = RD_KAFKA_VTYPE_VALUE,
         .u.mem = {.ptr = (void *)record->value.data, .size = record->value.length}},
        {.vtype = RD_KAFKA_VTYPE_KEY,
         .u.mem = {.ptr = (void *)record->key.data, .size = record->key.length}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = record->timestamp_ms},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    rd_kafka_error_t *failed = rd_kafka_produceva(rk, args, PRODUCE_ARGS - 1);
    if (failed == NULL) {
        return true;
    }
    if (rd_kafka_error_code(failed) != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        die("produce", rd_kafka_error_string(failed));
    }
    rd_kafka_error_destroy(failed);
    rd_kafka_headers_destroy(headers);
    return false;
}

static void produce(const Config *config, const char *from, const char *to, long long count,
                    long long rate)
{
    Arena arena = {0};
    Record *records = read_records(config, from, count, &arena);
    AUTO_ERROR err = {0};
    char why[512];
    rd_kafka_conf_t *conf = NULL;
    if (kafka_conf_new(config, &config->pipelines[0], BATCH_BYTES, &conf, &err) != OK) {
        die("producer", error_message(&err));
    }
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (rk == NULL) {
        die("producer", why);
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(rk);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, to, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    if (rd_kafka_metadata(rk, 0, topic, &metadata, QUIET_MS) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_metadata_destroy(metadata);
    }
    int64_t begin_us = clock_monotonic_us();
    double cpu = cpu_us();
    long long burst = config->pipelines[0].limits.batch_events;
    long long reported = 0;
    for (long long sent = 0; sent < count;) {
        long long until = sent + burst < count ? sent + burst : count;
        while (sent < until) {
            if (send_one(rk, topic, &records[sent])) {
                sent++;
            } else {
                reported += take_reports(queue, 100);
            }
        }
        for (long long got = 1; got > 0;) {
            got = take_reports(queue, 0);
            reported += got;
        }
        pace(begin_us, sent, rate);
    }
    int64_t deadline_us = clock_monotonic_us() + QUIET_MS * 1000;
    while (reported < count && clock_monotonic_us() < deadline_us) {
        reported += take_reports(queue, 100);
    }
    if (reported != count) {
        die("produce", "records are left without a report");
    }
    report(count, begin_us, cpu_us() - cpu);
    (void)fflush(stdout);
    _exit(EXIT_OK); /* nothing of use is left to wait for */
}

/* The log. */

static PGconn *open_stream(const Config *config, const char *slot, int count, char **options)
{
    const char *names[] = {"dbname", "replication", NULL};
    const char *values[] = {config->database.dsn, "database", NULL};
    PGconn *conn = PQconnectdbParams(names, values, 1);
    if (PQstatus(conn) != CONNECTION_OK) {
        die("connect", PQerrorMessage(conn));
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO_TEXT name = ident_quote(slot);
    text_printf(&sql, "START_REPLICATION SLOT %s LOGICAL 0/0 (", name);
    for (int i = 0; i < count; i++) {
        char *equals = strchr(options[i], '=');
        if (equals == NULL) {
            die(options[i], "is not NAME=VALUE");
        }
        AUTO_TEXT option = x_strndup(options[i], (size_t)(equals - options[i]));
        AUTO_TEXT value = ident_literal(equals + 1);
        text_printf(&sql, "%s%s %s", i > 0 ? ", " : "", option, value);
    }
    text_add(&sql, ")");
    PGresult *result = PQexec(conn, sql.data);
    if (PQresultStatus(result) != PGRES_COPY_BOTH) {
        die("START_REPLICATION", PQerrorMessage(conn));
    }
    PQclear(result);
    return conn;
}

static void confirm(PGconn *conn, uint64_t lsn)
{
    char status[WIRE_STATUS_BYTES];
    wire_write_status(&(WireStatus){.written = lsn, .flushed = lsn}, status);
    if (PQputCopyData(conn, status, WIRE_STATUS_BYTES) != 1 || PQflush(conn) < 0) {
        die("confirm", PQerrorMessage(conn));
    }
}

static void stream(const Config *config, const char *slot, long long rows_wanted, long long rate,
                   int count, char **options)
{
    PGconn *conn = open_stream(config, slot, count, options);
    int64_t begin_us = clock_monotonic_us();
    int64_t confirmed_us = begin_us;
    double cpu = cpu_us();
    long long rows = 0;
    uint64_t at = 0;
    while (rows < rows_wanted) {
        char *bytes = NULL;
        int length = 0;
        while ((length = PQgetCopyData(conn, &bytes, 1)) > 0) {
            WireMessage message;
            AUTO_ERROR err = {0};
            if (wire_read(bytes, (size_t)length, &message, &err) != OK) {
                die("message", error_message(&err));
            }
            at = message.end > at ? message.end : at;
            char kind =
                message.kind == WIRE_DATA && message.data.length > 0 ? message.data.data[0] : '\0';
            rows += kind == 'I' || kind == 'M';
            PQfreemem(bytes);
        }
        if (length < 0) {
            die("stream", PQerrorMessage(conn));
        }
        if (clock_monotonic_us() - confirmed_us > STATUS_US) {
            confirm(conn, at);
            confirmed_us = clock_monotonic_us();
        }
        pace(begin_us, rows, rate);
        struct pollfd wait = {.fd = PQsocket(conn), .events = POLLIN};
        if (rows < rows_wanted && poll(&wait, 1, QUIET_MS) == 0) {
            die("stream", "nothing comes");
        }
        if (PQconsumeInput(conn) != 1) {
            die("stream", PQerrorMessage(conn));
        }
    }
    report(rows, begin_us, cpu_us() - cpu);
    PQfinish(conn);
}

int main(int argc, char **argv)
{
    mallopt(M_MXFAST, 0); /* as in relay/app/main.c */
    mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
    mallopt(M_TOP_PAD, 256 * 1024);
    mallopt(M_ARENA_MAX, 4);
    if (argc == 7 && strcmp(argv[1], "produce") == 0) {
        produce(read_config(argv[2]), argv[3], argv[4], strtoll(argv[5], NULL, 10),
                strtoll(argv[6], NULL, 10));
    }
    if (argc < 6 || strcmp(argv[1], "stream") != 0) {
        fprintf(stderr, "usage: bare produce CONFIG FROM TO COUNT RATE\n"
                        "       bare stream CONFIG SLOT COUNT RATE NAME=VALUE...\n");
        return EXIT_CONFIG;
    }
    Config *config = read_config(argv[2]);
    stream(config, argv[3], strtoll(argv[4], NULL, 10), strtoll(argv[5], NULL, 10), argc - 6,
           argv + 6);
    config_free(&config);
    return EXIT_OK;
}

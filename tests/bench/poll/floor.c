/* floor CONFIG: drains the outbox of the first pipeline with the relay's own fetch and mark SQL,
 * in batches of 5,000, one after the other on one connection, and publishes nothing: what the
 * database alone allows. Prints one JSON object.
 *
 * The SQL comes from relay/rows/table.c, the session settings are those of poll_session.c that
 * change plans or commits. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/memory.h"
#include "config/config.h"
#include "outbox/fetch_sql.h"
#include "outbox/gaps.h"
#include "rows/mark_sql.h"
#include "rows/row.h"

enum { BATCH_ROWS = 5000, INT8_OID = 20, ARRAY_HEADER_BYTES = 20, ELEMENT_BYTES = 12 };

typedef struct Floor {
    PGconn *connection;
    OutboxTable *table;
    Gaps gaps;
    int64_t seqs[BATCH_ROWS];
    size_t count; /* rows of this batch */
    int64_t rows;
    int64_t fetch_us;
    int64_t mark_us;
} Floor;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "floor: %s: %s\n", what, why);
    exit(EXIT_INTERNAL);
}

static void run(Floor *floor, const char *sql)
{
    PGresult *result = PQexec(floor->connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        die(sql, PQerrorMessage(floor->connection));
    }
    PQclear(result);
}

static uint64_t read_be(const char *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | (unsigned char)at[i];
    }
    return value;
}

static char *write_be(char *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (char)(value >> 8 * (bytes - 1 - i));
    }
    return at + bytes;
}

/* A row begins with int16 number of fields, int32 length and int64 value of seq. */
static void take_row(Floor *floor, const char *bytes, size_t length)
{
    if (row_is_trailer(bytes, length)) {
        return;
    }
    if (length < 14 || read_be(bytes + 2, 4) != 8 || floor->count == BATCH_ROWS) {
        die("fetch", "unexpected row");
    }
    int64_t seq = (int64_t)read_be(bytes + 6, 8);
    floor->seqs[floor->count++] = seq;
    gaps_see(&floor->gaps, seq);
}

static void fetch(Floor *floor)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    fetch_add_small_sql(floor->table, &floor->gaps, BATCH_ROWS, &sql);
    PGresult *result = PQexec(floor->connection, sql.data);
    if (PQresultStatus(result) != PGRES_COPY_OUT) {
        die("fetch", PQerrorMessage(floor->connection));
    }
    PQclear(result);
    floor->count = 0;
    char *row = NULL;
    int length = 0;
    bool first = true;
    while ((length = PQgetCopyData(floor->connection, &row, 0)) > 0) {
        const char *bytes = row;
        size_t left = (size_t)length;
        AUTO_ERROR err = {0};
        if (first && row_skip_header(&bytes, &left, &err) != OK) {
            die("fetch", error_message(&err));
        }
        first = false;
        if (left > 0) {
            take_row(floor, bytes, left);
        }
        PQfreemem(row);
    }
    while ((result = PQgetResult(floor->connection)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            die("fetch", PQerrorMessage(floor->connection));
        }
        PQclear(result);
    }
}

static void mark(Floor *floor)
{
    static char array[ARRAY_HEADER_BYTES + BATCH_ROWS * ELEMENT_BYTES];
    char *at = write_be(array, 1, 4);
    at = write_be(at, 0, 4);
    at = write_be(at, INT8_OID, 4);
    at = write_be(at, floor->count, 4);
    at = write_be(at, 1, 4);
    for (size_t i = 0; i < floor->count; i++) {
        at = write_be(write_be(at, 8, 4), (uint64_t)floor->seqs[i], 8);
    }
    const char *values[MARK_PARAMS_POLL] = {array};
    int lengths[MARK_PARAMS_POLL] = {(int)(at - array)};
    int formats[MARK_PARAMS_POLL] = {1};
    PGresult *result = PQexecPrepared(floor->connection, "outboxd_mark", MARK_PARAMS_POLL, values,
                                      lengths, formats, 0);
    if (PQresultStatus(result) != PGRES_COMMAND_OK ||
        strtoull(PQcmdTuples(result), NULL, 10) != floor->count) {
        die("mark", PQerrorMessage(floor->connection));
    }
    PQclear(result);
    floor->rows += (int64_t)floor->count;
}

static void drain(Floor *floor)
{
    for (;;) {
        int64_t started = clock_monotonic_us();
        fetch(floor);
        int64_t fetched = clock_monotonic_us();
        floor->fetch_us += fetched - started;
        if (floor->count == 0) {
            return;
        }
        mark(floor);
        floor->mark_us += clock_monotonic_us() - fetched;
    }
}

static void open_session(Floor *floor, const Config *config)
{
    floor->connection = PQconnectdb(config->database.dsn);
    if (PQstatus(floor->connection) != CONNECTION_OK) {
        die("connect", PQerrorMessage(floor->connection));
    }
    run(floor, "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET bytea_output = 'hex'; "
               "SET extra_float_digits = 3; SET synchronous_commit = on; SET jit = off; "
               "SET enable_seqscan = off; SET max_parallel_workers_per_gather = 0");
    /* By the number alone, each looked up in the index, as it was when the goals were set. */
    AUTO_BUFFER sql = TEXT_EMPTY;
    mark_sql_add_prepare(
        &(MarkSql){.table = floor->table, .touches_rows = true, .id_kind = MARK_ID_NONE}, &sql);
    run(floor, sql.data);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: floor CONFIG\n");
        return EXIT_CONFIG;
    }
    Config *config = NULL;
    Problems problems = {0};
    if (config_load(&(ConfigOverrides){.file = argv[1]}, &config, &problems) != OK) {
        die(argv[1], problems.count > 0 ? problems.items[0].message : "unreadable");
    }
    static Floor floor;
    AUTO_ERROR err = {0};
    if (table_new(&config->pipelines[0], &floor.table, &err) != OK) {
        die("table", error_message(&err));
    }
    gaps_reset(&floor.gaps);
    open_session(&floor, config);
    int64_t started = clock_monotonic_us();
    drain(&floor);
    int64_t took_us = clock_monotonic_us() - started;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu_us = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
                    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    printf("{\"rows\":%lld,\"seconds\":%.6f,\"fetch_seconds\":%.6f,\"mark_seconds\":%.6f,"
           "\"cpu_us_per_row\":%.3f}\n",
           (long long)floor.rows, (double)took_us / 1e6, (double)floor.fetch_us / 1e6,
           (double)floor.mark_us / 1e6, floor.rows > 0 ? cpu_us / (double)floor.rows : 0);
    PQfinish(floor.connection);
    table_free(&floor.table);
    gaps_release(&floor.gaps);
    problems_free(&problems);
    config_free(&config);
    return EXIT_OK;
}

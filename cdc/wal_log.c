#include "cdc/wal_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/wire.h"
#include "pg/result.h"

enum {
    FAR_BYTES = 64 * 1024 * 1024, /* beyond the end of the log as of the last answer */
    IDLE_SMALL_BYTES = 64 * 1024,
    IDLE_BYTES = 8 * 1024 * 1024,
    SEGMENT_BYTES = 16 * 1024 * 1024,
};

struct ServerLog {
    uint64_t end;
    char xmax[24]; /* next transaction id as of the last look, plus our own write */
    bool wanted;   /* others wrote: confirm as soon as the stream is beyond `until` */
    uint64_t until;
    uint64_t asked;  /* a keep-alive named this place before the log's end was asked for */
    uint64_t proven; /* ... and the log was that long */
};

uint64_t server_log_end(const ServerLog *log)
{
    return log->end;
}

void server_log_take_end(ServerLog *log, uint64_t end)
{
    log->end = end;
}

void server_log_read_end(ServerLog *log, const char *text)
{
    (void)lsn_parse(text, &log->end);
}

bool server_log_is_far(const ServerLog *log, uint64_t place, bool answered)
{
    return place > log->end && (answered || place - log->end > FAR_BYTES);
}

void server_log_refuse(const ServerLog *log, uint64_t place, Error *err)
{
    char told[24];
    char end[24];
    error_set(err, CODE_PG_PROTOCOL,
              "a message of the stream gives position %s, beyond the end of the server's WAL, %s",
              lsn_format(place, told), lsn_format(log->end, end));
}

void server_log_begin(ServerLog *log)
{
    log->asked = 0;
    log->proven = 0;
}

void server_log_ask(ServerLog *log, uint64_t told)
{
    log->asked = told;
}

Status server_log_check(const ServerLog *log, Error *err)
{
    if (log->asked <= log->end) {
        return OK;
    }
    char told[24];
    char end[24];
    return error_set(
        err, CODE_PG_PROTOCOL,
        "a keep-alive of the stream gives position %s, beyond the end of the server's WAL, %s",
        lsn_format(log->asked, told), lsn_format(log->end, end));
}

void server_log_prove(ServerLog *log, const PGresult *row, uint64_t position)
{
    log->proven = log->asked;
    const char *xmax = pg_value(row, 0, 0);
    uint64_t end = 0;
    if (!lsn_parse(pg_needed(row, 0, 1), &end) || end <= position) {
        return;
    }
    bool others = strcmp(xmax, log->xmax) != 0;
    bool far =
        end - position >= IDLE_SMALL_BYTES || end / SEGMENT_BYTES != position / SEGMENT_BYTES;
    if (others || far) {
        log->wanted = true;
        log->until = end;
        /* The write that follows takes one transaction id itself: seeing that is seeing nothing. */
        snprintf(log->xmax, sizeof(log->xmax), "%llu", strtoull(xmax, NULL, 10) + 1);
    }
}

uint64_t server_log_proven(const ServerLog *log)
{
    return log->proven;
}

bool server_log_wants_confirming(const ServerLog *log)
{
    return log->wanted;
}

uint64_t server_log_until(const ServerLog *log, uint64_t position)
{
    return log->wanted ? log->until : position + IDLE_BYTES;
}

void server_log_confirmed(ServerLog *log)
{
    log->wanted = false;
}

ServerLog *server_log_new(void)
{
    return x_calloc(1, sizeof(ServerLog));
}

void server_log_free(ServerLog **log)
{
    free(*log);
    *log = NULL;
}

#include "rows/marker_line.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/publisher.h"

enum { REFUSED_MS = 1000 }; /* between two tries of what the server refuses */

struct MarkerLine {
    const MarkerOptions *options;
    const MarkQueue *queue;
    const MarkerLineEvents *events;
    void *arg;
    uint32_t table_oid;
    bool draining;
    bool refused; /* the last statement was, or rows are */
    bool keeps_refusal;
    int64_t retry_us; /* not before */
    /* A lock of somebody else. */
    bool asks;        /* who holds it */
    bool said;        /* since a statement passed last */
    int64_t since_us; /* monotonic; 0: nothing is in the way */
    Text holder;
};

void line_aim(MarkerLine *line, uint32_t table_oid)
{
    line->table_oid = table_oid;
}

static void line_clear(MarkerLine *line)
{
    text_free(&line->holder);
    line->asks = line->said = false;
    line->retry_us = line->since_us = 0;
}

void line_stop(MarkerLine *line)
{
    line_clear(line);
}

void line_drain(MarkerLine *line)
{
    line->draining = true;
}

bool line_drains(const MarkerLine *line)
{
    return line->draining;
}

const MarkerOptions *line_options(const MarkerLine *line)
{
    return line->options;
}

bool line_touches_rows(const MarkerLine *line)
{
    return line->options->pipeline->outbox.on_publish != ON_PUBLISH_KEEP;
}

bool line_is_free(const MarkerLine *line)
{
    return !pg_conn_is_busy(line->options->conn);
}

bool line_is_open(const MarkerLine *line)
{
    return pg_conn_is_open(line->options->conn);
}

void line_send(const MarkerLine *line, const PgQuery *query)
{
    pg_conn_send(line->options->conn, query);
}

void line_go_on(const MarkerLine *line)
{
    line->events->go_on(line->arg);
}

void line_lose(const MarkerLine *line, const Error *err)
{
    line->options->owner->lost(line->options->arg, err);
}

/* Whoever revoked a right may grant it again: that is no reason to give up the lock, or what we
 * know of rows that are published and not marked. */
static bool line_is_refused(MarkerLine *line, const Error *err)
{
    if (!line_takes_refusals(line) || line->draining || !sqlstate_is_refusal(err) ||
        !line_is_open(line)) {
        return false;
    }
    /* ALTER TYPE of the event id. */
    if (sqlstate_is(err, "42883") || sqlstate_is(err, "42804")) {
        line->events->types_changed(line->arg);
    }
    line->retry_us = clock_monotonic_us() + REFUSED_MS * INT64_C(1000);
    line_refuse(line, err);
    return true;
}

bool line_must_wait(MarkerLine *line, const Error *err)
{
    if (line_is_refused(line, err)) {
        return true;
    }
    if (err->code != CODE_POSTGRES_LOCK_TIMEOUT || !line_is_open(line)) {
        return false;
    }
    int64_t now_us = clock_monotonic_us();
    line->since_us = line->since_us != 0 ? line->since_us : now_us;
    line->retry_us = now_us + publisher_lock_timeout_ms(line->options->pipeline) * 1000;
    line->asks = !line->said;
    line->options->owner->blocked(line->options->arg);
    return true;
}

void line_passed(MarkerLine *line)
{
    const PipelineConfig *pipeline = line->options->pipeline;
    if (line->refused && !line->keeps_refusal) {
        line->refused = false;
        line->options->owner->refused(line->options->arg, NULL);
    }
    if (line->said) {
        log_write(
            LOG_INFO, pipeline->name, CODE_MARK_UNBLOCKED,
            LOG_FIELDS(log_number("after_ms", (clock_monotonic_us() - line->since_us) / 1000)),
            "the lock that prevented writing to table '%s' is gone", pipeline->outbox.table);
    }
    line_clear(line);
}

bool line_ends(MarkerLine *line, const Error *err)
{
    if (err == NULL) {
        line_passed(line);
    } else if (!line_must_wait(line, err)) {
        line_lose(line, err);
        return false;
    }
    return true;
}

int64_t line_retry_us(const MarkerLine *line)
{
    return line->retry_us;
}

void line_rest(MarkerLine *line, int64_t until_us)
{
    line->retry_us = until_us;
}

bool line_takes_refusals(const MarkerLine *line)
{
    return line->options->owner->refused != NULL;
}

void line_refuse(MarkerLine *line, const Error *err)
{
    line->refused = true;
    line->options->owner->refused(line->options->arg, err);
}

void line_keep_refusal(MarkerLine *line, bool keep)
{
    line->keeps_refusal = keep;
}

/* Who is in the way. */

static void holder_on_result(void *arg, const PGresult *result)
{
    MarkerLine *line = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        text_printf(&line->holder, "pid %s, application '%s', %s on %s", pg_value(result, 0, 0),
                    pg_value(result, 0, 1), pg_value(result, 0, 2), pg_value(result, 0, 3));
    }
}

static void holder_on_done(void *arg, const Error *err)
{
    MarkerLine *line = arg;
    if (err != NULL && !line_is_open(line)) {
        line_lose(line, err);
        return;
    }
    const char *holder = text_string(&line->holder);
    log_write(LOG_WARN, line->options->pipeline->name, CODE_MARK_BLOCKED,
              LOG_FIELDS(log_text("holder", *holder != '\0' ? holder : "unknown"),
                         log_number("rows", (long long)mark_queue_count(line->queue))),
              "waiting for a lock on table '%s' that another session holds; published rows stay "
              "unmarked until it ends",
              line->options->pipeline->outbox.table);
    line->said = true;
    line_go_on(line);
}

bool line_asks_holder(const MarkerLine *line)
{
    return line->asks;
}

/* Whoever holds, or waits for, a lock on the table that a mark cannot pass; else it is one of rows,
 * whose holder cannot be told any more. */
void line_ask_holder(MarkerLine *line)
{
    AUTO_TEXT sql = x_format(
        "SELECT l.pid, coalesce(a.application_name, ''), l.mode, l.relation::regclass"
        " FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_catalog.pg_database"
        " WHERE datname = current_database()) AND (l.relation = %1$u OR l.relation IN (SELECT"
        " relid FROM pg_catalog.pg_partition_tree(%1$u))) AND l.pid <> pg_backend_pid() AND l.mode"
        " IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
        " ORDER BY l.granted DESC, l.pid LIMIT 1",
        line->table_oid);
    line->asks = false;
    line_send(line, &(PgQuery){.step = "holder of the lock",
                               .sql = sql,
                               .arg = line,
                               .result = holder_on_result,
                               .done = holder_on_done});
}

MarkerLine *line_new(const MarkerOptions *options, const MarkQueue *queue,
                     const MarkerLineEvents *events, void *arg)
{
    MarkerLine *line = x_calloc(1, sizeof(*line));
    line->options = options;
    line->queue = queue;
    line->events = events;
    line->arg = arg;
    return line;
}

void line_free(MarkerLine **line)
{
    text_free(&(*line)->holder);
    free(*line);
    *line = NULL;
}

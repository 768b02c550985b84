#include "rows/marker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ident.h"
#include "rows/dead_letter.h"
#include "rows/mark_queue.h"

enum {
    MARK_ROWS_MAX = 5000,    /* in one statement */
    MARK_PARAMS = 4,         /* rows, position, transaction, ordinal */
    PRUNE_ROWS = 5000,       /* looked at by one statement */
    PRUNE_IDLE_SECONDS = 30, /* nothing was old enough: look again then */
    COUNT_SECONDS = 5,       /* backlog, while there is one */
    COUNT_MAX = 100000,      /* a full count of a large table would cost more than it tells */
    INT8_OID = 20,           /* pg_type.dat */
    GATHER_MS = 5,           /* without a position: rows wait so long for company */
    UNSEEN_MS = 20,          /* rows that could not be seen yet are tried again then */
    VANISHED_SECONDS = 60,   /* said at most so often */
};

typedef struct Aside {
    Event *event;
    Record record;
    Error reason;
    struct Aside *next;
} Aside;

struct Marker {
    MarkerOptions options;
    struct event *timer; /* mark_interval is over */
    char *dead_letter;
    bool active;
    bool draining;
    bool with_position;
    bool caught_up;
    MarkQueue queue;
    bool recovering;
    MarkMissing missing; /* of the running statement */
    size_t hit;          /* by the running statement */
    int64_t unseen_until_us;
    size_t vanished; /* not said yet */
    int64_t vanished_said_us;
    bool at_once;
    int64_t since_us; /* when the oldest of what waits came; 0: nothing waits */
    Aside *asides;
    Aside *last_aside;
    int64_t next_prune_us;
    int64_t prune_after; /* seq */
    int64_t next_count_us;
    double backlog; /* -1: unknown */
    bool backlog_capped;
};

static void marker_note_wait(Marker *marker)
{
    if (marker->since_us == 0) {
        marker->since_us = clock_monotonic_us();
    }
}

void marker_add(Marker *marker, const Batch *batch, const MarkerPosition *position)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event_is_over(event)) {
            mark_queue_add(&marker->queue, event->seq, event->xid);
        }
    }
    marker_note_wait(marker);
    if (position != NULL) {
        marker_add_position(marker, position, false);
    }
}

void marker_add_position(Marker *marker, const MarkerPosition *position, bool at_once)
{
    marker_note_wait(marker);
    marker->at_once = marker->at_once || at_once;
    mark_queue_add_position(&marker->queue, position);
}

void marker_add_aside(Marker *marker, Event *event, const Record *record, const Error *reason)
{
    Aside *aside = x_malloc(sizeof(*aside));
    *aside = (Aside){.event = event, .record = *record, .reason = *reason};
    if (marker->last_aside != NULL) {
        marker->last_aside->next = aside;
    } else {
        marker->asides = aside;
    }
    marker->last_aside = aside;
}

static void marker_drop_aside(Marker *marker)
{
    Aside *first = marker->asides;
    marker->asides = first->next;
    if (marker->asides == NULL) {
        marker->last_aside = NULL;
    }
    free(first);
}

bool marker_pending(const Marker *marker)
{
    return !mark_queue_is_empty(&marker->queue) || marker->asides != NULL;
}

size_t marker_unmarked(const Marker *marker)
{
    return marker->queue.count;
}

bool marker_recovering(const Marker *marker)
{
    return marker->recovering;
}

bool marker_has(const Marker *marker, int64_t seq)
{
    for (size_t i = 0; i < marker->queue.count; i++) {
        if (marker->queue.rows[i].seq == seq) {
            return true;
        }
    }
    return false;
}

int64_t marker_oldest(const Marker *marker)
{
    int64_t oldest = INT64_MAX;
    for (size_t i = 0; i < marker->queue.count; i++) {
        int64_t seq = marker->queue.rows[i].seq;
        oldest = seq < oldest ? seq : oldest;
    }
    return oldest;
}

MarkerPosition marker_position(const Marker *marker)
{
    return marker->queue.position;
}

void marker_set_position(Marker *marker, const MarkerPosition *position)
{
    marker->queue.position = *position;
}

void marker_caught_up(Marker *marker, bool caught_up)
{
    marker->caught_up = caught_up;
}

double marker_backlog(const Marker *marker, bool *ret_capped)
{
    *ret_capped = marker->backlog_capped;
    return marker->backlog;
}

/* After each statement. */
static void marker_go_on(Marker *marker)
{
    marker_next(marker);
    if (marker->active && !pg_conn_is_busy(marker->options.conn) && !marker_pending(marker)) {
        marker->options.idle(marker->options.arg);
    }
}

/* Dead letters. */

static void aside_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    if (err != NULL) {
        Error copy = *err;
        error_prefix(&copy, "writing to %s", marker->dead_letter);
        marker->options.lost(marker->options.arg, &copy);
        return;
    }
    Event *event = marker->asides->event;
    marker_drop_aside(marker);
    marker->options.aside(marker->options.arg, event);
    marker_go_on(marker);
}

static void aside_send(Marker *marker)
{
    if (marker->dead_letter == NULL) {
        Error err;
        error_set(&err, ERROR_FATAL, EXIT_POSTGRES, "NO_DEAD_LETTER_TABLE",
                  "an event must be set aside, and there is no dead-letter table");
        error_hint(&err, "Make it with: outboxd migrate");
        marker->options.lost(marker->options.arg, &err);
        return;
    }
    Aside *aside = marker->asides;
    DeadLetter letter;
    dead_letter_build(&letter, marker->dead_letter, marker->options.pipeline, aside->event,
                      &aside->record, &aside->reason);
    pg_conn_send(marker->options.conn, &(PgQuery){.sql = letter.sql,
                                                  .param_count = DEAD_LETTER_PARAMS,
                                                  .values = letter.values,
                                                  .lengths = letter.lengths,
                                                  .formats = letter.formats,
                                                  .arg = marker,
                                                  .done = aside_on_done});
    dead_letter_release(&letter);
}

/* Marks. */

static bool marker_touches_rows(const Marker *marker)
{
    return marker->options.pipeline->on_publish != ON_PUBLISH_KEEP;
}

static void marker_forget_missing(Marker *marker)
{
    free(marker->missing.seqs);
    free((char *)marker->missing.snapshot);
    marker->missing = (MarkMissing){0};
}

/* The rows that were not there, and the snapshot in which they were not. */
static void mark_on_missing(Marker *marker, const PGresult *result)
{
    int count = PQntuples(result);
    marker_forget_missing(marker);
    if (count == 0) {
        return;
    }
    MarkMissing *missing = &marker->missing;
    missing->seqs = x_malloc((size_t)count * sizeof(*missing->seqs));
    missing->count = (size_t)count;
    missing->snapshot = x_strdup(PQgetvalue(result, 0, 1));
    for (int i = 0; i < count; i++) {
        missing->seqs[i] = strtoll(PQgetvalue(result, i, 0), NULL, 10);
    }
}

static void mark_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    if (!marker_touches_rows(marker)) {
        return;
    }
    size_t expected = 0;
    for (size_t i = 0; i < marker->queue.sent; i++) {
        expected += marker->queue.rows[i].seq != EVENT_NO_SEQ;
    }
    if (marker->with_position) {
        mark_on_missing(marker, result);
        marker->hit = expected > marker->missing.count ? expected - marker->missing.count : 0;
        return;
    }
    marker->hit = (size_t)strtoull(PQcmdTuples((PGresult *)result), NULL, 10);
    if (marker->hit < expected && !marker->recovering) {
        marker->vanished += expected - marker->hit;
    }
}

static void marker_say_vanished(Marker *marker)
{
    int64_t now_us = clock_monotonic_us();
    bool said = marker->vanished_said_us != 0 &&
                now_us - marker->vanished_said_us < VANISHED_SECONDS * INT64_C(1000000);
    if (marker->vanished == 0 || said) {
        return;
    }
    log_write(LOG_WARN, marker->options.pipeline->name, "ROWS_VANISHED",
              LOG_FIELDS(log_number("rows", (long long)marker->vanished)),
              "published rows were not there to be marked: somebody else deleted them");
    marker->vanished = 0;
    marker->vanished_said_us = now_us;
}

static void mark_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    if (err != NULL) {
        marker->options.lost(marker->options.arg, err);
        return;
    }
    (void)FAILPOINT("marked");
    MarkQueue *queue = &marker->queue;
    *marker->options.stats->marked += marker->hit;
    marker->hit = 0;
    size_t vanished = 0;
    bool missed = marker->missing.count > 0;
    size_t unseen = mark_queue_settle(queue, &marker->missing, &vanished);
    marker_forget_missing(marker);
    marker->vanished += marker->recovering ? 0 : vanished;
    marker_say_vanished(marker);
    int64_t now_us = clock_monotonic_us();
    marker->unseen_until_us = unseen > 0 ? now_us + UNSEEN_MS * 1000 : 0;
    marker->at_once = marker->at_once || missed; /* its position was not committed */
    if (queue->count == 0) {
        marker->recovering = false;
    }
    marker->since_us = mark_queue_is_empty(queue) ? 0 : now_us;
    marker->options.marked(marker->options.arg);
    marker_go_on(marker);
}

static char *put_be(char *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (char)(value >> 8 * (bytes - 1 - i));
    }
    return at + bytes;
}

/* bigint[] in binary, after array_send() of PostgreSQL: dimensions, null flag, element type, length
 * and lower bound of the dimension, then length and value of each element. */
static char *mark_array(const MarkRow *given, size_t count, int *ret_length)
{
    char *bytes = x_malloc(20 + count * 12);
    char *at = bytes + 20;
    size_t rows = 0;
    for (size_t i = 0; i < count; i++) {
        if (given[i].seq != EVENT_NO_SEQ) {
            at = put_be(at, 8, 4);
            at = put_be(at, (uint64_t)given[i].seq, 8);
            rows++;
        }
    }
    char *head = put_be(bytes, 1, 4);
    head = put_be(head, 0, 4);
    head = put_be(head, INT8_OID, 4);
    head = put_be(head, rows, 4);
    put_be(head, 1, 4);
    *ret_length = (int)(at - bytes);
    return bytes;
}

static void mark_send(Marker *marker)
{
    if (FAILPOINT("before_mark")) {
        return;
    }
    MarkQueue *queue = &marker->queue;
    mark_queue_choose(queue, marker_touches_rows(marker) ? MARK_ROWS_MAX : SIZE_MAX);
    const MarkerPosition *sent = &queue->position_sent;
    char position[MARK_PARAMS][24];
    int lengths[MARK_PARAMS] = {0};
    size_t rows = marker_touches_rows(marker) ? queue->sent : 0;
    char *array = mark_array(queue->rows, rows, &lengths[0]);
    const char *values[MARK_PARAMS] = {array};
    uint64_t lsns[] = {sent->lsn, sent->tx_lsn};
    for (int i = 0; i < 2; i++) {
        snprintf(position[i], sizeof(position[i]), "%X/%X", (unsigned)(lsns[i] >> 32),
                 (unsigned)lsns[i]);
        values[i + 1] = lsns[i] != 0 ? position[i] : NULL;
    }
    snprintf(position[2], sizeof(position[2]), "%llu", (unsigned long long)sent->tx_ordinal);
    values[3] = sent->tx_ordinal != 0 ? position[2] : NULL;
    pg_conn_send(marker->options.conn,
                 &(PgQuery){.statement = "outboxd_mark",
                            .param_count = marker->with_position ? MARK_PARAMS : 1,
                            .values = values,
                            .lengths = lengths,
                            .formats = (const int[MARK_PARAMS]){1, 0, 0, 0},
                            .arg = marker,
                            .result = mark_on_result,
                            .done = mark_on_done});
    free(array);
    marker->at_once = false;
    (void)FAILPOINT("mark_sent");
}

/* Rows wait for company: one statement for many costs the database much less. Not when so many wait
 * that they take the room of new ones. Otherwise arms the timer. */
static bool mark_is_due(Marker *marker)
{
    const PipelineConfig *config = marker->options.pipeline;
    int64_t wait_ms = marker->with_position ? config->mark_interval_ms : GATHER_MS;
    size_t many = (size_t)config->in_flight_events / 4;
    many = many > MARK_ROWS_MAX ? MARK_ROWS_MAX : many;
    int64_t now_us = clock_monotonic_us();
    int64_t due_us = marker->since_us + wait_ms * 1000;
    if (marker->queue.count >= many || marker->at_once || marker->draining || marker->recovering) {
        due_us = now_us;
    }
    due_us = due_us > marker->unseen_until_us ? due_us : marker->unseen_until_us;
    if (now_us >= due_us) {
        return true;
    }
    int64_t rest_us = due_us - now_us;
    event_add(marker->timer,
              &(struct timeval){.tv_sec = rest_us / 1000000, .tv_usec = rest_us % 1000000});
    return false;
}

/* Upkeep, when there is nothing better to do. */

static void upkeep_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    if (err != NULL) {
        marker->options.lost(marker->options.arg, err);
        return;
    }
    marker_go_on(marker);
}

static void prune_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    int64_t deleted = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    *marker->options.stats->pruned += (uint64_t)deleted;
    bool more = deleted == PRUNE_ROWS;
    marker->prune_after = more ? strtoll(PQgetvalue(result, 0, 1), NULL, 10) : INT64_MIN;
    marker->next_prune_us =
        clock_monotonic_us() + (more ? 0 : PRUNE_IDLE_SECONDS * INT64_C(1000000));
}

/* Old published rows lie at the left edge of the table; only PRUNE_ROWS of it are looked at, so
 * that a table without anything old costs little. prune_after skips index entries just made dead.
 */
static void prune_send(Marker *marker)
{
    const PipelineConfig *config = marker->options.pipeline;
    const OutboxTable *table = marker->options.table;
    AUTO_TEXT published = ident_quote(config->columns.published_at);
    AUTO_TEXT sql = x_format(
        "WITH edge AS (SELECT %1$s AS seq, %2$s AS published FROM %3$s WHERE %1$s > %4$lld"
        " ORDER BY %1$s LIMIT %5$d), gone AS (DELETE FROM %3$s WHERE %1$s IN (SELECT seq FROM edge"
        " WHERE published < clock_timestamp() - interval '%6$lld ms') RETURNING %1$s AS seq)"
        " SELECT count(*), max(seq) FROM gone",
        table->seq, published, table->name, (long long)marker->prune_after, PRUNE_ROWS,
        (long long)config->retain_ms);
    pg_conn_send(
        marker->options.conn,
        &(PgQuery){.sql = sql, .arg = marker, .result = prune_on_result, .done = upkeep_on_done});
}

static void count_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    marker->backlog = strtod(PQgetvalue(result, 0, 0), NULL);
    marker->backlog_capped = marker->backlog >= COUNT_MAX;
    marker->next_count_us = clock_monotonic_us() + COUNT_SECONDS * INT64_C(1000000);
}

static void count_send(Marker *marker)
{
    AUTO_TEXT sql =
        x_format("SELECT count(*) FROM (SELECT FROM %s WHERE true%s LIMIT %d) AS pending",
                 marker->options.table->name, marker->options.table->unpublished, COUNT_MAX);
    pg_conn_send(
        marker->options.conn,
        &(PgQuery){.sql = sql, .arg = marker, .result = count_on_result, .done = upkeep_on_done});
}

void marker_next(Marker *marker)
{
    if (!marker->active || pg_conn_is_busy(marker->options.conn)) {
        return;
    }
    const PipelineConfig *config = marker->options.pipeline;
    int64_t now_us = clock_monotonic_us();
    if (marker->asides != NULL) {
        aside_send(marker);
    } else if (!mark_queue_is_empty(&marker->queue)) {
        if (mark_is_due(marker)) {
            mark_send(marker);
        }
    } else if (marker->draining) {
        return;
    } else if (config->retain_ms != DURATION_FOREVER && config->on_publish == ON_PUBLISH_MARK &&
               now_us >= marker->next_prune_us) {
        prune_send(marker);
    } else if (!marker->caught_up && marker_touches_rows(marker) &&
               now_us >= marker->next_count_us) {
        count_send(marker);
    }
}

static void marker_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    marker_next(arg);
}

void marker_add_prepare(const Marker *marker, const char *position_table, Text *sql)
{
    const PipelineConfig *config = marker->options.pipeline;
    if (position_table == NULL) {
        text_printf(sql, "PREPARE outboxd_mark (bigint[]) AS %s; ",
                    marker->options.table->mark_sql);
        return;
    }
    AUTO_TEXT pipeline = ident_literal(config->name);
    /* greatest(): a relay that was replaced and wakes up must not turn the position back. */
    AUTO_TEXT move =
        x_format("UPDATE %s SET lsn = greatest(lsn, $2), tx_lsn = $3, tx_ordinal = $4,"
                 " tx_messages = %s, updated_at = clock_timestamp() WHERE pipeline = %s",
                 position_table, config->messages ? "true" : "false", pipeline);
    text_add(sql, "PREPARE outboxd_mark (bigint[], pg_lsn, pg_lsn, bigint) AS ");
    if (marker_touches_rows(marker)) {
        /* A position is committed with the marks of all rows before it, or not at all. */
        text_printf(sql,
                    "WITH hit AS (%s RETURNING %s AS seq), missing AS (SELECT seq FROM unnest($1)"
                    " AS seq WHERE seq NOT IN (SELECT seq FROM hit)), moved AS (%s AND NOT EXISTS"
                    " (SELECT FROM missing)) SELECT seq, pg_current_snapshot() FROM missing; ",
                    marker->options.table->mark_sql, marker->options.table->seq, move);
    } else {
        text_printf(sql, "%s; ", move);
    }
}

void marker_start(Marker *marker, const char *dead_letter, const MarkerPosition *position)
{
    if (position != NULL) {
        marker->queue.position = *position;
    }
    free(marker->dead_letter);
    marker->dead_letter = dead_letter != NULL ? x_strdup(dead_letter) : NULL;
    marker->recovering = marker->queue.count > 0;
    marker->active = true;
}

void marker_stop(Marker *marker)
{
    event_del(marker->timer);
    marker->active = false;
    mark_queue_unsend(&marker->queue);
    marker->hit = 0;
    marker_forget_missing(marker);
    marker->recovering = marker->queue.count > 0;
    while (marker->asides != NULL) {
        marker_drop_aside(marker); /* the pipeline takes these events back */
    }
}

void marker_drain(Marker *marker)
{
    marker->draining = true;
    marker_next(marker);
}

Marker *marker_new(const MarkerOptions *options)
{
    Marker *marker = x_calloc(1, sizeof(*marker));
    marker->options = *options;
    marker->backlog = -1;
    marker->timer = event_new(options->base, -1, 0, marker_on_timer, marker);
    marker->with_position = options->pipeline->capture == CAPTURE_WAL;
    return marker;
}

void marker_free(Marker **marker)
{
    if (*marker != NULL) {
        marker_stop(*marker);
        event_free((*marker)->timer);
        free((*marker)->dead_letter);
        mark_queue_release(&(*marker)->queue);
        free(*marker);
        *marker = NULL;
    }
}

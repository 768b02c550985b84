/* The marker: what happens to rows that are done. One statement at a time, in this order of
 * importance: dead letters, marks, pruning, counting. While a mark statement runs, acknowledgements
 * pile up, so the next one is bigger: batching adapts to the server's speed by itself. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "outbox/dead_letter.h"
#include "outbox/poll_internal.h"
#include "pg/ident.h"

enum {
    MARK_ROWS_MAX = 5000,    /* in one statement */
    PRUNE_ROWS = 5000,       /* looked at by one statement */
    PRUNE_IDLE_SECONDS = 30, /* nothing was old enough: look again then */
    COUNT_SECONDS = 5,       /* backlog, while there is one */
    COUNT_MAX = 100000,      /* a full count of a large table would cost more than it tells */
    INT8_OID = 20,           /* pg_type.dat */
};

static void marks_push(Marks *marks, int64_t seq)
{
    if (marks->count == marks->capacity) {
        marks->capacity = marks->capacity > 0 ? marks->capacity * 2 : 1024;
        marks->seqs = x_realloc(marks->seqs, marks->capacity * sizeof(*marks->seqs));
    }
    marks->seqs[marks->count++] = seq;
}

void marks_add_batch(PollSource *poll, const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (event_is_settled(batch->events[i])) {
            marks_push(&poll->marks, batch->events[i]->seq);
        }
    }
}

void marks_add_aside(PollSource *poll, Event *event, const Record *record, const Error *reason)
{
    Aside *aside = x_malloc(sizeof(*aside));
    *aside = (Aside){.event = event, .record = *record, .reason = *reason};
    if (poll->marks.last_aside != NULL) {
        poll->marks.last_aside->next = aside;
    } else {
        poll->marks.asides = aside;
    }
    poll->marks.last_aside = aside;
}

static void marks_drop_aside(Marks *marks)
{
    Aside *first = marks->asides;
    marks->asides = first->next;
    if (marks->asides == NULL) {
        marks->last_aside = NULL;
    }
    free(first);
}

void marks_reset(PollSource *poll)
{
    poll->marks.sent = 0;
    poll->marks.aside_sent = false;
    while (poll->marks.asides != NULL) {
        marks_drop_aside(&poll->marks); /* the pipeline takes these events back */
    }
}

void marks_release(PollSource *poll)
{
    marks_reset(poll);
    free(poll->marks.seqs);
}

bool marks_pending(const PollSource *poll)
{
    return poll->marks.count > 0 || poll->marks.asides != NULL;
}

int64_t marks_oldest(const PollSource *poll)
{
    int64_t oldest = INT64_MAX;
    for (size_t i = 0; i < poll->marks.count; i++) {
        oldest = poll->marks.seqs[i] < oldest ? poll->marks.seqs[i] : oldest;
    }
    return oldest;
}

/* Dead letters. */

static void aside_on_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        Error copy = *err;
        error_prefix(&copy, "writing to %s", poll->dead_letter);
        poll_lose(poll, &copy);
        return;
    }
    Event *event = poll->marks.asides->event;
    poll->marks.aside_sent = false;
    marks_drop_aside(&poll->marks);
    poll->source.events.aside(poll->source.events.arg, event);
    marks_next(poll);
    poll_check_drained(poll);
}

static void aside_send(PollSource *poll)
{
    if (poll->dead_letter == NULL) {
        Error err;
        error_set(&err, ERROR_FATAL, EXIT_POSTGRES, "NO_DEAD_LETTER_TABLE",
                  "an event must be set aside, and there is no dead-letter table");
        error_hint(&err, "Make it with: outboxd migrate");
        poll_lose(poll, &err);
        return;
    }
    Aside *aside = poll->marks.asides;
    poll->marks.aside_sent = true;
    DeadLetter letter;
    dead_letter_build(&letter, poll->dead_letter, poll->options.pipeline, aside->event,
                      &aside->record, &aside->reason);
    pg_conn_send(poll->marker, &(PgQuery){.sql = letter.sql,
                                          .param_count = DEAD_LETTER_PARAMS,
                                          .values = letter.values,
                                          .lengths = letter.lengths,
                                          .formats = letter.formats,
                                          .arg = poll,
                                          .done = aside_on_done});
    dead_letter_release(&letter);
}

/* Marks. */

static void mark_on_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    size_t rows = (size_t)strtoull(PQcmdTuples((PGresult *)result), NULL, 10);
    *poll->options.stats->marked += rows;
    if (rows != poll->marks.sent && !poll->marks.recovering) {
        log_write(LOG_WARN, poll->options.pipeline->name, "ROWS_VANISHED",
                  LOG_FIELDS(log_number("published", (long long)poll->marks.sent),
                             log_number("marked", (long long)rows)),
                  "published rows were not there to be marked: somebody else deleted them");
    }
}

static void mark_on_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    (void)FAILPOINT("marked");
    Marks *marks = &poll->marks;
    marks->count -= marks->sent;
    memmove(marks->seqs, marks->seqs + marks->sent, marks->count * sizeof(*marks->seqs));
    marks->sent = 0;
    bool was_recovering = marks->recovering;
    if (marks->count == 0) {
        marks->recovering = false;
    }
    marks_next(poll);
    poll_check_drained(poll);
    if (poll->state == POLL_ACTIVE && was_recovering && marks->count == 0) {
        fetch_next(poll);
    }
    if (poll->state == POLL_ACTIVE) {
        poll->source.events.progress(poll->source.events.arg);
    }
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
static char *mark_array(const int64_t *seqs, size_t count, int *ret_length)
{
    char *bytes = x_malloc(20 + count * 12);
    char *at = put_be(bytes, 1, 4);
    at = put_be(at, 0, 4);
    at = put_be(at, INT8_OID, 4);
    at = put_be(at, count, 4);
    at = put_be(at, 1, 4);
    for (size_t i = 0; i < count; i++) {
        at = put_be(at, 8, 4);
        at = put_be(at, (uint64_t)seqs[i], 8);
    }
    *ret_length = (int)(at - bytes);
    return bytes;
}

static void mark_send(PollSource *poll)
{
    if (FAILPOINT("before_mark")) {
        return;
    }
    Marks *marks = &poll->marks;
    marks->sent = marks->count < MARK_ROWS_MAX ? marks->count : MARK_ROWS_MAX;
    int length = 0;
    char *array = mark_array(marks->seqs, marks->sent, &length);
    pg_conn_send(poll->marker, &(PgQuery){.statement = "outboxd_mark",
                                          .param_count = 1,
                                          .values = (const char *const[]){array},
                                          .lengths = &length,
                                          .formats = (const int[]){1},
                                          .arg = poll,
                                          .result = mark_on_result,
                                          .done = mark_on_done});
    free(array);
    (void)FAILPOINT("mark_sent");
}

/* Upkeep, when there is nothing better to do. */

static void upkeep_on_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    marks_next(poll);
    poll_check_drained(poll);
}

static void prune_on_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    Marks *marks = &poll->marks;
    int64_t deleted = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    *poll->options.stats->pruned += (uint64_t)deleted;
    bool more = deleted == PRUNE_ROWS;
    marks->prune_after = more ? strtoll(PQgetvalue(result, 0, 1), NULL, 10) : INT64_MIN;
    marks->next_prune_us =
        clock_monotonic_us() + (more ? 0 : PRUNE_IDLE_SECONDS * INT64_C(1000000));
}

/* Old published rows lie at the left edge of the table; only PRUNE_ROWS of it are looked at, so
 * that a table without anything old costs little. prune_after skips index entries just made dead.
 */
static void prune_send(PollSource *poll)
{
    const PipelineConfig *config = poll->options.pipeline;
    AUTO_TEXT published = ident_quote(config->columns.published_at);
    AUTO_TEXT sql = x_format(
        "WITH edge AS (SELECT %1$s AS seq, %2$s AS published FROM %3$s WHERE %1$s > %4$lld"
        " ORDER BY %1$s LIMIT %5$d), gone AS (DELETE FROM %3$s WHERE %1$s IN (SELECT seq FROM edge"
        " WHERE published < clock_timestamp() - interval '%6$lld ms') RETURNING %1$s AS seq)"
        " SELECT count(*), max(seq) FROM gone",
        poll->table->seq, published, poll->table->name, (long long)poll->marks.prune_after,
        PRUNE_ROWS, (long long)config->retain_ms);
    pg_conn_send(
        poll->marker,
        &(PgQuery){.sql = sql, .arg = poll, .result = prune_on_result, .done = upkeep_on_done});
}

static void count_on_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    poll->marks.backlog = strtod(PQgetvalue(result, 0, 0), NULL);
    poll->marks.backlog_capped = poll->marks.backlog >= COUNT_MAX;
    poll->marks.next_count_us = clock_monotonic_us() + COUNT_SECONDS * INT64_C(1000000);
}

static void count_send(PollSource *poll)
{
    AUTO_TEXT sql =
        x_format("SELECT count(*) FROM (SELECT FROM %s WHERE true%s LIMIT %d) AS pending",
                 poll->table->name, poll->table->unpublished, COUNT_MAX);
    pg_conn_send(
        poll->marker,
        &(PgQuery){.sql = sql, .arg = poll, .result = count_on_result, .done = upkeep_on_done});
}

void marks_next(PollSource *poll)
{
    if (poll->state != POLL_ACTIVE || pg_conn_is_busy(poll->marker)) {
        return;
    }
    const PipelineConfig *config = poll->options.pipeline;
    int64_t now_us = clock_monotonic_us();
    if (poll->marks.asides != NULL) {
        aside_send(poll);
    } else if (poll->marks.count > 0) {
        mark_send(poll);
    } else if (poll->draining) {
        return;
    } else if (config->retain_ms != DURATION_FOREVER && config->on_publish == ON_PUBLISH_MARK &&
               now_us >= poll->marks.next_prune_us) {
        prune_send(poll);
    } else if (!poll->caught_up && now_us >= poll->marks.next_count_us) {
        count_send(poll);
    }
}

/* The mark statement: prepared by the first mark of a session, sent when it is time, read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/marker_internal.h"

enum {
    MARK_ROWS_MAX = 5000, /* in one statement */
    GATHER_MS = 5,        /* without a position: rows wait so long for company */
    GONE_SECONDS = 60,    /* said at most so often */
    ROUNDS_MAX = 3,       /* marks that wrote nothing, and a look that found nothing wrong */
};

void mark_forget_running(Marker *marker)
{
    free(marker->missing.rows);
    free((char *)marker->missing.snapshot);
    marker->missing = (MarkMissing){0};
    marker->hit = 0;
    marker->not_hit = 0;
    marker->ignored = 0;
    marker->owned = false;
    marker->beyond = false;
    free(marker->row_ctid_next);
    marker->row_ctid_next = NULL;
}

/* Preparing. */

static void prepare_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQnfields(result) == 1) {
        bool is_null = PQntuples(result) != 1 || pg_is_null(result, 0, 0);
        mark_sql_read_id_type(&marker->sql, is_null ? NULL : pg_value(result, 0, 0));
    }
}

static void prepare_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    if (err != NULL && !marker_must_wait(marker, err)) {
        marker->options.lost(marker->options.arg, err);
        return;
    }
    if (err == NULL) {
        marker_passed(marker);
        marker->prepared = marker->names_prepared == marker->names; /* renamed meanwhile: again */
    }
    marker_go_on(marker);
}

static void prepare_send(Marker *marker)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    mark_sql_add_prepare(&marker->sql, &sql);
    pg_conn_send(marker->options.conn, &(PgQuery){.step = "prepare marking",
                                                  .sql = sql.data,
                                                  .arg = marker,
                                                  .done = prepare_on_done});
}

static void id_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    if (err != NULL) {
        prepare_on_done(marker, err);
        return;
    }
    prepare_send(marker);
}

/* PREPARE waits for whoever locks the table, as a mark does: so it is one of the statements that
 * are tried again. */
static void mark_prepare(Marker *marker)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    marker->names_prepared = marker->names;
    marker->sql.touches_rows = marker_touches_rows(marker);
    marker->sql.with_position = marker->with_position;
    if (!marker->sql.touches_rows || !mark_sql_add_id_query(&marker->sql, &sql)) {
        marker->sql.id_kind = MARK_ID_NONE;
        prepare_send(marker);
        return;
    }
    mark_sql_read_id_type(&marker->sql, NULL);
    pg_conn_send(marker->options.conn, &(PgQuery){.step = "type of the id",
                                                  .sql = sql.data,
                                                  .arg = marker,
                                                  .result = prepare_on_result,
                                                  .done = id_on_done});
}

/* What a mark brought. */

static const char *put_lsn(char *at, size_t size, uint64_t lsn)
{
    snprintf(at, size, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    return lsn != 0 ? at : NULL;
}

static const char *mark_value(const PGresult *result, int row, const char *name)
{
    return pg_field_or_null(result, row, name);
}

/* Each row but a lonely one names a row that was not hit, all with the same snapshot. */
static void mark_read_missing(Marker *marker, const PGresult *result)
{
    MarkMissing *missing = &marker->missing;
    int count = PQntuples(result);
    missing->rows = x_malloc((size_t)count * sizeof(*missing->rows));
    for (int i = 0; i < count; i++) {
        const char *seq = mark_value(result, i, "seq");
        const char *replaced = mark_value(result, i, "replaced");
        if (seq != NULL) {
            missing->rows[missing->count++] = (MarkMiss){
                .seq = strtoll(seq, NULL, 10), .replaced = replaced != NULL && *replaced == 't'};
            const char *ignored = mark_value(result, i, "ignored");
            marker->ignored += ignored != NULL && *ignored == 't';
        }
    }
    const char *snapshot = mark_value(result, 0, "snapshot");
    missing->snapshot = x_strdup(snapshot != NULL ? snapshot : "");
}

static void mark_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        mark_forget_running(marker);
        marker->hit = (size_t)strtoull(PQcmdTuples((PGresult *)result), NULL, 10);
        marker->owned =
            mark_sql_then(&marker->sql) == NULL; /* no row proves it, or the next will */
        return;
    }
    if (marker->with_position) {
        mark_forget_running(marker);
    }
    const char *ctid = PQntuples(result) > 0 ? mark_value(result, 0, "ctid") : NULL;
    marker->owned = ctid != NULL;
    if (ctid == NULL) {
        return;
    }
    if (marker->row_ctid != NULL) {
        free(marker->row_ctid_next);
        marker->row_ctid_next = x_strdup(ctid);
    }
    if (!marker->with_position) {
        return;
    }
    mark_read_missing(marker, result);
    size_t missing = marker->missing.count;
    marker->hit = marker->rows_sent > missing ? marker->rows_sent - missing : 0;
    const char *moved = mark_value(result, 0, "moved");
    marker->beyond = missing == 0 && moved != NULL && *moved == 'f';
}

static void mark_say(Marker *marker, MarkerGone *gone, ErrorCode code, const char *text)
{
    int64_t now_us = clock_monotonic_us();
    bool said = gone->said_us != 0 && now_us - gone->said_us < GONE_SECONDS * INT64_C(1000000);
    if (gone->rows == 0 || said) {
        return;
    }
    log_write(LOG_WARN, marker->options.pipeline->name, code,
              LOG_FIELDS(log_number("rows", (long long)gone->rows)), "%s", text);
    gone->rows = 0;
    gone->said_us = now_us;
}

static void mark_say_gone(Marker *marker)
{
    mark_say(marker, &marker->vanished, CODE_ROWS_VANISHED,
             "published rows could not be marked: somebody else deleted them");
    mark_say(marker, &marker->replaced, CODE_ROWS_REPLACED,
             "published rows could not be marked: the table now holds other events under these "
             "numbers, which are unchanged and will be published");
}

/* Polling: the rows are given up already; how many of them have another event under their number?
 */

static void replaced_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        size_t replaced = (size_t)strtoull(pg_needed(result, 0, 0), NULL, 10);
        replaced = replaced < marker->not_hit ? replaced : marker->not_hit;
        marker->ignored = (size_t)strtoull(pg_needed(result, 0, 1), NULL, 10);
        marker->same_table = pg_needed(result, 0, 2)[0] == 't';
        marker->not_hit -= replaced;
        marker->asked_replaced = replaced;
    }
}

/* Another table has the name: nothing was marked. */
static void mark_lose_table(Marker *marker)
{
    mark_queue_unsend(&marker->queue);
    marker->at_once = true;
    marker->waits_for_name = true;
    if (marker->options.replaced != NULL) {
        marker->options.replaced(marker->options.arg);
        return;
    }
    AUTO_ERROR err = {0};
    error_set(&err, CODE_TABLE_REPLACED,
              "table '%s' was replaced (different OID): examining it again",
              marker->options.pipeline->outbox.table);
    marker->options.lost(marker->options.arg, &err);
}

static void replaced_on_done(void *arg, const Error *err);

/* Before the queue is settled, which forgets which rows they were. */
static void mark_ask_replaced(Marker *marker)
{
    MarkQueue *queue = &marker->queue;
    size_t count = 0;
    const MarkRow *const *rows = mark_queue_chosen(queue, &count);
    int lengths[2] = {0};
    AUTO_TEXT seqs = mark_sql_seqs(rows, count, &lengths[0]);
    AUTO_TEXT ids = mark_sql_ids(&marker->sql, rows, count, &lengths[1]);
    AUTO_BUFFER sql = TEXT_EMPTY;
    mark_sql_add_replaced_query(&marker->sql, &sql);
    pg_conn_send(marker->options.conn, &(PgQuery){.step = "replaced table",
                                                  .sql = sql.data,
                                                  .param_count = 2,
                                                  .values = (const char *const[]){seqs, ids},
                                                  .lengths = lengths,
                                                  .formats = (const int[]){1, 1},
                                                  .arg = marker,
                                                  .rows_wanted = 1,
                                                  .result = replaced_on_result,
                                                  .done = replaced_on_done});
}

/* The statement is committed, and what it did is known. */
static void mark_settle(Marker *marker)
{
    MarkQueue *queue = &marker->queue;
    MarkGone gone = {0};
    bool missed = marker->missing.count > 0;
    *marker->options.stats->rows->marked += marker->hit;
    size_t unseen = mark_queue_settle(queue, &marker->missing, &gone);
    /* Of rows left over from a lost connection, or tried again, some may have been deleted by us.
     */
    bool again = marker->recovering || marker->ignored_rounds > 0;
    marker->vanished.rows += again ? 0 : gone.vanished + marker->not_hit;
    if (marker->ignored_rounds > 0) {
        marker->ignored_rounds = 0;
        marker_passed(marker);
    }
    mark_forget_running(marker);
    marker->replaced.rows += gone.replaced;
    mark_say_gone(marker);
    MarkerRejected *rejected = &marker->rejected;
    rejected->most = rejected->most < MARK_ROWS_MAX / 2 ? rejected->most * 2 : 0;
    if (rejected->probing) { /* whatever it was may be mended for all of them */
        rejected->probing = false;
        mark_queue_forgive(queue);
    }
    if (rejected->error.class != ERROR_NONE && queue->count == 0) {
        error_clear(&rejected->error);
        marker_passed(marker);
    }
    int64_t now_us = clock_monotonic_us();
    marker->unseen_until_us = unseen > 0 ? now_us + MARK_UNSEEN_MS * 1000 : 0;
    marker->at_once = marker->at_once || missed; /* its position was not committed */
    if (queue->count == 0) {
        marker->recovering = false;
    }
    marker->since_us = mark_queue_is_empty(queue) ? 0 : now_us;
    marker->options.marked(marker->options.arg);
    marker_go_on(marker);
}

static void replaced_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    if (err != NULL && err->code != CODE_POSTGRES_LOCK_TIMEOUT) {
        marker->options.lost(marker->options.arg, err);
        return;
    }
    if (err == NULL && !marker->same_table && marker->hit == 0) {
        mark_lose_table(marker);
        return;
    }
    if (err == NULL && marker->ignored > 0 && mark_is_ignored(marker)) {
        return;
    }
    marker->replaced.rows += marker->asked_replaced;
    mark_settle(marker);
}

/* Whatever it is: a new session prepares, claims and looks at everything anew. */
static void mark_lose_in_circles(Marker *marker)
{
    AUTO_ERROR err = {0};
    error_set(&err, CODE_MARKS_WITHOUT_EFFECT,
              "marking rows of table '%s' changed nothing %d times in a row, although this relay "
              "is the publisher in %s and the table is the right one: reconnecting",
              marker->options.pipeline->outbox.table, ROUNDS_MAX + 1, marker->row_table);
    error_hint(&err,
               "If this repeats, look for a rule, a trigger or a row-level security policy on %s.",
               marker->row_table);
    marker->options.lost(marker->options.arg, &err);
}

/* What somebody's function met (a right, a table that it lacks), or raised, no administrator of
 * ours mends, and it may last: that is a matter of the rows, whatever the SQLSTATE. Only a lock
 * that it waits for is one like any other. */
static bool mark_must_wait(Marker *marker, const Error *err)
{
    bool lock = err->code == CODE_POSTGRES_LOCK_TIMEOUT;
    return (!lock && sqlstate_is_of_function(err) && mark_is_rejected(marker, err)) ||
           marker_must_wait(marker, err) || (!lock && mark_is_rejected(marker, err));
}

/* The row moved with the commit: what a trigger refuses at its very end leaves it where it was. */
static void mark_take_ctid(Marker *marker)
{
    if (marker->row_ctid != NULL && marker->row_ctid_next != NULL) {
        free(marker->row_ctid);
        marker->row_ctid = marker->row_ctid_next;
        marker->row_ctid_next = NULL;
    }
}

static void mark_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    HistoryMemory *history = marker->row_ctid != NULL ? marker->options.history : NULL;
    if (err != NULL && !mark_must_wait(marker, err)) {
        marker->options.lost(marker->options.arg, err);
        return;
    }
    if (err == NULL && marker->ignored_rounds == 0) {
        marker_passed(marker);
    }
    if (err != NULL || !marker->owned) { /* nothing was written */
        if (history != NULL) {
            history_write_failed(history);
        }
        if (err == NULL && ++marker->rounds > ROUNDS_MAX) {
            mark_lose_in_circles(marker);
            return;
        }
        marker->relocate = err == NULL;
        marker->at_once = true;
        mark_queue_unsend(&marker->queue);
        marker_go_on(marker);
        return;
    }
    marker->rounds = 0;
    mark_take_ctid(marker);
    if (history != NULL) {
        history_write_committed(history);
    }
    if (marker->beyond) {
        AUTO_ERROR refused = {0};
        char lsn[24];
        (void)put_lsn(lsn, sizeof(lsn), marker->queue.position_sent.lsn);
        error_set(&refused, CODE_PG_PROTOCOL,
                  "position %s is beyond the end of the server's WAL: it was not stored", lsn);
        marker->options.lost(marker->options.arg, &refused);
        return;
    }
    AUTO_ERROR unknown = {0}; /* whether it was committed */
    if (FAILPOINT_FAILS("marked", &unknown)) {
        marker->options.lost(marker->options.arg, &unknown);
        return;
    }
    if (marker->ignored > 0 && mark_is_ignored(marker)) {
        return;
    }
    if (!marker->with_position && marker->rows_sent > marker->hit) {
        marker->not_hit = marker->rows_sent - marker->hit;
        marker->asked_replaced = 0;
        mark_ask_replaced(marker);
        return;
    }
    mark_settle(marker);
}

/* The row that proves the history was not where it was. */

static void relocate_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        PQnfields(result) != 4) {
        return;
    }
    const HistoryMemory *history = marker->options.history;
    marker->same_table = pg_value(result, 0, 3)[0] == 't';
    if (marker->row_ctid == NULL) {
        marker->owned = true;
        return;
    }
    marker->owned = strcmp(pg_value(result, 0, 1), history->ours) == 0 &&
                    strtoull(pg_value(result, 0, 2), NULL, 10) == history->last.writes;
    if (marker->owned) {
        free(marker->row_ctid);
        marker->row_ctid = x_strdup(pg_value(result, 0, 0));
    }
}

static void relocate_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    if (err != NULL && !marker_must_wait(marker, err)) {
        marker->options.lost(marker->options.arg, err);
        return;
    }
    if (err == NULL && !marker->owned) {
        AUTO_ERROR lost = {0};
        error_set(&lost, CODE_OWNER_REPLACED,
                  "another relay has written to %s as the publisher of table '%s'",
                  marker->row_table, marker->options.pipeline->outbox.table);
        error_hint(&lost, "If no other relay publishes this table, somebody changed or restored "
                          "that row. This relay then continues automatically.");
        marker->options.lost(marker->options.arg, &lost);
        return;
    }
    marker->relocate = err != NULL;
    if (err == NULL && !marker->same_table && marker_touches_rows(marker)) {
        mark_lose_table(marker);
        return;
    }
    marker_go_on(marker);
}

static void relocate_send(Marker *marker)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, "SELECT p.ctid, p.generation, p.writes, ");
    mark_sql_add_same_table(&marker->sql, &sql);
    text_printf(&sql, " FROM %s AS p WHERE p.%s", marker->row_table, marker->row_key);
    marker->owned = false;
    pg_conn_send(marker->options.conn, &(PgQuery){.step = "find rows",
                                                  .sql = sql.data,
                                                  .arg = marker,
                                                  .result = relocate_on_result,
                                                  .done = relocate_on_done});
}

/* Sending. */

static void mark_send(Marker *marker)
{
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("before_mark", &err)) {
        return;
    }
    MarkQueue *queue = &marker->queue;
    bool touches = marker_touches_rows(marker);
    size_t most = marker->rejected.most > 0 ? marker->rejected.most : MARK_ROWS_MAX;
    mark_queue_choose(queue, touches ? most : SIZE_MAX);
    size_t count = 0;
    const MarkRow *const *rows = mark_queue_chosen(queue, &count);
    marker->rows_sent = touches ? count : 0;
    int lengths[MARK_PARAMS_WAL] = {0};
    AUTO_TEXT seqs = mark_sql_seqs(rows, marker->rows_sent, &lengths[MARK_PARAM_SEQS]);
    AUTO_TEXT ids = mark_sql_ids(&marker->sql, rows, marker->rows_sent, &lengths[MARK_PARAM_IDS]);
    const MarkerPosition *sent = &queue->position_sent;
    char lsn[24];
    char tx_lsn[24];
    char ordinal[24];
    char filled[24];
    snprintf(ordinal, sizeof(ordinal), "%llu", (unsigned long long)sent->tx_ordinal);
    snprintf(filled, sizeof(filled), "%lld", (long long)sent->backfill_seq);
    const char *values[MARK_PARAMS_WAL] = {
        [MARK_PARAM_SEQS] = seqs,
        [MARK_PARAM_IDS] = ids,
        [MARK_PARAM_ROW] = marker->row_ctid,
        [MARK_PARAM_LSN] = put_lsn(lsn, sizeof(lsn), sent->lsn),
        [MARK_PARAM_TX_LSN] = put_lsn(tx_lsn, sizeof(tx_lsn), sent->tx_lsn),
        [MARK_PARAM_TX_ORDINAL] = sent->tx_ordinal != 0 ? ordinal : NULL,
        [MARK_PARAM_BACKFILL_SEQ] = sent->backfill_seq != 0 ? filled : NULL,
    };
    if (marker->row_ctid != NULL) {
        history_write_sent(marker->options.history);
    }
    pg_conn_send(
        marker->options.conn,
        &(PgQuery){.step = "mark",
                   .statement = mark_sql_statement(rows, marker->rows_sent),
                   .param_count = marker->with_position ? MARK_PARAMS_WAL : MARK_PARAMS_POLL,
                   .values = values,
                   .lengths = lengths,
                   .formats = (const int[MARK_PARAMS_WAL]){1, 1},
                   .then = mark_sql_then(&marker->sql),
                   .then_count = 1,
                   .then_values = (const char *const[]){marker->row_ctid},
                   .arg = marker,
                   .result = mark_on_result,
                   .done = mark_on_done});
    marker->at_once = false;
    if (FAILPOINT_FAILS("mark_sent", &err)) {
        marker->options.lost(marker->options.arg, &err);
    }
}

/* Rows wait for company: one statement for many costs the database much less. Not when so many wait
 * that they take the room of new ones. Otherwise arms the timer. */
static bool mark_is_due(Marker *marker)
{
    const PipelineConfig *config = marker->options.pipeline;
    int64_t wait_ms = marker->with_position ? config->outbox.mark_interval_ms : GATHER_MS;
    size_t many = (size_t)config->limits.in_flight_events / 4;
    many = many > MARK_ROWS_MAX ? MARK_ROWS_MAX : many;
    int64_t now_us = clock_monotonic_us();
    int64_t due_us = marker->since_us + wait_ms * 1000;
    bool apart = marker->rejected.most > 0; /* what is left of a statement that was refused */
    if (marker->queue.count >= many || marker->at_once || marker->draining || marker->recovering ||
        apart) {
        due_us = now_us;
    }
    due_us = due_us > marker->unseen_until_us ? due_us : marker->unseen_until_us;
    due_us = due_us > marker->lock.retry_us ? due_us : marker->lock.retry_us;
    if (now_us >= due_us) {
        return true;
    }
    marker_arm(marker, due_us - now_us);
    return false;
}

void mark_next(Marker *marker)
{
    if (mark_rests(marker) || !mark_is_due(marker)) {
        return;
    }
    if (!marker->prepared) {
        mark_prepare(marker);
    } else if (marker->relocate) {
        relocate_send(marker);
    } else {
        mark_send(marker);
    }
}

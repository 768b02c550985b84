#include "rows/marker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/marker_internal.h"
#include "rows/publisher.h"

enum { REFUSED_MS = 1000 }; /* between two tries of what the server refuses */

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
            mark_queue_add(&marker->queue, event->seq, event->row[FIELD_EVENT_ID], event->xid);
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

bool marker_has(const Marker *marker, int64_t seq, Slice event_id)
{
    return mark_queue_has(&marker->queue, seq, event_id);
}

bool marker_position_is_beyond(const Marker *marker)
{
    return marker->beyond;
}

bool marker_in_order(const Marker *marker)
{
    return marker->rejected.error.class == ERROR_NONE;
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

void marker_row_moved(Marker *marker, const char *ctid)
{
    if (marker->row_ctid != NULL) {
        free(marker->row_ctid);
        marker->row_ctid = x_strdup(ctid);
    }
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

bool marker_touches_rows(const Marker *marker)
{
    return marker->options.pipeline->outbox.on_publish != ON_PUBLISH_KEEP;
}

void marker_go_on(Marker *marker)
{
    marker_next(marker);
    if (marker->active && !pg_conn_is_busy(marker->options.conn) && !marker_pending(marker)) {
        marker->options.idle(marker->options.arg);
    }
}

/* Somebody's lock is in the way. */

/* Whoever revoked a right may grant it again: that is no reason to give up the lock, or what we
 * know of rows that are published and not marked. */
static bool marker_is_refused(Marker *marker, const Error *err)
{
    if (marker->options.refused == NULL || marker->draining || !sqlstate_is_refusal(err) ||
        !pg_conn_is_open(marker->options.conn)) {
        return false;
    }
    marker->refused = true;
    /* ALTER TYPE of the event id: the statement compares what cannot be compared any more. */
    bool types = sqlstate_is(err, "42883") || sqlstate_is(err, "42804");
    marker->prepared = marker->prepared && !types;
    marker->lock.retry_us = clock_monotonic_us() + REFUSED_MS * INT64_C(1000);
    marker->options.refused(marker->options.arg, err);
    return true;
}

bool marker_must_wait(Marker *marker, const Error *err)
{
    if (marker_is_refused(marker, err)) {
        return true;
    }
    if (err->code != CODE_POSTGRES_LOCK_TIMEOUT || !pg_conn_is_open(marker->options.conn)) {
        return false;
    }
    int64_t now_us = clock_monotonic_us();
    MarkerLock *lock = &marker->lock;
    lock->since_us = lock->since_us != 0 ? lock->since_us : now_us;
    lock->retry_us = now_us + publisher_lock_timeout_ms(marker->options.pipeline) * 1000;
    lock->ask = !lock->said;
    if (marker->options.blocked != NULL) {
        marker->options.blocked(marker->options.arg);
    }
    return true;
}

void marker_passed(Marker *marker)
{
    if (marker->refused && marker->rejected.error.class == ERROR_NONE) {
        marker->refused = false;
        marker->options.refused(marker->options.arg, NULL);
    }
    MarkerLock *lock = &marker->lock;
    if (lock->said) {
        log_write(
            LOG_INFO, marker->options.pipeline->name, CODE_MARK_UNBLOCKED,
            LOG_FIELDS(log_number("after_ms", (clock_monotonic_us() - lock->since_us) / 1000)),
            "the lock that prevented writing to table '%s' is gone",
            marker->options.pipeline->outbox.table);
    }
    text_free(&lock->holder);
    *lock = (MarkerLock){0};
}

static void holder_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        text_printf(&marker->lock.holder, "pid %s, application '%s', %s on %s",
                    pg_value(result, 0, 0), pg_value(result, 0, 1), pg_value(result, 0, 2),
                    pg_value(result, 0, 3));
    }
}

static void holder_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    if (err != NULL && !pg_conn_is_open(marker->options.conn)) {
        marker->options.lost(marker->options.arg, err);
        return;
    }
    const char *holder = text_string(&marker->lock.holder);
    log_write(LOG_WARN, marker->options.pipeline->name, CODE_MARK_BLOCKED,
              LOG_FIELDS(log_text("holder", *holder != '\0' ? holder : "unknown"),
                         log_number("rows", (long long)marker->queue.count)),
              "waiting for a lock on table '%s' that another session holds; published rows stay "
              "unmarked until it ends",
              marker->options.pipeline->outbox.table);
    marker->lock.said = true;
    marker_go_on(marker);
}

/* Whoever holds, or waits for, a lock on the table that a mark cannot pass; else it is one of rows,
 * whose holder cannot be told any more. */
static void holder_send(Marker *marker)
{
    AUTO_TEXT sql = x_format(
        "SELECT l.pid, coalesce(a.application_name, ''), l.mode, l.relation::regclass"
        " FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_catalog.pg_database"
        " WHERE datname = current_database()) AND (l.relation = %1$u OR l.relation IN (SELECT"
        " relid FROM pg_catalog.pg_partition_tree(%1$u))) AND l.pid <> pg_backend_pid() AND l.mode"
        " IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
        " ORDER BY l.granted DESC, l.pid LIMIT 1",
        marker->table_oid);
    marker->lock.ask = false;
    pg_conn_send(marker->options.conn, &(PgQuery){.step = "holder of the lock",
                                                  .sql = sql,
                                                  .arg = marker,
                                                  .result = holder_on_result,
                                                  .done = holder_on_done});
}

void marker_next(Marker *marker)
{
    const MarkerOptions *options = &marker->options;
    bool yields = options->yields != NULL && options->yields(options->arg);
    if (!marker->active || yields || pg_conn_is_busy(options->conn) || marker->stored > 0) {
        return;
    }
    int64_t wait_us = marker->lock.retry_us - clock_monotonic_us();
    if (marker->lock.ask) {
        holder_send(marker);
    } else if (marker->asides != NULL && wait_us > 0) {
        marker_arm(marker, wait_us);
    } else if (marker->asides != NULL) {
        aside_send(marker);
    } else if (marker->waits_for_name) {
        return;
    } else if (marker->look.due && !marker->draining && wait_us <= 0) {
        look_send(marker);
    } else if (!mark_queue_is_empty(&marker->queue)) {
        mark_next(marker);
    } else if (!marker->draining && wait_us <= 0) {
        upkeep_next(marker);
    }
}

void marker_arm(Marker *marker, int64_t after_us)
{
    event_add(marker->timer,
              &(struct timeval){.tv_sec = after_us / 1000000, .tv_usec = after_us % 1000000});
}

static void marker_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    marker_next(arg);
}

static void marker_set(char **text, const char *value)
{
    free(*text);
    *text = value != NULL ? x_strdup(value) : NULL;
}

void marker_start(Marker *marker, const MarkerSession *session)
{
    if (session->position != NULL) {
        marker->queue.position = *session->position;
    }
    bool proven = marker->options.history != NULL;
    marker->table_oid = session->table_oid;
    marker_set(&marker->row_table, session->row_table);
    marker_set(&marker->row_key, session->row_key);
    marker_set(&marker->row_ctid, proven ? session->row_ctid : NULL);
    marker_set(&marker->dead_letter, session->dead_letter);
    marker->sql =
        (MarkSql){.table = marker->options.table,
                  .table_oid = session->table_oid,
                  .row_table = marker->row_table,
                  .row_key = marker->row_key,
                  .generation = marker->row_ctid != NULL ? marker->options.history->ours : NULL};
    marker->prepared = false;
    marker->names++;
    marker->rounds = 0;
    marker->ignored_rounds = 0;
    marker->relocate = false;
    marker->waits_for_name = false;
    marker->recovering = marker->queue.count > 0;
    marker->active = true;
}

void marker_renamed(Marker *marker)
{
    marker->prepared = false;
    marker->names++;
    marker->rounds = 0;
    marker->waits_for_name = false;
    marker_next(marker);
}

void marker_retarget(Marker *marker, uint32_t table_oid)
{
    assert(!marker_pending(marker));
    marker->table_oid = table_oid;
    marker->sql.table_oid = table_oid;
    marker->prepared = false;
    marker->names++;
    marker->rounds = 0;
    marker->prune_after = 0;
    marker->next_count_us = 0;
}

void marker_stop(Marker *marker)
{
    event_del(marker->timer);
    marker->active = false;
    mark_queue_unsend(&marker->queue);
    mark_forget_running(marker);
    dead_letter_feed_free(&marker->feed);
    text_free(&marker->lock.holder);
    marker->lock = (MarkerLock){0};
    marker->look = (MarkerLook){0};
    marker->recovering = marker->queue.count > 0;
    marker->rejected.told = marker->rejected.probing = false;
    aside_forget_all(marker); /* the pipeline takes these events back */
}

void marker_forget(Marker *marker)
{
    assert(!marker->active);
    mark_queue_forget(&marker->queue);
    error_clear(&marker->rejected.error);
    memset(&marker->rejected, 0, sizeof(marker->rejected));
    marker->recovering = false;
    marker->since_us = 0;
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
        free((*marker)->row_table);
        free((*marker)->row_key);
        free((*marker)->row_ctid);
        free((*marker)->dead_letter);
        error_clear(&(*marker)->rejected.error);
        mark_queue_release(&(*marker)->queue);
        free(*marker);
        *marker = NULL;
    }
}

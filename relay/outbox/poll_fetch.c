/* Reading the outbox.
 *
 * One fetch is one string of statements, one round trip, each statement with a snapshot of its own:
 *
 *   1. sometimes: which transactions are writing to the table now?      (for the fence)
 *   2. COPY all unpublished rows in the gaps and beyond the top         (one snapshot)
 *   3. WAL insert and flush positions                                   (for the guard)
 *
 * The order of keys. Writers of one key serialise, so e1 < e2 of a key means: e1's transaction had
 * committed before e2 was inserted. A snapshot that shows e2 shows e1, and both are read by the
 * same statement, in order of seq. That is why every fetch looks at all gaps.
 *
 * The fence. A gap below the top can be filled only by a transaction that drew the number before
 * the top was seen and has not ended. An INSERT locks the table before it draws a number and keeps
 * the lock until the end, prepared transactions included, so those transactions are among the ones
 * that hold a writer's lock on the table in a later statement (1.). When none of them is left, one
 * more fetch sees whatever they committed, and the gaps up to that top are given up.
 *
 * The guard. A row of a transaction with synchronous_commit = off is visible before its commit is
 * on disk; a crash of PostgreSQL would undo a fact that Kafka has. So a fetch is handed on only
 * when WAL is flushed beyond the position noted after the snapshot (3.); if no commit of others
 * does that within milliseconds, one of our own forces it.
 *
 * The sweep. Numbers below the low-water bound cannot appear by INSERT, but a person may reset
 * published_at or insert old numbers; now and then that part of the table is looked at, too. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "outbox/fetch_sql.h"
#include "outbox/poll_internal.h"
#include "pg/ident.h"
#include "rows/row.h"

enum {
    FIRST_LIMIT = 256, /* rows; grows while rows prove small */
    LIMIT_GROWTH = 4,
    FENCE_INTERVAL_MS = 200, /* at most so often, and only while there are gaps */
    GUARD_TRIES = 4, /* one a round trip, then a millisecond apart, then we force the flush */
};

void fetch_release(PollSource *poll)
{
    batch_free(&poll->fetch.batch);
}

void fetch_reset(PollSource *poll)
{
    fetch_release(poll);
    poll->fetch = (Fetch){0};
    gaps_reset(&poll->gaps);
    parked_clear(&poll->parked);
    poll->rereading = false;
    free(poll->fence.writers);
    free(poll->fence.latest);
    poll->fence = (Fence){0};
    poll->next_limit = FIRST_LIMIT;
    if (poll->next_limit > (size_t)poll->options.pipeline->batch_events) {
        poll->next_limit = (size_t)poll->options.pipeline->batch_events;
    }
    poll->next_sweep_us = clock_monotonic_us() + poll->options.pipeline->sweep_interval_ms * 1000;
    poll->caught_up = false;
    poll->complete_us = poll->covered_us = 0;
    marker_caught_up(poll->marker, false);
}

/* In flight, or acknowledged and not marked, or parked: only rows of merged gaps and of sweeps can
 * be that. */
static bool fetch_knows(const PollSource *poll, const Event *event)
{
    int64_t seq = event->seq;
    Slice event_id = event->field[FIELD_EVENT_ID];
    if (parked_has(&poll->parked, seq, event_id)) {
        return true;
    }
    for (size_t i = 0; i < poll->outstanding_count; i++) {
        const Batch *batch = poll->outstanding[i];
        if (seq < batch->events[0]->seq || seq > batch->events[batch->count - 1]->seq) {
            continue;
        }
        for (size_t j = 0; j < batch->count; j++) {
            if (batch->events[j]->seq == seq &&
                slice_equal(batch->events[j]->field[FIELD_EVENT_ID], event_id)) {
                return true;
            }
        }
    }
    return marker_has(poll->marker, seq, event_id);
}

static void fetch_on_row(void *arg, const char *bytes, size_t length)
{
    PollSource *poll = arg;
    Fetch *fetch = &poll->fetch;
    if (fetch->error.class != ERROR_NONE) {
        return;
    }
    if (!fetch->header_read) {
        fetch->header_read = true;
        if (row_skip_header(&bytes, &length, &fetch->error) != OK || length == 0) {
            return;
        }
    }
    if (row_is_trailer(bytes, length)) {
        return;
    }
    fetch->rows++;
    if (fetch->batch->bytes >= fetch->budget_bytes) {
        fetch->truncated = true;
        fetch->dropped_bytes += length;
        /* A cancel request costs a connection and a process: dropping a few rows is cheaper. */
        if (!fetch->cancelling &&
            fetch->dropped_bytes > (size_t)poll->options.pipeline->batch_bytes) {
            fetch->cancelling = true;
            pg_conn_cancel(poll->reader);
        }
        return;
    }
    Event *event = NULL;
    Status read =
        row_read(bytes, length, poll->table->extra_count, fetch->batch, &event, &fetch->error);
    if (read != OK) {
        return;
    }
    fetch->last_seq = event->seq;
    if (event->seq <= fetch->top && fetch_knows(poll, event)) {
        fetch->batch->count--;
        fetch->batch->unsettled--;
        return;
    }
    if (FAILPOINT("forget_row")) {
        gaps_see(&poll->gaps, event->seq); /* as if it had been handed on */
        fetch->batch->count--;
        fetch->batch->unsettled--;
        return;
    }
    fetch->swept += event->seq < poll->gaps.low;
}

/* insert_lsn, durable, table_oid. */
static void fetch_read_guard(PollSource *poll, const PGresult *result)
{
    Fetch *fetch = &poll->fetch;
    if (PQnfields(result) != 3) {
        return;
    }
    snprintf(fetch->insert_lsn, sizeof(fetch->insert_lsn), "%s", PQgetvalue(result, 0, 0));
    fetch->durable = PQgetvalue(result, 0, 1)[0] == 't';
    fetch->table_oid = (uint32_t)strtoul(PQgetvalue(result, 0, 2), NULL, 10);
}

static void fetch_on_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (strcmp(PQfname(result, 0), "writers") == 0) {
        free(poll->fence.latest);
        poll->fence.latest = x_strdup(PQgetvalue(result, 0, 0));
        return;
    }
    fetch_read_guard(poll, result);
}

/* True when a transaction of `old` (space-separated) is still among `now`. */
static bool fence_blocked(const char *old, const char *now)
{
    AUTO_TEXT copy = x_strdup(old);
    char *rest = NULL;
    for (char *writer = strtok_r(copy, " ", &rest); writer != NULL;
         writer = strtok_r(NULL, " ", &rest)) {
        size_t length = strlen(writer);
        for (const char *at = now; (at = strstr(at, writer)) != NULL; at += length) {
            bool starts = at == now || at[-1] == ' ';
            if (starts && (at[length] == ' ' || at[length] == '\0')) {
                return true;
            }
        }
    }
    return false;
}

/* After a complete fetch that asked for the writers. */
static void fence_advance(PollSource *poll)
{
    Fence *fence = &poll->fence;
    Fetch *fetch = &poll->fetch;
    if (fence->latest == NULL) {
        return;
    }
    if (fence->active && !fence_blocked(fence->writers, fence->latest)) {
        bool complete =
            !fetch->truncated && (fetch->rows < fetch->limit || fetch->last_seq > fence->top);
        if (complete) {
            gaps_drop(&poll->gaps, fence->top);
            fence->active = false;
        }
    }
    if (!fence->active && poll->gaps.count > 0 && fetch->top > INT64_MIN) {
        fence->active = true;
        fence->top = fetch->top;
        free(fence->writers);
        fence->writers = fence->latest;
        fence->latest = NULL;
    }
    free(fence->latest);
    fence->latest = NULL;
}

static void fetch_deliver(PollSource *poll)
{
    Batch *batch = poll->fetch.batch;
    poll->fetch.batch = NULL;
    for (size_t i = 0; i < batch->count; i++) {
        gaps_see(&poll->gaps, batch->events[i]->seq);
    }
    if (poll->fetch.swept > 0) {
        *poll->options.stats->swept += poll->fetch.swept;
        log_write(LOG_INFO, poll->options.pipeline->name, "ROWS_SWEPT",
                  LOG_FIELDS(log_number("rows", (long long)poll->fetch.swept)),
                  "found unpublished rows below the low-water bound; publishing them");
    }
    if (poll->outstanding_count == poll->outstanding_capacity) {
        poll->outstanding_capacity =
            poll->outstanding_capacity > 0 ? poll->outstanding_capacity * 2 : 16;
        poll->outstanding =
            x_realloc(poll->outstanding, poll->outstanding_capacity * sizeof(Batch *));
    }
    poll->outstanding[poll->outstanding_count++] = batch;
    poll->source.events.batch(poll->source.events.arg, batch);
}

/* How many rows next time, so that they fit the byte budget; how soon. */
static void fetch_adapt(PollSource *poll)
{
    Fetch *fetch = &poll->fetch;
    const PipelineConfig *config = poll->options.pipeline;
    bool full = fetch->rows >= fetch->limit || fetch->truncated;
    if (fetch->batch->count > 0) {
        poll->row_bytes = fetch->batch->bytes / fetch->batch->count + 1;
    }
    if (full) {
        poll->next_limit = fetch->limit * LIMIT_GROWTH;
    }
    size_t fitting =
        poll->row_bytes > 0 ? (size_t)config->batch_bytes / poll->row_bytes + 1 : FIRST_LIMIT;
    if (poll->next_limit > fitting) {
        poll->next_limit = fitting;
    }
    if (poll->next_limit > (size_t)config->batch_events) {
        poll->next_limit = (size_t)config->batch_events;
    }
    poll->more = full;
    poll->caught_up = !full;
    marker_caught_up(poll->marker, poll->caught_up);
    if (fetch->rows > 0) {
        poll->interval_ms = config->poll_interval_min_ms;
    } else {
        poll->interval_ms = poll->interval_ms * 2 > config->poll_interval_max_ms
                                ? config->poll_interval_max_ms
                                : poll->interval_ms * 2;
    }
}

/* What was read is of another table that has the name now: nothing of it is handed on. */
static void fetch_lose_table(PollSource *poll)
{
    Error err;
    error_set(&err, ERROR_RETRY, EXIT_POSTGRES, "TABLE_REPLACED",
              "table '%s' is not the one it was: looking at it again",
              poll->options.pipeline->table);
    poll_lose(poll, &err);
}

/* How far the table was read: what this fetch could have shown and did not is not there, or known.
 */
static void fetch_note_covered(PollSource *poll)
{
    const Fetch *fetch = &poll->fetch;
    if (fetch->rows < fetch->limit && !fetch->truncated && !fetch->cancelling) {
        poll->complete_us = fetch->sent_us;
    } else {
        poll->covered_us = fetch->sent_us;
        poll->covered_seq = fetch->last_seq;
    }
}

/* The rows are read and durable. */
static void fetch_complete(PollSource *poll)
{
    if (poll->fetch.table_oid != poll->lock.table_oid) {
        fetch_lose_table(poll);
        return;
    }
    history_note_flushed(&poll->history, poll->fetch.insert_lsn);
    poll->blocked_said = false;
    (void)FAILPOINT("fetched");
    if (poll->rereading) {
        fetch_release(poll); /* it is read again, and what is behind it too */
        fetch_next(poll);
        return;
    }
    fetch_note_covered(poll);
    histogram_observe_us(poll->options.stats->fetch_duration,
                         clock_monotonic_us() - poll->fetch.sent_us);
    if (poll->fetch.sweep_below > INT64_MIN) {
        /* What a sweep found may be followed by more of the same. */
        int64_t wait_ms =
            poll->fetch.swept > 0 ? poll->interval_ms : poll->options.pipeline->sweep_interval_ms;
        poll->next_sweep_us = clock_monotonic_us() + wait_ms * 1000;
    }
    fetch_adapt(poll);
    if (poll->fetch.batch->count > 0) {
        fetch_deliver(poll); /* before the fence: what was seen is no gap */
    } else {
        fetch_release(poll);
    }
    fence_advance(poll);
    fetch_next(poll);
}

/* The guard. */

static void guard_ask(PollSource *poll);

static void guard_on_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (PQnfields(result) == 1) {
        poll->fetch.durable = PQgetvalue(result, 0, 0)[0] == 't';
    } else {
        fetch_read_guard(poll, result);
    }
}

static void guard_on_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    session_renew_lease(poll);
    if (poll->fetch.durable) {
        fetch_complete(poll);
    } else {
        guard_ask(poll);
    }
}

/* The string of statements is one transaction, so what COPY locked is still the table of this name.
 */
static void add_guard_query(const PollSource *poll, Text *sql)
{
    AUTO_TEXT table = ident_literal(poll->table->name);
    text_printf(sql,
                "SELECT pg_current_wal_insert_lsn() AS insert_lsn,"
                " pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() AS durable,"
                " to_regclass(%s)::oid AS table_oid",
                table);
}

static void guard_ask(PollSource *poll)
{
    Fetch *fetch = &poll->fetch;
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (fetch->insert_lsn[0] == '\0') { /* the fetch was cancelled before it came to that */
        add_guard_query(poll, &sql);
    } else {
        if (++fetch->guard_tries > GUARD_TRIES) {
            /* A commit that wrote WAL, with synchronous_commit = on, flushes all before it. */
            text_add(&sql, "SELECT pg_logical_emit_message(true, 'outboxd.flush', ''); ");
        } else if (fetch->guard_tries > 1) {
            text_add(&sql, "SELECT pg_sleep(0.001); ");
        }
        text_printf(&sql, "SELECT pg_current_wal_flush_lsn() >= '%s'::pg_lsn", fetch->insert_lsn);
    }
    session_ask(
        poll,
        &(PgQuery){.sql = sql.data, .arg = poll, .result = guard_on_result, .done = guard_on_done});
}

/* Somebody locks the table against readers: nothing was read, and the lease goes on. */
static void fetch_wait(PollSource *poll)
{
    free(poll->fence.latest);
    poll->fence.latest = NULL;
    fetch_release(poll);
    if (!poll->blocked_said) {
        poll->blocked_said = true;
        log_write(
            LOG_WARN, poll->options.pipeline->name, "FETCH_BLOCKED", LOG_NO_FIELDS,
            "waiting to read table '%s': another session holds a lock on it that keeps readers "
            "out",
            poll->options.pipeline->table);
    }
    poll->more = true;
    poll_set_timer(poll, poll->options.pipeline->poll_interval_max_ms);
}

static void fetch_on_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    Fetch *fetch = &poll->fetch;
    bool our_cancel = err != NULL && fetch->cancelling && pg_conn_is_open(poll->reader) &&
                      strcmp(err->code, "POSTGRES_QUERY_CANCELED") == 0;
    if (fetch->error.class != ERROR_NONE) {
        poll_lose(poll, &fetch->error);
        return;
    }
    bool blocked = err != NULL && pg_conn_is_open(poll->reader) &&
                   strcmp(err->code, "POSTGRES_LOCK_TIMEOUT") == 0;
    if (err != NULL && !our_cancel && !blocked) {
        poll_lose(poll, err);
        return;
    }
    session_renew_lease(poll);
    if (blocked) {
        fetch_wait(poll);
        return;
    }
    if (our_cancel) {
        free(poll->fence.latest); /* this fetch was not complete: it says nothing about gaps */
        poll->fence.latest = NULL;
        fetch->insert_lsn[0] = '\0';
        fetch->durable = false;
    }
    if (fetch->batch->count > 0 && !fetch->durable) {
        guard_ask(poll);
    } else {
        fetch_complete(poll);
    }
}

static void add_writers_query(const PollSource *poll, Text *sql)
{
    /* Locks that a writer takes, and stronger ones; inheritance children (partitions) included. */
    text_printf(sql,
                "SELECT coalesce(string_agg(DISTINCT virtualtransaction, ' '), '') AS writers"
                " FROM pg_locks WHERE locktype = 'relation' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                " AND (relation = %u OR relation IN (SELECT relid FROM pg_partition_tree(%u)))"
                " AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareLock')"
                " AND pid IS DISTINCT FROM pg_backend_pid(); ",
                poll->lock.table_oid, poll->lock.table_oid);
}

static int64_t fetch_sweep_bound(const PollSource *poll, int64_t now_us)
{
    if (now_us < poll->next_sweep_us || poll->gaps.low == INT64_MIN) {
        return INT64_MIN;
    }
    int64_t bound = poll->gaps.low;
    for (size_t i = 0; i < poll->outstanding_count; i++) {
        int64_t first = poll->outstanding[i]->events[0]->seq;
        bound = first < bound ? first : bound;
    }
    int64_t parked = parked_lowest(&poll->parked);
    bound = parked < bound ? parked : bound;
    int64_t unmarked = marker_oldest(poll->marker);
    return unmarked < bound ? unmarked : bound;
}

static void fetch_send(PollSource *poll, size_t limit, size_t budget_bytes)
{
    int64_t now_us = clock_monotonic_us();
    batch_free(&poll->fetch.batch);
    poll->fetch = (Fetch){
        .batch = batch_new(),
        .limit = limit,
        .budget_bytes = budget_bytes,
        .top = poll->gaps.top,
        .last_seq = INT64_MIN,
        .sweep_below = fetch_sweep_bound(poll, now_us),
        .sent_us = now_us,
    };
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (poll->gaps.count > 0 && now_us >= poll->fence.next_us) {
        poll->fence.next_us = now_us + FENCE_INTERVAL_MS * 1000;
        add_writers_query(poll, &sql);
    }
    fetch_add_sql(poll->table, &poll->gaps, poll->fetch.sweep_below, limit, &sql);
    add_guard_query(poll, &sql);
    session_ask(poll, &(PgQuery){.sql = sql.data,
                                 .arg = poll,
                                 .row = fetch_on_row,
                                 .result = fetch_on_result,
                                 .done = fetch_on_done});
}

/* Bounds rows and bytes of the next fetch by the room there is. False when that would be so small a
 * remainder that waiting for more room is cheaper. */
static bool fetch_fits(const PollSource *poll, size_t *events, size_t *bytes)
{
    const PipelineConfig *config = poll->options.pipeline;
    size_t limit = poll->next_limit;
    size_t enough = (size_t)config->in_flight_events / 4;
    if (*bytes > (size_t)config->batch_bytes) {
        *bytes = (size_t)config->batch_bytes;
    }
    size_t fitting = poll->row_bytes > 0 ? *bytes / poll->row_bytes + 1 : limit;
    *events = fitting < *events ? fitting : *events;
    enough = limit < enough ? limit : enough;
    *events = limit < *events ? limit : *events;
    bool idle = poll->outstanding_count == 0 &&
                marker_unmarked(poll->marker) == 0; /* no more room will come */
    return *events >= enough || idle;
}

void fetch_next(PollSource *poll)
{
    if (poll->state != POLL_ACTIVE || pg_conn_is_busy(poll->reader) || poll->draining) {
        return;
    }
    const PipelineConfig *config = poll->options.pipeline;
    if (marker_recovering(poll->marker)) {
        /* Rows acknowledged before the reconnect still look unpublished. */
        poll_set_timer(poll, config->poll_interval_max_ms);
        return;
    }
    if (poll->rereading) {
        if (poll->outstanding_count > 0 || marker_unmarked(poll->marker) > 0) {
            poll_set_timer(poll, config->poll_interval_max_ms); /* or on_marked() */
            return;
        }
        fetch_reset(poll);
        poll->more = true;
    }
    size_t events = 0;
    size_t bytes = 0;
    bool room = poll->source.events.room(poll->source.events.arg, &events, &bytes);
    if (poll->more && room && fetch_fits(poll, &events, &bytes)) {
        poll->more = false;
        event_del(poll->timer);
        fetch_send(poll, events, bytes);
        return;
    }
    int64_t silent_us = clock_monotonic_us() - poll->asked_us;
    if (silent_us > config->lease_ms * 1000 / 3) {
        session_ping(poll);
    }
    poll_set_timer(poll, poll->more ? config->poll_interval_max_ms : poll->interval_ms);
}

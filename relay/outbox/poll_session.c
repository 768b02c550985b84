/* Connecting, and the right to publish: the publisher's lock (rows/publisher.h), held by the reader
 * and used as a lease. Each answer of the server proves that the session, and so the lock, existed
 * when the question was asked; the owner relies on it for lease_ms from then. The server's side
 * frees it later than that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "outbox/poll_internal.h"
#include "pg/ident.h"
#include "rows/publisher.h"

void session_ask(PollSource *poll, const PgQuery *query)
{
    poll->asked_us = clock_monotonic_us();
    pg_conn_send(poll->reader, query);
}

void session_renew_lease(PollSource *poll)
{
    poll->lease_until_us = poll->asked_us + poll->options.pipeline->lease_ms * 1000;
}

/* The marker. */

static void on_marker_ready(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    poll->state = POLL_ACTIVE;
    poll->interval_ms = poll->options.pipeline->poll_interval_min_ms;
    poll->more = true;
    poll->source.events.active(poll->source.events.arg);
    /* Rows that were acknowledged before the reconnect are marked before the first fetch. */
    marker_start(poll->marker, &(MarkerSession){.table_oid = poll->lock.table_oid,
                                                .row_table = poll->publisher_table,
                                                .row_key = poll->publisher_key,
                                                .row_ctid = poll->publisher_ctid,
                                                .dead_letter = poll->dead_letter});
    marker_next(poll->marker);
    if (!marker_recovering(poll->marker)) {
        fetch_next(poll);
    }
    poll_check_drained(poll);
}

void session_marker_opened(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_settings(poll->options.config, poll->options.pipeline, false,
                           PQserverVersion(pg_conn_raw(poll->marker_conn)), &sql);
    publisher_add_lock_timeout(poll->options.pipeline, &sql);
    pg_conn_send(poll->marker_conn,
                 &(PgQuery){.sql = sql.data, .arg = poll, .done = on_marker_ready});
}

/* The lock. */

void session_lock_lost(void *arg, const Error *err)
{
    poll_lose(arg, err);
}

void session_lock_taken(void *arg)
{
    PollSource *poll = arg;
    /* A session of ours that the server has not given up yet took nothing from us. */
    bool ours = poll->owner_pid != 0 && poll->lock.holder_pid == poll->owner_pid;
    poll->taken = poll->taken || !ours;
    poll->source.events.standby(poll->source.events.arg, poll->lock.holder);
    poll->state = POLL_STANDBY;
    poll_set_timer(poll, poll->options.pipeline->standby_interval_ms);
    poll_check_drained(poll);
}

/* The lock is ours. Before anything is published, or marked: is it the history that we know? */

static void session_locked(PollSource *poll)
{
    (void)FAILPOINT("locked");
    poll->owner_pid = poll->backend_pid;
    poll->taken = false;
    poll->state = POLL_LOCKED;
    poll_set_timer(poll, poll->options.pipeline->lease_ms / 4);
    poll->source.events.locked(poll->source.events.arg);
}

static void on_claim_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        free(poll->publisher_ctid);
        poll->publisher_ctid = x_strdup(PQgetvalue(result, 0, 0));
    }
}

static void on_claim_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    Error none;
    if (err == NULL && poll->publisher_ctid == NULL) {
        error_set(&none, ERROR_RETRY, EXIT_POSTGRES, "POSTGRES_ANSWER",
                  "the server did not say where the row of '%s' is", poll->publisher_table);
        err = &none;
    }
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    history_write_committed(&poll->history);
    session_renew_lease(poll);
    session_locked(poll);
}

static void session_claim(PollSource *poll)
{
    free(poll->publisher_ctid);
    poll->publisher_ctid = NULL;
    if (poll->publisher_table == NULL) {
        session_locked(poll);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_claim(poll->options.pipeline, poll->publisher_table, poll->lock.table_oid,
                        poll->history.ours, &sql);
    history_write_sent(&poll->history);
    session_ask(
        poll,
        &(PgQuery){.sql = sql.data, .arg = poll, .result = on_claim_result, .done = on_claim_done});
}

/* What is remembered about rows holds no longer: batches that come back are dropped, rows that wait
 * to be marked are forgotten; everything that is unpublished is read again after resume(). */
static void session_forget(PollSource *poll, HistoryVerdict verdict, const char *difference)
{
    size_t rows = marker_unmarked(poll->marker);
    for (size_t i = 0; i < poll->outstanding_count; i++) {
        rows += poll->outstanding[i]->count;
    }
    marker_forget(poll->marker);
    poll->foreign = true;
    const char *name = poll->options.pipeline->name;
    if (verdict == HISTORY_OTHER) {
        log_write(
            LOG_WARN, name, "HISTORY_CHANGED",
            LOG_FIELDS(log_text("found", difference), log_number("rows", (long long)rows)),
            "the server is not as this relay knew it (%s): forgetting the rows that were in "
            "flight or not marked yet, and reading again everything that is unpublished; some "
            "events may be published twice",
            difference);
    } else if (rows > 0) {
        log_write(LOG_INFO, name, "OWNER_CHANGED", LOG_FIELDS(log_number("rows", (long long)rows)),
                  "another relay published this table meanwhile: forgetting the rows that were in "
                  "flight or not marked yet, and reading everything that is unpublished");
    }
}

static void on_history_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (!history_read(result, poll->lock.table_oid, &poll->found)) {
        error_set(&poll->error, ERROR_RETRY, EXIT_POSTGRES, "POSTGRES_ANSWER",
                  "the server did not say of which history it is");
    }
}

static void on_history_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL || poll->error.class != ERROR_NONE) {
        Error copy = err != NULL ? *err : poll->error;
        poll_lose(poll, &copy);
        return;
    }
    session_renew_lease(poll);
    char difference[160];
    HistoryVerdict verdict =
        history_judge(&poll->history, &poll->found, difference, sizeof(difference));
    if (verdict == HISTORY_SAME && !poll->found.has_row && poll->taken) {
        verdict = HISTORY_NEWER_OWNER; /* nothing else would tell */
    }
    if (verdict == HISTORY_OTHER || verdict == HISTORY_NEWER_OWNER) {
        session_forget(poll, verdict, difference);
    }
    history_adopt(&poll->history, &poll->found);
    session_claim(poll);
}

void session_lock_held(void *arg)
{
    PollSource *poll = arg;
    session_renew_lease(poll);
    poll->state = POLL_CLAIMING;
    free(poll->publisher_key);
    poll->publisher_key = x_format("table_id = %u", poll->lock.table_oid);
    AUTO_BUFFER sql = TEXT_EMPTY;
    history_add_query(poll->publisher_table, poll->publisher_key, &sql);
    poll->error = (Error){0};
    session_ask(poll, &(PgQuery){.sql = sql.data,
                                 .arg = poll,
                                 .result = on_history_result,
                                 .done = on_history_done});
}

void session_keep_lock(PollSource *poll)
{
    if (!pg_conn_is_busy(poll->reader)) {
        session_ping(poll);
    }
    poll_set_timer(poll, poll->options.pipeline->lease_ms / 4);
}

void session_try_lock(PollSource *poll)
{
    poll->asked_us = clock_monotonic_us();
    publisher_try_lock(&poll->lock);
}

/* The table: is it one that can be polled without loss? */

static Status check_table(PollSource *poll, const PGresult *r, Error *err)
{
    const char *table = poll->options.pipeline->table;
    int pid = (int)strtol(PQgetvalue(r, 0, 0), NULL, 10);
    if (pid != PQbackendPID(pg_conn_raw(poll->reader)) &&
        poll->options.config->database.pooler != POOLER_SESSION) {
        error_set(err, ERROR_FATAL, EXIT_POSTGRES, "POSTGRES_POOLER",
                  "a connection pooler stands between outboxd and PostgreSQL");
        return error_hint(err,
                          "Connect to PostgreSQL itself, or, if the pooler pools sessions, set "
                          "database.pooler = \"session\": a transaction pooler would hand the "
                          "publisher's lock to somebody else.");
    }
    if (PQgetvalue(r, 0, 1)[0] == 't') {
        error_set(err, ERROR_RETRY, EXIT_POSTGRES, "POSTGRES_READ_ONLY",
                  "the server is a standby; rows cannot be marked there");
        return error_hint(err, "Use a DSN of the primary, or target_session_attrs=read-write.");
    }
    if (PQgetisnull(r, 0, 2)) {
        error_set(err, ERROR_FATAL, EXIT_POSTGRES, "POSTGRES_NO_TABLE",
                  "no table '%s' in database '%s'", table, PQdb(pg_conn_raw(poll->reader)));
        return error_hint(err, "Make the outbox with: outboxd migrate; or name your own table in "
                               "pipelines.table.");
    }
    if (PQgetvalue(r, 0, 3)[0] != 'p') {
        error_set(err, ERROR_FATAL, EXIT_POSTGRES, "TABLE_UNLOGGED",
                  "table '%s' is %s: a crash of PostgreSQL empties it", table,
                  PQgetvalue(r, 0, 3)[0] == 'u' ? "unlogged" : "temporary");
        return error_hint(err, "ALTER TABLE %s SET LOGGED;", table);
    }
    if (!PQgetisnull(r, 0, 4) && strcmp(PQgetvalue(r, 0, 4), "1") != 0) {
        error_set(err, ERROR_FATAL, EXIT_POSTGRES, "SEQUENCE_CACHE",
                  "the sequence of '%s.%s' has CACHE %s: sessions would number events out of order",
                  table, poll->options.pipeline->columns.seq, PQgetvalue(r, 0, 4));
        return error_hint(err, "ALTER SEQUENCE %s CACHE 1;", PQgetvalue(r, 0, 6));
    }
    return OK;
}

static void on_table_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        return; /* of the SETs */
    }
    if (check_table(poll, result, &poll->error) != OK) {
        return;
    }
    poll->lock.table_oid = (uint32_t)strtoul(PQgetvalue(result, 0, 2), NULL, 10);
    free(poll->dead_letter);
    poll->dead_letter = PQgetisnull(result, 0, 5) ? NULL : x_strdup(PQgetvalue(result, 0, 5));
    free(poll->publisher_table);
    poll->publisher_table = PQgetisnull(result, 0, 7) ? NULL : x_strdup(PQgetvalue(result, 0, 7));
    poll->backend_pid = (int)strtol(PQgetvalue(result, 0, 0), NULL, 10);
}

static void on_table_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL || poll->error.class != ERROR_NONE) {
        Error copy = err != NULL ? *err : poll->error;
        poll_lose(poll, &copy);
        return;
    }
    *poll->options.stats->postgres_connected = 1;
    session_try_lock(poll);
}

void session_reader_opened(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO_TEXT table = ident_literal(poll->table->name);
    AUTO_TEXT seq = ident_literal(poll->options.pipeline->columns.seq);
    publisher_add_settings(poll->options.config, poll->options.pipeline, true,
                           PQserverVersion(pg_conn_raw(poll->reader)), &sql);
    publisher_add_lock_timeout(poll->options.pipeline, &sql);
    text_printf(&sql,
                "SELECT pg_backend_pid(), pg_is_in_recovery(), c.oid, c.relpersistence, s.seqcache,"
                " coalesce(to_regclass(quote_ident(n.nspname) || '.dead_letter'),"
                " to_regclass('outbox.dead_letter'))::text, s.seqrelid::regclass, ");
    publisher_add_row_table("n.nspname", &sql);
    text_printf(&sql,
                " FROM (SELECT to_regclass(%s) AS oid) t LEFT JOIN pg_class c ON c.oid = t.oid"
                " LEFT JOIN pg_namespace n ON n.oid = c.relnamespace"
                " LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %s"
                " AND NOT a.attisdropped"
                " LEFT JOIN pg_depend d ON d.refobjid = c.oid AND d.refobjsubid = a.attnum"
                " AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_class'::regclass"
                " AND d.deptype IN ('a', 'i') AND EXISTS (SELECT FROM pg_sequence q"
                " WHERE q.seqrelid = d.objid)"
                " LEFT JOIN pg_sequence s ON s.seqrelid = d.objid LIMIT 1",
                table, seq);
    poll->error = (Error){0};
    session_ask(
        poll,
        &(PgQuery){.sql = sql.data, .arg = poll, .result = on_table_result, .done = on_table_done});
}

void session_open(PollSource *poll)
{
    if (FAILPOINT("connect")) {
        Error err;
        error_set(&err, ERROR_RETRY, EXIT_POSTGRES, "FAILPOINT", "fail point 'connect'");
        poll_lose(poll, &err);
        return;
    }
    poll->state = POLL_OPENING;
    pg_conn_open(poll->reader);
}

/* The lease, while nothing is fetched. */

static void on_ping_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    session_renew_lease(poll);
    fetch_next(poll);
}

void session_ping(PollSource *poll)
{
    session_ask(poll, &(PgQuery){.sql = "SELECT 1", .arg = poll, .done = on_ping_done});
}

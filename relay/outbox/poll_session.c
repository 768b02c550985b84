/* Connecting, and the right to publish.
 *
 * The right is a session advisory lock on the reader, one for each table (two relays with different
 * configurations of the same table exclude each other, too). It is used as a lease: each answer of
 * the server proves that the session, and so the lock, existed when the question was asked, and the
 * owner relies on it for lease_ms from then. The server's side frees it later than that: TCP
 * time-outs, from PostgreSQL 14 idle_session_timeout, and on every version the standby itself,
 * which ends a session that did nothing for lease_ms + LEASE_MARGIN_MS (a stopped owner in the
 * middle of a COPY over a socket that never times out is caught only by that). Standbys try on a
 * timer: a waiting lock call would hold a snapshot and bloat the outbox. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "outbox/poll_internal.h"
#include "pg/ident.h"

enum {
    LEASE_MARGIN_MS = 2000,
    LOCK_CLASS =
        0x6F757462, /* "outb": first key of the advisory lock; the second is the table's OID */
};

void session_ask(PollSource *poll, const PgQuery *query)
{
    poll->asked_us = clock_monotonic_us();
    pg_conn_send(poll->reader, query);
}

void session_renew_lease(PollSource *poll)
{
    poll->lease_until_us = poll->asked_us + poll->options.pipeline->lease_ms * 1000;
}

/* The session settings that make texts independent of the server's configuration, and fetches
 * cheap. */
static void add_settings(const PollSource *poll, bool reader, int server_version, Text *sql)
{
    const PollOptions *options = &poll->options;
    int64_t lease = options->pipeline->lease_ms;
    text_add(sql, "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; "
                  "SET bytea_output = 'hex'; SET extra_float_digits = 3; "
                  "SET default_transaction_isolation = 'read committed'; "
                  "SET default_transaction_read_only = off; "
                  "SET synchronous_commit = on; SET jit = off; SET enable_seqscan = off; "
                  "SET max_parallel_workers_per_gather = 0; "
                  "SET standard_conforming_strings = on; "
                  "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; "
                  "SET tcp_keepalives_count = 3; SET idle_in_transaction_session_timeout = 0; ");
    text_printf(sql, "SET tcp_user_timeout = %lld; SET statement_timeout = %lld; ",
                (long long)lease,
                (long long)(reader ? lease : options->config->database.statement_timeout_ms));
    if (reader && server_version >= 140000) {
        text_printf(sql, "SET idle_session_timeout = %lld; ", (long long)lease + LEASE_MARGIN_MS);
    } else if (server_version >= 140000) {
        text_add(sql, "SET idle_session_timeout = 0; ");
    }
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
    marks_next(poll);
    if (poll->marks.count == 0) {
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
    add_settings(poll, false, PQserverVersion(pg_conn_raw(poll->marker)), &sql);
    text_printf(&sql, "PREPARE outboxd_mark (bigint[]) AS %s", poll->table->mark_sql);
    pg_conn_send(poll->marker, &(PgQuery){.sql = sql.data, .arg = poll, .done = on_marker_ready});
}

/* The lock. */

static void on_lock_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        poll->locked = PQgetvalue(result, 0, 0)[0] == 't';
    }
}

static void on_holder_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        return;
    }
    char holder[160] = "unknown";
    if (PQntuples(result) == 1) {
        snprintf(holder, sizeof(holder), "%.80s, pid %.20s%s%.40s", PQgetvalue(result, 0, 1),
                 PQgetvalue(result, 0, 0), *PQgetvalue(result, 0, 2) != '\0' ? " at " : "",
                 PQgetvalue(result, 0, 2));
        if (PQgetvalue(result, 0, 3)[0] == 't') {
            log_write(LOG_WARN, poll->options.pipeline->name, "LEASE_BROKEN",
                      LOG_FIELDS(log_text("holder", holder)),
                      "the publisher was silent for longer than its lease; ended its session");
        }
    }
    poll->source.events.standby(poll->source.events.arg, holder);
}

static void on_holder_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    poll->state = POLL_STANDBY;
    poll_set_timer(poll, poll->options.pipeline->standby_interval_ms);
    poll_check_drained(poll);
}

static void session_look_at_holder(PollSource *poll)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_printf(
        &sql,
        "SELECT a.pid, a.application_name, a.client_addr, CASE WHEN"
        " greatest(a.query_start, a.state_change) < clock_timestamp() - interval '%lld ms'"
        " AND pg_has_role(a.usesysid, 'MEMBER') THEN pg_terminate_backend(a.pid) END"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory'"
        " AND l.granted AND l.classid = %u AND l.objid = %u AND l.objsubid = 2"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (long long)poll->options.pipeline->lease_ms + LEASE_MARGIN_MS, (unsigned)LOCK_CLASS,
        poll->table_oid);
    session_ask(poll, &(PgQuery){.sql = sql.data,
                                 .arg = poll,
                                 .result = on_holder_result,
                                 .done = on_holder_done});
}

static void on_lock_done(void *arg, const Error *err)
{
    PollSource *poll = arg;

    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    if (!poll->locked) {
        session_look_at_holder(poll);
        return;
    }
    session_renew_lease(poll);
    (void)FAILPOINT("locked");
    poll->state = POLL_PREPARING;
    pg_conn_open(poll->marker);
}

void session_try_lock(PollSource *poll)
{
    poll->locked = false;
    AUTO_TEXT sql =
        x_format("SELECT pg_try_advisory_lock(%d, %d)", LOCK_CLASS, (int32_t)poll->table_oid);
    session_ask(
        poll, &(PgQuery){.sql = sql, .arg = poll, .result = on_lock_result, .done = on_lock_done});
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
    poll->table_oid = (uint32_t)strtoul(PQgetvalue(result, 0, 2), NULL, 10);
    free(poll->dead_letter);
    poll->dead_letter = PQgetisnull(result, 0, 5) ? NULL : x_strdup(PQgetvalue(result, 0, 5));
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
    add_settings(poll, true, PQserverVersion(pg_conn_raw(poll->reader)), &sql);
    text_printf(&sql,
                "SELECT pg_backend_pid(), pg_is_in_recovery(), c.oid, c.relpersistence, s.seqcache,"
                " coalesce(to_regclass(quote_ident(n.nspname) || '.dead_letter'),"
                " to_regclass('outbox.dead_letter'))::text, s.seqrelid::regclass"
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

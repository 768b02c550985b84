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
#include "pg/sqlstate.h"
#include "rows/precondition.h"
#include "rows/publisher.h"

enum { REFUSED_MS = 1000 };

void session_ask(PollSource *poll, const PgQuery *query)
{
    poll->asked_us = clock_monotonic_us();
    pg_conn_send(poll->reader, query);
}

void session_renew_lease(PollSource *poll)
{
    poll->lease_until_us = poll->asked_us + poll->options.pipeline->lease_ms * 1000;
}

static bool session_look_failed(PollSource *poll, const Error *err);
static void session_look(PollSource *poll, Text *sql, void (*done)(void *arg, const Error *err));

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
    marker_start(poll->marker, poll->dead_letter, NULL);
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
    marker_add_prepare(poll->marker, NULL, &sql);
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
    poll->begun = true;
    poll->look_again = true;
    poll->source.events.standby(poll->source.events.arg, poll->lock.holder);
    poll->state = POLL_STANDBY;
    poll_set_timer(poll, poll->options.pipeline->standby_interval_ms);
    poll_check_drained(poll);
}

static void session_locked(PollSource *poll)
{
    session_renew_lease(poll);
    (void)FAILPOINT("locked");
    poll->begun = true;
    poll->state = POLL_LOCKED;
    poll_set_timer(poll, poll->options.pipeline->lease_ms / 4);
    poll->source.events.locked(poll->source.events.arg);
}

static void on_look_again_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (!session_look_failed(poll, err)) {
        session_locked(poll);
    }
}

void session_lock_held(void *arg)
{
    PollSource *poll = arg;
    if (!poll->look_again) {
        session_locked(poll);
        return;
    }
    poll->look_again = false;
    AUTO_BUFFER sql = TEXT_EMPTY;
    session_look(poll, &sql, on_look_again_done);
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

/* What must hold before the first event is read: the list of rows/precondition.h, once when we
 * connect, and once more when the lock comes to us after a time of standing by. */

static void on_look_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return; /* of the SETs */
    }
    if (PQfnumber(result, "backend_pid") >= 0) {
        (void)publisher_check_pooler(poll->options.config, poll->reader, result, false,
                                     &poll->error);
        return;
    }
    PreconditionLook look = {0};
    precondition_read(poll->options.pipeline, result, 0, PRECONDITION_START, &look);
    const Error *broken = precondition_broken(&look);
    if (broken != NULL && poll->error.class == ERROR_NONE) {
        poll->error = *broken;
    }
    poll->lock.table_oid = look.table_oid;
    free(poll->dead_letter);
    poll->dead_letter = *look.dead_letter != '\0' ? x_strdup(look.dead_letter) : NULL;
    precondition_release(&look);
}

/* What a human must mend ends a pipeline at its start; later it is waited for. */
static bool session_look_failed(PollSource *poll, const Error *err)
{
    if (err == NULL && poll->error.class == ERROR_NONE) {
        return false;
    }
    Error copy = err != NULL ? *err : poll->error;
    if (poll->begun && (err == NULL || sqlstate_is_refusal(err))) {
        copy.class = ERROR_RETRY;
    }
    poll_lose(poll, &copy);
    return true;
}

static void session_look(PollSource *poll, Text *sql, void (*done)(void *arg, const Error *err))
{
    int version = PQserverVersion(pg_conn_raw(poll->reader));
    publisher_add_pooler_query(sql);
    precondition_add_query(poll->options.pipeline, poll->table, 0, version, sql);
    poll->error = (Error){0};
    session_ask(poll,
                &(PgQuery){.sql = sql->data, .arg = poll, .result = on_look_result, .done = done});
}

static void on_look_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (!session_look_failed(poll, err)) {
        *poll->options.stats->postgres_connected = 1;
        session_try_lock(poll);
    }
}

void session_reader_opened(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_settings(poll->options.config, poll->options.pipeline, true,
                           PQserverVersion(pg_conn_raw(poll->reader)), &sql);
    session_look(poll, &sql, on_look_done);
}

/* A statement of ours was refused: an administrator changed something. The lock is kept, and so is
 * what we know; the pipeline hears of it and has the list read. */
bool session_refused(PollSource *poll, const Error *err)
{
    if (!pg_conn_is_open(poll->reader) || poll->state != POLL_ACTIVE || poll->draining ||
        !sqlstate_is_refusal(err)) {
        return false;
    }
    session_renew_lease(poll); /* the server answered */
    poll->refused = true;
    poll->refused_until_us = clock_monotonic_us() + REFUSED_MS * INT64_C(1000);
    poll->more = true;
    poll_set_timer(poll, REFUSED_MS);
    poll->source.events.refused(poll->source.events.arg, err);
    return true;
}

void session_accepted(PollSource *poll)
{
    if (poll->refused) {
        poll->refused = false;
        poll->source.events.refused(poll->source.events.arg, NULL);
    }
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
    poll->look_again = false;
    poll->refused = false;
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

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
#include "pg/result.h"
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
    poll->lease_until_us = poll->asked_us + poll->options.pipeline->claim.lease_ms * 1000;
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
    poll->interval_ms = poll->options.pipeline->poll.interval_min_ms;
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
                           pg_conn_raw(poll->marker_conn), &sql);
    publisher_add_lock_timeout(poll->options.pipeline, &sql);
    pg_conn_send(poll->marker_conn, &(PgQuery){.step = "session of the marker",
                                               .sql = sql.data,
                                               .arg = poll,
                                               .done = on_marker_ready});
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
    left_release(&poll->left); /* the pipeline forgets what waits, too */
    poll->begun = true;
    poll->look_again = true;
    poll->source.events.standby(poll->source.events.arg, poll->lock.holder);
    poll->state = POLL_STANDBY;
    poll_set_timer(poll, poll->options.pipeline->claim.standby_interval_ms);
    poll_check_drained(poll);
}

/* The lock is ours. Before anything is published, or marked: is it the history that we know? */

static void session_locked(PollSource *poll)
{
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("locked", &err)) {
        poll_lose(poll, &err);
        return;
    }
    poll->begun = true;
    poll->owner_pid = poll->backend_pid;
    poll->taken = false;
    poll->state = POLL_LOCKED;
    poll_set_timer(poll, poll->options.pipeline->claim.lease_ms / 4);
    poll->source.events.locked(poll->source.events.arg);
}

static void on_claim_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        free(poll->publisher_ctid);
        poll->publisher_ctid = x_strdup(pg_needed(result, 0, 0));
    }
}

static void on_claim_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    AUTO_ERROR none = {0};
    if (err == NULL && poll->publisher_ctid == NULL) {
        error_set(&none, CODE_POSTGRES_ANSWER, "the server did not say where the row of '%s' is",
                  poll->publisher_table);
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
    session_ask(poll, &(PgQuery){.step = "claim",
                                 .sql = sql.data,
                                 .rows_wanted = 1,
                                 .arg = poll,
                                 .result = on_claim_result,
                                 .done = on_claim_done});
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
    rotation_go_back(poll);
    poll->foreign = true;
    const char *name = poll->options.pipeline->name;
    if (verdict == HISTORY_OTHER) {
        log_write(
            LOG_WARN, name, CODE_HISTORY_CHANGED,
            LOG_FIELDS(log_text("found", difference), log_number("rows", (long long)rows)),
            "the server is not as this relay knew it (%s): forgetting the rows that were in "
            "flight or not marked yet, and reading again everything that is unpublished; some "
            "events may be published twice",
            difference);
    } else if (rows > 0) {
        log_write(LOG_INFO, name, CODE_OWNER_CHANGED,
                  LOG_FIELDS(log_number("rows", (long long)rows)),
                  "another relay published this table meanwhile: forgetting the rows that were in "
                  "flight or not marked yet, and reading everything that is unpublished");
    }
}

static void on_history_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (!history_read(result, poll->lock.table_oid, &poll->found)) {
        error_set(&poll->error, CODE_POSTGRES_ANSWER,
                  "the server did not say of which history it is");
    }
}

static void on_history_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL || poll->error.class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(err != NULL ? err : &poll->error);
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
    bool others = verdict == HISTORY_OTHER || verdict == HISTORY_NEWER_OWNER;
    bool alone = verdict == HISTORY_SAME && poll->found.has_row;
    poll->source.proof = others ? PROOF_OTHERS : alone ? PROOF_ALONE : PROOF_NONE;
    if (others) {
        session_forget(poll, verdict, difference);
    }
    history_adopt(&poll->history, &poll->found);
    session_claim(poll);
}

void session_judge(PollSource *poll)
{
    free(poll->publisher_key);
    poll->publisher_key = x_format("table_id = %u", poll->lock.table_oid);
    AUTO_BUFFER sql = TEXT_EMPTY;
    history_add_query(poll->publisher_table, poll->publisher_key, &sql);
    error_clear(&poll->error);
    session_ask(poll, &(PgQuery){.step = "history",
                                 .sql = sql.data,
                                 .arg = poll,
                                 .rows_wanted = 1,
                                 .result = on_history_result,
                                 .done = on_history_done});
}

static void session_set_replaced(const PollSource *poll, Error *err)
{
    error_set(err, CODE_TABLE_REPLACED, "table '%s' is not the one it was: looking at it again",
              poll->options.pipeline->outbox.table);
}

void session_lose_table(PollSource *poll)
{
    AUTO_ERROR err = {0};
    session_set_replaced(poll, &err);
    poll_lose(poll, &err);
}

static void on_look_again_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (!session_look_failed(poll, err)) {
        rotation_start(poll);
    }
}

void session_lock_held(void *arg)
{
    PollSource *poll = arg;
    session_renew_lease(poll);
    poll->state = POLL_CLAIMING;
    if (!poll->look_again) {
        rotation_start(poll);
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
    poll_set_timer(poll, poll->options.pipeline->claim.lease_ms / 4);
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
        poll->backend_pid = (int)strtol(pg_needed(result, 0, 0), NULL, 10);
        (void)publisher_check_pooler(poll->options.config, poll->reader, result, false,
                                     &poll->error);
        return;
    }
    PreconditionLook look = {0};
    unsigned reader = PRECONDITION_START | (poll->begun ? PRECONDITION_RUNNING : 0);
    precondition_read(poll->table, result, 0, reader, &look);
    bool first = !poll->warned;
    precondition_say_first(poll->options.pipeline, &look, &poll->warned);
    (void)precondition_take_columns(&look, poll->table);
    if (first) {
        precondition_say_absent(poll->table);
    }
    const Error *broken = precondition_broken(&look);
    if (broken != NULL && poll->error.class == ERROR_NONE) {
        error_copy(&poll->error, broken);
    }
    if (poll->state == POLL_OPENING) {
        poll->lock.table_oid = look.table_oid;
    } else if (poll->lock.table_oid != look.table_oid && poll->error.class == ERROR_NONE) {
        session_set_replaced(poll, &poll->error); /* the lock that we have is another table's */
    }
    free(poll->dead_letter);
    poll->dead_letter = *look.dead_letter != '\0' ? x_strdup(look.dead_letter) : NULL;
    free(poll->publisher_table);
    poll->publisher_table = *look.publisher != '\0' ? x_strdup(look.publisher) : NULL;
    precondition_release(&look);
}

/* What a human must mend ends a pipeline at its start; later it is waited for. */
static bool session_look_failed(PollSource *poll, const Error *err)
{
    if (err == NULL && poll->error.class == ERROR_NONE) {
        return false;
    }
    AUTO_ERROR copy = error_of(err != NULL ? err : &poll->error);
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
    error_clear(&poll->error);
    session_ask(poll, &(PgQuery){.step = "look",
                                 .sql = sql->data,
                                 .rows_wanted = 2,
                                 .arg = poll,
                                 .result = on_look_result,
                                 .done = done});
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
                           pg_conn_raw(poll->reader), &sql);
    publisher_add_lock_timeout(poll->options.pipeline, &sql);
    session_look(poll, &sql, on_look_done);
}

/* A statement of ours was refused: an administrator changed something. The lock is kept, and so is
 * what we know; the pipeline hears of it and has the list read. */
bool session_refused(PollSource *poll, const Error *err)
{
    if (!pg_conn_is_open(poll->reader) || poll->state != POLL_ACTIVE || poll->draining ||
        poll->rotation.active || /* the next start tells what is wrong with the old table */
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
    bool was = poll->refused;
    poll->refused = false;
    if (was && marker_in_order(poll->marker)) { /* else the marker says when its rows pass */
        poll->source.events.refused(poll->source.events.arg, NULL);
    }
}

void session_open(PollSource *poll)
{
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("connect", &err)) {
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

static void on_ping_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    bool told = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
    if (told && poll->state == POLL_ACTIVE &&
        strtoul(pg_value(result, 0, 0), NULL, 10) != poll->lock.table_oid) {
        poll->rotation.wanted = true;
    }
}

/* Nothing may be read for long when there is no room: the table is asked for here, too. */
void session_ping(PollSource *poll)
{
    AUTO_TEXT table = ident_literal(poll->table->name);
    AUTO_TEXT sql = x_format("SELECT pg_catalog.to_regclass(%s)::pg_catalog.oid AS named", table);
    session_ask(poll, &(PgQuery){.step = "ping",
                                 .sql = sql,
                                 .rows_wanted = 1,
                                 .arg = poll,
                                 .result = on_ping_result,
                                 .done = on_ping_done});
}

/* Rotation by rename: ALTER TABLE event RENAME TO event_2025; CREATE TABLE event (LIKE ...).
 *
 * Each fetch and each mark asks whether the name still belongs to the table whose lock we hold.
 * When it does not, the old table is finished first, under its present name, since keys go on in
 * the new one: read, published, marked, until a look from the beginning finds nothing. Only then
 * the session begins anew with the table that has the name. Until then both locks are held, so that
 * a relay that starts now stands by.
 *
 * After a restart in the middle the row of outbox.publisher tells: another table_id under the same
 * table_name, of a table that is still there. Whoever gets the lock of the new table must get the
 * one of the old table, too, or stand by. Once the old table is finished its row is deleted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "outbox/poll_internal.h"
#include "pg/ident.h"

enum { RETRY_MS = 1000 }; /* for the new table's lock, or for a table of that name to appear */

static void rotation_say(const PollSource *poll)
{
    log_write(LOG_WARN, poll->options.pipeline->name, "TABLE_ROTATED",
              LOG_FIELDS(log_text("old", poll->rotation.name)),
              "table '%s' was renamed to %s%s: publishing what is unpublished there first",
              poll->options.pipeline->table, poll->rotation.name,
              poll->rotation.next_oid != 0 ? ", and another one has its name" : "");
}

static void on_lock_lost(void *arg, const Error *err)
{
    poll_lose(arg, err);
}

/* At the start. */

static void rotation_begin_with_old(PollSource *poll)
{
    Rotation *rotation = &poll->rotation;
    rotation->next_oid = poll->lock.table_oid;
    poll->lock.table_oid = rotation->old_oid;
    rotation->active = rotation->locked = true;
    table_rename(poll->table, rotation->name);
    rotation_say(poll);
    session_judge(poll);
}

static void on_unlocked(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    snprintf(poll->lock.holder, sizeof(poll->lock.holder), "%s", poll->rotation.lock.holder);
    poll->lock.holder_pid = poll->rotation.lock.holder_pid;
    session_lock_taken(poll);
}

static void on_lock_taken(void *arg)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    if (rotation->old_oid != 0) { /* whoever finishes the old table goes on with the new one */
        AUTO_BUFFER sql = TEXT_EMPTY;
        publisher_add_unlock(poll->lock.table_oid, &sql);
        session_ask(poll, &(PgQuery){.sql = sql.data, .arg = poll, .done = on_unlocked});
        return;
    }
    session_renew_lease(poll);
    if (!rotation->said_taken) {
        rotation->said_taken = true;
        log_write(
            LOG_WARN, poll->options.pipeline->name, "ROTATION_TAKEN",
            LOG_FIELDS(log_text("holder", rotation->lock.holder)),
            "another relay publishes the new table '%s' already; this one finishes %s and then "
            "stands by",
            poll->options.pipeline->table, rotation->name);
    }
    fetch_next(poll);
}

static void on_lock_held(void *arg)
{
    PollSource *poll = arg;
    session_renew_lease(poll);
    if (poll->rotation.old_oid != 0) {
        rotation_begin_with_old(poll);
        return;
    }
    poll->rotation.locked = true;
    fetch_next(poll);
}

static void rotation_try_lock(PollSource *poll, uint32_t table_oid)
{
    poll->rotation.lock.table_oid = table_oid;
    poll->asked_us = clock_monotonic_us();
    publisher_try_lock(&poll->rotation.lock);
}

static void on_start_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) == 0) {
        return;
    }
    const char *name = PQfname(result, 0);
    if (strcmp(name, "dropped") == 0) {
        log_write(LOG_WARN, poll->options.pipeline->name, "TABLE_DROPPED",
                  LOG_FIELDS(log_text("table_id", PQgetvalue(result, 0, 0))),
                  "the table that was published under the name '%s' before is gone; what was "
                  "unpublished in it went with it",
                  poll->options.pipeline->table);
    } else if (strcmp(name, "old_table") == 0 && PQnfields(result) == 2) {
        poll->rotation.old_oid = (uint32_t)strtoul(PQgetvalue(result, 0, 0), NULL, 10);
        free(poll->rotation.name);
        poll->rotation.name = x_strdup(PQgetvalue(result, 0, 1));
    } else if (strcmp(name, "configured") == 0) {
        poll->rotation.next_oid = (uint32_t)strtoul(PQgetvalue(result, 0, 0), NULL, 10);
    }
}

static void on_start_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    session_renew_lease(poll);
    if (poll->rotation.next_oid != poll->lock.table_oid) { /* while we stood by */
        session_lose_table(poll);
    } else if (poll->rotation.old_oid != 0) {
        rotation_try_lock(poll, poll->rotation.old_oid);
    } else {
        session_judge(poll);
    }
}

/* Rows of tables that were published by this pipeline under this name. */
static void add_old_tables(const PollSource *poll, Text *sql)
{
    const PipelineConfig *pipeline = poll->options.pipeline;
    AUTO_TEXT name = ident_literal(pipeline->name);
    AUTO_TEXT table = ident_literal(pipeline->table);
    AUTO_TEXT seq = ident_literal(pipeline->columns.seq);
    const char *rows = poll->publisher_table;
    text_printf(sql,
                "DELETE FROM %s AS p WHERE p.pipeline = %s AND p.table_name = %s AND NOT EXISTS"
                " (SELECT FROM pg_catalog.pg_class c WHERE c.oid = p.table_id) RETURNING p.table_id"
                " AS dropped; ",
                rows, name, table);
    text_printf(sql,
                "SELECT p.table_id AS old_table, pg_catalog.format('%%I.%%I', n.nspname, c.relname)"
                " FROM %s AS p JOIN pg_catalog.pg_class c ON c.oid = p.table_id"
                " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                " WHERE p.pipeline = %s AND p.table_name = %s AND p.table_id <> %u"
                " AND c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_catalog.pg_attribute a"
                " WHERE a.attrelid = c.oid AND a.attname = %s AND NOT a.attisdropped)"
                " ORDER BY p.updated_at LIMIT 1; ",
                rows, name, table, poll->lock.table_oid, seq);
}

void rotation_start(PollSource *poll)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO_TEXT table = ident_literal(poll->table->configured);
    poll->rotation.old_oid = 0;
    if (poll->publisher_table != NULL) {
        add_old_tables(poll, &sql);
    }
    text_printf(&sql, "SELECT pg_catalog.to_regclass(%s)::pg_catalog.oid AS configured", table);
    session_ask(
        poll,
        &(PgQuery){.sql = sql.data, .arg = poll, .result = on_start_result, .done = on_start_done});
}

/* While publishing. */

static void on_look_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        PQnfields(result) != 2) {
        return;
    }
    free(rotation->name);
    rotation->name = PQgetisnull(result, 0, 0) ? NULL : x_strdup(PQgetvalue(result, 0, 0));
    rotation->next_oid = (uint32_t)strtoul(PQgetvalue(result, 0, 1), NULL, 10);
}

static void rotation_lose(PollSource *poll)
{
    Error refused = poll->rotation.refused;
    poll->rotation.refused = (Error){0};
    if (refused.class == ERROR_NONE) {
        session_lose_table(poll);
    } else if (!session_refused(poll, &refused)) {
        poll_lose(poll, &refused);
    }
}

static void on_look_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    session_renew_lease(poll);
    if (rotation->name == NULL) { /* it was dropped */
        rotation_lose(poll);
        return;
    }
    rotation->refused = (Error){0};
    bool was_active = rotation->active;
    rotation->active = rotation->next_oid != poll->lock.table_oid;
    if (!rotation->active) {
        table_rename(poll->table, NULL);
        marker_renamed(poll->marker);
        fetch_next(poll);
        return;
    }
    table_rename(poll->table, rotation->name);
    if (!was_active) {
        rotation_say(poll);
    }
    poll->more = true;
    if (rotation->next_oid != 0 && !rotation->locked) {
        rotation_try_lock(poll, rotation->next_oid);
    }
    marker_renamed(poll->marker);
    fetch_next(poll);
}

void rotation_notice(PollSource *poll, const Error *err)
{
    poll->rotation.wanted = true;
    if (err != NULL) {
        poll->rotation.refused = *err;
    }
    fetch_next(poll);
}

bool rotation_next(PollSource *poll)
{
    if (!poll->rotation.wanted) {
        return false;
    }
    poll->rotation.wanted = false;
    AUTO_TEXT table = ident_literal(poll->table->configured);
    AUTO_TEXT sql = x_format(
        "SELECT (SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname) FROM"
        " pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE"
        " c.oid = %u) AS present, pg_catalog.to_regclass(%s)::pg_catalog.oid AS configured",
        poll->lock.table_oid, table);
    session_ask(
        poll, &(PgQuery){.sql = sql, .arg = poll, .result = on_look_result, .done = on_look_done});
    return true;
}

static void on_row_deleted(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    /* Nothing is remembered that could be wrong of another table. */
    poll->history.known = false;
    Error next;
    error_set(&next, ERROR_RETRY, EXIT_POSTGRES, "TABLE_FINISHED",
              "everything in %s is published: going on with the new table '%s'",
              poll->rotation.name, poll->options.pipeline->table);
    poll_lose(poll, &next);
}

static void rotation_finish(PollSource *poll)
{
    if (poll->publisher_table == NULL) {
        on_row_deleted(poll, NULL);
        return;
    }
    AUTO_TEXT sql = x_format("DELETE FROM %s AS p WHERE p.table_id = %u AND p.generation = '%s'",
                             poll->publisher_table, poll->lock.table_oid, poll->history.ours);
    session_ask(poll, &(PgQuery){.sql = sql, .arg = poll, .done = on_row_deleted});
}

void rotation_check_finished(PollSource *poll)
{
    Rotation *rotation = &poll->rotation;
    int64_t now_us = clock_monotonic_us();
    if (!rotation->active || poll->state != POLL_ACTIVE || poll->outstanding_count > 0 ||
        poll->known.parked > 0 || /* they wait for their topic, and are this table's */
        marker_pending(poll->marker) || pg_conn_is_busy(poll->reader)) {
        return;
    }
    if (!rotation->whole) {
        fetch_reset(poll);
        poll->more = true;
        rotation->whole = true;
    } else if (rotation->locked) {
        rotation_finish(poll);
    } else if (now_us >= rotation->retry_us) {
        rotation->retry_us = now_us + RETRY_MS * 1000;
        rotation->wanted = true; /* the lock, too, is tried again after the look */
    }
}

/* Life. */

void rotation_init(PollSource *poll)
{
    poll->rotation.lock = (PublisherLock){.conn = poll->reader,
                                          .pipeline = poll->options.pipeline,
                                          .arg = poll,
                                          .lost = on_lock_lost,
                                          .locked = on_lock_held,
                                          .taken = on_lock_taken};
}

void rotation_reset(PollSource *poll)
{
    PublisherLock lock = poll->rotation.lock;
    free(poll->rotation.name);
    poll->rotation = (Rotation){.lock = lock};
    table_rename(poll->table, NULL);
}

void rotation_release(PollSource *poll)
{
    free(poll->rotation.name);
}

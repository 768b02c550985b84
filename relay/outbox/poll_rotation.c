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
 * one of the old table, too, or stand by. Once the old table is finished its row is deleted, and
 * the table that had the name next (rows/succession.h), if it has it no more, gets a row in its
 * stead: so several renames while no relay ran are finished one after another. Where the catalog
 * does not tell that there was none between, tables that look like one and have unpublished rows
 * stop the pipeline until a human says what they are.
 *
 * Rows that wait for their topic do not hold up the new table: when nothing else is left in the old
 * one it is left, with its row in outbox.publisher. Events of that topic in the new table wait,
 * too; once it is there, the old table is read first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "outbox/poll_internal.h"
#include "pg/ident.h"
#include "rows/succession.h"

enum {
    COUNT_MOST = 100000,
    RETRY_MS = 1000
}; /* RETRY_MS: for the new table's lock, or for a table of that name to appear */

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
    poll->left = rotation->old_oid == poll->left.oid ? (LeftTable){0} : poll->left;
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
        poll->rotation.dropped = (uint32_t)strtoul(PQgetvalue(result, 0, 0), NULL, 10);
        ++*poll->options.stats->tables_dropped;
        log_write(LOG_ERROR, poll->options.pipeline->name, "TABLE_DROPPED",
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

/* What is between the old table and the present one, and may we finish it? */

static void rotation_deny(PollSource *poll, const char *grants)
{
    Error *err = &poll->rotation.denied;
    error_set(
        err, poll->begun ? ERROR_RETRY : ERROR_FATAL, EXIT_POSTGRES, "OLD_TABLE_DENIED",
        "table '%s' was renamed to %s, and the relay's role may not finish that one: its last "
        "events are not published, and nor are those of the new table",
        poll->options.pipeline->table, poll->rotation.name);
    error_hint(err, "An administrator runs: %s", grants);
}

static void rotation_add_stray(PollSource *poll, const char *name, bool readable)
{
    Rotation *rotation = &poll->rotation;
    if (readable) {
        AUTO_TEXT literal = ident_literal(name);
        text_printf(&rotation->stray_counts,
                    "SELECT %s AS counted, pg_catalog.count(*) FROM (SELECT FROM %s WHERE true%s"
                    " LIMIT %d) AS unpublished; ",
                    literal, name, poll->table->unpublished, COUNT_MOST);
        return;
    }
    rotation->strays++;
    text_printf(&rotation->stray_names, "%s%s (its rows could not be counted)",
                rotation->strays > 1 ? ", " : "", name);
}

static void on_succession_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    bool told = PQresultStatus(result) == PGRES_TUPLES_OK;
    for (int row = 0; told && row < PQntuples(result); row++) {
        if (PQfnumber(result, "stray") >= 0) {
            bool readable = *succession_value(result, row, "stray_readable") == 't';
            if (!rotation->linked) {
                rotation_add_stray(poll, succession_value(result, row, "stray"), readable);
            }
            continue;
        }
        const char *grants = succession_value(result, row, "grants");
        rotation->linked = *succession_value(result, row, "linked") == 't';
        if (row == 0 && *grants != '\0') {
            rotation_deny(poll, grants);
        }
    }
}

static void on_strays_result(void *arg, const PGresult *result)
{
    Rotation *rotation = &((PollSource *)arg)->rotation;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    long long count = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
    if (count > 0) {
        rotation->strays++;
        text_printf(&rotation->stray_names, "%s%s (%s%lld rows)", rotation->strays > 1 ? ", " : "",
                    PQgetvalue(result, 0, 0), count >= COUNT_MOST ? "at least " : "", count);
    }
}

static void on_strays_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    session_renew_lease(poll);
    if (rotation->strays > 0) {
        Error between;
        const PipelineConfig *pipeline = poll->options.pipeline;
        AUTO_TEXT name = ident_literal(pipeline->name);
        AUTO_TEXT table = ident_literal(pipeline->table);
        error_set(&between, poll->begun ? ERROR_RETRY : ERROR_FATAL, EXIT_POSTGRES,
                  "OLD_TABLE_UNKNOWN",
                  "table '%s' was rotated more than once, or in several steps, and tables that may "
                  "have had the name in between have unpublished rows: %s",
                  pipeline->table, rotation->stray_names.data);
        error_hint(&between,
                   "For one that had the name: INSERT INTO %s (table_id, pipeline, table_name, "
                   "generation) VALUES ('<table>'::regclass, %s, %s, gen_random_uuid()); it is "
                   "then finished before the new one. One that had not: ALTER TABLE <table> SET "
                   "SCHEMA to another schema, or mark its rows as published.",
                   poll->publisher_table, name, table);
        poll_lose(poll, &between);
    } else if (rotation->old_oid != 0) {
        rotation_try_lock(poll, rotation->old_oid);
    } else {
        session_judge(poll);
    }
}

static void on_succession_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    if (err != NULL || rotation->denied.class != ERROR_NONE) {
        Error copy = err != NULL ? *err : rotation->denied;
        poll_lose(poll, &copy);
        return;
    }
    session_renew_lease(poll);
    if (rotation->stray_counts.length == 0) {
        on_strays_done(poll, NULL);
        return;
    }
    session_ask(poll, &(PgQuery){.sql = rotation->stray_counts.data,
                                 .arg = poll,
                                 .result = on_strays_result,
                                 .done = on_strays_done});
}

static void rotation_ask_succession(PollSource *poll)
{
    Rotation *rotation = &poll->rotation;
    const PipelineConfig *pipeline = poll->options.pipeline;
    uint32_t old_oid = rotation->old_oid != 0 ? rotation->old_oid : rotation->dropped;
    AUTO_TEXT known = x_format("c.oid IN (SELECT p.table_id FROM %s AS p)", poll->publisher_table);
    AUTO_BUFFER sql = TEXT_EMPTY;
    succession_add_query(pipeline, old_oid, poll->lock.table_oid, &sql);
    text_add(&sql, "; ");
    succession_add_strays(old_oid, poll->lock.table_oid, known, &sql);
    rotation->linked = false;
    rotation->strays = 0;
    rotation->denied = (Error){0};
    text_free(&rotation->stray_names);
    text_free(&rotation->stray_counts);
    session_ask(poll, &(PgQuery){.sql = sql.data,
                                 .arg = poll,
                                 .result = on_succession_result,
                                 .done = on_succession_done});
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
    } else if (poll->rotation.old_oid != 0 || poll->rotation.dropped != 0) {
        rotation_ask_succession(poll);
    } else {
        poll->left = poll->left.go_back ? (LeftTable){0} : poll->left; /* somebody finished it */
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
    uint32_t left = poll->left.go_back ? 0 : poll->left.oid;
    text_printf(sql,
                "DELETE FROM %s AS p WHERE p.pipeline = %s AND p.table_name = %s AND NOT EXISTS"
                " (SELECT FROM pg_catalog.pg_class c WHERE c.oid = p.table_id) RETURNING p.table_id"
                " AS dropped; ",
                rows, name, table);
    text_printf(sql,
                "SELECT p.table_id AS old_table, pg_catalog.format('%%I.%%I', n.nspname, c.relname)"
                " FROM %s AS p JOIN pg_catalog.pg_class c ON c.oid = p.table_id"
                " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                " JOIN pg_catalog.pg_attribute s ON s.attrelid = c.oid AND s.attname = 'tableoid'"
                " AND s.attnum < 0"
                " WHERE p.pipeline = %s AND p.table_name = %s AND p.table_id NOT IN (%u, %u)"
                " AND c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_catalog.pg_attribute a"
                " WHERE a.attrelid = c.oid AND a.attname = %s AND NOT a.attisdropped)"
                " ORDER BY pg_catalog.age(s.xmin) DESC LIMIT 1; ",
                rows, name, table, poll->lock.table_oid, left, seq);
}

void rotation_start(PollSource *poll)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO_TEXT table = ident_literal(poll->table->configured);
    poll->rotation.old_oid = poll->rotation.dropped = 0;
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
    uint32_t next = (uint32_t)strtoul(PQgetvalue(result, 0, 1), NULL, 10);
    uint32_t last = rotation->next_oid;
    if (next != last && last != 0 && last != poll->lock.table_oid) { /* renamed again meanwhile */
        rotation->successor = rotation->successor != 0 ? rotation->successor : last;
        rotation->locked = false;
    }
    free(rotation->name);
    rotation->name = PQgetisnull(result, 0, 0) ? NULL : x_strdup(PQgetvalue(result, 0, 0));
    rotation->next_oid = next;
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

static void on_next_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 1) {
        poll->rotation.successor =
            (uint32_t)strtoul(succession_value(result, 1, "old_table"), NULL, 10);
    }
}

static void on_next_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    const Rotation *rotation = &poll->rotation;
    const PipelineConfig *pipeline = poll->options.pipeline;
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (rotation->successor != 0 && rotation->successor != rotation->next_oid) {
        AUTO_TEXT name = ident_literal(pipeline->name);
        AUTO_TEXT table = ident_literal(pipeline->table);
        text_printf(&sql,
                    "INSERT INTO %s (table_id, pipeline, table_name, generation) VALUES (%u, %s,"
                    " %s, '%s') ON CONFLICT DO NOTHING; ",
                    poll->publisher_table, rotation->successor, name, table, poll->history.ours);
    }
    text_printf(&sql, "DELETE FROM %s AS p WHERE p.table_id = %u AND p.generation = '%s'",
                poll->publisher_table, poll->lock.table_oid, poll->history.ours);
    session_ask(poll, &(PgQuery){.sql = sql.data, .arg = poll, .done = on_row_deleted});
}

static void rotation_finish(PollSource *poll)
{
    if (poll->publisher_table == NULL) {
        on_row_deleted(poll, NULL);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    succession_add_query(poll->options.pipeline, poll->lock.table_oid, poll->rotation.next_oid,
                         &sql);
    session_ask(
        poll,
        &(PgQuery){.sql = sql.data, .arg = poll, .result = on_next_result, .done = on_next_done});
}

/* What is left waits for its topic: only its own events wait with it. */
static void rotation_leave(PollSource *poll)
{
    poll->left = (LeftTable){.oid = poll->lock.table_oid, .parked = poll->known.parked};
    poll->history.known = false; /* nothing is remembered that could be wrong of another table */
    Error next;
    error_set(&next, ERROR_RETRY, EXIT_POSTGRES, "TABLE_LEFT",
              "%zu events in %s wait for their topic, all others are published: going on with the "
              "new table '%s', and coming back once the topic is there",
              poll->known.parked, poll->rotation.name, poll->options.pipeline->table);
    poll_lose(poll, &next);
}

void rotation_return(PollSource *poll)
{
    poll->history.known = false;
    Error back;
    error_set(
        &back, ERROR_RETRY, EXIT_POSTGRES, "TABLE_RETURNED",
        "rows that were left in an old table of '%s' can be published now: reading them first",
        poll->options.pipeline->table);
    poll_lose(poll, &back); /* the start finds it */
}

void rotation_go_back(PollSource *poll)
{
    poll->left.go_back = poll->left.oid != 0;
    poll->left.parked = 0;
    poll->rereading = poll->rereading || poll->left.go_back;
}

void rotation_check_finished(PollSource *poll)
{
    Rotation *rotation = &poll->rotation;
    int64_t now_us = clock_monotonic_us();
    if (!rotation->active || poll->state != POLL_ACTIVE || poll->outstanding_count > 0 ||
        marker_pending(poll->marker) || pg_conn_is_busy(poll->reader)) {
        return;
    }
    bool parked = poll->known.parked > 0;
    if (!rotation->whole) {
        if (parked) {
            poll->widen = true; /* without reading again what waits */
        } else {
            fetch_reset(poll);
        }
        poll->more = true;
        rotation->whole = true;
    } else if (rotation->locked && parked && poll->publisher_table != NULL) {
        rotation_leave(poll);
    } else if (rotation->locked && !parked) {
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

void rotation_release(PollSource *poll)
{
    free(poll->rotation.name);
    text_free(&poll->rotation.stray_names);
    text_free(&poll->rotation.stray_counts);
}

void rotation_reset(PollSource *poll)
{
    PublisherLock lock = poll->rotation.lock;
    rotation_release(poll);
    poll->rotation = (Rotation){.lock = lock};
    table_rename(poll->table, NULL);
}

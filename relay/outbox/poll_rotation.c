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
 * While an old table is read, the name is looked at each second and at the end, and whatever table
 * has it gets its row at once: so none is forgotten that loses the name before its turn comes, to a
 * third one or back to the first.
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
#include "pg/result.h"
#include "rows/succession.h"

enum {
    COUNT_MOST = 100000,
    RETRY_MS = 1000
}; /* RETRY_MS: for the new table's lock, or for a table of that name to appear */

static void rotation_say(const PollSource *poll)
{
    log_write(LOG_WARN, poll->options.pipeline->name, CODE_TABLE_ROTATED,
              LOG_FIELDS(log_text("old", poll->rotation.name)),
              "table '%s' was renamed to %s%s: publishing its unpublished rows first",
              poll->options.pipeline->outbox.table, poll->rotation.name,
              poll->rotation.next_oid != 0 ? ", and another table has its name" : "");
}

/* At the start. */

static void rotation_begin_with_old(PollSource *poll)
{
    Rotation *rotation = &poll->rotation;
    rotation->next_oid = claim_table(poll->claim);
    left_remove(&poll->left, rotation->old_oid);
    claim_set_table(poll->claim, rotation->old_oid);
    rotation->old_oid = 0; /* the next lock is that of a new table */
    rotation->active = rotation->locked = true;
    table_rename(poll->table, rotation->name);
    rotation_say(poll);
    poll_tell(poll, NEWS_TABLES_KNOWN);
}

static void on_unlocked(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    poll_tell(poll, NEWS_OLD_TAKEN);
}

static void on_lock_taken(void *arg, const ClaimLock *lock)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    if (rotation->old_oid != 0) { /* whoever finishes the old table goes on with the new one */
        AUTO_BUFFER sql = TEXT_EMPTY;
        publisher_add_unlock(claim_table(poll->claim), &sql);
        claim_ask(poll->claim, &(PgQuery){.step = "release old lock",
                                          .sql = sql.data,
                                          .arg = poll,
                                          .done = on_unlocked});
        return;
    }
    if (!rotation->said_taken) {
        rotation->said_taken = true;
        log_write(LOG_WARN, poll->options.pipeline->name, CODE_ROTATION_TAKEN,
                  LOG_FIELDS(log_text("holder", claim_lock_holder(lock))),
                  "another relay already publishes the new table '%s'; this one finishes %s and is "
                  "then a standby",
                  poll->options.pipeline->outbox.table, rotation->name);
    }
    poll_tell(poll, NEWS_GO_ON);
}

static void on_lock_held(void *arg)
{
    PollSource *poll = arg;
    if (poll->rotation.old_oid != 0) {
        rotation_begin_with_old(poll);
        return;
    }
    poll->rotation.locked = true;
    poll_tell(poll, NEWS_GO_ON);
}

static void rotation_try_lock(PollSource *poll, uint32_t table_oid)
{
    claim_lock_try(poll->rotation.lock, table_oid);
}

static void on_start_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) == 0) {
        return;
    }
    const char *name = PQfname(result, 0);
    if (strcmp(name, "dropped") == 0) {
        poll->rotation.dropped = (uint32_t)strtoul(pg_value(result, 0, 0), NULL, 10);
        ++*poll->options.stats->rows->tables_dropped;
        log_write(LOG_ERROR, poll->options.pipeline->name, CODE_TABLE_DROPPED,
                  LOG_FIELDS(log_text("table_id", pg_value(result, 0, 0))),
                  "the table that was published under the name '%s' before was dropped with its "
                  "unpublished rows",
                  poll->options.pipeline->outbox.table);
    } else if (strcmp(name, "old_table") == 0 && PQnfields(result) == 2) {
        poll->rotation.old_oid = (uint32_t)strtoul(pg_value(result, 0, 0), NULL, 10);
        free(poll->rotation.name);
        poll->rotation.name = x_strdup(pg_value(result, 0, 1));
    } else if (strcmp(name, "configured") == 0) {
        poll->rotation.next_oid = (uint32_t)strtoul(pg_value(result, 0, 0), NULL, 10);
    }
}

/* What is between the old table and the present one, and may we finish it? */

static void rotation_deny(PollSource *poll, const char *grants)
{
    Error *err = &poll->rotation.denied;
    error_set_as(err, claim_has_begun(poll->claim) ? ERROR_RETRY : ERROR_FATAL, EXIT_POSTGRES,
                 CODE_OLD_TABLE_DENIED,
                 "table '%s' was renamed to %s, and the relay's role may not finish that one: its "
                 "last events and those of the new table wait",
                 poll->options.pipeline->outbox.table, poll->rotation.name);
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
        if (row == 0 && *grants != '\0' && !rotation->finishing) {
            rotation_deny(poll, grants);
        } else if (row == 1 && *succession_value(result, row, "present") != '\0') {
            rotation->successor =
                (uint32_t)strtoul(succession_value(result, row, "old_table"), NULL, 10);
        }
    }
}

static void on_strays_result(void *arg, const PGresult *result)
{
    Rotation *rotation = &((PollSource *)arg)->rotation;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    long long count = strtoll(pg_value(result, 0, 1), NULL, 10);
    if (count > 0) {
        rotation->strays++;
        text_printf(&rotation->stray_names, "%s%s (%s%lld rows)", rotation->strays > 1 ? ", " : "",
                    pg_value(result, 0, 0), count >= COUNT_MOST ? "at least " : "", count);
    }
}

static void on_strays_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    if (rotation->strays > 0) {
        AUTO_ERROR between = {0};
        const PipelineConfig *pipeline = poll->options.pipeline;
        AUTO_TEXT name = ident_literal(pipeline->name);
        AUTO_TEXT table = ident_literal(pipeline->outbox.table);
        error_set_as(&between, claim_has_begun(poll->claim) ? ERROR_RETRY : ERROR_FATAL,
                     EXIT_POSTGRES, CODE_OLD_TABLE_UNKNOWN,
                     "table '%s' was rotated more than once or in several steps, and tables that "
                     "may have had the name in between have unpublished rows: %s",
                     pipeline->outbox.table, rotation->stray_names.data);
        error_hint(&between,
                   "If a table had the name: INSERT INTO %s (table_id, pipeline, table_name, "
                   "generation) VALUES ('<table>'::regclass, %s, %s, gen_random_uuid()); the relay "
                   "then finishes it before the new one. If a table did not have the name: ALTER "
                   "TABLE <table> SET SCHEMA to another schema, or mark its rows as published.",
                   poll->publisher_table, name, table);
        claim_lose(poll->claim, &between);
    } else {
        rotation->between(poll);
    }
}

static void on_succession_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    if (err != NULL || rotation->denied.class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(err != NULL ? err : &rotation->denied);
        claim_lose(poll->claim, &copy);
        return;
    }
    if (rotation->stray_counts.length == 0) {
        on_strays_done(poll, NULL);
        return;
    }
    claim_ask(poll->claim, &(PgQuery){.step = "count strays",
                                      .sql = rotation->stray_counts.data,
                                      .arg = poll,
                                      .result = on_strays_result,
                                      .done = on_strays_done});
}

void rotation_ask_succession(PollSource *poll, uint32_t old_oid, uint32_t next_oid,
                             void (*done)(PollSource *poll))
{
    Rotation *rotation = &poll->rotation;
    rotation->between = done;
    const PipelineConfig *pipeline = poll->options.pipeline;
    AUTO_TEXT known = x_format("c.oid IN (SELECT p.table_id FROM %s AS p)", poll->publisher_table);
    AUTO_BUFFER sql = TEXT_EMPTY;
    succession_add_query(pipeline, old_oid, next_oid, &sql);
    text_add(&sql, "; ");
    succession_add_strays(old_oid, next_oid, known, &sql);
    rotation->linked = false;
    rotation->successor = 0;
    rotation->strays = 0;
    error_clear(&rotation->denied);
    text_free(&rotation->stray_names);
    text_free(&rotation->stray_counts);
    claim_ask(poll->claim, &(PgQuery){.step = "succession",
                                      .sql = sql.data,
                                      .arg = poll,
                                      .result = on_succession_result,
                                      .done = on_succession_done});
}

/* What is between the old table and the present one is known: nothing that a human must judge. */
static void rotation_go_on_with_old(PollSource *poll)
{
    if (poll->rotation.old_oid != 0) {
        rotation_try_lock(poll, poll->rotation.old_oid);
    } else {
        poll_tell(poll, NEWS_TABLES_KNOWN);
    }
}

static void on_start_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    if (poll->rotation.next_oid != claim_table(poll->claim)) { /* while we stood by */
        claim_lose_table(poll->claim);
    } else if (poll->rotation.old_oid != 0 || poll->rotation.dropped != 0) {
        const Rotation *rotation = &poll->rotation;
        uint32_t old_oid = rotation->old_oid != 0 ? rotation->old_oid : rotation->dropped;
        rotation_ask_succession(poll, old_oid, claim_table(poll->claim), rotation_go_on_with_old);
    } else {
        left_drop_wanted(&poll->left); /* somebody finished them */
        poll_tell(poll, NEWS_TABLES_KNOWN);
    }
}

/* The name of the pipeline may have been changed while it was down, and so may the way in which the
 * table's name is written. Whoever else publishes the old table holds its lock. */
void rotation_add_ours(const PollSource *poll, Text *sql)
{
    AUTO_TEXT table = ident_literal(poll->options.pipeline->outbox.table);
    AUTO_TEXT name = ident_literal(poll->table->configured);
    text_printf(sql,
                "(p.table_name = %s OR pg_catalog.to_regclass(p.table_name) ="
                " pg_catalog.to_regclass(%s))",
                table, name);
}

static void add_old_tables(const PollSource *poll, Text *sql)
{
    AUTO_TEXT seq = ident_literal(poll->options.pipeline->outbox.columns[FIELD_SEQ]);
    const char *rows = poll->publisher_table;
    text_printf(sql, "DELETE FROM %s AS p WHERE ", rows);
    rotation_add_ours(poll, sql);
    text_printf(sql, " AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = p.table_id)"
                     " RETURNING p.table_id::pg_catalog.oid AS dropped; ");
    text_printf(sql,
                "SELECT c.oid AS old_table, pg_catalog.format('%%I.%%I', n.nspname, c.relname)"
                " FROM %s AS p JOIN pg_catalog.pg_class c ON c.oid = p.table_id"
                " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                " JOIN pg_catalog.pg_type t ON t.typrelid = c.oid"
                " JOIN pg_catalog.pg_attribute s ON s.attrelid = c.oid AND s.attname = 'tableoid'"
                " AND s.attnum < 0 WHERE ",
                rows);
    rotation_add_ours(poll, sql);
    text_printf(sql, " AND p.table_id NOT IN (%u", claim_table(poll->claim));
    left_add_oids(&poll->left, sql);
    /* In the order in which they were made; of those that were made together, as they were renamed.
     */
    text_printf(sql,
                ") AND c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_catalog.pg_attribute a"
                " WHERE a.attrelid = c.oid AND a.attname = %s AND NOT a.attisdropped)"
                " ORDER BY pg_catalog.age(s.xmin) DESC, pg_catalog.age(t.xmin) DESC,"
                " p.updated_at LIMIT 1; ",
                seq);
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
    claim_ask(poll->claim, &(PgQuery){.step = "begin rotation",
                                      .sql = sql.data,
                                      .arg = poll,
                                      .result = on_start_result,
                                      .done = on_start_done});
}

/* While publishing. */

static void on_look_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        PQfnumber(result, "present") < 0) {
        return;
    }
    uint32_t next = (uint32_t)strtoul(succession_value(result, 0, "configured"), NULL, 10);
    rotation->locked = rotation->locked && next == rotation->next_oid;
    const char *present = succession_value(result, 0, "present");
    bool renamed = rotation->name == NULL || strcmp(rotation->name, present) != 0;
    rotation->looked_anyway = rotation->looked_anyway && !renamed && next == rotation->next_oid;
    free(rotation->name);
    rotation->name = *present != '\0' ? x_strdup(present) : NULL;
    rotation->next_oid = next;
    rotation->others = *succession_value(result, 0, "others") == 't';
}

static void rotation_lose(PollSource *poll)
{
    AUTO_ERROR refused = error_of(&poll->rotation.refused);
    error_clear(&poll->rotation.refused);
    if (refused.class == ERROR_NONE) {
        claim_lose_table(poll->claim);
    } else if (!poll_is_refused(poll, &refused)) {
        claim_lose(poll->claim, &refused);
    }
}

static void on_look_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    Rotation *rotation = &poll->rotation;
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    if (rotation->name == NULL) { /* it was dropped */
        rotation_lose(poll);
        return;
    }
    error_clear(&rotation->refused);
    bool was_active = rotation->active;
    rotation->active = rotation->next_oid != claim_table(poll->claim);
    rotation->undone = !rotation->active && rotation->others;
    if (!rotation->active) {
        /* Tables that had the name meanwhile are finished first: nothing else is read here. */
        poll->rereading = poll->rereading || rotation->undone;
        table_rename(poll->table, NULL);
        marker_renamed(poll->marker);
        poll_tell(poll, NEWS_GO_ON);
        return;
    }
    table_rename(poll->table, rotation->name);
    if (!was_active) {
        rotation_say(poll);
    }
    if (rotation->looked_anyway) { /* nothing changed */
        poll_tell(poll, NEWS_GO_ON);
        return;
    }
    poll->more = true;
    if (rotation->next_oid != 0 && !rotation->locked) {
        rotation_try_lock(poll, rotation->next_oid);
    }
    marker_renamed(poll->marker);
    poll_tell(poll, NEWS_GO_ON);
}

void rotation_add_named(const PollSource *poll, Text *sql)
{
    const PipelineConfig *pipeline = poll->options.pipeline;
    AUTO_TEXT configured = ident_literal(poll->table->configured);
    text_printf(sql, "WITH named AS (SELECT pg_catalog.to_regclass(%s)::pg_catalog.oid AS id)",
                configured);
    if (poll->publisher_table == NULL) {
        return;
    }
    AUTO_TEXT name = ident_literal(pipeline->name);
    AUTO_TEXT table = ident_literal(pipeline->outbox.table);
    text_printf(sql,
                ", noted AS (INSERT INTO %s (table_id, pipeline, table_name, generation) SELECT"
                " named.id, %s, %s, '%s' FROM named WHERE named.id <> %u ON CONFLICT DO NOTHING)",
                poll->publisher_table, name, table, poll->history->ours, claim_table(poll->claim));
}

/* Whatever table has the name is noted at once: it may lose it again before its turn comes. */
bool rotation_next(PollSource *poll)
{
    Rotation *rotation = &poll->rotation;
    int64_t now_us = clock_monotonic_us();
    if (!rotation->wanted && (!rotation->active || now_us < rotation->look_us)) {
        return false;
    }
    rotation->looked_anyway = !rotation->wanted;
    rotation->wanted = false;
    rotation->look_us = now_us + RETRY_MS * INT64_C(1000);
    AUTO_BUFFER sql = TEXT_EMPTY;
    rotation_add_named(poll, &sql);
    text_printf(&sql,
                " SELECT (SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname) FROM"
                " pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.oid = %u) AS present, named.id AS configured",
                claim_table(poll->claim));
    if (poll->publisher_table != NULL) {
        text_printf(&sql,
                    ", EXISTS (SELECT FROM %s AS p JOIN pg_catalog.pg_class c ON c.oid ="
                    " p.table_id WHERE ",
                    poll->publisher_table);
        rotation_add_ours(poll, &sql);
        text_printf(&sql, " AND p.table_id NOT IN (%u", claim_table(poll->claim));
        left_add_oids(&poll->left, &sql);
        text_add(&sql, ")) AS others");
    }
    text_add(&sql, " FROM named");
    claim_ask(poll->claim, &(PgQuery){.step = "look at tables",
                                      .sql = sql.data,
                                      .arg = poll,
                                      .result = on_look_result,
                                      .done = on_look_done});
    return true;
}

/* Life. */

void rotation_init(PollSource *poll)
{
    poll->rotation.lock = claim_lock_new(poll->claim, poll, on_lock_held, on_lock_taken);
}

void rotation_release(PollSource *poll)
{
    free(poll->rotation.name);
    text_free(&poll->rotation.stray_names);
    text_free(&poll->rotation.stray_counts);
    error_clear(&poll->rotation.denied);
    error_clear(&poll->rotation.refused);
}

void rotation_reset(PollSource *poll)
{
    ClaimLock *lock = poll->rotation.lock;
    rotation_release(poll);
    memset(&poll->rotation, 0, sizeof(poll->rotation));
    poll->rotation.lock = lock;
    table_rename(poll->table, NULL);
}

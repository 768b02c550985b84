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
#include "outbox/poll_rotation.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "outbox/poll_pace.h"
#include "outbox/poll_session.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/publisher.h"
#include "rows/succession.h"

static void rotation_say(const Poll *poll)
{
    log_write(LOG_WARN, poll->options.pipeline->name, CODE_TABLE_ROTATED,
              LOG_FIELDS(log_text("old", poll->rotation->name)),
              "table '%s' was renamed to %s%s: publishing its unpublished rows first",
              poll->options.pipeline->outbox.table, poll->rotation->name,
              poll->rotation->next_oid != 0 ? ", and another table has its name" : "");
}

/* At the start. */

static void rotation_begin_with_old(Poll *poll)
{
    Rotation *rotation = poll->rotation;
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
    Poll *poll = arg;
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    poll_tell(poll, NEWS_OLD_TAKEN);
}

static void on_lock_taken(void *arg, const ClaimLock *lock)
{
    Poll *poll = arg;
    Rotation *rotation = poll->rotation;
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
    Poll *poll = arg;
    if (poll->rotation->old_oid != 0) {
        rotation_begin_with_old(poll);
        return;
    }
    poll->rotation->locked = true;
    poll_tell(poll, NEWS_GO_ON);
}

static void rotation_try_lock(Poll *poll, uint32_t table_oid)
{
    claim_lock_try(poll->rotation->lock, table_oid);
}

static void on_start_result(void *arg, const PGresult *result)
{
    Poll *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) == 0) {
        return;
    }
    const char *name = PQfname(result, 0);
    if (strcmp(name, "dropped") == 0) {
        poll->rotation->dropped = (uint32_t)strtoul(pg_value(result, 0, 0), NULL, 10);
        ++*poll->options.stats->rows->tables_dropped;
        log_write(LOG_ERROR, poll->options.pipeline->name, CODE_TABLE_DROPPED,
                  LOG_FIELDS(log_text("table_id", pg_value(result, 0, 0))),
                  "the table that was published under the name '%s' before was dropped with its "
                  "unpublished rows",
                  poll->options.pipeline->outbox.table);
    } else if (strcmp(name, "old_table") == 0 && PQnfields(result) == 2) {
        poll->rotation->old_oid = (uint32_t)strtoul(pg_value(result, 0, 0), NULL, 10);
        free(poll->rotation->name);
        poll->rotation->name = x_strdup(pg_value(result, 0, 1));
    } else if (strcmp(name, "configured") == 0) {
        poll->rotation->next_oid = (uint32_t)strtoul(pg_value(result, 0, 0), NULL, 10);
    }
}

/* What is between the old table and the present one is known: nothing that a human must judge. */
static void rotation_go_on_with_old(Poll *poll)
{
    if (poll->rotation->old_oid != 0) {
        rotation_try_lock(poll, poll->rotation->old_oid);
    } else {
        poll_tell(poll, NEWS_TABLES_KNOWN);
    }
}

static void on_start_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    if (poll->rotation->next_oid != claim_table(poll->claim)) { /* while we stood by */
        claim_lose_table(poll->claim);
    } else if (poll->rotation->old_oid != 0 || poll->rotation->dropped != 0) {
        const Rotation *rotation = poll->rotation;
        uint32_t old_oid = rotation->old_oid != 0 ? rotation->old_oid : rotation->dropped;
        between_ask(poll, old_oid, claim_table(poll->claim), true, rotation_go_on_with_old);
    } else {
        left_drop_wanted(&poll->left); /* somebody finished them */
        poll_tell(poll, NEWS_TABLES_KNOWN);
    }
}

/* The name of the pipeline may have been changed while it was down, and so may the way in which the
 * table's name is written. Whoever else publishes the old table holds its lock. */
void rotation_add_ours(const Poll *poll, Text *sql)
{
    AUTO_TEXT table = ident_literal(poll->options.pipeline->outbox.table);
    AUTO_TEXT name = ident_literal(poll->table->configured);
    text_printf(sql,
                "(p.table_name = %s OR pg_catalog.to_regclass(p.table_name) ="
                " pg_catalog.to_regclass(%s))",
                table, name);
}

static void add_old_tables(const Poll *poll, Text *sql)
{
    AUTO_TEXT seq = ident_literal(poll->options.pipeline->outbox.columns[FIELD_SEQ]);
    const char *rows = session_publisher_table(poll->session);
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

void rotation_start(Poll *poll)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO_TEXT table = ident_literal(poll->table->configured);
    poll->rotation->old_oid = poll->rotation->dropped = 0;
    if (session_publisher_table(poll->session) != NULL) {
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
    Poll *poll = arg;
    Rotation *rotation = poll->rotation;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        PQfnumber(result, "present") < 0) {
        return;
    }
    uint32_t next = (uint32_t)strtoul(succession_value(result, 0, "configured"), NULL, 10);
    rotation->locked = rotation->locked && next == rotation->next_oid;
    const char *present = succession_value(result, 0, "present");
    bool renamed = rotation->name == NULL || strcmp(rotation->name, present) != 0;
    name_found(rotation->watch, !renamed && next == rotation->next_oid);
    free(rotation->name);
    rotation->name = *present != '\0' ? x_strdup(present) : NULL;
    rotation->next_oid = next;
    rotation->others = *succession_value(result, 0, "others") == 't';
}

static void rotation_lose(Poll *poll)
{
    AUTO_ERROR refused = name_take_refused(poll->rotation->watch);
    if (refused.class == ERROR_NONE) {
        claim_lose_table(poll->claim);
    } else if (!poll_is_refused(poll, &refused)) {
        claim_lose(poll->claim, &refused);
    }
}

static void on_look_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    Rotation *rotation = poll->rotation;
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    if (rotation->name == NULL) { /* it was dropped */
        rotation_lose(poll);
        return;
    }
    name_passed(rotation->watch);
    bool was_active = rotation->active;
    rotation->active = rotation->next_oid != claim_table(poll->claim);
    rotation->undone = !rotation->active && rotation->others;
    if (!rotation->active) {
        /* Tables that had the name meanwhile are finished first: nothing else is read here. */
        poll->reading->rereading = poll->reading->rereading || rotation->undone;
        table_rename(poll->table, NULL);
        marker_renamed(poll->marker);
        poll_tell(poll, NEWS_GO_ON);
        return;
    }
    table_rename(poll->table, rotation->name);
    if (!was_active) {
        rotation_say(poll);
    }
    if (name_was_idle(rotation->watch)) {
        poll_tell(poll, NEWS_GO_ON);
        return;
    }
    pace_want(poll->reading->pace);
    if (rotation->next_oid != 0 && !rotation->locked) {
        rotation_try_lock(poll, rotation->next_oid);
    }
    marker_renamed(poll->marker);
    poll_tell(poll, NEWS_GO_ON);
}

void rotation_add_named(const Poll *poll, Text *sql)
{
    const PipelineConfig *pipeline = poll->options.pipeline;
    AUTO_TEXT configured = ident_literal(poll->table->configured);
    text_printf(sql, "WITH named AS (SELECT pg_catalog.to_regclass(%s)::pg_catalog.oid AS id)",
                configured);
    if (session_publisher_table(poll->session) == NULL) {
        return;
    }
    AUTO_TEXT name = ident_literal(pipeline->name);
    AUTO_TEXT table = ident_literal(pipeline->outbox.table);
    text_printf(sql,
                ", noted AS (INSERT INTO %s (table_id, pipeline, table_name, generation) SELECT"
                " named.id, %s, %s, '%s' FROM named WHERE named.id <> %u ON CONFLICT DO NOTHING)",
                session_publisher_table(poll->session), name, table, poll->history->ours,
                claim_table(poll->claim));
}

/* Whatever table has the name is noted at once: it may lose it again before its turn comes. */
bool rotation_next(Poll *poll)
{
    Rotation *rotation = poll->rotation;
    if (!name_is_due(rotation->watch, rotation->active)) {
        return false;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    rotation_add_named(poll, &sql);
    text_printf(&sql,
                " SELECT (SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname) FROM"
                " pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.oid = %u) AS present, named.id AS configured",
                claim_table(poll->claim));
    if (session_publisher_table(poll->session) != NULL) {
        text_printf(&sql,
                    ", EXISTS (SELECT FROM %s AS p JOIN pg_catalog.pg_class c ON c.oid ="
                    " p.table_id WHERE ",
                    session_publisher_table(poll->session));
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

void rotation_want_look(Poll *poll)
{
    name_want(poll->rotation->watch, NULL);
}

void rotation_notice(Poll *poll, const Error *err)
{
    name_want(poll->rotation->watch, err);
    poll_tell(poll, NEWS_GO_ON);
}

void rotation_note_read(Poll *poll)
{
    poll->rotation->whole = false;
}

const ClaimLock *rotation_lock(const Poll *poll)
{
    return poll->rotation->lock;
}

/* Life. */

void rotation_new(Poll *poll)
{
    Rotation *rotation = x_calloc(1, sizeof(*rotation));
    rotation->watch = x_calloc(1, sizeof(*rotation->watch));
    rotation->between = x_calloc(1, sizeof(*rotation->between));
    rotation->lock = claim_lock_new(poll->claim, poll, on_lock_held, on_lock_taken);
    poll->rotation = rotation;
}

void rotation_reset(Poll *poll)
{
    Rotation *rotation = poll->rotation;
    free(rotation->name);
    name_release(rotation->watch);
    between_release(rotation->between);
    *rotation =
        (Rotation){.lock = rotation->lock, .watch = rotation->watch, .between = rotation->between};
    table_rename(poll->table, NULL);
}

void rotation_free(Poll *poll)
{
    rotation_reset(poll);
    claim_lock_free(&poll->rotation->lock);
    free(poll->rotation->watch);
    free(poll->rotation->between);
    free(poll->rotation);
    poll->rotation = NULL;
}

/* What is asked, and what the answers mean.
 *
 * Tables are looked up as the sources do: beside the outbox table, else in schema outbox. What is
 * not there is left out. A pause table beside an adopted table counts only in a schema that
 * `outboxd migrate` made: somebody's own table may have that name.
 *
 * The age of the oldest transaction: pg_stat_activity hides what others do from a role without
 * pg_read_all_stats. Then pg_locks tells, which hides nothing: each transaction with an xid holds a
 * lock on it, and as long as the oldest is the same one, it has run at least since we first saw it.
 * (The xmin of a snapshot would not do: a lone transaction is not below its xmax.) */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "pg/ident.h"
#include "rows/companion.h"
#include "rows/unread.h"
#include "watch/fact.h"
#include "watch/watch_internal.h"

enum { POSTGRES_SLOT_STATS = 140000 };

/* The pipeline that a row is about, by its column "i"; NULL: none. */
static Watched *fact_pipeline(Watch *w, const PGresult *r, int row)
{
    int64_t index = fact_integer(r, row, "i", -1);
    return index >= 0 && (size_t)index < w->count ? &w->pipelines[index] : NULL;
}

/* Microseconds since 1970 of a timestamptz that may be infinite. */
#define EPOCH_US(expression)                                                                       \
    "CASE WHEN isfinite(" expression ") THEN (extract(epoch FROM " expression                      \
    ") * 1000000)::bigint END"

/* Names. */

static void add_names_query(const Watch *w, Text *sql)
{
    text_add(sql, "SELECT i.i, c.oid AS table_oid, z.sql AS pause, d.sql AS dead, CASE WHEN"
                  " has_schema_privilege(p.nsp, 'USAGE') AND has_table_privilege(p.oid, 'SELECT')"
                  " THEN p.sql END AS position FROM (VALUES ");
    for (size_t i = 0; i < w->count; i++) {
        AUTO_TEXT table = ident_literal(w->pipelines[i].table->name);
        text_printf(sql, "%s(%zu, %s)", i > 0 ? ", " : "", i, table);
    }
    text_add(sql, ") AS i(i, name)");
    companion_add_table("i.name", sql);
    companion_add(COMPANION_PAUSE, "z", sql);
    companion_add(COMPANION_DEAD_LETTER, "d", sql);
    companion_add(COMPANION_POSITION, "p", sql);
}

static void keep_name(char **name, const char *value)
{
    free(*name);
    *name = *value != '\0' ? x_strdup(value) : NULL;
}

static void read_names(Watch *w, const PGresult *r)
{
    for (int row = 0; row < PQntuples(r); row++) {
        Watched *p = fact_pipeline(w, r, row);
        if (p != NULL) {
            rows_set_table(p->rows, *fact(r, row, "table_oid") != '\0');
            keep_name(&p->pause_table, fact(r, row, "pause"));
            keep_name(&p->dead_letter, fact(r, row, "dead"));
            keep_name(&p->position, fact(r, row, "position"));
        }
    }
}

/* Pauses. */

static bool add_pauses_query(const Watch *w, Text *sql)
{
    for (size_t i = 0; i < w->count; i++) {
        const Watched *p = &w->pipelines[i];
        if (p->pause_table != NULL) {
            AUTO_TEXT name = ident_literal(p->config->name);
            text_printf(sql,
                        "%sSELECT %zu AS i, " EPOCH_US("paused_at") " AS since, paused_by, reason"
                                                                    " FROM %s WHERE pipeline = %s",
                        sql->length > 0 ? " UNION ALL " : "", i, p->pause_table, name);
        }
    }
    return sql->length > 0;
}

static void read_pauses(Watch *w, const PGresult *r)
{
    for (size_t i = 0; i < w->count; i++) {
        w->pipelines[i].facts->paused = false;
    }
    for (int row = 0; row < PQntuples(r); row++) {
        Watched *p = fact_pipeline(w, r, row);
        if (p != NULL) {
            p->facts->paused = true;
            p->facts->paused_since_us = fact_integer(r, row, "since", 0);
            snprintf(p->facts->paused_by, sizeof(p->facts->paused_by), "%s",
                     fact(r, row, "paused_by"));
            snprintf(p->facts->pause_reason, sizeof(p->facts->pause_reason), "%s",
                     fact(r, row, "reason"));
        }
    }
}

/* Slots and transactions. */

static void add_slots_query(bool statistics, Text *sql)
{
    text_printf(sql,
                ") SELECT p.i, s.active, s.wal_status, s.safe_wal_size,"
                " pg_wal_lsn_diff(w.lsn, s.restart_lsn) AS retained,"
                " pg_wal_lsn_diff(w.lsn, s.confirmed_flush_lsn) AS confirmed_lag, %s AS spill"
                " FROM p JOIN pg_replication_slots s ON s.slot_name = p.slot%s"
                " CROSS JOIN (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
                " ELSE pg_current_wal_lsn() END AS lsn) w",
                statistics ? "t.spill_bytes" : "NULL",
                statistics ? " LEFT JOIN pg_stat_replication_slots t ON t.slot_name = s.slot_name"
                           : "");
}

/* Of each table that keeps positions, once. */
static void add_unread_query(const Watch *w, Text *sql)
{
    for (size_t i = 0; i < w->count; i++) {
        const char *position = w->pipelines[i].position;
        bool asked = position == NULL;
        for (size_t j = 0; !asked && j < i; j++) {
            const char *other = w->pipelines[j].position;
            asked = other != NULL && strcmp(other, position) == 0;
        }
        if (!asked) {
            text_add(sql, "; ");
            unread_add_query(w->options->config, position, sql);
        }
    }
}

static void add_server_query(const Watch *w, Text *sql)
{
    text_add(sql,
             "SELECT s.sees_all, CASE WHEN NOT s.sees_all THEN (SELECT transactionid::text FROM"
             " pg_locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted"
             " ORDER BY age(transactionid) DESC LIMIT 1) END AS oldest_xid,"
             " (SELECT extract(epoch FROM max(clock_timestamp() - xact_start)) FROM"
             " pg_stat_activity WHERE backend_xid IS NOT NULL) AS age,"
             " (SELECT extract(epoch FROM max(clock_timestamp() - prepared)) FROM"
             " pg_prepared_xacts) AS prepared_age"
             " FROM (SELECT pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all) s");
    bool statistics = PQserverVersion(pg_conn_raw(w->conn)) >= POSTGRES_SLOT_STATS;
    size_t slots = 0;
    for (size_t i = 0; i < w->count; i++) {
        if (pipeline_reads_log(w->pipelines[i].config)) {
            AUTO_TEXT slot = ident_literal(w->pipelines[i].config->wal.slot);
            text_printf(sql, "%s(%zu, %s)", slots++ > 0 ? ", " : "; WITH p(i, slot) AS (VALUES ", i,
                        slot);
        }
    }
    if (slots > 0) {
        add_slots_query(statistics, sql);
    }
    add_unread_query(w, sql);
}

static void read_slot(const Watched *p, const PGresult *r, int row)
{
    WatchSlot *slot = &p->facts->slot;
    slot->present = true;
    slot->active = fact_true(r, row, "active");
    snprintf(slot->status, sizeof(slot->status), "%s", fact(r, row, "wal_status"));
    slot->retained_wal_bytes = fact_real(r, row, "retained");
    slot->confirmed_lag_bytes = fact_real(r, row, "confirmed_lag");
    slot->safe_wal_bytes = fact_real(r, row, "safe_wal_size");
    slot->spill_bytes = fact_real(r, row, "spill");
    double rate = growth_note(p->growth, clock_monotonic_us(), slot->retained_wal_bytes);
    if (rate > 0 && slot->safe_wal_bytes > 0) {
        slot->seconds_left = slot->safe_wal_bytes / rate;
    } else if (slot->safe_wal_bytes <= 0) {
        slot->seconds_left = 0;
    }
}

static void read_transactions(Watch *w, const PGresult *r)
{
    const char *xid = fact(r, 0, "oldest_xid");
    if (*xid == '\0') {
        w->server->oldest_xid_since_us = 0;
    } else if (strcmp(xid, w->server->oldest_xid) != 0 || w->server->oldest_xid_since_us == 0) {
        w->server->oldest_xid_since_us = clock_monotonic_us();
    }
    snprintf(w->server->oldest_xid, sizeof(w->server->oldest_xid), "%s", xid);
    double age = fact_real(r, 0, "age");
    bool exact = fact_true(r, 0, "sees_all");
    if (!exact && w->server->oldest_xid_since_us > 0) {
        double seen = (double)(clock_monotonic_us() - w->server->oldest_xid_since_us) / 1e6;
        age = age > seen ? age : seen;
    }
    double prepared = fact_real(r, 0, "prepared_age");
    age = prepared > age || isnan(age) ? prepared : age;
    w->server->shown.oldest_transaction_seconds = age > 0 ? age : 0;
    w->server->shown.oldest_transaction_exact = exact;
}

static void read_server(Watch *w, const PGresult *r)
{
    if (PQfnumber(r, "sees_all") >= 0 && PQntuples(r) == 1) {
        read_transactions(w, r);
        return;
    }
    if (PQfnumber(r, "unread_by") >= 0) {
        watch_unread_add(w->unread, r);
        return;
    }
    for (int row = 0; row < PQntuples(r); row++) {
        Watched *p = fact_pipeline(w, r, row);
        if (p != NULL) {
            read_slot(p, r, row);
        }
    }
}

/* Dead letters. */

static bool add_dead_query(const Watched *p, Text *sql)
{
    if (p->dead_letter == NULL) {
        return false;
    }
    AUTO_TEXT name = ident_literal(p->config->name);
    text_printf(sql,
                "SELECT count(*) AS n, " EPOCH_US(
                    "max(at)") " AS latest FROM (SELECT at FROM %s"
                               " WHERE pipeline = %s ORDER BY id DESC LIMIT %d) d",
                p->dead_letter, name, WATCH_DEAD_LETTERS_MAX);
    return true;
}

static void read_dead(const Watched *p, const PGresult *r)
{
    p->facts->dead_letters = fact_real(r, 0, "n");
    p->facts->dead_letter_at_us = fact_integer(r, 0, "latest", 0);
}

/* Steps. */

bool watch_add_query(Watch *w, Text *sql)
{
    int64_t now_us = clock_monotonic_us();
    const Watched *p = &w->pipelines[w->turn->index];
    switch (w->turn->step) {
    case STEP_NAMES:
        add_names_query(w, sql);
        return true;
    case STEP_PAUSES:
        return add_pauses_query(w, sql);
    case STEP_PRECONDITIONS:
        watch_add_preconditions(w, sql);
        return true;
    case STEP_SERVER:
        add_server_query(w, sql);
        return true;
    case STEP_ROWS:
        if (w->turn->kind == LOOK_ROWS && rows_again_ms(p->rows) < 0) {
            return false;
        }
        return rows_begin(p->rows, now_us, sql);
    case STEP_DEAD:
        return now_us >= p->dead_next_us && add_dead_query(p, sql);
    case STEP_END:
        break;
    }
    return false;
}

void watch_forget_server(Watch *w)
{
    w->server->shown.oldest_transaction_seconds = NAN;
    watch_unread_forget(w->unread);
    for (size_t i = 0; i < w->count; i++) {
        w->pipelines[i].facts->slot = (WatchSlot){.retained_wal_bytes = NAN,
                                                  .confirmed_lag_bytes = NAN,
                                                  .safe_wal_bytes = NAN,
                                                  .spill_bytes = NAN,
                                                  .seconds_left = NAN};
    }
}

void watch_forget(Watch *w)
{
    if (w->turn->step == STEP_SERVER) {
        watch_forget_server(w);
    } else if (w->turn->step == STEP_DEAD) {
        w->pipelines[w->turn->index].facts->dead_letters = NAN;
    }
}

void watch_read(Watch *w, const PGresult *result)
{
    switch (w->turn->step) {
    case STEP_NAMES:
        read_names(w, result);
        break;
    case STEP_PAUSES:
        read_pauses(w, result);
        break;
    case STEP_PRECONDITIONS:
        watch_read_preconditions(w, result);
        break;
    case STEP_SERVER:
        read_server(w, result);
        break;
    case STEP_ROWS:
        rows_read(w->pipelines[w->turn->index].rows, result);
        break;
    case STEP_DEAD:
        read_dead(&w->pipelines[w->turn->index], result);
        break;
    case STEP_END:
        break;
    }
}

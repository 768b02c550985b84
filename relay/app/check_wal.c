/* capture = "wal": the server's settings, the role, the publication, the slot and our position.
 * What the relay itself would decide at its start (cdc/slot.h) is decided here by the same code. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/check.h"
#include "base/memory.h"
#include "cdc/slot.h"
#include "pg/ident.h"

enum { POSTGRES_MESSAGES = 140000, POSTGRES_FAILOVER = 170000, MORE_PLACES = 4 };

typedef struct WalCheck {
    Check *check;
    PGconn *conn;
    const PipelineConfig *pipeline;
    char *table;     /* "schema"."table" */
    char *role;      /* as SQL writes it */
    char *position;  /* table of positions, or NULL */
    bool places;     /* a walsender may be asked for */
    SlotFacts facts; /* but for IDENTIFY_SYSTEM: zeros until that is asked */
} WalCheck;

static void wal_problem(const WalCheck *w, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void wal_problem(const WalCheck *w, const char *remedy, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *message = NULL;
    if (vasprintf(&message, format, args) >= 0) {
        check_problem(w->check, EXIT_POSTGRES, "database", remedy, "%s", message);
        free(message);
    }
    va_end(args);
}

enum { TABLE_OID, TABLE_POSITION, TABLE_POSITION_RIGHTS, TABLE_MESSAGE_RIGHT, TABLE_ROLE };

/* The table, the table of positions beside it, and rights. False when nothing more can be asked. */
static bool wal_find(WalCheck *w, uint32_t *ret_oid)
{
    const char *values[] = {w->table};
    PGresult *r = check_query(
        w->check, w->conn,
        "SELECT c.oid, p.oid::regclass, has_table_privilege(p.oid, 'SELECT')"
        " AND has_table_privilege(p.oid, 'INSERT') AND has_table_privilege(p.oid, 'UPDATE'),"
        " (SELECT bool_and(has_function_privilege(f.oid, 'EXECUTE')) FROM pg_proc f"
        "  WHERE f.proname = 'pg_logical_emit_message' AND f.pronamespace ="
        "  'pg_catalog'::regnamespace AND f.proargtypes[2] = 'text'::regtype),"
        " quote_ident(current_user)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN LATERAL (SELECT k.oid FROM pg_class k JOIN pg_namespace m ON m.oid ="
        "  k.relnamespace WHERE k.relname = 'position' AND k.relkind = 'r'"
        "  AND m.nspname IN (n.nspname, 'outbox') ORDER BY m.nspname = n.nspname DESC LIMIT 1) p"
        " ON true WHERE c.oid = to_regclass($1)",
        1, values);
    if (r == NULL || PQntuples(r) == 0) { /* the table is missing: check_table said so */
        PQclear(r);
        return false;
    }
    *ret_oid = (uint32_t)strtoul(PQgetvalue(r, 0, TABLE_OID), NULL, 10);
    w->role = x_strdup(PQgetvalue(r, 0, TABLE_ROLE));
    w->position =
        PQgetisnull(r, 0, TABLE_POSITION) ? NULL : x_strdup(PQgetvalue(r, 0, TABLE_POSITION));
    bool rights = PQgetvalue(r, 0, TABLE_POSITION_RIGHTS)[0] == 't';
    if (w->position == NULL) {
        wal_problem(w, "outboxd migrate --capture wal", "no table outbox.position");
    } else if (!rights) {
        AUTO_TEXT remedy = x_format("GRANT outbox_relay TO %s;", w->role);
        wal_problem(w, remedy, "role %s may not read and write %s", w->role, w->position);
    }
    if (PQgetvalue(r, 0, TABLE_MESSAGE_RIGHT)[0] == 'f') {
        AUTO_TEXT remedy =
            x_format("an administrator runs: GRANT EXECUTE ON FUNCTION "
                     "pg_logical_emit_message(boolean, text, text%s) TO %s;",
                     PQserverVersion(w->conn) >= POSTGRES_FAILOVER ? ", boolean" : "", w->role);
        wal_problem(w, remedy,
                    "role %s may not execute pg_logical_emit_message, which the relay does once "
                    "before it reads the rows from before the slot",
                    w->role);
    }
    PQclear(r);
    return w->position != NULL && rights;
}

static bool wal_read_facts(WalCheck *w)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    slot_add_query(w->pipeline, w->position, &sql);
    PGresult *r = check_query(w->check, w->conn, sql.data, 0, NULL);
    if (r == NULL) {
        return false;
    }
    slot_read_facts(r, w->pipeline->messages, &w->facts);
    PQclear(r);
    return true;
}

/* wal_level, the role's attribute, what this version of the server cannot do. */
static void wal_check_abilities(const WalCheck *w)
{
    const SlotFacts *facts = &w->facts;
    if (!facts->logical) {
        wal_problem(w, "ALTER SYSTEM SET wal_level = 'logical'; then restart PostgreSQL",
                    "wal_level is not logical, needed by capture = \"wal\"");
    }
    if (!facts->may_replicate) {
        AUTO_TEXT remedy = x_format("an administrator runs: ALTER ROLE %s REPLICATION;", w->role);
        wal_problem(
            w, remedy,
            "role %s has no REPLICATION attribute (membership in outbox_relay does not give "
            "it)",
            w->role);
    }
    if (w->pipeline->messages && facts->server_version < POSTGRES_MESSAGES) {
        wal_problem(w, "set messages = false, and use outbox.emit",
                    "messages = true needs PostgreSQL 14 or later");
    }
    if (w->pipeline->failover_slot && facts->server_version < POSTGRES_FAILOVER) {
        wal_problem(w, "set failover_slot = false",
                    "failover_slot = true needs PostgreSQL 17 or later");
    }
}

static void wal_no_place(const WalCheck *w, const char *setting, const char *count)
{
    AUTO_TEXT remedy =
        x_format("ALTER SYSTEM SET %s = %ld; then restart PostgreSQL; or free a place: SELECT "
                 "slot_name, active FROM pg_replication_slots;",
                 setting, strtol(count, NULL, 10) + MORE_PLACES);
    wal_problem(w, remedy, "all %s places of %s are taken", count, setting);
}

/* A place for the slot and for its reader. Who reads the slot now makes room for whom comes next.
 */
static void wal_check_places(WalCheck *w)
{
    PGresult *r = check_query(w->check, w->conn,
                              "SELECT current_setting('max_replication_slots'),"
                              " (SELECT count(*) FROM pg_replication_slots) >="
                              " current_setting('max_replication_slots')::integer,"
                              " current_setting('max_wal_senders'),"
                              " (SELECT count(*) FROM pg_stat_get_wal_senders()) >="
                              " current_setting('max_wal_senders')::integer",
                              0, NULL);
    if (r == NULL) {
        return;
    }
    if (!w->facts.has_slot && PQgetvalue(r, 0, 1)[0] == 't') {
        wal_no_place(w, "max_replication_slots", PQgetvalue(r, 0, 0));
    }
    w->places = PQgetvalue(r, 0, 3)[0] != 't';
    if (!w->places && w->facts.active_pid == 0) {
        wal_no_place(w, "max_wal_senders", PQgetvalue(r, 0, 2));
    }
    PQclear(r);
}

/* Where the timeline of the position was left, if the server is on another one. */
static void wal_read_history(WalCheck *w, PGconn *conn)
{
    if (!w->facts.has_position || w->facts.position_timeline == w->facts.timeline) {
        return;
    }
    w->facts.left_timeline = w->facts.position_timeline;
    if (w->facts.timeline <= 1) {
        return; /* it has no history */
    }
    AUTO_TEXT sql = x_format("TIMELINE_HISTORY %d", w->facts.timeline);
    PGresult *r = PQexec(conn, sql);
    if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1 && PQnfields(r) == 2) {
        (void)slot_read_history(PQgetvalue(r, 0, 1), w->facts.position_timeline,
                                &w->facts.switch_lsn);
    }
    PQclear(r);
}

/* Asks a walsender who it is. False when there is none; that is noted. */
static bool wal_identify(WalCheck *w)
{
    PGconn *conn = check_connect(w->check, true);
    if (conn == NULL) {
        return false;
    }
    PGresult *r = PQexec(conn, "IDENTIFY_SYSTEM");
    bool known = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1;
    if (known) {
        snprintf(w->facts.system_id, sizeof(w->facts.system_id), "%s", PQgetvalue(r, 0, 0));
    } else {
        AUTO_TEXT first = x_strndup(PQerrorMessage(conn), strcspn(PQerrorMessage(conn), "\n"));
        wal_problem(
            w, "connect to PostgreSQL itself: a connection pooler does not pass replication on",
            "the server answers on a replication connection: %s", first);
    }
    PQclear(r);
    if (known) {
        wal_read_history(w, conn);
    }
    PQfinish(conn);
    return known;
}

/* Slot and position together, as the relay judges them at its start. */
static void wal_judge(const WalCheck *w)
{
    uint64_t start = 0;
    Error err = {0};
    switch (slot_judge(&w->facts, w->pipeline, &start, &err)) {
    case SLOT_GAP:
        check_problem(w->check, EXIT_GAP, "database", err.hint, "data gap: %s", err.message);
        break;
    case SLOT_REFUSED: /* said already, each with its own remedy */
    case SLOT_CREATE:
    case SLOT_ADOPT:
    case SLOT_BACKFILL:
    case SLOT_START:
        break;
    }
}

static void wal_check_failover(const WalCheck *w)
{
    const char *slot = w->pipeline->slot;
    if (!w->pipeline->failover_slot || w->facts.server_version < POSTGRES_FAILOVER) {
        return;
    }
    if (w->facts.has_slot && !w->facts.failover) {
        AUTO_TEXT remedy =
            x_format("stop the relay, and over a connection with replication=database "
                     "run: ALTER_REPLICATION_SLOT %s (FAILOVER true);",
                     slot);
        wal_problem(w, remedy,
                    "slot \"%s\" was made without failover: no standby gets it, although "
                    "failover_slot = true",
                    slot);
    }
    PGresult *r = check_query(
        w->check, w->conn, "SELECT current_setting('synchronized_standby_slots', true)", 0, NULL);
    if (r != NULL && *PQgetvalue(r, 0, 0) == '\0') {
        check_warning(w->check, "database",
                      "ALTER SYSTEM SET synchronized_standby_slots = "
                      "'the_physical_slots_of_the_standbys'; SELECT pg_reload_conf();",
                      "synchronized_standby_slots is empty: a failover may leave events in Kafka "
                      "that the new primary never had");
    }
    PQclear(r);
}

static void wal_check_slot(const WalCheck *w)
{
    const SlotFacts *facts = &w->facts;
    if (!facts->has_slot) {
        return;
    }
    if (!facts->slot_is_ours) {
        wal_problem(w, "name another slot in pipelines.slot", "slot \"%s\" cannot be used: %s",
                    w->pipeline->slot, facts->slot_problem);
        return;
    }
    const char *values[] = {w->pipeline->slot};
    PGresult *r = check_query(
        w->check, w->conn,
        "SELECT wal_status, pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)),"
        " current_setting('max_slot_wal_keep_size') FROM pg_replication_slots"
        " WHERE slot_name = $1 AND NOT pg_is_in_recovery()",
        1, values);
    if (r != NULL && PQntuples(r) == 1 && strcmp(PQgetvalue(r, 0, 0), "unreserved") == 0) {
        check_warning(
            w->check, "database",
            "let the relay catch up now, or raise max_slot_wal_keep_size and SELECT "
            "pg_reload_conf();",
            "slot \"%s\" needs %s of WAL, more than max_slot_wal_keep_size (%s): the next "
            "checkpoint may make a data gap",
            w->pipeline->slot, PQgetvalue(r, 0, 1), PQgetvalue(r, 0, 2));
    }
    PQclear(r);
}

/* A line of what holds. */
static void wal_note(const WalCheck *w)
{
    const SlotFacts *facts = &w->facts;
    text_printf(&w->check->facts, "slot           %s: ", w->pipeline->slot);
    if (!facts->has_slot) {
        text_add(&w->check->facts, "none yet; the relay makes it at its first start\n");
        return;
    }
    AUTO_TEXT pid = x_format("%d", facts->active_pid);
    const char *values[] = {pid};
    PGresult *r =
        check_query(w->check, w->conn,
                    "SELECT application_name FROM pg_stat_activity WHERE pid = $1", 1, values);
    const char *reader = r != NULL && PQntuples(r) == 1 ? PQgetvalue(r, 0, 0) : "";
    if (facts->active_pid == 0) {
        text_add(&w->check->facts, "nobody reads it now\n");
    } else {
        text_printf(&w->check->facts, "read by pid %d%s%s%s\n", facts->active_pid,
                    *reader != '\0' ? " (" : "", reader, *reader != '\0' ? ")" : "");
    }
    PQclear(r);
}

void check_wal(Check *check, PGconn *conn, const PipelineConfig *pipeline)
{
    WalCheck w = {.check = check, .conn = conn, .pipeline = pipeline};
    size_t before = check->problems->errors;
    uint32_t oid = 0;
    if (ident_quote_table(pipeline->table, &w.table, NULL) == OK && wal_find(&w, &oid) &&
        wal_read_facts(&w)) {
        wal_check_abilities(&w);
        wal_check_places(&w);
        check_publication(check, conn, pipeline, w.table, w.facts.has_slot);
        wal_check_slot(&w);
        wal_check_failover(&w);
        bool usable = w.facts.logical && w.facts.may_replicate && w.places;
        if (usable && wal_identify(&w)) {
            wal_judge(&w);
        }
        if (check->problems->errors == before) {
            wal_note(&w);
        }
    }
    free(w.table);
    free(w.role);
    free(w.position);
}

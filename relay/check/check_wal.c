/* capture = "wal" and "tables": the server's settings, the role, the publication, the slot and our
 * position. What the relay itself would decide at its start (cdc/slot.h) is decided here by the
 * same code. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/instance.h"
#include "cdc/slot.h"
#include "cdc/slot_tables.h"
#include "check/check.h"
#include "pg/message.h"
#include "pg/result.h"
#include "rows/publisher.h"

enum { POSTGRES_MESSAGES = 140000, POSTGRES_FAILOVER = 170000 };

typedef struct WalCheck {
    Check *check;
    const PipelineConfig *pipeline;
    const PreconditionLook *look;
    SlotCase given; /* facts but for IDENTIFY_SYSTEM: zeros until that is asked */
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

static bool wal_read_facts(WalCheck *w)
{
    AUTO_BUFFER before = TEXT_EMPTY;
    AUTO_BUFFER sql = TEXT_EMPTY;
    slot_add_confirmed_query(w->pipeline, &before);
    slot_add_query(w->check->config, w->pipeline, w->look->position, &sql);
    AUTO(PGresult, pg_session_free_result)
    confirmed = check_query(w->check, "slot", before.data, 0, NULL);
    AUTO(PGresult, pg_session_free_result)
    r = confirmed != NULL ? check_query(w->check, "facts", sql.data, 0, NULL) : NULL;
    if (r == NULL) {
        return false;
    }
    slot_read_facts(r, w->pipeline->wal.messages, w->given.facts, w->given.stored);
    slot_read_confirmed(confirmed, w->given.facts);
    return true;
}

/* What this version of the server cannot do. */
static void wal_check_abilities(const WalCheck *w)
{
    const SlotFacts *facts = w->given.facts;
    if (w->pipeline->wal.messages && facts->server_version < POSTGRES_MESSAGES) {
        wal_problem(w, "set messages = false, and use outbox.emit",
                    "messages = true needs PostgreSQL 14 or later");
    }
    if (w->pipeline->wal.failover_slot && facts->server_version < POSTGRES_FAILOVER) {
        wal_problem(w, "set failover_slot = false",
                    "failover_slot = true needs PostgreSQL 17 or later");
    }
}

static bool wal_senders_are_taken(const WalCheck *w)
{
    PGresult *r = check_query(w->check, "walsenders",
                              "SELECT (SELECT pg_catalog.count(*) FROM"
                              " pg_catalog.pg_stat_get_wal_senders()) >="
                              " pg_catalog.current_setting('max_wal_senders')::integer",
                              0, NULL);
    bool taken = r != NULL && pg_value(r, 0, 0)[0] == 't';
    PQclear(r);
    return taken;
}

/* Where the timeline of the position was left, if the server is on another one. */
static void wal_read_history(WalCheck *w, PgSession *session)
{
    if (!w->given.stored->there || w->given.stored->timeline == w->given.facts->timeline) {
        return;
    }
    w->given.known->left_timeline = w->given.stored->timeline;
    if (w->given.facts->timeline <= 1) {
        return; /* it has no history */
    }
    AUTO_TEXT sql = x_format("TIMELINE_HISTORY %d", w->given.facts->timeline);
    AUTO(PGresult, pg_session_free_result) r = NULL;
    if (pg_session_query(session, &(PgAsk){.step = "TIMELINE_HISTORY", .sql = sql}, &r, NULL) ==
            OK &&
        PQntuples(r) == 1 && PQnfields(r) == 2) {
        (void)slot_read_history(pg_value(r, 0, 1), w->given.stored->timeline,
                                &w->given.facts->switch_lsn);
    }
}

/* Both connection strings must lead to one database of one server. */
static bool wal_is_same_instance(const WalCheck *w, PgSession *replication)
{
    PgSession *const sessions[] = {w->check->session, replication};
    Instance found[2] = {{0}};
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO_ERROR err = {0};
    if (*w->check->config->database.replication_dsn == '\0') {
        return true;
    }
    instance_add_query(&sql);
    for (int i = 0; i < 2 && err.class == ERROR_NONE; i++) {
        AUTO(PGresult, pg_session_free_result) r = NULL;
        if (pg_session_query(sessions[i], &(PgAsk){.step = "instance", .sql = sql.data}, &r,
                             &err) == OK) {
            instance_read(r, &found[i]);
        }
    }
    if (err.class != ERROR_NONE || instance_compare(&found[0], &found[1], &err) != OK) {
        wal_problem(w, error_remedy(&err), "%s", error_message(&err));
        return false;
    }
    return true;
}

/* Asks a walsender who it is. False when there is none; that is noted. */
static bool wal_identify(WalCheck *w)
{
    if (w->given.facts->active_pid != 0 && wal_senders_are_taken(w)) {
        return false; /* who reads the slot now makes room for whom comes next */
    }
    if (w->check->pooled && *w->check->config->database.replication_dsn == '\0') {
        AUTO_ERROR err = {0};
        (void)publisher_refuse_replication(&err);
        wal_problem(w, error_own_hint(&err), "%s", error_message(&err));
        return false;
    }
    AUTO(PgSession, pg_session_close) session = check_connect(w->check, true);
    if (session == NULL) {
        return false;
    }
    if (!wal_is_same_instance(w, session)) {
        return false;
    }
    AUTO(PGresult, pg_session_free_result) r = NULL;
    bool known =
        pg_session_query(session, &(PgAsk){.step = "IDENTIFY_SYSTEM", .sql = "IDENTIFY_SYSTEM"}, &r,
                         NULL) == OK &&
        PQntuples(r) == 1;
    if (known) {
        snprintf(w->given.facts->system_id, sizeof(w->given.facts->system_id), "%s",
                 pg_value(r, 0, 0));
    } else {
        AUTO_TEXT first = pg_message(pg_session_raw(session));
        wal_problem(w,
                    "connect to PostgreSQL directly, or set database.replication_dsn: many poolers "
                    "do not support replication connections",
                    "the server answered on a replication connection: %s", first);
    }
    if (known) {
        wal_read_history(w, session);
    }
    return known;
}

/* Whether the tables are in the publications as they were; true where that does not matter. */
static bool wal_compare_tables(const WalCheck *w)
{
    if (w->pipeline->capture != CAPTURE_TABLES || !w->given.stored->there) {
        return true;
    }
    Mapped mapped = {0};
    AUTO_ERROR err = {0};
    AUTO_BUFFER sql = TEXT_EMPTY;
    mapped_add_query(w->pipeline, &(MappedQuestion){0},
                     PQserverVersion(pg_session_raw(w->check->session)), &sql);
    AUTO(PGresult, pg_session_free_result)
    tables = check_query(w->check, "mapped tables", sql.data, 0, NULL);
    bool known =
        tables != NULL && mapped_read(tables, &mapped, &err) == OK &&
        slot_tables_compare(w->pipeline, w->given.stored, &mapped, w->given.known, &err) == OK;
    mapped_clear(&mapped);
    if (err.class != ERROR_NONE) {
        wal_problem(w, error_own_hint(&err), "%s", error_message(&err));
    }
    return known;
}

/* Slot and position together, as the relay judges them at its start. */
static void wal_judge(const WalCheck *w)
{
    uint64_t start = 0;
    AUTO_ERROR err = {0};
    switch (slot_judge(&w->given, w->pipeline, &start, &err)) {
    case SLOT_GAP:
        check_problem(w->check, EXIT_GAP, "database", error_own_hint(&err), "data gap: %s",
                      error_message(&err));
        break;
    case SLOT_REFUSED: /* said already, each with its own remedy */
    case SLOT_CREATE:
    case SLOT_ADOPT:
        if (slot_is_renamed(&w->given, w->pipeline, &err)) {
            check_warning(w->check, "database", error_own_hint(&err), "%s", error_message(&err));
        }
        break;
    case SLOT_BACKFILL:
    case SLOT_START:
        break;
    }
}

static void wal_check_failover(const WalCheck *w)
{
    const char *slot = w->pipeline->wal.slot;
    if (!w->pipeline->wal.failover_slot || w->given.facts->server_version < POSTGRES_FAILOVER) {
        return;
    }
    if (w->given.facts->has_slot && !w->given.facts->failover) {
        AUTO_TEXT remedy =
            x_format("stop the relay, and over a connection with replication=database "
                     "run: ALTER_REPLICATION_SLOT %s (FAILOVER true);",
                     slot);
        wal_problem(w, remedy,
                    "slot \"%s\" was created without failover: no standby gets it, although "
                    "failover_slot = true",
                    slot);
    }
    PGresult *r =
        check_query(w->check, "synchronized_standby_slots",
                    "SELECT current_setting('synchronized_standby_slots', true)", 0, NULL);
    if (r != NULL && *pg_value(r, 0, 0) == '\0') {
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
    const SlotFacts *facts = w->given.facts;
    if (!facts->has_slot) {
        return;
    }
    const char *values[] = {w->pipeline->wal.slot};
    PGresult *r = check_query(
        w->check, "WAL of the slot",
        "SELECT wal_status, pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)),"
        " current_setting('max_slot_wal_keep_size') FROM pg_replication_slots"
        " WHERE slot_name = $1 AND NOT pg_is_in_recovery()",
        1, values);
    if (r != NULL && PQntuples(r) == 1 && strcmp(pg_value(r, 0, 0), "unreserved") == 0) {
        check_warning(
            w->check, "database",
            "let the relay catch up now, or raise max_slot_wal_keep_size and SELECT "
            "pg_reload_conf();",
            "slot \"%s\" needs %s of WAL, more than max_slot_wal_keep_size (%s): the next "
            "checkpoint may make a data gap",
            w->pipeline->wal.slot, pg_value(r, 0, 1), pg_value(r, 0, 2));
    }
    PQclear(r);
}

/* A line of what holds. */
static void wal_note(const WalCheck *w)
{
    const SlotFacts *facts = w->given.facts;
    text_printf(&w->check->facts, "slot           %s: ", w->pipeline->wal.slot);
    if (!facts->has_slot) {
        text_add(&w->check->facts, "none yet; the relay creates it at its first start\n");
        return;
    }
    AUTO_TEXT pid = x_format("%d", facts->active_pid);
    const char *values[] = {pid};
    PGresult *r =
        check_query(w->check, "reader of the slot",
                    "SELECT application_name FROM pg_stat_activity WHERE pid = $1", 1, values);
    const char *reader = r != NULL && PQntuples(r) == 1 ? pg_value(r, 0, 0) : "";
    if (facts->active_pid == 0) {
        text_add(&w->check->facts, "not read by any client now\n");
    } else {
        text_printf(&w->check->facts, "read by pid %d%s%s%s\n", facts->active_pid,
                    *reader != '\0' ? " (" : "", reader, *reader != '\0' ? ")" : "");
    }
    PQclear(r);
}

/* False when a walsender cannot be asked for anyway. */
static bool wal_may_connect(const PreconditionLook *look)
{
    for (size_t i = 0; i < look->fault_count; i++) {
        if (look->faults[i].error.code == CODE_WAL_LEVEL) {
            return false;
        }
    }
    return true;
}

static bool wal_position_is_readable(const PreconditionLook *look)
{
    for (size_t i = 0; i < look->fault_count; i++) {
        ErrorCode code = look->faults[i].error.code;
        if (code == CODE_RIGHT_POSITION || code == CODE_RIGHT_USAGE || code == CODE_ROW_SECURITY) {
            return false;
        }
    }
    return look->position[0] != '\0';
}

void check_wal(Check *check, const PipelineConfig *pipeline, const PreconditionLook *look)
{
    SlotFacts facts = {0};
    SlotStored stored = {0};
    SlotKnown nothing = {0};
    WalCheck w = {.check = check,
                  .pipeline = pipeline,
                  .look = look,
                  .given = {.facts = &facts, .stored = &stored, .known = &nothing}};
    size_t before = check->problems->errors;
    bool broken = precondition_broken(look) != NULL;
    bool known = wal_position_is_readable(look) && wal_read_facts(&w);
    if (known) {
        wal_check_abilities(&w);
        if (pipeline->capture == CAPTURE_WAL) {
            check_publication(check, pipeline, look);
        }
        wal_check_slot(&w);
        wal_check_failover(&w);
    }
    /* While another reads the slot, there will be a place for its reader: its own. */
    if (wal_may_connect(look) && wal_identify(&w) && known && !broken && wal_compare_tables(&w)) {
        wal_judge(&w);
    }
    if (known && !broken && check->problems->errors == before) {
        wal_note(&w);
    }
    free(stored.publication);
}

/* Connecting: the table, the publisher's lock, the publication. Then, in wal_slot.c: the slot, the
 * position, the stream.
 *
 * Order on a first start: publication, then slot (a publication made later would not be seen by the
 * slot's older position), then the position row, then what the slot's snapshot shows unpublished,
 * then the stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/precondition.h"

enum {
    IDLE_SMALL_BYTES = 64 * 1024,
    SEGMENT_BYTES = 16 * 1024 * 1024,
};

void wal_ask(WalSource *wal, const PgQuery *query)
{
    wal->asked_us = clock_monotonic_us();
    pg_conn_send(wal->control, query);
}

void wal_renew_lease(WalSource *wal)
{
    wal->lease_until_us = wal->asked_us + wal->options.pipeline->claim.lease_ms * 1000;
}

/* Publication. */

void wal_session_open_walsender(WalSource *wal)
{
    pg_conn_open(wal->walsender);
}

static void on_publication_created(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        AUTO_ERROR copy = error_of(err);
        error_prefix(&copy, "creating publication '%s'", wal->options.pipeline->wal.publication);
        error_hint(&copy,
                   "An administrator runs: CREATE PUBLICATION %s FOR TABLE %s WITH (publish = "
                   "'insert');",
                   wal->options.pipeline->wal.publication, wal->options.pipeline->outbox.table);
        wal_lose(wal, &copy);
        return;
    }
    wal_session_look(wal); /* what was made has an identity now */
}

static void session_create_publication(WalSource *wal)
{
    AUTO_TEXT name = ident_quote(wal->options.pipeline->wal.publication);
    AUTO_TEXT sql = x_format("CREATE PUBLICATION %s FOR TABLE %s WITH (publish = 'insert',"
                             " publish_via_partition_root = true)",
                             name, wal->table->configured);
    wal_ask(wal, &(PgQuery){.step = "create publication",
                            .sql = sql,
                            .arg = wal,
                            .done = on_publication_created});
}

/* What must hold before the first event is read: the list of rows/precondition.h, when we connect,
 * and once more with the lock in hand. */

static void session_set_replaced(WalSource *wal)
{
    error_set(&wal->error, CODE_TABLE_REPLACED,
              "table '%s' is not the one it was: looking at it again",
              wal->options.pipeline->outbox.table);
}

void wal_session_lose_table(WalSource *wal)
{
    session_set_replaced(wal);
    wal_lose(wal, &wal->error);
}

/* A standby waited for the lock of the table that had the name before. */
static void session_check_lock(WalSource *wal)
{
    const PreconditionLook *look = &wal->look;
    if (wal->error.class == ERROR_NONE && look->table_oid != 0 &&
        look->table_oid != wal->lock.table_oid) {
        session_set_replaced(wal);
    }
}

static void session_take_names(WalSource *wal)
{
    const PreconditionLook *look = &wal->look;
    wal->lock.table_oid = look->table_oid;
    free(wal->dead_letter);
    wal->dead_letter = *look->dead_letter != '\0' ? x_strdup(look->dead_letter) : NULL;
    free(wal->position_table);
    wal->position_table = x_strdup(look->position);
    Relations *relations = &wal->assembler.relations;
    relations->table_oid = look->table_oid;
    relations->absent = wal->table->absent;
    free(relations->schema);
    relations->schema = x_strdup(look->schema);
    free(relations->name);
    relations->name = x_strdup(look->name);
}

/* What breaks it. A publication that is gone is waited for while we run; at a start with a position
 * that tells what it means. */
static const Error *session_fault(const WalSource *wal)
{
    const SlotFacts *facts = &wal->facts;
    const Error *fault = precondition_broken(&wal->look);
    bool gone = fault != NULL && fault->code == CODE_PUBLICATION_MISSING;
    bool wait = wal->begun || (wal->facts_told && !facts->has_position);
    return gone && !wait ? NULL : fault;
}

static void on_look_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        precondition_read_wal_end(result, &wal->look.wal_end)) {
        return; /* of the SETs, too */
    }
    if (PQfnumber(result, "backend_pid") >= 0) {
        (void)publisher_check_pooler(wal->options.config, wal->control, result, true, &wal->error);
        return;
    }
    uint64_t wal_end = wal->look.wal_end;
    precondition_release(&wal->look);
    unsigned reader = PRECONDITION_START | (wal->begun ? PRECONDITION_RUNNING : 0);
    precondition_read(wal->table, result, 0, reader, &wal->look);
    wal->look.wal_end = wal_end;
    bool said = wal->warned;
    precondition_say_first(wal->options.pipeline, &wal->look, &wal->warned);
    (void)precondition_take_columns(&wal->look, wal->table);
    if (!said) {
        precondition_say_absent(wal->table);
    }
}

/* What a human must mend ends a pipeline at its start; later it is waited for. */
static bool session_look_failed(WalSource *wal, const Error *err)
{
    if (err == NULL && wal->error.class == ERROR_NONE && session_fault(wal) != NULL) {
        error_copy(&wal->error, session_fault(wal));
    }
    if (err == NULL && wal->error.class == ERROR_NONE) {
        session_take_names(wal);
        return false;
    }
    AUTO_ERROR copy = error_of(err != NULL ? err : &wal->error);
    if (wal->begun && err == NULL) {
        copy.class = ERROR_RETRY;
    }
    wal_lose(wal, &copy);
    return true;
}

/* Everything that the start depends on, once the lock is ours. */

static void on_facts_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (PQfnumber(result, "i") >= 0 || PQfnumber(result, "wal_end") >= 0) {
        on_look_result(wal, result);
    } else if (PQfnumber(result, "members") >= 0) {
        (void)tree_read(&wal->assembler.relations.tree, result, 0, false);
    } else if (PQfnumber(result, "flush_lsn") >= 0) {
        wal->found_told = history_read(result, wal->lock.table_oid, &wal->found);
    } else {
        slot_read_facts(result, wal->options.pipeline->wal.messages, &wal->facts);
        wal->log_end = wal->facts.insert_lsn;
        wal->facts_told = true;
    }
}

static void on_facts_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    AUTO_ERROR none = {0};
    if (err == NULL && !(wal->found_told && wal->facts_told)) {
        error_set(&none, CODE_POSTGRES_ANSWER, "the server did not say which history it has");
        err = &none;
    }
    session_check_lock(wal);
    if (session_look_failed(wal, err)) {
        return;
    }
    wal_renew_lease(wal);
    event_active(wal->pulse, 0, 0);
    const SlotFacts *facts = &wal->facts;
    if (wal->lock.shared && facts->active_pid != 0) { /* the slot tells who publishes */
        wal_session_stand_by(wal, "another relay reads the slot");
        return;
    }
    if (waiting_for_slot(wal)) {
        return;
    }
    /* A publication must be older than the slot: behind one that is there it would not help. */
    bool first = !facts->has_position && !facts->has_slot;
    if (!facts->has_publication && (first || wal->options.config->new_slot)) {
        session_create_publication(wal);
        return;
    }
    wal_rotation_begin(wal);
}

void wal_session_add_look(const WalSource *wal, Text *sql)
{
    precondition_add_wal_end(sql);
    precondition_add_query(wal->options.pipeline, wal->table, 0,
                           PQserverVersion(pg_conn_raw(wal->control)), sql);
}

void wal_session_look(WalSource *wal)
{
    wal->look_wanted = pg_conn_is_busy(wal->control); /* with a question of the lease */
    if (wal->look_wanted) {
        return;
    }
    wal->facts = (SlotFacts){0};
    wal->facts_told = false;
    wal->found_told = false;
    precondition_release(&wal->look);
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, "DEALLOCATE ALL; ");
    wal_session_add_look(wal, &sql);
    history_add_query(wal->position_table, wal->position_key, &sql);
    text_add(&sql, "; ");
    tree_add_query(wal->options.pipeline, wal->lock.table_oid, 0,
                   PQserverVersion(pg_conn_raw(wal->control)), &sql);
    text_add(&sql, "; ");
    slot_add_query(wal->options.config, wal->options.pipeline, wal->position_table, &sql);
    error_clear(&wal->error);
    wal_ask(wal, &(PgQuery){.step = "facts",
                            .sql = sql.data,
                            .rows_wanted = 5,
                            .arg = wal,
                            .result = on_facts_result,
                            .done = on_facts_done});
}

/* What the sink holds back since the end of the lease goes on only if nobody else published. */

static void on_proof_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        wal->found_told = history_read(result, wal->history.last.table_oid, &wal->found);
    }
}

static void on_proof_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    wal_renew_lease(wal);
    char difference[160];
    HistoryVerdict verdict =
        wal->found_told ? history_judge(&wal->history, &wal->found, difference, sizeof(difference))
                        : HISTORY_OTHER;
    bool alone = verdict == HISTORY_SAME && wal->found.has_row;
    wal->source.proof = alone ? PROOF_ALONE : PROOF_OTHERS;
    wal->source.events.locked(wal->source.events.arg);
}

static void session_ask_proof(WalSource *wal)
{
    wal->found_told = false;
    AUTO_BUFFER sql = TEXT_EMPTY;
    history_add_query(wal->position_table, wal->position_key, &sql);
    wal_ask(wal, &(PgQuery){.step = "proof of history",
                            .sql = sql.data,
                            .rows_wanted = 1,
                            .arg = wal,
                            .result = on_proof_result,
                            .done = on_proof_done});
}

void wal_session_lock_held(void *arg)
{
    WalSource *wal = arg;
    wal_renew_lease(wal);
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("locked", &err)) {
        wal_lose(wal, &err);
        return;
    }
    wal->state = WAL_LOCKED;
    wal->source.proof = PROOF_NONE;
    event_active(wal->pulse, 0, 0);
    if (wal->source.wants_proof && wal->history.known) {
        session_ask_proof(wal);
    } else {
        wal->source.events.locked(wal->source.events.arg);
    }
}

void wal_session_stand_by(WalSource *wal, const char *holder)
{
    wal->begun = true;
    wal->source.events.standby(wal->source.events.arg, holder);
    waiting_give_back(wal);
    waiting_forget(wal);
    marker_stop(wal->marker);
    wal->state = WAL_STANDBY;
    wal_set_timer(wal, wal->options.pipeline->claim.standby_interval_ms);
    wal_check_drained(wal);
}

void wal_session_lock_taken(void *arg)
{
    WalSource *wal = arg;
    wal_session_stand_by(wal, wal->lock.holder);
}

void wal_session_try_lock(WalSource *wal)
{
    wal->asked_us = clock_monotonic_us();
    publisher_try_lock(&wal->lock);
}

/* The table. */

static void on_look_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (session_look_failed(wal, err)) {
        return;
    }
    *wal->options.stats->postgres_connected = 1;
    wal_session_try_lock(wal);
}

void wal_session_control_opened(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    int version = PQserverVersion(pg_conn_raw(wal->control));
    publisher_add_settings(wal->options.config, wal->options.pipeline, true,
                           pg_conn_raw(wal->control), &sql);
    text_printf(&sql, "SET statement_timeout = %lld; ",
                (long long)wal->options.config->database.statement_timeout_ms);
    publisher_add_lock_timeout(wal->options.pipeline, &sql);
    publisher_add_pooler_query(&sql);
    precondition_add_query(wal->options.pipeline, wal->table, 0, version, &sql);
    error_clear(&wal->error);
    wal->facts_told = false;
    precondition_release(&wal->look);
    wal_ask(wal, &(PgQuery){.step = "look",
                            .sql = sql.data,
                            .rows_wanted = 2,
                            .arg = wal,
                            .result = on_look_result,
                            .done = on_look_done});
}

void wal_session_open(WalSource *wal)
{
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("connect", &err)) {
        wal_lose(wal, &err);
        return;
    }
    wal->state = WAL_OPENING;
    pg_conn_open(wal->control);
}

/* Each pulse: the lease; is the table still the one that is published; did others write? */

static void session_note_activity(WalSource *wal, const PGresult *result)
{
    const char *xmax = pg_value(result, 0, 0);
    uint64_t end = 0;
    uint64_t position = marker_position(wal->marker).lsn;
    if (!lsn_parse(pg_needed(result, 0, 1), &end) || end <= position) {
        return;
    }
    bool others = strcmp(xmax, wal->idle.xmax) != 0;
    bool far =
        end - position >= IDLE_SMALL_BYTES || end / SEGMENT_BYTES != position / SEGMENT_BYTES;
    if (others || far) {
        wal->idle.wanted = true;
        wal->idle.until = end;
        /* The write that follows takes one transaction id itself: seeing that is seeing nothing. */
        snprintf(wal->idle.xmax, sizeof(wal->idle.xmax), "%llu", strtoull(xmax, NULL, 10) + 1);
    }
}

static void on_ping_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    uint32_t oid = (uint32_t)strtoul(pg_value(result, 0, 2), NULL, 10);
    if (oid != wal->lock.table_oid) {
        session_set_replaced(wal);
        return;
    }
    (void)lsn_parse(pg_needed(result, 0, 1), &wal->log_end);
    if (wal->idle.asked > wal->log_end) {
        char told[24];
        char end[24];
        error_set(&wal->error, CODE_PG_PROTOCOL,
                  "a keep-alive of the stream tells of %s, beyond the end of the server's log, %s",
                  lsn_format(wal->idle.asked, told), lsn_format(wal->log_end, end));
        return;
    }
    if (wal->state == WAL_ACTIVE) {
        wal->idle.proven = wal->idle.asked;
        session_note_activity(wal, result);
    }
    /* A lock that is shared does not tell who publishes; the slot does. */
    wal->slot_taken =
        wal->state == WAL_LOCKED && wal->lock.shared && pg_value(result, 0, 3)[0] == 't';
}

static void on_ping_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL || wal->error.class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(err != NULL ? err : &wal->error);
        wal_lose(wal, &copy);
        return;
    }
    wal_renew_lease(wal);
    if (wal->slot_taken) {
        wal_session_stand_by(wal, "another relay reads the slot");
        return;
    }
    if (wal->look_wanted) {
        wal_session_look(wal);
        return;
    }
    position_send_waiting(wal);
    ask_send_waiting(wal);
    waiting_go_on(wal);
    wal_rotation_go_on(wal);
    if (wal->state == WAL_FILLING) {
        fill_next(wal);
    }
    verify_send_waiting(wal);
    if (wal->state == WAL_ACTIVE) {
        stream_advance_idle(wal);
        if (wal->idle.wanted && wal_is_idle(wal)) {
            stream_send_status(wal, true); /* how far is the stream? */
        }
    }
    marker_next(wal->marker);
}

void wal_session_ping(WalSource *wal)
{
    bool locked = wal->state == WAL_LOCKED || wal->state == WAL_CHECKING ||
                  wal->state == WAL_FILLING || wal->state == WAL_STARTING ||
                  wal->state == WAL_ACTIVE;
    if (!locked || pg_conn_is_busy(wal->control) || !pg_conn_is_open(wal->control)) {
        return;
    }
    AUTO_TEXT table = ident_literal(wal->table->configured);
    AUTO_TEXT slot = ident_literal(wal->options.pipeline->wal.slot);
    AUTO_TEXT sql = x_format("SELECT pg_snapshot_xmax(pg_current_snapshot()),"
                             " pg_current_wal_insert_lsn(), to_regclass(%s)::oid,"
                             " EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s"
                             " AND active_pid IS NOT NULL)",
                             table, slot);
    error_clear(&wal->error);
    wal->idle.asked = wal->state == WAL_ACTIVE ? wal->assembler.told_lsn : 0;
    wal_ask(wal, &(PgQuery){.step = "ping",
                            .sql = sql,
                            .rows_wanted = 1,
                            .arg = wal,
                            .result = on_ping_result,
                            .done = on_ping_done});
}

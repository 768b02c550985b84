/* What the source that reads the log is to its claim (claim/claim.h): the facts of the start, the
 * publication, the question of the lease. Then, in wal_slot.c: the slot, the
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
        claim_lose(wal->claim, &copy);
        return;
    }
    wal_want(wal, JOB_FACTS); /* what was made has an identity now */
}

static void session_create_publication(WalSource *wal)
{
    AUTO_TEXT name = ident_quote(wal->options.pipeline->wal.publication);
    AUTO_TEXT sql = x_format("CREATE PUBLICATION %s FOR TABLE %s WITH (publish = 'insert',"
                             " publish_via_partition_root = true)",
                             name, wal->table->configured);
    claim_ask(wal->claim, &(PgQuery){.step = "create publication",
                                     .sql = sql,
                                     .arg = wal,
                                     .done = on_publication_created});
}

/* What must hold before the first event is read: the list of rows/precondition.h, when we connect,
 * and once more with the lock in hand. */

void wal_session_looked(void *arg, const PreconditionLook *look)
{
    WalSource *wal = arg;
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

/* A publication that is gone is waited for while we run; at a start with a position that tells what
 * it means. */
bool wal_session_tolerates(const void *arg, const Error *fault)
{
    const WalSource *wal = arg;
    const SlotFacts *facts = &wal->facts;
    bool wait = claim_has_begun(wal->claim) || (wal->facts_told && !facts->has_position);
    return fault->code == CODE_PUBLICATION_MISSING && !wait;
}

/* Everything that the start depends on, once the lock is ours. */

static void on_facts_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (PQfnumber(result, "i") >= 0 || PQfnumber(result, "wal_end") >= 0) {
        claim_read_look(wal->claim, result);
    } else if (PQfnumber(result, "members") >= 0) {
        (void)tree_read(&wal->assembler.relations.tree, result, 0, false);
    } else if (PQfnumber(result, "flush_lsn") >= 0) {
        wal->found_told = history_read(result, claim_table(wal->claim), &wal->found);
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
        error_set(&none, CODE_POSTGRES_ANSWER, "the server did not return its history");
        err = &none;
    }
    claim_check_table(wal->claim); /* a standby waited for the lock of the one before */
    if (claim_look_failed(wal->claim, err)) {
        return;
    }
    claim_pulse_now(wal->claim);
    const SlotFacts *facts = &wal->facts;
    if (claim_is_shared(wal->claim) && facts->active_pid != 0) { /* the slot tells who publishes */
        wal_stand_by(wal, "another relay reads the slot");
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

void wal_session_run(void *arg)
{
    WalSource *wal = arg;
    wal->facts = (SlotFacts){0};
    wal->facts_told = false;
    wal->found_told = false;
    claim_begin_look(wal->claim);
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, "DEALLOCATE ALL; ");
    wal_add_look(wal, &sql);
    history_add_query(wal->position_table, wal->position_key, &sql);
    text_add(&sql, "; ");
    tree_add_query(wal->options.pipeline, claim_table(wal->claim), 0,
                   PQserverVersion(pg_conn_raw(claim_conn(wal->claim))), &sql);
    text_add(&sql, "; ");
    slot_add_query(wal->options.config, wal->options.pipeline, wal->position_table, &sql);
    claim_ask(wal->claim, &(PgQuery){.step = "facts",
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
        wal->found_told = history_read(result, wal->history->last.table_oid, &wal->found);
    }
}

static void on_proof_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    char difference[160];
    HistoryVerdict verdict =
        wal->found_told ? history_judge(wal->history, &wal->found, difference, sizeof(difference))
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
    claim_ask(wal->claim, &(PgQuery){.step = "proof of history",
                                     .sql = sql.data,
                                     .rows_wanted = 1,
                                     .arg = wal,
                                     .result = on_proof_result,
                                     .done = on_proof_done});
}

void wal_session_lock_held(void *arg)
{
    WalSource *wal = arg;
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("locked", &err)) {
        claim_lose(wal->claim, &err);
        return;
    }
    wal->state = WAL_LOCKED;
    wal->source.proof = PROOF_NONE;
    claim_pulse_now(wal->claim);
    if (wal->source.wants_proof && wal->history->known) {
        session_ask_proof(wal);
    } else {
        wal->source.events.locked(wal->source.events.arg);
    }
}

void wal_session_lock_taken(void *arg, const ClaimLock *lock)
{
    wal_stand_by(arg, claim_lock_holder(lock));
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

void wal_session_ping_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    uint32_t oid = (uint32_t)strtoul(pg_value(result, 0, 2), NULL, 10);
    if (oid != claim_table(wal->claim)) {
        error_set(&wal->error, CODE_TABLE_REPLACED,
                  "table '%s' was replaced (different OID): examining it again",
                  wal->options.pipeline->outbox.table);
        return;
    }
    (void)lsn_parse(pg_needed(result, 0, 1), &wal->log_end);
    if (wal->idle.asked > wal->log_end) {
        char told[24];
        char end[24];
        error_set(
            &wal->error, CODE_PG_PROTOCOL,
            "a keep-alive of the stream gives position %s, beyond the end of the server's WAL, %s",
            lsn_format(wal->idle.asked, told), lsn_format(wal->log_end, end));
        return;
    }
    if (wal->state == WAL_ACTIVE) {
        wal->idle.proven = wal->idle.asked;
        session_note_activity(wal, result);
    }
    /* A lock that is shared does not tell who publishes; the slot does. */
    wal->slot_taken =
        wal->state == WAL_LOCKED && claim_is_shared(wal->claim) && pg_value(result, 0, 3)[0] == 't';
}

void wal_session_add_ping(void *arg, Text *sql)
{
    WalSource *wal = arg;
    AUTO_TEXT table = ident_literal(wal->table->configured);
    AUTO_TEXT slot = ident_literal(wal->options.pipeline->wal.slot);
    text_printf(sql,
                "SELECT pg_snapshot_xmax(pg_current_snapshot()),"
                " pg_current_wal_insert_lsn(), to_regclass(%s)::oid,"
                " EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s"
                " AND active_pid IS NOT NULL)",
                table, slot);
    error_clear(&wal->error);
    wal->idle.asked = wal->state == WAL_ACTIVE ? wal->assembler.told_lsn : 0;
}

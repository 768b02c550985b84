/* The facts of the start, filters and mappings, the publication, the proof of the history. Then, in
 * wal_slot.c: the slot, the position, the stream.
 *
 * Order on a first start: publication, then slot (a publication made later would not be seen by the
 * slot's older position), then the position row, then what the slot's snapshot shows unpublished,
 * then the stream. */
#include "cdc/wal_session.h"

#include <stdlib.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "cdc/wal_filters.h"
#include "cdc/wal_mappings.h"
#include "pg/ident.h"
#include "rows/mapped_script.h"
#include "rows/precondition.h"

struct WalSession {
    WalContext *wal;
    WalStart *start;
    ServerLog *log;
    Waiting *waiting;
    Relations *relations;
    ClaimJob facts;
    Error unread; /* what was wrong with the answer about tables */
    WalFilters *filters;
    WalMappings *mappings;
};

static void on_publication_created(void *arg, const Error *err)
{
    WalSession *session = arg;
    const PipelineConfig *pipeline = session->wal->pipeline;
    if (err != NULL) {
        AUTO_ERROR copy = error_of(err);
        error_prefix(&copy, "creating publication '%s'", pipeline->wal.publication);
        if (pipeline->capture == CAPTURE_TABLES) {
            AUTO_BUFFER both = TEXT_EMPTY;
            mapped_script_add_publications(pipeline, session->start->mapped, &both);
            error_hint(&copy, "An administrator runs: %s", text_string(&both));
        } else {
            error_hint(&copy,
                       "An administrator runs: CREATE PUBLICATION %s FOR TABLE %s WITH (publish = "
                       "'insert');",
                       pipeline->wal.publication, pipeline->outbox.table);
        }
        claim_lose(session->wal->claim, &copy);
        return;
    }
    wal_session_ask_facts(session); /* what was made has an identity now */
}

static void session_create_publication(WalSession *session)
{
    const WalContext *wal = session->wal;
    if (wal->pipeline->capture == CAPTURE_TABLES) {
        AUTO_BUFFER both = TEXT_EMPTY;
        mapped_script_add_publications(wal->pipeline, session->start->mapped, &both);
        claim_ask(wal->claim, &(PgQuery){.step = "create publications",
                                         .sql = text_string(&both),
                                         .arg = session,
                                         .done = on_publication_created});
        return;
    }
    AUTO_TEXT name = ident_quote(wal->pipeline->wal.publication);
    AUTO_TEXT sql = x_format("CREATE PUBLICATION %s FOR TABLE %s WITH (publish = 'insert',"
                             " publish_via_partition_root = true)",
                             name, wal->table->configured);
    claim_ask(wal->claim, &(PgQuery){.step = "create publication",
                                     .sql = sql,
                                     .arg = session,
                                     .done = on_publication_created});
}

/* What must hold before the first event is read: the list of rows/precondition.h, when we connect,
 * and once more with the lock in hand. */

void wal_session_looked(WalSession *session, const PreconditionLook *look)
{
    Relations *relations = session->relations;
    free(session->start->position_table);
    session->start->position_table = x_strdup(look->position);
    free(session->start->captured_table);
    session->start->captured_table = x_strdup(look->memory);
    relations->table_oid = look->table_oid;
    relations->absent = session->wal->table->absent;
    free(relations->schema);
    relations->schema = x_strdup(look->schema);
    free(relations->name);
    relations->name = x_strdup(look->name);
}

/* A publication that is gone is waited for while we run; at a start with a position that tells what
 * it means. */
bool wal_session_tolerates(const WalSession *session, const Error *fault)
{
    const WalStart *start = session->start;
    bool wait =
        claim_has_begun(session->wal->claim) || (start->facts_told && !start->given.stored->there);
    return fault->code == CODE_PUBLICATION_MISSING && !wait;
}

/* Everything that the start depends on, once the lock is ours. */

static void on_facts_result(void *arg, const PGresult *result)
{
    WalSession *session = arg;
    WalStart *start = session->start;
    Claim *claim = session->wal->claim;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && mapped_is(result)) {
        (void)mapped_read(result, start->mapped, &session->unread);
        return;
    }
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (instance_is(result)) {
        instance_read(result, start->instance);
    } else if (PQfnumber(result, "i") >= 0 || PQfnumber(result, "wal_end") >= 0) {
        claim_read_look(claim, result);
    } else if (PQfnumber(result, "members") >= 0) {
        (void)tree_read(session->relations->tree, result, 0, false);
    } else if (PQfnumber(result, "flush_lsn") >= 0) {
        start->found_told = history_read(result, claim_table(claim), start->found);
    } else {
        slot_read_facts(result, session->wal->pipeline->wal.messages, start->given.facts,
                        start->given.stored);
        server_log_take_end(session->log, start->given.facts->insert_lsn);
        start->facts_told = true;
    }
}

static void on_facts_done(void *arg, const Error *err)
{
    WalSession *session = arg;
    const WalContext *wal = session->wal;
    const WalStart *start = session->start;
    AUTO_ERROR none = error_of(&session->unread);
    err = err == NULL && none.class != ERROR_NONE ? &none : err;
    if (err == NULL && !(start->found_told && start->facts_told)) {
        error_set(&none, CODE_POSTGRES_ANSWER, "the server did not return its history");
        err = &none;
    }
    claim_check_table(wal->claim); /* a standby waited for the lock of the one before */
    if (claim_look_failed(wal->claim, err)) {
        return;
    }
    claim_pulse_now(wal->claim);
    const SlotFacts *facts = start->given.facts;
    if (claim_is_shared(wal->claim) && facts->active_pid != 0) { /* the slot tells who publishes */
        wal_stand_by(wal, "another relay reads the slot");
        return;
    }
    if (waiting_for_slot(session->waiting, facts->active_pid != 0)) {
        return;
    }
    filters_test(session->filters); /* on_filters_tested() follows */
}

static void on_filters_tested(void *arg)
{
    const WalSession *session = arg;
    mappings_follow(session->mappings); /* on_mappings_followed() follows */
}

static void on_mappings_followed(void *arg)
{
    WalSession *session = arg;
    const WalContext *wal = session->wal;
    const WalStart *start = session->start;
    const SlotFacts *facts = start->given.facts;
    /* A publication must be older than the slot: behind one that is there it would not help. */
    bool first = !start->given.stored->there && !facts->has_slot;
    if (!facts->has_publication && (first || wal->config->new_slot)) {
        session_create_publication(session);
        return;
    }
    wal_tell(wal, NEWS_FACTS);
}

static void session_run(void *arg)
{
    WalSession *session = arg;
    const WalContext *wal = session->wal;
    WalStart *start = session->start;
    start_forget(start);
    error_clear(&session->unread);
    claim_begin_look(wal->claim);
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, "DEALLOCATE ALL; ");
    wal_add_look(wal, &sql);
    history_add_query(start->position_table, start->position_key, &sql);
    text_add(&sql, "; ");
    tree_add_query(wal->pipeline, claim_table(wal->claim), 0, wal_server_version(wal), &sql);
    text_add(&sql, "; ");
    if (wal->pipeline->capture == CAPTURE_TABLES) {
        mapped_add_query(wal->pipeline, &(MappedQuestion){.filters = true, .columns = true},
                         wal_server_version(wal), &sql);
        text_add(&sql, "; ");
    }
    bool apart = *wal->config->database.replication_dsn != '\0';
    if (apart) {
        instance_add_query(&sql);
        text_add(&sql, "; ");
    }
    slot_add_query(wal->config, wal->pipeline, start->position_table, &sql);
    claim_ask(wal->claim, &(PgQuery){.step = "facts",
                                     .sql = sql.data,
                                     .rows_wanted = apart ? 6 : 5,
                                     .arg = session,
                                     .result = on_facts_result,
                                     .done = on_facts_done});
}

/* What the sink holds back since the end of the lease goes on only if nobody else published. */

static void on_proof_result(void *arg, const PGresult *result)
{
    const WalSession *session = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        session->start->found_told =
            history_read(result, session->wal->history->last.table_oid, session->start->found);
    }
}

static void on_proof_done(void *arg, const Error *err)
{
    const WalSession *session = arg;
    const WalStart *start = session->start;
    const WalContext *wal = session->wal;
    if (!wal_goes_on(wal, err)) {
        return;
    }
    char difference[160];
    HistoryVerdict verdict = start->found_told ? history_judge(wal->history, start->found,
                                                               difference, sizeof(difference))
                                               : HISTORY_OTHER;
    bool alone = verdict == HISTORY_SAME && start->found->has_row;
    wal->source->proof = alone ? PROOF_ALONE : PROOF_OTHERS;
    wal->source->events.locked(wal->source->events.arg);
}

static void session_ask_proof(WalSession *session)
{
    const WalContext *wal = session->wal;
    session->start->found_told = false;
    AUTO_BUFFER sql = TEXT_EMPTY;
    history_add_query(session->start->position_table, session->start->position_key, &sql);
    claim_ask(wal->claim, &(PgQuery){.step = "proof of history",
                                     .sql = sql.data,
                                     .rows_wanted = 1,
                                     .arg = session,
                                     .result = on_proof_result,
                                     .done = on_proof_done});
}

void wal_session_lock_held(WalSession *session)
{
    WalContext *wal = session->wal;
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("locked", &err)) {
        claim_lose(wal->claim, &err);
        return;
    }
    wal->state = WAL_LOCKED;
    wal->source->proof = PROOF_NONE;
    claim_pulse_now(wal->claim);
    if (wal->source->wants_proof && wal->history->known) {
        session_ask_proof(session);
    } else {
        wal->source->events.locked(wal->source->events.arg);
    }
}

void wal_session_ask_facts(WalSession *session)
{
    wal_want(session->wal, &session->facts);
}

WalSession *wal_session_new(WalContext *wal, WalStart *start, ServerLog *log, Waiting *waiting,
                            Relations *relations)
{
    WalSession *session = x_calloc(1, sizeof(*session));
    session->wal = wal;
    session->start = start;
    session->log = log;
    session->waiting = waiting;
    session->relations = relations;
    session->facts = (ClaimJob){.run = session_run, .arg = session};
    session->filters = filters_new(wal, start, on_filters_tested, session);
    session->mappings = mappings_new(wal, start, on_mappings_followed, session);
    return session;
}

void wal_session_free(WalSession **session)
{
    if (*session == NULL) {
        return;
    }
    error_clear(&(*session)->unread);
    filters_free(&(*session)->filters);
    mappings_free(&(*session)->mappings);
    free(*session);
    *session = NULL;
}

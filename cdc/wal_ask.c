/* Questions of the stream. Three messages cannot be judged from memory: one that names a place far
 * beyond the end of the server's log as we know it, a relation that may be a part of the outbox
 * (a partition that was just attached, or detached), and one of ours that is told again: it may
 * have been out of the publication, and what was missed meanwhile goes before what follows. Such a
 * message is held, nothing behind it is read, and the control connection asks the server. A place
 * beyond what the server then tells is a violation of the protocol: stored, it would hide every
 * event up to there.
 *
 * Nearer places pass unasked: the statement that stores a position compares it again. */
#include "cdc/wal_ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/captured_ask.h"
#include "pg/result.h"

struct Ask {
    const WalContext *wal;
    ServerLog *log;
    Tables *tables;
    Verify *verify;
    Relations *relations;
    CapturedAsk *captured; /* of captured tables; NULL: it is asked about the outbox */
    char *bytes;           /* NULL: none is held */
    size_t length;
    uint32_t relation; /* to be asked about; 0: none */
    bool by_name;      /* it is ours by its name alone */
    bool fits;         /* it has the columns of an event */
    bool again;        /* it was told before: something changed in the catalog */
    bool sent;
    bool answered;
    char name[136];
    ClaimJob job;
};

static void ask_reset(Ask *ask)
{
    ask->bytes = NULL;
    ask->length = 0;
    ask->relation = 0;
    ask->by_name = ask->fits = ask->again = ask->sent = ask->answered = false;
    ask->name[0] = '\0';
    if (ask->captured != NULL) {
        captured_ask_forget(ask->captured);
    }
}

void ask_forget(Ask *ask)
{
    free(ask->bytes);
    ask_reset(ask);
}

static void ask_note_relation(Ask *ask, const PGresult *row)
{
    const PipelineConfig *pipeline = ask->wal->pipeline;
    Tree *tree = ask->relations->tree;
    if (ask->by_name || relations_owner(ask->relations, ask->relation) != 0) {
        (void)tree_read(tree, row, 0, false); /* the outbox itself is no part, and no stranger */
        return;
    }
    bool known = tree_has_stranger(tree, ask->relation);
    if (tree_read(tree, row, ask->relation, ask->fits)) {
        log_write(LOG_WARN, pipeline->name, CODE_PARTITION_DETACHED,
                  LOG_FIELDS(log_text("relation", ask->name)),
                  "the WAL contains rows of a table that is not a part of '%s' any more: they are "
                  "published but cannot be marked",
                  pipeline->outbox.table);
    } else if (tree_has_stranger(tree, ask->relation) && !known && ask->fits && tree->divided) {
        log_write(LOG_WARN, pipeline->name, CODE_RELATION_SKIPPED,
                  LOG_FIELDS(log_text("relation", ask->name)),
                  "the WAL contains rows of a table that looks like a part of '%s' but is not: "
                  "they are skipped",
                  pipeline->outbox.table);
    }
}

static void on_answer(void *arg, const PGresult *result)
{
    Ask *ask = arg;
    bool rows = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (rows && ask->captured != NULL && captured_ask_read(ask->captured, result)) {
        return;
    }
    if (!rows || PQntuples(result) != 1) {
        return;
    }
    int field = PQfnumber(result, "insert_lsn");
    if (field >= 0) {
        server_log_read_end(ask->log, pg_value(result, 0, field));
    }
    if (ask->captured != NULL && field >= 0) {
        return;
    }
    if (PQfnumber(result, "present_name") >= 0) {
        tables_read_answer(ask->tables, ask->relation, result);
        return;
    }
    if (field < 0) {
        claim_read_last_look(ask->wal->claim, result);
    } else if (ask->relation != 0 && !ask->again) {
        ask_note_relation(ask, result);
    } else {
        (void)tree_read(ask->relations->tree, result, 0, false);
    }
}

static void on_answered(void *arg, const Error *err)
{
    Ask *ask = arg;
    const Error *unread = ask->captured != NULL ? captured_ask_unread(ask->captured) : NULL;
    const Error *wrong = err != NULL ? err : unread;
    if (!wal_goes_on(ask->wal, wrong)) {
        return;
    }
    if (tables_are_replaced(ask->tables)) {
        claim_lose_table(ask->wal->claim);
        return;
    }
    if (ask->again && !verify_same_publication(ask->verify)) {
        return;
    }
    if (ask->bytes == NULL || ask->wal->state != WAL_ACTIVE) {
        return; /* the stream was left meanwhile: its successor asks for itself */
    }
    ask->answered = true;
    wal_tell(ask->wal, NEWS_ANSWERED);
}

static void ask_run(void *arg)
{
    Ask *ask = arg;
    const WalContext *wal = ask->wal;
    if (ask->bytes == NULL || ask->sent) {
        return;
    }
    ask->sent = true;
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (ask->captured != NULL) {
        captured_ask_add(ask->captured, &sql);
    } else {
        tree_add_query(wal->pipeline, claim_table(wal->claim), ask->relation,
                       wal_server_version(wal), &sql);
    }
    if (ask->by_name) {
        text_add(&sql, "; ");
        tables_add_question(ask->tables, ask->relation, &sql);
    }
    if (ask->again) {
        text_add(&sql, "; ");
        wal_add_look(wal, &sql);
    }
    claim_ask(wal->claim, &(PgQuery){.step = "ask about the log",
                                     .sql = sql.data,
                                     .rows_wanted = ask->again ? 3 : 1,
                                     .arg = ask,
                                     .result = on_answer,
                                     .done = on_answered});
}

void ask_keep(Ask *ask, const char *bytes, size_t length)
{
    ask_reset(ask);
    ask->bytes = x_malloc(length);
    ask->length = length;
    memcpy(ask->bytes, bytes, length);
    ask->sent = true; /* there is nothing to ask */
}

void ask_hold(Ask *ask, const char *bytes, size_t length, const PgOutputRelation *relation)
{
    ask_keep(ask, bytes, length);
    ask->sent = false;
    if (relation != NULL && ask->captured != NULL) {
        ask->relation = relation->id;
        ask->again = captured_ask_relation(ask->captured, relation);
    } else if (relation != NULL) {
        ask->relation = relation->id;
        ask->by_name = relations_own_by_name(ask->relations, relation);
        ask->fits = relations_could_be_ours(ask->relations, relation);
        ask->again = relations_told_before(ask->relations, relation);
        snprintf(ask->name, sizeof(ask->name), "%.*s.%.*s", SLICE_ARG(relation->schema),
                 SLICE_ARG(relation->name));
    }
    wal_want(ask->wal, &ask->job);
}

void ask_hold_change(Ask *ask, const char *bytes, size_t length, uint32_t relation)
{
    ask_keep(ask, bytes, length);
    ask->sent = false;
    ask->relation = relation;
    captured_ask_again(ask->captured, relation);
    wal_want(ask->wal, &ask->job);
}

bool ask_holds(const Ask *ask)
{
    return ask->bytes != NULL;
}

bool ask_is_answered(const Ask *ask)
{
    return ask->answered;
}

char *ask_take(Ask *ask, size_t *ret_length)
{
    char *bytes = ask->bytes;
    *ret_length = ask->length;
    ask->bytes = NULL;
    return bytes;
}

void ask_end(Ask *ask)
{
    if (ask->bytes == NULL) {
        ask_reset(ask);
    }
}

Ask *ask_new(const WalContext *wal, ServerLog *log, Tables *tables, Verify *verify,
             Relations *relations, Captured *captured)
{
    Ask *ask = x_calloc(1, sizeof(*ask));
    ask->wal = wal;
    ask->log = log;
    ask->tables = tables;
    ask->verify = verify;
    ask->relations = relations;
    ask->captured = captured != NULL ? captured_ask_new(wal, captured) : NULL;
    ask->job = (ClaimJob){.run = ask_run, .arg = ask};
    return ask;
}

void ask_free(Ask **ask)
{
    if (*ask == NULL) {
        return;
    }
    ask_forget(*ask);
    captured_ask_free(&(*ask)->captured);
    free(*ask);
    *ask = NULL;
}

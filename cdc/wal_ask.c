/* Questions of the stream. Three messages cannot be judged from memory: one that names a place far
 * beyond the end of the server's log as we know it, a relation that may be a part of the outbox
 * (a partition that was just attached, or detached), and one of ours that is told again: it may
 * have been out of the publication, and what was missed meanwhile goes before what follows. Such a
 * message is held, nothing behind it is read, and the control connection asks the server. A place
 * beyond what the server then tells is a violation of the protocol: stored, it would hide every
 * event up to there.
 *
 * Nearer places pass unasked: the statement that stores a position compares it again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "pg/result.h"

enum { ASK_BYTES = 64 * 1024 * 1024 }; /* beyond the end of the log as of the last answer */

void ask_release(WalSource *wal)
{
    free(wal->held.bytes);
    wal->held = (Held){0};
}

bool ask_is_far(const WalSource *wal, uint64_t place)
{
    return place > wal->log_end && (wal->held.answered || place - wal->log_end > ASK_BYTES);
}

static void ask_note_relation(WalSource *wal, const PGresult *row)
{
    const PipelineConfig *pipeline = wal->options.pipeline;
    const Held *held = &wal->held;
    Tree *tree = &wal->assembler.relations.tree;
    if (held->by_name || relations_owner(&wal->assembler.relations, held->relation) != 0) {
        (void)tree_read(tree, row, 0, false); /* the outbox itself is no part, and no stranger */
        return;
    }
    bool known = tree_has_stranger(tree, held->relation);
    if (tree_read(tree, row, held->relation, held->fits)) {
        log_write(LOG_WARN, pipeline->name, CODE_PARTITION_DETACHED,
                  LOG_FIELDS(log_text("relation", held->name)),
                  "the WAL contains rows of a table that is not a part of '%s' any more: they are "
                  "published but cannot be marked",
                  pipeline->outbox.table);
    } else if (tree_has_stranger(tree, held->relation) && !known && held->fits && tree->divided) {
        log_write(LOG_WARN, pipeline->name, CODE_RELATION_SKIPPED,
                  LOG_FIELDS(log_text("relation", held->name)),
                  "the WAL contains rows of a table that looks like a part of '%s' but is not: "
                  "they are skipped",
                  pipeline->outbox.table);
    }
}

static void on_answer(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    int field = PQfnumber(result, "insert_lsn");
    if (field >= 0) {
        (void)lsn_parse(pg_value(result, 0, field), &wal->log_end);
    }
    if (PQfnumber(result, "present_name") >= 0) {
        tables_read_answer(wal, result);
        return;
    }
    if (field < 0) {
        claim_read_last_look(wal->claim, result);
    } else if (wal->held.relation != 0 && !wal->held.again) {
        ask_note_relation(wal, result);
    } else {
        (void)tree_read(&wal->assembler.relations.tree, result, 0, false);
    }
}

static void on_answered(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    if (wal->rotation.replaced) {
        claim_lose_table(wal->claim);
        return;
    }
    if (wal->held.again && !verify_same_publication(wal)) {
        return;
    }
    if (wal->held.bytes == NULL || wal->state != WAL_ACTIVE) {
        return; /* the stream was left meanwhile: its successor asks for itself */
    }
    wal->held.answered = true;
    wal_tell(wal, NEWS_ANSWERED);
}

void ask_run(void *arg)
{
    WalSource *wal = arg;
    if (wal->held.bytes == NULL || wal->held.sent) {
        return;
    }
    wal->held.sent = true;
    AUTO_BUFFER sql = TEXT_EMPTY;
    tree_add_query(wal->options.pipeline, claim_table(wal->claim), wal->held.relation,
                   PQserverVersion(pg_conn_raw(claim_conn(wal->claim))), &sql);
    if (wal->held.by_name) {
        text_add(&sql, "; ");
        tables_add_question(wal, &sql);
    }
    if (wal->held.again) {
        text_add(&sql, "; ");
        wal_add_look(wal, &sql);
    }
    claim_ask(wal->claim, &(PgQuery){.step = "ask about the log",
                                     .sql = sql.data,
                                     .rows_wanted = wal->held.again ? 3 : 1,
                                     .arg = wal,
                                     .result = on_answer,
                                     .done = on_answered});
}

void ask_hold(WalSource *wal, const char *bytes, size_t length, const PgOutputRelation *relation)
{
    Held *held = &wal->held;
    *held = (Held){.bytes = x_malloc(length), .length = length};
    memcpy(held->bytes, bytes, length);
    if (relation != NULL) {
        held->relation = relation->id;
        held->by_name = relations_own_by_name(&wal->assembler.relations, relation);
        held->fits = relations_could_be_ours(&wal->assembler.relations, relation);
        held->again = relations_told_before(&wal->assembler.relations, relation);
        snprintf(held->name, sizeof(held->name), "%.*s.%.*s", SLICE_ARG(relation->schema),
                 SLICE_ARG(relation->name));
    }
    wal->stream.paused = true;
    wal_want(wal, JOB_LOG);
}

#include "rows/mark_proof.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "pg/result.h"

enum { ROUNDS_MAX = 3 }; /* statements that wrote nothing, and a look that found nothing wrong */

struct MarkProof {
    MarkerLine *line;
    void *arg;
    void (*replaced)(void *arg);
    char *table;
    char *key;
    char *ctid;      /* NULL: not claimed */
    char *ctid_next; /* once the running statement is committed */
    bool lost;       /* it was not where it was */
    unsigned rounds; /* in a row in which a statement wrote nothing and nothing told why */
    /* What the look for it found. */
    bool owned;
    bool same_table;
};

static void proof_set(char **text, const char *value)
{
    char *copy = value != NULL ? x_strdup(value) : NULL;
    free(*text);
    *text = copy;
}

void proof_begin(MarkProof *proof, const MarkerSession *session)
{
    bool proven = line_options(proof->line)->history != NULL;
    proof_set(&proof->table, session->row_table);
    proof_set(&proof->key, session->row_key);
    proof_set(&proof->ctid, proven ? session->row_ctid : NULL);
    proof->rounds = 0;
    proof->lost = false;
}

void proof_renamed(MarkProof *proof)
{
    proof->rounds = 0;
}

const char *proof_table(const MarkProof *proof)
{
    return proof->table;
}

const char *proof_key(const MarkProof *proof)
{
    return proof->key;
}

const char *proof_ctid(const MarkProof *proof)
{
    return proof->ctid;
}

void proof_moved(MarkProof *proof, const char *ctid)
{
    if (proof->ctid != NULL) {
        proof_set(&proof->ctid, ctid);
    }
}

/* The memory that must tell what was written; NULL: nothing is proven. */
static HistoryMemory *proof_history(const MarkProof *proof)
{
    return proof->ctid != NULL ? line_options(proof->line)->history : NULL;
}

void proof_sent(MarkProof *proof)
{
    if (proof->ctid != NULL) {
        history_write_sent(line_options(proof->line)->history);
    }
}

void proof_will_move(MarkProof *proof, const char *ctid)
{
    if (ctid == NULL || proof->ctid != NULL) {
        proof_set(&proof->ctid_next, ctid);
    }
}

/* What a trigger refuses at the very end of the transaction leaves the row where it was: so it is
 * not there before. */
void proof_committed(MarkProof *proof)
{
    HistoryMemory *history = proof_history(proof);
    proof->rounds = 0;
    if (proof->ctid != NULL && proof->ctid_next != NULL) {
        free(proof->ctid);
        proof->ctid = proof->ctid_next;
        proof->ctid_next = NULL;
    }
    if (history != NULL) {
        history_write_committed(history);
    }
}

/* Whatever it is: a new session prepares, claims and looks at everything anew. */
static void proof_lose_in_circles(const MarkProof *proof)
{
    AUTO_ERROR err = {0};
    error_set(&err, CODE_MARKS_WITHOUT_EFFECT,
              "marking rows of table '%s' changed nothing %d times in a row, although this relay "
              "is the publisher in %s and the table is the right one: reconnecting",
              line_options(proof->line)->pipeline->outbox.table, ROUNDS_MAX + 1, proof->table);
    error_hint(&err,
               "If this repeats, look for a rule, a trigger or a row-level security policy on %s.",
               proof->table);
    line_lose(proof->line, &err);
}

bool proof_failed(MarkProof *proof, const Error *err)
{
    HistoryMemory *history = proof_history(proof);
    if (history != NULL) {
        history_write_failed(history);
    }
    if (err == NULL && ++proof->rounds > ROUNDS_MAX) {
        proof_lose_in_circles(proof);
        return false;
    }
    proof->lost = err == NULL;
    return true;
}

/* By its key. */

static void proof_on_result(void *arg, const PGresult *result)
{
    MarkProof *proof = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        PQnfields(result) != 4) {
        return;
    }
    const HistoryMemory *history = line_options(proof->line)->history;
    proof->same_table = pg_value(result, 0, 3)[0] == 't';
    if (proof->ctid == NULL) {
        proof->owned = true;
        return;
    }
    proof->owned = strcmp(pg_value(result, 0, 1), history->ours) == 0 &&
                   strtoull(pg_value(result, 0, 2), NULL, 10) == history->last.writes;
    if (proof->owned) {
        proof_set(&proof->ctid, pg_value(result, 0, 0));
    }
}

static void proof_on_done(void *arg, const Error *err)
{
    MarkProof *proof = arg;
    if (err != NULL && !line_must_wait(proof->line, err)) {
        line_lose(proof->line, err);
        return;
    }
    if (err == NULL && !proof->owned) {
        AUTO_ERROR lost = {0};
        error_set(&lost, CODE_OWNER_REPLACED,
                  "another relay has written to %s as the publisher of table '%s'", proof->table,
                  line_options(proof->line)->pipeline->outbox.table);
        error_hint(&lost, "If no other relay publishes this table, somebody changed or restored "
                          "that row. This relay then continues automatically.");
        line_lose(proof->line, &lost);
        return;
    }
    proof->lost = err != NULL;
    if (err == NULL && !proof->same_table && line_touches_rows(proof->line)) {
        proof->replaced(proof->arg);
        return;
    }
    line_go_on(proof->line);
}

bool proof_is_lost(const MarkProof *proof)
{
    return proof->lost;
}

void proof_find(MarkProof *proof, const MarkSql *sql)
{
    AUTO_BUFFER query = TEXT_EMPTY;
    text_add(&query, "SELECT p.ctid, p.generation, p.writes, ");
    mark_sql_add_same_table(sql, &query);
    text_printf(&query, " FROM %s AS p WHERE p.%s", proof->table, proof->key);
    proof->owned = false;
    line_send(proof->line, &(PgQuery){.step = "find rows",
                                      .sql = query.data,
                                      .arg = proof,
                                      .result = proof_on_result,
                                      .done = proof_on_done});
}

MarkProof *proof_new(MarkerLine *line, void *arg, void (*replaced)(void *arg))
{
    MarkProof *proof = x_calloc(1, sizeof(*proof));
    proof->line = line;
    proof->arg = arg;
    proof->replaced = replaced;
    return proof;
}

void proof_free(MarkProof **proof)
{
    free((*proof)->table);
    free((*proof)->key);
    free((*proof)->ctid);
    free((*proof)->ctid_next);
    free(*proof);
    *proof = NULL;
}

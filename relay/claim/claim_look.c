/* What must hold before the first event is read: the list of rows/precondition.h, once when we
 * connect, and once more when the lock comes to us after a time of standing by. */
#include <stdlib.h>

#include "base/memory.h"
#include "claim/claim_internal.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/publisher.h"

const char *claim_dead_letter(const Claim *claim)
{
    return claim->look->dead_letter != NULL ? claim->look->dead_letter : "";
}

void claim_add_look(const Claim *claim, Text *sql)
{
    precondition_add_query(claim->options.source->pipeline, claim->options.table, 0,
                           PQserverVersion(pg_conn_raw(claim->conn)), sql);
}

void claim_begin_look(Claim *claim)
{
    precondition_release(&claim->look->look);
    error_clear(&claim->loss->error);
}

static void look_read(Claim *claim, const PGresult *result, unsigned reader)
{
    uint64_t wal_end = claim->look->look.wal_end;
    precondition_release(&claim->look->look);
    precondition_read(claim->options.table, result, 0, reader, &claim->look->look);
    claim->look->look.wal_end = wal_end;
}

void claim_read_last_look(Claim *claim, const PGresult *result)
{
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
        !precondition_read_wal_end(result, &claim->look->look.wal_end)) {
        look_read(claim, result, PRECONDITION_RUNNING);
    }
}

void claim_read_look(Claim *claim, const PGresult *result)
{
    const SourceOptions *source = claim->options.source;
    OutboxTable *table = claim->options.table;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        precondition_read_wal_end(result, &claim->look->look.wal_end)) {
        return; /* of the SETs, too */
    }
    if (PQfnumber(result, "backend_pid") >= 0) {
        claim->look->backend_pid = (int)strtol(pg_needed_field(result, 0, "backend_pid"), NULL, 10);
        (void)publisher_check_pooler(source->config, claim->conn, result,
                                     claim->options.reader->replicates, &claim->loss->error);
        return;
    }
    look_read(claim, result, PRECONDITION_START | (claim->loss->begun ? PRECONDITION_RUNNING : 0));
    bool first = !claim->look->warned;
    precondition_say_first(source->pipeline, &claim->look->look, &claim->look->warned);
    (void)precondition_take_columns(&claim->look->look, table);
    if (first) {
        precondition_say_absent(table);
    }
}

void claim_check_table(Claim *claim)
{
    const PreconditionLook *look = &claim->look->look;
    if (claim->loss->error.class == ERROR_NONE && look->table_oid != 0 &&
        look->table_oid != claim->table_oid) {
        error_set(&claim->loss->error, CODE_TABLE_REPLACED,
                  "table '%s' was replaced (different OID): examining it again",
                  claim->options.source->pipeline->outbox.table);
    }
}

/* What a human must mend ends a pipeline at its start; later it is waited for. */
bool claim_look_failed(Claim *claim, const Error *err)
{
    const ClaimReader *reader = claim->options.reader;
    const Error *fault = precondition_broken(&claim->look->look);
    bool tolerated =
        fault != NULL && reader->tolerates != NULL && reader->tolerates(claim->options.arg, fault);
    if (err == NULL && claim->loss->error.class == ERROR_NONE && fault != NULL && !tolerated) {
        error_copy(&claim->loss->error, fault);
    }
    if (err == NULL && claim->loss->error.class == ERROR_NONE) {
        const PreconditionLook *look = &claim->look->look;
        free(claim->look->dead_letter);
        claim->look->dead_letter = *look->dead_letter != '\0' ? x_strdup(look->dead_letter) : NULL;
        reader->looked(claim->options.arg, look);
        return false;
    }
    AUTO_ERROR copy = error_of(err != NULL ? err : &claim->loss->error);
    bool refused = err != NULL && reader->waits_for_looks && sqlstate_is_refusal(err);
    if (claim->loss->begun && (err == NULL || refused)) {
        copy.class = ERROR_RETRY;
    }
    claim_lose(claim, &copy);
    return true;
}

static void on_look_result(void *arg, const PGresult *result)
{
    claim_read_look(arg, result);
}

void claim_ask_look(Claim *claim, Text *sql, void (*done)(void *arg, const Error *err))
{
    publisher_add_pooler_query(sql);
    claim_add_look(claim, sql);
    claim_begin_look(claim);
    claim_ask(claim, &(PgQuery){.step = "look",
                                .sql = sql->data,
                                .rows_wanted = 2,
                                .arg = claim,
                                .result = on_look_result,
                                .done = done});
}

ClaimLook *claim_look_new(void)
{
    return x_calloc(1, sizeof(ClaimLook));
}

void claim_look_free(ClaimLook **look)
{
    precondition_release(&(*look)->look);
    free((*look)->dead_letter);
    free(*look);
    *look = NULL;
}

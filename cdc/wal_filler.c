#include "cdc/wal_filler.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/publisher.h"

struct Filler {
    const WalContext *wal;
    Scout *scout;
    void (*taken)(void *arg);
    void *arg;
    PgConn *conn;
    char snapshot[64]; /* exported by the creation of the slot; "": of now */
    const char *table;
    bool has_snapshot;
    int64_t end;
};

static void on_snapshot_row(void *arg, const PGresult *result)
{
    Filler *filler = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (PQfnumber(result, "members") >= 0) {
        scout_read_tree(filler->scout, result);
    } else if (filler->end == SLOT_NO_END) {
        filler->end = strtoll(pg_needed(result, 0, 0), NULL, 10);
    }
}

static void on_snapshot(void *arg, const Error *err)
{
    Filler *filler = arg;
    if (wal_goes_on(filler->wal, err)) {
        filler->has_snapshot = true;
        filler->taken(filler->arg);
    }
}

static void on_session_set(void *arg, const Error *err)
{
    Filler *filler = arg;
    if (!wal_goes_on(filler->wal, err)) {
        return;
    }
    bool exported = filler->snapshot[0] != '\0';
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, "BEGIN ISOLATION LEVEL REPEATABLE READ; ");
    if (exported) {
        AUTO_TEXT snapshot = ident_literal(filler->snapshot);
        text_printf(&sql, "SET TRANSACTION SNAPSHOT %s; ", snapshot);
    }
    text_printf(&sql, "SELECT coalesce(max(%s), 0) FROM %s", filler->wal->table->seq,
                filler->table);
    if (!exported) { /* it stands before this snapshot, and how far before is not known */
        text_add(&sql, "; ");
        scout_want(filler->scout, PQserverVersion(pg_conn_raw(filler->conn)), &sql);
    }
    text_add(&sql, "; SAVEPOINT outboxd_fill"); /* what fails behind it leaves lock and snapshot */
    pg_conn_send(filler->conn, &(PgQuery){.step = "import snapshot",
                                          .sql = sql.data,
                                          .rows_wanted = exported ? 1 : 2,
                                          .arg = filler,
                                          .result = on_snapshot_row,
                                          .done = on_snapshot});
}

static void on_filler_opened(void *arg, const Error *err)
{
    Filler *filler = arg;
    const WalContext *wal = filler->wal;
    if (!wal_goes_on(wal, err)) {
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_settings(wal->config, wal->pipeline, false, pg_conn_raw(filler->conn), &sql);
    text_add(&sql, "SET statement_timeout = 0; "); /* reading ahead takes as long as the log is */
    pg_conn_send(filler->conn, &(PgQuery){.step = "session of the filler",
                                          .sql = sql.data,
                                          .arg = filler,
                                          .done = on_session_set});
}

void filler_set_snapshot(Filler *filler, const char *snapshot)
{
    snprintf(filler->snapshot, sizeof(filler->snapshot), "%s", snapshot);
}

void filler_open(Filler *filler, const char *table)
{
    filler->table = table;
    filler->has_snapshot = false;
    filler->end = SLOT_NO_END;
    scout_forget(filler->scout);
    pg_conn_close(filler->conn);
    pg_conn_open(filler->conn);
}

void filler_close(Filler *filler)
{
    pg_conn_close(filler->conn);
}

void filler_forget(Filler *filler)
{
    filler->snapshot[0] = '\0';
    filler->has_snapshot = false;
}

bool filler_has_snapshot(const Filler *filler)
{
    return filler->has_snapshot;
}

int64_t filler_end(const Filler *filler)
{
    return filler->end;
}

void filler_set_end(Filler *filler, int64_t end)
{
    filler->end = end;
}

PgConn *filler_conn(const Filler *filler)
{
    return filler->conn;
}

Filler *filler_new(const WalContext *wal, Scout *scout, void (*taken)(void *arg), void *arg)
{
    Filler *filler = x_calloc(1, sizeof(*filler));
    filler->wal = wal;
    filler->scout = scout;
    filler->taken = taken;
    filler->arg = arg;
    /* It may read ahead, and so be silent. */
    filler->conn = claim_new_conn(
        wal->claim, &(PgConnOptions){.tcp_user_timeout_ms = wal->pipeline->claim.lease_ms,
                                     .arg = filler,
                                     .opened = on_filler_opened});
    return filler;
}

void filler_free(Filler **filler)
{
    if (*filler == NULL) {
        return;
    }
    pg_conn_free(&(*filler)->conn);
    free(*filler);
    *filler = NULL;
}

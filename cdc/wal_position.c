/* The position row: what the slot may be told, because it is committed there.
 *
 * The statement that stores a position compares it with the end of the server's own log: a place
 * beyond that is nonsense from the wire, and would hide every event up to there. */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"

static void on_saved(void *arg, const Error *err)
{
    WalSource *wal = arg;
    void (*done)(void *done_arg, const Error *done_err) = wal->save.done;
    wal->save.done = NULL;
    Error refused = {0};
    if (err == NULL && !wal->save.stored) {
        char lsn[24];
        error_set(&refused, ERROR_RETRY, EXIT_POSTGRES, "PG_PROTOCOL",
                  "position %s lies beyond the end of the server's log: it was not stored",
                  lsn_format(wal->save.position.lsn, lsn));
        err = &refused;
    }
    if (err == NULL) {
        wal_renew_lease(wal);
        wal->waiting.recorded = wal->save.waiting;
        marker_set_position(wal->marker, &wal->save.position);
    }
    done(wal, err);
}

static void on_save_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    wal->save.stored = strtol(PQcmdTuples((PGresult *)result), NULL, 10) == 1;
}

void position_send_waiting(WalSource *wal)
{
    if (wal->save.done == NULL || wal->save.sent || pg_conn_is_busy(wal->control)) {
        return;
    }
    wal->save.sent = true;
    wal->save.waiting = wal->waiting.parked.count > 0;
    const MarkerPosition *position = &wal->save.position;
    AUTO_TEXT pipeline = ident_literal(wal->options.pipeline->name);
    AUTO_TEXT slot = ident_literal(wal->options.pipeline->slot);
    char lsn[24];
    char tx_lsn[24];
    AUTO_TEXT transaction = position->tx_lsn != 0
                                ? x_format("'%s', %llu", lsn_format(position->tx_lsn, tx_lsn),
                                           (unsigned long long)position->tx_ordinal)
                                : x_strdup("NULL, NULL");
    AUTO_TEXT sql = x_format(
        "INSERT INTO %1$s AS p (pipeline, system_id, timeline, slot, lsn, backfill, tx_messages,"
        " table_id, tx_lsn, tx_ordinal, waiting)"
        " SELECT %2$s, '%3$s', %4$d, %5$s, '%6$s', %7$s, %8$s, %9$u, %10$s, %11$s"
        " WHERE '%6$s'::pg_lsn <= pg_current_wal_insert_lsn()"
        " ON CONFLICT (pipeline) DO UPDATE SET"
        " system_id = excluded.system_id, timeline = excluded.timeline, slot = excluded.slot,"
        " lsn = excluded.lsn, backfill = excluded.backfill, backfill_end = NULL,"
        " backfill_seq = NULL, tx_lsn = excluded.tx_lsn, tx_ordinal = excluded.tx_ordinal,"
        " tx_messages = excluded.tx_messages, table_id = excluded.table_id,"
        " waiting = excluded.waiting,"
        " updated_at = clock_timestamp()",
        wal->position_table, pipeline, wal->facts.system_id, wal->facts.timeline, slot,
        lsn_format(position->lsn, lsn), wal->save.backfill ? "true" : "false",
        wal->options.pipeline->messages ? "true" : "false", wal->lock.table_oid, transaction,
        wal->save.waiting ? "true" : "false");
    wal->save.stored = false;
    wal_ask(wal, &(PgQuery){.sql = sql, .arg = wal, .result = on_save_result, .done = on_saved});
}

void position_save(WalSource *wal, const MarkerPosition *position, bool backfill,
                   void (*done)(void *arg, const Error *err))
{
    if (wal->save.done == NULL) {
        wal->save = (Save){.position = *position, .backfill = backfill, .done = done};
        position_send_waiting(wal);
    }
}

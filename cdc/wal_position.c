/* The position row: what the slot may be told, because it is committed there.
 *
 * The statement that stores a position compares it with the end of the server's own log: a place
 * beyond that is nonsense from the wire, and would hide every event up to there. Each write raises
 * the row's count (rows/history.h), by which the next start, and this process after a broken
 * connection, tell one history of the server from another. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "pg/result.h"

static void on_saved(void *arg, const Error *err)
{
    WalSource *wal = arg;
    void (*done)(void *done_arg, const Error *done_err) = wal->save.done;
    wal->save.done = NULL;
    AUTO_ERROR refused = {0};
    if (err == NULL && !wal->save.stored) {
        char lsn[24];
        history_write_failed(&wal->history);
        if (wal->save.guarded) {
            error_set(&refused, CODE_OWNER_REPLACED,
                      "the row of pipeline '%s' in %s is not as it was a moment ago",
                      wal->options.pipeline->name, wal->position_table);
        } else {
            error_set(&refused, CODE_PG_PROTOCOL,
                      "position %s lies beyond the end of the server's log: it was not stored",
                      lsn_format(wal->save.position.lsn, lsn));
            wal->distrust = true;
        }
        err = &refused;
    }
    if (err == NULL) {
        wal_renew_lease(wal);
        wal->waiting.recorded = wal->save.whole ? wal->save.waiting : wal->waiting.recorded;
        history_write_committed(&wal->history);
        marker_row_moved(wal->marker, wal->save.ctid);
        wal->verify.write = wal->verify.write && wal->save.guarded; /* else it was written, too */
    }
    done(wal, err);
}

static void on_save_result(void *arg, const PGresult *result)
{
    Save *save = &((WalSource *)arg)->save;
    save->stored = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
    if (save->stored) {
        snprintf(save->ctid, sizeof(save->ctid), "%s", pg_needed(result, 0, 0));
    }
}

void position_send_waiting(WalSource *wal)
{
    if (wal->save.sql == NULL || pg_conn_is_busy(wal->control)) {
        return;
    }
    AUTO_TEXT sql = wal->save.sql;
    wal->save.sql = NULL;
    wal->save.stored = false;
    history_write_sent(&wal->history);
    wal_ask(wal, &(PgQuery){.step = "store position",
                            .sql = sql,
                            .arg = wal,
                            .result = on_save_result,
                            .done = on_saved});
}

static void save_queue(WalSource *wal, const Save *save)
{
    position_drop_waiting(wal);
    wal->save = *save;
    position_send_waiting(wal);
}

void position_drop_waiting(WalSource *wal)
{
    free(wal->save.sql);
    wal->save = (Save){0};
}

void position_save(WalSource *wal, const MarkerPosition *position, bool backfill,
                   void (*done)(void *arg, const Error *err))
{
    if (wal->save.done != NULL) {
        return;
    }
    bool read = wal->state == WAL_FILLING && wal->fill.complete;
    bool waiting = wal->waiting.parked.count > 0 || (wal->facts.waiting && !read);
    AUTO_TEXT pipeline = ident_literal(wal->options.pipeline->name);
    AUTO_TEXT slot = ident_literal(wal->options.pipeline->wal.slot);
    AUTO_TEXT identity = ident_literal(wal->verify.identity);
    char lsn[24];
    char tx_lsn[24];
    AUTO_TEXT transaction = position->tx_lsn != 0
                                ? x_format("'%s', %llu", lsn_format(position->tx_lsn, tx_lsn),
                                           (unsigned long long)position->tx_ordinal)
                                : x_strdup("NULL, NULL");
    char *sql = x_format(
        "INSERT INTO %1$s AS p (pipeline, system_id, timeline, slot, lsn, backfill, tx_messages,"
        " table_id, tx_lsn, tx_ordinal, waiting, publication, generation, writes)"
        " SELECT %2$s, '%3$s', %4$d, %5$s, '%6$s', %7$s, %8$s, %9$u, %10$s, %13$s, %11$s, '%12$s',"
        " 1"
        " WHERE '%6$s'::pg_lsn <= pg_current_wal_insert_lsn()"
        " ON CONFLICT (pipeline) DO UPDATE SET"
        " system_id = excluded.system_id, timeline = excluded.timeline, slot = excluded.slot,"
        " lsn = excluded.lsn, backfill = excluded.backfill, backfill_end = NULL,"
        " backfill_seq = NULL, tx_lsn = excluded.tx_lsn, tx_ordinal = excluded.tx_ordinal,"
        " tx_messages = excluded.tx_messages, table_id = excluded.table_id,"
        " waiting = excluded.waiting,"
        " publication = excluded.publication, generation = excluded.generation,"
        " writes = p.writes + 1, updated_at = clock_timestamp() RETURNING p.ctid",
        wal->position_table, pipeline, wal->facts.system_id, wal->facts.timeline, slot,
        lsn_format(position->lsn, lsn), backfill ? "true" : "false",
        wal->options.pipeline->wal.messages ? "true" : "false", wal_rotation_oldest(wal),
        transaction, identity, wal->history.ours, waiting ? "true" : "false");
    save_queue(
        wal,
        &(Save){
            .sql = sql, .position = *position, .whole = true, .waiting = waiting, .done = done});
}

/* Only the row that was judged. */
void position_claim(WalSource *wal, void (*done)(void *arg, const Error *err))
{
    AUTO_TEXT found =
        wal->found.has_row ? x_format("'%s'", wal->found.generation) : x_strdup("NULL");
    char *sql = x_format(
        "UPDATE %s AS p SET generation = '%s', writes = p.writes + 1, updated_at ="
        " clock_timestamp() WHERE p.%s AND p.writes = %llu AND p.generation IS NOT DISTINCT FROM"
        " %s::uuid RETURNING p.ctid",
        wal->position_table, wal->history.ours, wal->position_key,
        (unsigned long long)wal->found.writes, found);
    save_queue(wal, &(Save){.sql = sql, .done = done, .guarded = true});
}

bool position_note(WalSource *wal, const char *column, const char *value,
                   void (*done)(void *arg, const Error *err))
{
    if (wal->save.done != NULL || pg_conn_is_busy(wal->control)) {
        return false;
    }
    char *sql = x_format("UPDATE %s AS p SET %s = %s, writes = p.writes + 1 WHERE p.%s AND"
                         " p.generation = '%s' RETURNING p.ctid",
                         wal->position_table, column, value, wal->position_key, wal->history.ours);
    save_queue(wal, &(Save){.sql = sql, .done = done, .guarded = true});
    return true;
}

void position_start_marker(WalSource *wal, const MarkerPosition *position)
{
    marker_start(wal->marker, &(MarkerSession){.table_oid = wal_rotation_aim(wal),
                                               .row_table = wal->position_table,
                                               .row_key = wal->position_key,
                                               .row_ctid = wal->save.ctid,
                                               .dead_letter = wal->dead_letter,
                                               .position = position});
    wal->verify.pushed = (MarkerPosition){0};
}

void position_forget(WalSource *wal)
{
    marker_forget(wal->marker);
    waiting_forget(wal);
    waiting_forget_rowless(wal);
    known_events_release(&wal->again);
    known_events_release(&wal->assembler.known);
    known_seqs_release(&wal->filled);
    wal->live = false;
    wal->acked = (MarkerPosition){0};
    wal->distrust = false;
}

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

static void save_free(Save *save)
{
    free(save->sql);
    free(save);
}

/* It was not stored. */
static void position_set_refused(WalSource *wal, const Save *save, Error *err)
{
    char lsn[24];
    history_write_failed(wal->history);
    if (save->guarded) {
        error_set(err, CODE_OWNER_REPLACED, "somebody else changed the row of pipeline '%s' in %s",
                  wal->options.pipeline->name, wal->position_table);
        return;
    }
    error_set(err, CODE_PG_PROTOCOL,
              "position %s is beyond the end of the server's WAL: it was not stored",
              lsn_format(save->position.lsn, lsn));
    wal->distrust = true;
}

static void on_saved(void *arg, const Error *err)
{
    WalSource *wal = arg;
    Save *save = STAILQ_FIRST(&wal->row.saves);
    if (save == NULL) { /* forgotten: we stand by */
        if (err != NULL) {
            claim_lose(wal->claim, err);
        }
        return;
    }
    STAILQ_REMOVE_HEAD(&wal->row.saves, next);
    AUTO_ERROR refused = {0};
    if (err == NULL && wal->row.ctid[0] == '\0') {
        position_set_refused(wal, save, &refused);
        err = &refused;
    }
    if (err == NULL) {
        wal->waiting.recorded = save->whole ? save->waiting : wal->waiting.recorded;
        history_write_committed(wal->history);
        marker_row_moved(wal->marker, wal->row.ctid);
        wal->verify.write = wal->verify.write && save->guarded; /* else it was written, too */
    }
    save->done(wal, err);
    save_free(save);
    if (position_is_saving(wal)) {
        wal_want(wal, JOB_POSITION);
    }
}

static void on_save_result(void *arg, const PGresult *result)
{
    PositionRow *row = &((WalSource *)arg)->row;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        snprintf(row->ctid, sizeof(row->ctid), "%s", pg_needed(result, 0, 0));
    }
}

void position_run(void *arg)
{
    WalSource *wal = arg;
    if (!position_is_saving(wal)) {
        return;
    }
    wal->row.ctid[0] = '\0';
    history_write_sent(wal->history);
    claim_ask(wal->claim, &(PgQuery){.step = "store position",
                                     .sql = STAILQ_FIRST(&wal->row.saves)->sql,
                                     .arg = wal,
                                     .result = on_save_result,
                                     .done = on_saved});
}

static void save_queue(WalSource *wal, const Save *what)
{
    Save *save = x_malloc(sizeof(*save));
    *save = *what;
    bool first = !position_is_saving(wal);
    STAILQ_INSERT_TAIL(&wal->row.saves, save, next);
    if (first) { /* else on_saved() wants the next */
        wal_want(wal, JOB_POSITION);
    }
}

bool position_is_saving(const WalSource *wal)
{
    return !STAILQ_EMPTY(&wal->row.saves);
}

void position_drop_waiting(WalSource *wal)
{
    for (Save *save; (save = STAILQ_FIRST(&wal->row.saves)) != NULL;) {
        STAILQ_REMOVE_HEAD(&wal->row.saves, next);
        save_free(save);
    }
}

void position_save(WalSource *wal, const MarkerPosition *position, bool backfill,
                   void (*done)(void *arg, const Error *err))
{
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
        wal->options.pipeline->wal.messages ? "true" : "false", tables_oldest(wal), transaction,
        identity, wal->history->ours, waiting ? "true" : "false");
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
        wal->position_table, wal->history->ours, wal->position_key,
        (unsigned long long)wal->found.writes, found);
    save_queue(wal, &(Save){.sql = sql, .done = done, .guarded = true});
}

void position_note(WalSource *wal, const char *column, const char *value,
                   void (*done)(void *arg, const Error *err))
{
    char *sql = x_format("UPDATE %s AS p SET %s = %s, writes = p.writes + 1 WHERE p.%s AND"
                         " p.generation = '%s' RETURNING p.ctid",
                         wal->position_table, column, value, wal->position_key, wal->history->ours);
    save_queue(wal, &(Save){.sql = sql, .done = done, .guarded = true});
}

void position_start_marker(WalSource *wal, const MarkerPosition *position)
{
    claim_start_marker(wal->claim, (MarkerSession){.table_oid = tables_aim(wal),
                                                   .row_table = wal->position_table,
                                                   .row_key = wal->position_key,
                                                   .row_ctid = wal->row.ctid,
                                                   .position = position});
    wal->verify.pushed = (MarkerPosition){0};
}

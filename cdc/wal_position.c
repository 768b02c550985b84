/* The position row: what the slot may be told, because it is committed there.
 *
 * The statement that stores a position compares it with the end of the server's own log: a place
 * beyond that is nonsense from the wire, and would hide every event up to there. Each write raises
 * the row's count (rows/history.h), by which the next start, and this process after a broken
 * connection, tell one history of the server from another. */
#include "cdc/wal_position.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/memory.h"
#include "cdc/wire.h"
#include "pg/ident.h"
#include "pg/result.h"

/* A write to the position row. */
typedef struct Save {
    void *arg;
    PositionDone done;
    char *sql;
    uint64_t lsn;
    bool whole;   /* all of the row */
    bool waiting; /* ... and rows in the table wait for their topic */
    bool guarded; /* the row must be as it was */
    STAILQ_ENTRY(Save) next;
} Save;

struct PositionRow {
    const WalContext *wal;
    const WalStart *start;
    const Tables *tables;
    const WaitingRows *rows;
    Progress *progress;
    ClaimJob job;
    bool waiting;              /* it says so */
    char ctid[24];             /* where it is now; "": the write that is under way has not told */
    STAILQ_HEAD(, Save) saves; /* the first is under way, or waits for its turn */
};

static void save_free(Save *save)
{
    free(save->sql);
    free(save);
}

/* It was not stored. */
static void position_set_refused(PositionRow *row, const Save *save, Error *err)
{
    char lsn[24];
    history_write_failed(row->wal->history);
    if (save->guarded) {
        error_set(err, CODE_OWNER_REPLACED, "somebody else changed the row of pipeline '%s' in %s",
                  row->wal->pipeline->name, row->start->position_table);
        return;
    }
    error_set(err, CODE_PG_PROTOCOL,
              "position %s is beyond the end of the server's WAL: it was not stored",
              lsn_format(save->lsn, lsn));
    progress_distrust(row->progress);
}

static void on_saved(void *arg, const Error *err)
{
    PositionRow *row = arg;
    const WalContext *wal = row->wal;
    Save *save = STAILQ_FIRST(&row->saves);
    if (save == NULL) { /* forgotten: we stand by */
        (void)wal_goes_on(wal, err);
        return;
    }
    STAILQ_REMOVE_HEAD(&row->saves, next);
    AUTO_ERROR refused = {0};
    if (err == NULL && row->ctid[0] == '\0') {
        position_set_refused(row, save, &refused);
        err = &refused;
    }
    if (err == NULL) {
        row->waiting = save->whole ? save->waiting : row->waiting;
        history_write_committed(wal->history);
        marker_row_moved(wal->marker, row->ctid);
    }
    save->done(save->arg, err);
    save_free(save);
    if (position_is_saving(row)) {
        wal_want(wal, &row->job);
    }
}

static void on_save_result(void *arg, const PGresult *result)
{
    PositionRow *row = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        snprintf(row->ctid, sizeof(row->ctid), "%s", pg_needed(result, 0, 0));
    }
}

static void position_run(void *arg)
{
    PositionRow *row = arg;
    if (!position_is_saving(row)) {
        return;
    }
    row->ctid[0] = '\0';
    history_write_sent(row->wal->history);
    claim_ask(row->wal->claim, &(PgQuery){.step = "store position",
                                          .sql = STAILQ_FIRST(&row->saves)->sql,
                                          .arg = row,
                                          .result = on_save_result,
                                          .done = on_saved});
}

static void save_queue(PositionRow *row, const Save *what)
{
    Save *save = x_malloc(sizeof(*save));
    *save = *what;
    bool first = !position_is_saving(row);
    STAILQ_INSERT_TAIL(&row->saves, save, next);
    if (first) { /* else on_saved() wants the next */
        wal_want(row->wal, &row->job);
    }
}

bool position_is_saving(const PositionRow *row)
{
    return !STAILQ_EMPTY(&row->saves);
}

void position_drop_waiting(PositionRow *row)
{
    for (Save *save; (save = STAILQ_FIRST(&row->saves)) != NULL;) {
        STAILQ_REMOVE_HEAD(&row->saves, next);
        save_free(save);
    }
}

void position_save(PositionRow *row, const PositionWrite *write, void *arg, PositionDone done)
{
    const PipelineConfig *pipeline = row->wal->pipeline;
    const SlotFacts *facts = row->start->given.facts;
    const SlotStored *stored = row->start->given.stored;
    const MarkerPosition *position = &write->position;
    bool parked = waiting_rows_parked(row->rows)->count > 0;
    bool waiting = parked || (stored->waiting && !write->read);
    AUTO_TEXT name = ident_literal(pipeline->name);
    AUTO_TEXT slot = ident_literal(pipeline->wal.slot);
    AUTO_TEXT identity = ident_literal(write->identity);
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
        row->start->position_table, name, facts->system_id, facts->timeline, slot,
        lsn_format(position->lsn, lsn), write->backfill ? "true" : "false",
        pipeline->wal.messages ? "true" : "false", tables_oldest(row->tables), transaction,
        identity, row->wal->history->ours, waiting ? "true" : "false");
    save_queue(row, &(Save){.sql = sql,
                            .lsn = position->lsn,
                            .whole = true,
                            .waiting = waiting,
                            .arg = arg,
                            .done = done});
}

void position_claim(PositionRow *row, void *arg, PositionDone done)
{
    const History *found = row->start->found;
    AUTO_TEXT generation = found->has_row ? x_format("'%s'", found->generation) : x_strdup("NULL");
    char *sql = x_format(
        "UPDATE %s AS p SET generation = '%s', writes = p.writes + 1, updated_at ="
        " clock_timestamp() WHERE p.%s AND p.writes = %llu AND p.generation IS NOT DISTINCT FROM"
        " %s::uuid RETURNING p.ctid",
        row->start->position_table, row->wal->history->ours, row->start->position_key,
        (unsigned long long)found->writes, generation);
    save_queue(row, &(Save){.sql = sql, .guarded = true, .arg = arg, .done = done});
}

void position_note(PositionRow *row, const char *column, const char *value, void *arg,
                   PositionDone done)
{
    char *sql = x_format("UPDATE %s AS p SET %s = %s, writes = p.writes + 1 WHERE p.%s AND"
                         " p.generation = '%s' RETURNING p.ctid",
                         row->start->position_table, column, value, row->start->position_key,
                         row->wal->history->ours);
    save_queue(row, &(Save){.sql = sql, .guarded = true, .arg = arg, .done = done});
}

bool position_says_waiting(const PositionRow *row)
{
    return row->waiting;
}

void position_set_waiting(PositionRow *row, bool waiting)
{
    row->waiting = waiting;
}

const char *position_ctid(const PositionRow *row)
{
    return row->ctid;
}

PositionRow *position_new(const WalContext *wal, const WalStart *start, const Tables *tables,
                          const WaitingRows *rows, Progress *progress)
{
    PositionRow *row = x_calloc(1, sizeof(*row));
    row->wal = wal;
    row->start = start;
    row->tables = tables;
    row->rows = rows;
    row->progress = progress;
    row->job = (ClaimJob){.run = position_run, .arg = row};
    STAILQ_INIT(&row->saves);
    return row;
}

void position_free(PositionRow **row)
{
    if (*row == NULL) {
        return;
    }
    position_drop_waiting(*row);
    free(*row);
    *row = NULL;
}

/* What the slot will bring. A slot that an administrator made, or one of ours whose first rows were
 * not all published before an interruption, stands before the snapshot that the table is read with.
 * Rows that the log has from there on are left to the log, where they have their place; only the
 * others are published from the table. So nothing has to be remembered beyond the end of the
 * filling: a kill at any moment repeats none of them. The log is peeked at by
 * pg_logical_slot_peek_binary_changes(): nothing is confirmed. */
#include "cdc/wal_scout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/coming.h"
#include "cdc/copy_rows.h"
#include "pg/ident.h"
#include "pg/result.h"

struct Scout {
    const WalContext *wal;
    const WalStart *start;
    Gap *gap;
    const Relations *like;
    void (*done)(void *arg);
    void *arg;
    bool wanted;
    bool running;
    bool complete;
    char until[24]; /* end of the log when the snapshot was taken */
    CopyRows *rows;
    Coming *coming;
};

void scout_forget(Scout *scout)
{
    scout->wanted = scout->running = scout->complete = false;
    scout->until[0] = '\0';
    copy_rows_begin(scout->rows);
    coming_clear(scout->coming);
}

void scout_want(Scout *scout, int server_version, Text *sql)
{
    scout->wanted = true;
    tree_add_query(scout->wal->pipeline, claim_table(scout->wal->claim), 0, server_version, sql);
}

void scout_read_tree(Scout *scout, const PGresult *row)
{
    coming_know(scout->coming, scout->like, claim_table(scout->wal->claim), row);
    snprintf(scout->until, sizeof(scout->until), "%s", pg_needed_field(row, 0, "insert_lsn"));
}

bool scout_is_wanted(const Scout *scout)
{
    return scout->wanted;
}

bool scout_is_running(const Scout *scout)
{
    return scout->running;
}

bool scout_is_complete(const Scout *scout)
{
    return scout->complete;
}

bool scout_expects(const Scout *scout, int64_t seq)
{
    return coming_has(scout->coming, seq);
}

/* One row of COPY in binary: one field, one message of pgoutput. */
static void scout_on_row(void *arg, const char *bytes, size_t length)
{
    const Scout *scout = arg;
    Error *err = copy_rows_error(scout->rows);
    Slice row = SLICE_NULL;
    if (!copy_rows_next(scout->rows, bytes, length, &row)) {
        return;
    }
    ByteReader reader = bytes_reader(row.data, row.length);
    uint16_t fields = bytes_u16(&reader);
    Slice data = bytes_slice(&reader, bytes_u32(&reader));
    if (fields != 1 || !bytes_complete(&reader)) {
        error_set(err, CODE_COPY_ROW, "cannot read a row of the log of %zu bytes", row.length);
        return;
    }
    (void)coming_take(scout->coming, data, err);
}

static void scout_on_done(void *arg, const Error *err)
{
    Scout *scout = arg;
    const PipelineConfig *pipeline = scout->wal->pipeline;
    scout->running = false;
    coming_end(scout->coming);
    const Error *failed = err != NULL ? err : copy_rows_error(scout->rows);
    if (failed->class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(failed);
        if (!slot_judge_decoding(pipeline, &copy)) {
            error_prefix(&copy, "reading ahead in slot '%s'", pipeline->wal.slot);
        }
        gap_lose_log(scout->gap, &copy);
        return;
    }
    scout->complete = true;
    scout->done(scout->arg);
}

void scout_start(Scout *scout, PgConn *filler, uint32_t table_oid)
{
    const PipelineConfig *pipeline = scout->wal->pipeline;
    scout->running = true;
    coming_begin(scout->coming, &scout->start->given.stored->position, table_oid);
    AUTO_TEXT slot = ident_literal(pipeline->wal.slot);
    AUTO_TEXT quoted = ident_quote(pipeline->wal.publication);
    AUTO_TEXT publications = ident_literal(quoted);
    AUTO_TEXT sql =
        x_format("COPY (SELECT data FROM pg_logical_slot_peek_binary_changes(%s, '%s', NULL,"
                 " 'proto_version', '1', 'publication_names', %s)) TO STDOUT (FORMAT binary)",
                 slot, scout->until, publications);
    pg_conn_send(filler, &(PgQuery){.step = "read ahead",
                                    .sql = sql,
                                    .arg = scout,
                                    .row = scout_on_row,
                                    .done = scout_on_done});
}

Scout *scout_new(const WalContext *wal, const WalStart *start, Gap *gap, const Relations *like,
                 void (*done)(void *arg), void *arg)
{
    Scout *scout = x_calloc(1, sizeof(*scout));
    scout->wal = wal;
    scout->start = start;
    scout->gap = gap;
    scout->like = like;
    scout->done = done;
    scout->arg = arg;
    scout->rows = copy_rows_new();
    scout->coming = coming_new();
    return scout;
}

void scout_free(Scout **scout)
{
    if (*scout == NULL) {
        return;
    }
    copy_rows_free(&(*scout)->rows);
    coming_free(&(*scout)->coming);
    free(*scout);
    *scout = NULL;
}

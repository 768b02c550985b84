/* What the slot will bring. A slot that an administrator made, or one of ours whose first rows were
 * not all published before an interruption, stands before the snapshot that the table is read with.
 * Rows that the log has from there on are left to the log, where they have their place; only the
 * others are published from the table. So nothing has to be remembered beyond the end of the
 * filling: a kill at any moment repeats none of them. The log is peeked at by
 * pg_logical_slot_peek_binary_changes(): nothing is confirmed. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/row.h"

enum { SCOUT_BATCH = 1000 }; /* events read before their memory is given back */

void scout_release(WalSource *wal)
{
    Scout *scout = &wal->scout;
    relations_release(&scout->relations);
    batch_free(&scout->batch);
    known_seqs_release(&scout->coming);
    error_clear(&scout->error);
    memset(scout, 0, sizeof(*scout));
}

void scout_read_tree(WalSource *wal, const PGresult *row)
{
    Scout *scout = &wal->scout;
    const Relations *known = &wal->assembler.relations;
    relations_release(&scout->relations);
    scout->relations = (Relations){.table = wal->table,
                                   .table_oid = claim_table(wal->claim),
                                   .old = known->old,
                                   .schema = x_strdup(known->schema),
                                   .name = x_strdup(known->name)};
    (void)tree_read(&scout->relations.tree, row, 0, false);
    snprintf(scout->until, sizeof(scout->until), "%s", pg_needed_field(row, 0, "insert_lsn"));
}

bool scout_expects(const WalSource *wal, int64_t seq)
{
    return known_seqs_has(&wal->scout.coming, seq);
}

/* The slot may stand before the position: what lies between was acknowledged, and comes no more. */
static bool scout_is_done(const Scout *scout)
{
    const MarkerPosition *from = &scout->from;
    return scout->commit_lsn < from->lsn || scout->commit_lsn < from->tx_lsn ||
           (scout->commit_lsn == from->tx_lsn && scout->ordinal <= from->tx_ordinal);
}

static void scout_insert(WalSource *wal, const PgOutputChange *change)
{
    Scout *scout = &wal->scout;
    Relations *relations = &scout->relations;
    bool known = false;
    const Relation *relation = relations_find(relations, change->relation, &known);
    scout->ordinal += relation != NULL; /* as in assemble.c */
    bool in_table = relations_owner(relations, change->relation) == tables_oid(wal, wal->fill.at);
    if (relation == NULL || !in_table || scout_is_done(scout)) {
        return;
    }
    if (scout->batch == NULL) {
        scout->batch = batch_new();
    }
    Event *event = NULL;
    if (relation_read_row(relation, &change->new_tuple, NULL, scout->batch, &event,
                          &scout->error) == OK &&
        event != NULL && event->seq != EVENT_NO_SEQ) {
        known_seqs_add(&scout->coming, event->seq);
    }
    if (scout->batch->count >= SCOUT_BATCH) {
        batch_free(&scout->batch);
    }
}

/* One row of COPY in binary: one field, one message of pgoutput. */
static void scout_on_row(void *arg, const char *bytes, size_t length)
{
    WalSource *wal = arg;
    Scout *scout = &wal->scout;
    if (scout->error.class != ERROR_NONE) {
        return;
    }
    if (!scout->header_read) {
        scout->header_read = true;
        if (row_skip_header(&bytes, &length, &scout->error) != OK || length == 0) {
            return;
        }
    }
    if (row_is_trailer(bytes, length)) {
        return;
    }
    ByteReader reader = bytes_reader(bytes, length);
    uint16_t fields = bytes_u16(&reader);
    Slice data = bytes_slice(&reader, bytes_u32(&reader));
    PgOutput message;
    if (fields != 1 || !bytes_complete(&reader)) {
        error_set(&scout->error, CODE_COPY_ROW, "cannot read a row of the log of %zu bytes",
                  length);
        return;
    }
    if (pgoutput_read(&scout->reader, data, &message, &scout->error) != OK) {
        return;
    }
    if (message.kind == PGOUTPUT_BEGIN) {
        scout->commit_lsn = message.begin.final_lsn;
        scout->ordinal = 0;
    } else if (message.kind == PGOUTPUT_RELATION) {
        (void)relations_put(&scout->relations, &message.relation, &scout->error);
    } else if (message.kind == PGOUTPUT_TYPE) {
        (void)relations_put_type(&scout->relations, &message.type, &scout->error);
    } else if (message.kind == PGOUTPUT_INSERT) {
        scout_insert(wal, &message.change);
    }
}

static void scout_on_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    Scout *scout = &wal->scout;
    scout->running = false;
    batch_free(&scout->batch);
    if (err != NULL || scout->error.class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(err != NULL ? err : &scout->error);
        if (slot_judge_decoding(wal->options.pipeline, &copy)) {
            wal_lose_log(wal, &copy);
            return;
        }
        error_prefix(&copy, "reading ahead in slot '%s'", wal->options.pipeline->wal.slot);
        wal_lose_log(wal, &copy);
        return;
    }
    scout->complete = true;
    wal_tell(wal, NEWS_SCOUTED);
}

void scout_start(WalSource *wal)
{
    Scout *scout = &wal->scout;
    scout->running = true;
    scout->reader = (PgOutputReader){.protocol = 1};
    scout->from = wal->facts.position;
    AUTO_TEXT slot = ident_literal(wal->options.pipeline->wal.slot);
    AUTO_TEXT quoted = ident_quote(wal->options.pipeline->wal.publication);
    AUTO_TEXT publications = ident_literal(quoted);
    AUTO_TEXT sql =
        x_format("COPY (SELECT data FROM pg_logical_slot_peek_binary_changes(%s, '%s', NULL,"
                 " 'proto_version', '1', 'publication_names', %s)) TO STDOUT (FORMAT binary)",
                 slot, scout->until, publications);
    pg_conn_send(wal->filler, &(PgQuery){.step = "read ahead",
                                         .sql = sql,
                                         .arg = wal,
                                         .row = scout_on_row,
                                         .done = scout_on_done});
}

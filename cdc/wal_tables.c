/* The tables that rows come from: the old ones that may not be finished, oldest first, and behind
 * them the configured one. Which of them do marks go to? */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "rows/succession.h"

/* Which tables. */

uint32_t tables_oid(const WalSource *wal, size_t at)
{
    const OldTables *tables = &wal->rotation.tables;
    return at < tables->count ? tables->items[at].oid : claim_table(wal->claim);
}

const char *tables_name(const WalSource *wal, size_t at)
{
    const OldTables *tables = &wal->rotation.tables;
    return at < tables->count ? tables->items[at].name : wal->table->configured;
}

uint32_t tables_oldest(const WalSource *wal)
{
    return tables_oid(wal, wal->rotation.done);
}

bool tables_have(const WalSource *wal, uint32_t oid)
{
    return old_tables_find(&wal->rotation.tables, oid) < wal->rotation.tables.count;
}

void tables_find(Rotation *rotation, uint32_t oid, const char *name)
{
    old_tables_add(&rotation->found, oid, name);
}

/* Where marks go. */

void tables_turn(WalSource *wal, size_t at)
{
    Rotation *rotation = &wal->rotation;
    rotation->at = at;
    rotation->target = tables_oid(wal, at);
    table_rename(wal->table, tables_name(wal, at));
}

uint32_t tables_aim(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    size_t at = rotation->tables.count;
    if (at > 0 && rotation->target != claim_table(wal->claim)) {
        size_t last = old_tables_find(&wal->rotation.tables, rotation->target);
        at = last < at ? last : rotation->done;
    }
    while (tables_name(wal, at) == NULL) {
        at++;
    }
    tables_turn(wal, at);
    return rotation->target;
}

bool tables_hold(WalSource *wal, const char *bytes, size_t length, Slice data)
{
    Rotation *rotation = &wal->rotation;
    if (rotation->tables.count == 0 || data.length < 5 || data.data[0] != PGOUTPUT_INSERT) {
        return false;
    }
    uint32_t relation = bytes_load_u32((const unsigned char *)data.data + 1);
    uint32_t owner = relations_owner(&wal->assembler.relations, relation);
    size_t at = old_tables_find(&wal->rotation.tables, owner);
    if (owner == 0 || at == rotation->at || tables_name(wal, at) == NULL) {
        return false; /* of a table that is gone nothing can be marked */
    }
    wal->held = (Held){.bytes = x_malloc(length), .length = length, .sent = true};
    memcpy(wal->held.bytes, bytes, length);
    wal->stream.paused = true;
    rotation->wanted = at;
    rotation->switching = true;
    claim_pulse_now(wal->claim);
    return true;
}

/* A relation that had the name at its place in the log, and that nothing else told of. */

void tables_add_question(const WalSource *wal, Text *sql)
{
    AUTO_TEXT table = ident_literal(wal->table->configured);
    text_printf(sql,
                "SELECT (SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN"
                " pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %u) AS present_name,"
                " coalesce(to_regclass(%s)::oid = %u, false) AS configured",
                wal->held.relation, table, wal->held.relation);
}

void tables_read_answer(WalSource *wal, const PGresult *row)
{
    uint32_t oid = wal->held.relation;
    if (oid == 0 || tables_have(wal, oid)) {
        return;
    }
    Rotation *rotation = &wal->rotation;
    if (*succession_value(row, 0, "configured") == 't') {
        rotation->replaced = true; /* the start finds both */
        return;
    }
    bool configured = rotation->at == rotation->tables.count;
    const char *name = succession_value(row, 0, "present_name");
    old_tables_add(&rotation->tables, oid, name);
    rotation->at += configured; /* it stands behind the old ones */
    rotation->barrier = wal->log_end;
    if (!said_tables_news(&rotation->said, oid, *name == '\0')) {
        return;
    }
    *wal->options.stats->rows->tables_dropped += *name == '\0';
    log_write(*name != '\0' ? LOG_WARN : LOG_ERROR, wal->options.pipeline->name,
              *name != '\0' ? CODE_TABLE_ROTATED : CODE_TABLE_DROPPED,
              LOG_FIELDS(log_number("table_id", oid)),
              "the WAL contains rows of a table that once had the name '%s' and %s%s: they are "
              "published%s",
              wal->options.pipeline->outbox.table, *name != '\0' ? "is now " : "is gone", name,
              *name != '\0' ? " and marked there" : ", but cannot be marked");
}

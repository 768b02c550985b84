#include "cdc/wal_tables.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "pg/ident.h"
#include "rows/succession.h"

struct Tables {
    const WalContext *wal;
    const ServerLog *log;
    OldTables old; /* that may not be finished, oldest first */
    size_t done;   /* so many of them are */
    size_t at;     /* marks go to this one */
    uint32_t target;
    size_t wanted; /* marks are to go to this one ... */
    bool turning;  /* ... once everything before is marked */
    bool replaced;
    uint64_t barrier;
    SaidTables said;
};

void tables_clear(Tables *tables)
{
    old_tables_clear(&tables->old);
    tables->done = tables->at = tables->wanted = 0;
    tables->turning = tables->replaced = false;
}

/* Which tables. */

const OldTables *tables_old(const Tables *tables)
{
    return &tables->old;
}

size_t tables_count(const Tables *tables)
{
    return tables->old.count;
}

uint32_t tables_oid(const Tables *tables, size_t at)
{
    const OldTables *old = &tables->old;
    return at < old->count ? old->items[at].oid : claim_table(tables->wal->claim);
}

const char *tables_name(const Tables *tables, size_t at)
{
    const OldTables *old = &tables->old;
    return at < old->count ? old->items[at].name : tables->wal->table->configured;
}

bool tables_have(const Tables *tables, uint32_t oid)
{
    return old_tables_find(&tables->old, oid) < tables->old.count;
}

void tables_add(Tables *tables, uint32_t oid, const char *name)
{
    old_tables_add(&tables->old, oid, name);
}

void tables_read_tree(Tables *tables, size_t at, const PGresult *row)
{
    (void)tree_read(&tables->old.items[at].tree, row, 0, false);
}

void tables_say(Tables *tables, bool lost)
{
    const PipelineConfig *pipeline = tables->wal->pipeline;
    const char *table = pipeline->outbox.table;
    for (size_t i = 0; i < tables->old.count; i++) {
        const OldTable *old = &tables->old.items[i];
        if (!said_tables_news(&tables->said, old->oid, old->name == NULL)) {
            continue;
        }
        if (old->name == NULL) {
            ++*tables->wal->options->stats->rows->tables_dropped;
            log_write(LOG_ERROR, pipeline->name, CODE_TABLE_DROPPED,
                      LOG_FIELDS(log_number("table_id", old->oid)),
                      "the table that was published under the name '%s' before was dropped: its "
                      "rows in the WAL are published but cannot be marked%s",
                      table, lost ? "; rows that had not been read from it are lost" : "");
            continue;
        }
        log_write(LOG_WARN, pipeline->name, CODE_TABLE_ROTATED,
                  LOG_FIELDS(log_text("old", old->name)),
                  "table '%s' was renamed to %s, and another table has its name: publishing its "
                  "unpublished rows first",
                  table, old->name);
    }
}

/* What is finished. */

size_t tables_done(const Tables *tables)
{
    return tables->done;
}

void tables_finish(Tables *tables, size_t count)
{
    tables->done = count;
}

uint32_t tables_oldest(const Tables *tables)
{
    return tables_oid(tables, tables->done);
}

uint64_t tables_barrier(const Tables *tables)
{
    return tables->barrier;
}

void tables_set_barrier(Tables *tables, uint64_t lsn)
{
    tables->barrier = lsn;
}

/* Where marks go. */

size_t tables_at(const Tables *tables)
{
    return tables->at;
}

uint32_t tables_target(const Tables *tables)
{
    return tables->target;
}

void tables_turn(Tables *tables, size_t at)
{
    tables->at = at;
    tables->turning = false;
    tables->target = tables_oid(tables, at);
    table_rename(tables->wal->table, tables_name(tables, at));
}

uint32_t tables_aim(Tables *tables)
{
    size_t at = tables->old.count;
    if (at > 0 && tables->target != claim_table(tables->wal->claim)) {
        size_t last = old_tables_find(&tables->old, tables->target);
        at = last < at ? last : tables->done;
    }
    while (tables_name(tables, at) == NULL) {
        at++;
    }
    tables_turn(tables, at);
    return tables->target;
}

void tables_want(Tables *tables, size_t at)
{
    tables->wanted = at;
    tables->turning = true;
}

bool tables_are_turning(const Tables *tables, size_t *ret_at)
{
    if (tables->turning && ret_at != NULL) {
        *ret_at = tables->wanted;
    }
    return tables->turning;
}

void tables_stop_turning(Tables *tables)
{
    tables->turning = false;
}

bool tables_lie_elsewhere(Tables *tables, const Relations *relations, Slice data)
{
    if (tables->old.count == 0 || data.length < 5 || data.data[0] != PGOUTPUT_INSERT) {
        return false;
    }
    uint32_t relation = bytes_load_u32((const unsigned char *)data.data + 1);
    uint32_t owner = relations_owner(relations, relation);
    size_t at = old_tables_find(&tables->old, owner);
    if (owner == 0 || at == tables->at || tables_name(tables, at) == NULL) {
        return false; /* of a table that is gone nothing can be marked */
    }
    tables_want(tables, at);
    return true;
}

/* A relation that had the name. */

void tables_add_question(const Tables *tables, uint32_t relation, Text *sql)
{
    AUTO_TEXT table = ident_literal(tables->wal->table->configured);
    text_printf(sql,
                "SELECT (SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN"
                " pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %u) AS present_name,"
                " coalesce(to_regclass(%s)::oid = %u, false) AS configured",
                relation, table, relation);
}

void tables_read_answer(Tables *tables, uint32_t relation, const PGresult *row)
{
    if (relation == 0 || tables_have(tables, relation)) {
        return;
    }
    if (*succession_value(row, 0, "configured") == 't') {
        tables->replaced = true; /* the start finds both */
        return;
    }
    bool configured = tables->at == tables->old.count;
    const char *name = succession_value(row, 0, "present_name");
    old_tables_add(&tables->old, relation, name);
    tables->at += configured; /* it stands behind the old ones */
    tables->barrier = server_log_end(tables->log);
    if (!said_tables_news(&tables->said, relation, *name == '\0')) {
        return;
    }
    *tables->wal->options->stats->rows->tables_dropped += *name == '\0';
    log_write(*name != '\0' ? LOG_WARN : LOG_ERROR, tables->wal->pipeline->name,
              *name != '\0' ? CODE_TABLE_ROTATED : CODE_TABLE_DROPPED,
              LOG_FIELDS(log_number("table_id", relation)),
              "the WAL contains rows of a table that once had the name '%s' and %s%s: they are "
              "published%s",
              tables->wal->pipeline->outbox.table, *name != '\0' ? "is now " : "is gone", name,
              *name != '\0' ? " and marked there" : ", but cannot be marked");
}

bool tables_are_replaced(const Tables *tables)
{
    return tables->replaced;
}

Tables *tables_new(const WalContext *wal, const ServerLog *log)
{
    Tables *tables = x_calloc(1, sizeof(*tables));
    tables->wal = wal;
    tables->log = log;
    return tables;
}

void tables_free(Tables **tables)
{
    if (*tables == NULL) {
        return;
    }
    tables_clear(*tables);
    said_tables_release(&(*tables)->said);
    free(*tables);
    *tables = NULL;
}

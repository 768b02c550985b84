/* The beginning of a rotation by rename (wal_rotation.c): which tables had the name between the one
 * that the position was reached with and the present one, what parts they have, whether the
 * publication had all of them all the time, and their publisher's locks. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/succession.h"

enum { POSTGRES_SCHEMAS = 150000 };

static void rotation_clear(Rotation *rotation)
{
    old_tables_clear(&rotation->tables);
    old_tables_clear(&rotation->found);
    rotation->done = rotation->at = rotation->wanted = rotation->reading = 0;
    rotation->continuous = rotation->switching = rotation->counting = false;
    rotation->replaced = false;
    rotation->retry_us = 0;
}

static void rotation_say(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    const char *table = wal->options.pipeline->outbox.table;
    for (size_t i = 0; i < rotation->tables.count; i++) {
        const OldTable *old = &rotation->tables.items[i];
        if (!said_tables_news(&rotation->said, old->oid, old->name == NULL)) {
            continue;
        }
        if (old->name == NULL) {
            ++*wal->options.stats->rows->tables_dropped;
            log_write(LOG_ERROR, wal->options.pipeline->name, CODE_TABLE_DROPPED,
                      LOG_FIELDS(log_number("table_id", old->oid)),
                      "the table that was published under the name '%s' before was dropped: its "
                      "rows in the WAL are published but cannot be marked%s",
                      table,
                      wal->facts.waiting || wal->facts.backfill
                          ? "; rows that had not been read from it are lost"
                          : "");
            continue;
        }
        log_write(LOG_WARN, wal->options.pipeline->name, CODE_TABLE_ROTATED,
                  LOG_FIELDS(log_text("old", old->name)),
                  "table '%s' was renamed to %s, and another table has its name: publishing its "
                  "unpublished rows first",
                  table, old->name);
    }
}

static void rotation_try_lock(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    while (rotation->reading < rotation->tables.count &&
           rotation->tables.items[rotation->reading].name == NULL) {
        rotation->reading++;
    }
    if (rotation->reading == rotation->tables.count) {
        rotation_say(wal);
        pg_conn_open(wal->walsender);
        return;
    }
    claim_lock_try(rotation->lock, rotation->tables.items[rotation->reading].oid);
}

static void on_lock_held(void *arg)
{
    WalSource *wal = arg;
    wal->rotation.reading++;
    rotation_try_lock(wal);
}

static void on_unlocked(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    wal_stand_by(wal, claim_lock_holder(wal->rotation.lock));
}

/* Whoever finishes the old table goes on with the new one. */
static void on_lock_taken(void *arg, const ClaimLock *lock)
{
    (void)lock;
    WalSource *wal = arg;
    claim_ask(wal->claim, &(PgQuery){.step = "release old lock",
                                     .sql = "SELECT pg_advisory_unlock_all()",
                                     .arg = wal,
                                     .done = on_unlocked});
}

static void on_trees_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    Rotation *rotation = &wal->rotation;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (PQfnumber(result, "members") >= 0) {
        if (rotation->reading < rotation->tables.count) {
            (void)tree_read(&rotation->tables.items[rotation->reading++].tree, result, 0, false);
        }
    } else if (PQfnumber(result, "born") >= 0) {
        rotation->continuous = rotation->continuous && *succession_value(result, 0, "born") == 't';
    } else if (PQfnumber(result, "i") >= 0) {
        PreconditionLook look = {0};
        precondition_read(wal->table, result, 0, PRECONDITION_RUNNING, &look);
        rotation->continuous =
            look.taken && strcmp(look.identity, wal->facts.publication_then) == 0;
        precondition_release(&look);
    }
}

static void on_trees_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    wal->rotation.reading = 0;
    rotation_try_lock(wal);
}

/* The publication had the old table all the time, and the new one since it was made: then nothing
 * was missed, and kept rows need not tell. */
static void rotation_add_continuity(const WalSource *wal, Text *sql)
{
    const PipelineConfig *pipeline = wal->options.pipeline;
    const OldTables *tables = &wal->rotation.tables;
    int version = PQserverVersion(pg_conn_raw(claim_conn(wal->claim)));
    if (tables->count != 1 || tables->items[0].name == NULL) {
        return;
    }
    OutboxTable old = *wal->table;
    old.name = old.configured = tables->items[0].name;
    precondition_add_query(pipeline, &old, 1, version, sql);
    AUTO_TEXT publication = ident_literal(pipeline->wal.publication);
    uint32_t table = claim_table(wal->claim);
    text_printf(sql,
                "; SELECT b.puballtables OR EXISTS (SELECT FROM pg_publication_rel r JOIN"
                " pg_attribute s ON s.attrelid = r.prrelid WHERE r.prpubid = b.oid AND r.prrelid ="
                " %u AND s.attname = 'tableoid' AND s.attnum < 0 AND s.xmin = r.xmin)",
                table);
    if (version >= POSTGRES_SCHEMAS) { /* in the schema of the old one since it was made */
        text_printf(sql,
                    " OR EXISTS (SELECT FROM pg_publication_namespace m JOIN pg_class o ON o.oid ="
                    " %u AND o.relnamespace = m.pnnspid JOIN pg_depend d ON d.classid ="
                    " 'pg_class'::regclass AND d.objid = %u AND d.objsubid = 0 AND d.refclassid ="
                    " 'pg_namespace'::regclass AND d.refobjid = m.pnnspid JOIN pg_attribute s ON"
                    " s.attrelid = d.objid AND s.attname = 'tableoid' AND s.attnum < 0 AND s.xmin ="
                    " d.xmin WHERE m.pnpubid = b.oid)",
                    tables->items[0].oid, table);
    }
    text_printf(sql, " AS born FROM pg_publication b WHERE b.pubname = %s; ", publication);
}

static void rotation_ask_trees(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    AUTO_BUFFER sql = TEXT_EMPTY;
    rotation->continuous = false;
    rotation->reading = 0;
    rotation_add_continuity(wal, &sql);
    for (size_t i = 0; i < rotation->tables.count; i++) {
        tree_add_query(wal->options.pipeline, rotation->tables.items[i].oid, 0,
                       PQserverVersion(pg_conn_raw(claim_conn(wal->claim))), &sql);
        text_add(&sql, "; ");
    }
    claim_ask(wal->claim, &(PgQuery){.step = "partitions",
                                     .sql = sql.data,
                                     .arg = wal,
                                     .result = on_trees_result,
                                     .done = on_trees_done});
}

static void on_tables_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    Rotation *rotation = &wal->rotation;
    for (int row = 0; PQresultStatus(result) == PGRES_TUPLES_OK && row < PQntuples(result); row++) {
        uint32_t oid = (uint32_t)strtoul(succession_value(result, row, "old_table"), NULL, 10);
        const char *name = succession_value(result, row, "present");
        const char *grants = succession_value(result, row, "grants");
        old_tables_add(&rotation->tables, oid, name);
        if (*grants == '\0' || rotation->error.class != ERROR_NONE) {
            continue;
        }
        bool begun = claim_has_begun(wal->claim);
        error_set_as(&rotation->error, begun ? ERROR_RETRY : ERROR_FATAL, EXIT_POSTGRES,
                     CODE_OLD_TABLE_DENIED,
                     "table '%s' was renamed to %s, and the relay's role may not finish that one: "
                     "its last events and those of the new table wait",
                     wal->options.pipeline->outbox.table, name);
        error_hint(&rotation->error, "An administrator runs: %s", grants);
    }
}

static void on_tables_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    Rotation *rotation = &wal->rotation;
    if (err != NULL || rotation->error.class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(err != NULL ? err : &rotation->error);
        claim_lose(wal->claim, &copy);
        return;
    }
    for (size_t i = 0; i < rotation->found.count; i++) { /* that the catalog does not link */
        const OldTable *found = &rotation->found.items[i];
        if (!tables_have(wal, found->oid)) {
            old_tables_add(&rotation->tables, found->oid, found->name != NULL ? found->name : "");
        }
    }
    rotation_ask_trees(wal);
}

void wal_rotation_look_between(WalSource *wal)
{
    const SlotFacts *facts = &wal->facts;
    const OldTables *found = &wal->rotation.found;
    bool told = facts->has_position && facts->table_id != 0;
    uint32_t oldest = told && facts->table_id != claim_table(wal->claim) ? facts->table_id
                      : found->count > 0                                 ? found->items[0].oid
                                                                         : 0;
    if (oldest == 0) {
        pg_conn_open(wal->walsender);
        return;
    }
    wal->rotation.barrier = facts->insert_lsn;
    AUTO_BUFFER sql = TEXT_EMPTY;
    succession_add_query(wal->options.pipeline, oldest, claim_table(wal->claim), &sql);
    claim_ask(wal->claim, &(PgQuery){.step = "old tables",
                                     .sql = sql.data,
                                     .arg = wal,
                                     .result = on_tables_result,
                                     .done = on_tables_done});
}

void wal_rotation_begin(WalSource *wal)
{
    rotation_clear(&wal->rotation);
    error_clear(&wal->rotation.error);
    if (!wal_publisher_begin(wal)) {
        wal_rotation_look_between(wal);
    }
}

void wal_rotation_init(WalSource *wal)
{
    wal->assembler.relations.old = &wal->rotation.tables;
    wal->rotation.lock = claim_lock_new(wal->claim, wal, on_lock_held, on_lock_taken);
}

void wal_rotation_release(WalSource *wal)
{
    claim_lock_free(&wal->rotation.lock);
    free(wal->rotation.publisher);
    rotation_clear(&wal->rotation);
    error_clear(&wal->rotation.error);
    said_tables_release(&wal->rotation.said);
}

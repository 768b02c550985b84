#include "cdc/wal_between.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "rows/succession.h"

enum { POSTGRES_SCHEMAS = 150000 };

struct Between {
    const WalContext *wal;
    const WalStart *start;
    Tables *tables;
    PublisherRows *publisher;
    size_t reading;  /* whose tree, or lock, is asked for */
    bool continuous; /* the log has every row of the old one and the new one */
    ClaimLock *lock; /* of the old table `reading` */
    Error error;
};

static void between_end(const Between *between)
{
    wal_tell(between->wal, NEWS_TABLES);
}

static void between_try_lock(Between *between)
{
    const SlotStored *stored = between->start->given.stored;
    const OldTables *old = tables_old(between->tables);
    while (between->reading < old->count && old->items[between->reading].name == NULL) {
        between->reading++;
    }
    if (between->reading == old->count) {
        tables_say(between->tables, stored->waiting || stored->backfill);
        between_end(between);
        return;
    }
    claim_lock_try(between->lock, old->items[between->reading].oid);
}

static void on_lock_held(void *arg)
{
    Between *between = arg;
    between->reading++;
    between_try_lock(between);
}

static void on_unlocked(void *arg, const Error *err)
{
    const Between *between = arg;
    if (wal_goes_on(between->wal, err)) {
        wal_stand_by(between->wal, claim_lock_holder(between->lock));
    }
}

/* Whoever finishes the old table goes on with the new one. */
static void on_lock_taken(void *arg, const ClaimLock *lock)
{
    (void)lock;
    const Between *between = arg;
    claim_ask(between->wal->claim, &(PgQuery){.step = "release old lock",
                                              .sql = "SELECT pg_advisory_unlock_all()",
                                              .arg = arg,
                                              .done = on_unlocked});
}

static void on_trees_result(void *arg, const PGresult *result)
{
    Between *between = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (PQfnumber(result, "members") >= 0) {
        if (between->reading < tables_count(between->tables)) {
            tables_read_tree(between->tables, between->reading++, result);
        }
    } else if (PQfnumber(result, "born") >= 0) {
        between->continuous = between->continuous && *succession_value(result, 0, "born") == 't';
    } else if (PQfnumber(result, "i") >= 0) {
        PreconditionLook look = {0};
        precondition_read(between->wal->table, result, 0, PRECONDITION_RUNNING, &look);
        between->continuous =
            look.taken && strcmp(look.identity, between->start->given.stored->publication) == 0;
        precondition_release(&look);
    }
}

static void on_trees_done(void *arg, const Error *err)
{
    Between *between = arg;
    if (wal_goes_on(between->wal, err)) {
        between->reading = 0;
        between_try_lock(between);
    }
}

/* The publication had the old table all the time, and the new one since it was made: then nothing
 * was missed, and kept rows need not tell. */
static void between_add_continuity(const Between *between, Text *sql)
{
    const WalContext *wal = between->wal;
    const PipelineConfig *pipeline = wal->pipeline;
    const OldTables *tables = tables_old(between->tables);
    int version = wal_server_version(wal);
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

static void between_ask_trees(Between *between)
{
    const WalContext *wal = between->wal;
    AUTO_BUFFER sql = TEXT_EMPTY;
    between->continuous = false;
    between->reading = 0;
    between_add_continuity(between, &sql);
    for (size_t i = 0; i < tables_count(between->tables); i++) {
        tree_add_query(wal->pipeline, tables_oid(between->tables, i), 0, wal_server_version(wal),
                       &sql);
        text_add(&sql, "; ");
    }
    claim_ask(wal->claim, &(PgQuery){.step = "partitions",
                                     .sql = sql.data,
                                     .arg = between,
                                     .result = on_trees_result,
                                     .done = on_trees_done});
}

static void on_tables_result(void *arg, const PGresult *result)
{
    Between *between = arg;
    for (int row = 0; PQresultStatus(result) == PGRES_TUPLES_OK && row < PQntuples(result); row++) {
        uint32_t oid = (uint32_t)strtoul(succession_value(result, row, "old_table"), NULL, 10);
        const char *name = succession_value(result, row, "present");
        const char *grants = succession_value(result, row, "grants");
        tables_add(between->tables, oid, name);
        if (*grants == '\0' || between->error.class != ERROR_NONE) {
            continue;
        }
        bool begun = claim_has_begun(between->wal->claim);
        error_set_as(&between->error, begun ? ERROR_RETRY : ERROR_FATAL, EXIT_POSTGRES,
                     CODE_OLD_TABLE_DENIED,
                     "table '%s' was renamed to %s, and the relay's role may not finish that one: "
                     "its last events and those of the new table wait",
                     between->wal->pipeline->outbox.table, name);
        error_hint(&between->error, "An administrator runs: %s", grants);
    }
}

static void on_tables_done(void *arg, const Error *err)
{
    Between *between = arg;
    if (err != NULL || between->error.class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(err != NULL ? err : &between->error);
        claim_lose(between->wal->claim, &copy);
        return;
    }
    const OldTables *told = publisher_rows_found(between->publisher);
    for (size_t i = 0; i < told->count; i++) { /* that the catalog does not link */
        const OldTable *found = &told->items[i];
        if (!tables_have(between->tables, found->oid)) {
            tables_add(between->tables, found->oid, found->name != NULL ? found->name : "");
        }
    }
    between_ask_trees(between);
}

/* What outbox.publisher tells is known: goes on with that. */
static void between_look(void *arg)
{
    Between *between = arg;
    const WalContext *wal = between->wal;
    const SlotFacts *facts = between->start->given.facts;
    const SlotStored *stored = between->start->given.stored;
    const OldTables *found = publisher_rows_found(between->publisher);
    bool told = stored->there && stored->table_id != 0;
    uint32_t oldest = told && stored->table_id != claim_table(wal->claim) ? stored->table_id
                      : found->count > 0                                  ? found->items[0].oid
                                                                          : 0;
    if (oldest == 0) {
        between_end(between);
        return;
    }
    tables_set_barrier(between->tables, facts->insert_lsn);
    AUTO_BUFFER sql = TEXT_EMPTY;
    succession_add_query(wal->pipeline, oldest, claim_table(wal->claim), &sql);
    claim_ask(wal->claim, &(PgQuery){.step = "old tables",
                                     .sql = sql.data,
                                     .arg = between,
                                     .result = on_tables_result,
                                     .done = on_tables_done});
}

void between_begin(Between *between)
{
    if (between->wal->pipeline->capture == CAPTURE_TABLES) { /* the log has the name of each row */
        between_end(between);
        return;
    }
    tables_clear(between->tables);
    between->reading = 0;
    between->continuous = false;
    error_clear(&between->error);
    if (!publisher_rows_begin(between->publisher)) {
        between_look(between);
    }
}

bool between_is_continuous(const Between *between)
{
    return between->continuous;
}

PublisherRows *between_publisher(const Between *between)
{
    return between->publisher;
}

Between *between_new(const WalContext *wal, const WalStart *start, Tables *tables)
{
    Between *between = x_calloc(1, sizeof(*between));
    between->wal = wal;
    between->start = start;
    between->tables = tables;
    between->publisher = publisher_rows_new(wal, start, between_look, between);
    between->lock = claim_lock_new(wal->claim, between, on_lock_held, on_lock_taken);
    return between;
}

void between_free(Between **between)
{
    if (*between == NULL) {
        return;
    }
    claim_lock_free(&(*between)->lock);
    publisher_rows_free(&(*between)->publisher);
    error_clear(&(*between)->error);
    free(*between);
    *between = NULL;
}

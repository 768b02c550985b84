#include "cdc/snapshot_record.h"

#include <stdlib.h>

#include "base/memory.h"
#include "cdc/wire.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"

struct SnapshotRecord {
    SnapshotRecordParts with;
    ClaimJob ask;
    ClaimJob write;
    VEC(size_t) writing; /* places of the tables that are being written */
    bool owned;          /* the write that is under way told so */
};

static bool record_goes_on(const SnapshotRecord *record, const Error *err)
{
    AUTO_ERROR copy = {0};
    if (err != NULL && sqlstate_is(err, "42P01")) {
        error_copy(&copy, err);
        error_hint(&copy, "Run `outboxd migrate`: the table belongs to this version.");
        err = &copy;
    }
    return wal_goes_on(record->with.wal, err);
}

/* What is written. */

static void on_record_result(void *arg, const PGresult *result)
{
    const SnapshotRecord *record = arg;
    SnapshotTables *tables = record->with.tables;
    for (int row = 0; PQresultStatus(result) == PGRES_TUPLES_OK && row < PQntuples(result); row++) {
        uint32_t oid = (uint32_t)strtoul(pg_needed_field(result, row, "table_id"), NULL, 10);
        size_t place = snapshot_tables_find(tables, oid);
        if (place != SIZE_MAX) {
            SnapshotTable *table = &tables->items.items[place];
            table->state = TABLE_RECORDED;
            table->rows = strtoull(pg_needed_field(result, row, "rows"), NULL, 10);
            table->bytes = strtoull(pg_needed_field(result, row, "bytes"), NULL, 10);
        }
    }
}

static void on_record_known(void *arg, const Error *err)
{
    const SnapshotRecord *record = arg;
    if (record_goes_on(record, err)) {
        record->with.known(record->with.arg);
    }
}

static void record_run_ask(void *arg)
{
    SnapshotRecord *record = arg;
    const WalContext *wal = record->with.wal;
    const char *table = record->with.books->start->captured_table;
    AUTO_TEXT name = ident_literal(wal->pipeline->name);
    char lsn[24];
    AUTO_TEXT sql =
        x_format("SELECT table_id, rows, bytes FROM %s WHERE pipeline = %s AND start_lsn = '%s'",
                 table, name, lsn_format(progress_start(record->with.books->progress), lsn));
    claim_ask(wal->claim, &(PgQuery){.step = "tables of the snapshot",
                                     .sql = sql,
                                     .arg = record,
                                     .result = on_record_result,
                                     .done = on_record_known});
}

/* Writing. */

static void record_add_values(const SnapshotRecord *record, Text *sql)
{
    for (size_t i = 0; i < record->writing.count; i++) {
        const SnapshotTable *table = &record->with.tables->items.items[record->writing.items[i]];
        AUTO_TEXT schema = ident_literal(table->schema);
        AUTO_TEXT name = ident_literal(table->name);
        char lsn[24];
        text_printf(sql, "%s(%u::oid, %s, %s, '%s'::pg_lsn, %llu::bigint, %llu::bigint)",
                    i > 0 ? ", " : "", table->oid, schema, name, lsn_format(table->lsn, lsn),
                    (unsigned long long)table->rows, (unsigned long long)table->bytes);
    }
}

static void on_write_result(void *arg, const PGresult *result)
{
    ((SnapshotRecord *)arg)->owned = PQntuples(result) > 0;
}

static void on_written(void *arg, const Error *err)
{
    SnapshotRecord *record = arg;
    AUTO_ERROR replaced = {0};
    if (err == NULL && !record->owned) {
        error_set(&replaced, CODE_OWNER_REPLACED,
                  "somebody else changed the row of pipeline '%s' in %s",
                  record->with.wal->pipeline->name, record->with.books->start->position_table);
        err = &replaced;
    }
    if (!record_goes_on(record, err)) {
        return;
    }
    for (size_t i = 0; i < record->writing.count; i++) {
        record->with.tables->items.items[record->writing.items[i]].state = TABLE_RECORDED;
    }
    record->writing.count = 0;
    record->with.recorded(record->with.arg);
}

static void record_run_write(void *arg)
{
    SnapshotRecord *record = arg;
    const WalContext *wal = record->with.wal;
    const SnapshotTables *tables = record->with.tables;
    record->writing.count = 0;
    record->owned = false;
    for (size_t i = 0; i < tables->items.count; i++) {
        if (snapshot_table_is_acknowledged(&tables->items.items[i])) {
            *vec_add(&record->writing) = i;
        }
    }
    if (record->writing.count == 0) {
        return;
    }
    const char *table = record->with.books->start->captured_table;
    AUTO_TEXT name = ident_literal(wal->pipeline->name);
    char lsn[24];
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_printf(&sql,
                "INSERT INTO %s (pipeline, start_lsn, table_id, schema_name, table_name,"
                " snapshot_lsn, rows, bytes) SELECT %s, '%s', v.* FROM (VALUES ",
                table, name, lsn_format(progress_start(record->with.books->progress), lsn));
    record_add_values(record, &sql);
    text_printf(&sql,
                ") AS v WHERE EXISTS (SELECT FROM %s p WHERE p.%s AND p.generation = '%s')"
                " ON CONFLICT (pipeline, table_id) DO UPDATE SET start_lsn = excluded.start_lsn,"
                " schema_name = excluded.schema_name, table_name = excluded.table_name,"
                " snapshot_lsn = excluded.snapshot_lsn, rows = excluded.rows, bytes ="
                " excluded.bytes, finished_at = clock_timestamp() RETURNING 1",
                record->with.books->start->position_table, record->with.books->start->position_key,
                wal->history->ours);
    claim_ask(wal->claim, &(PgQuery){.step = "record tables of the snapshot",
                                     .sql = text_string(&sql),
                                     .arg = record,
                                     .result = on_write_result,
                                     .done = on_written});
}

void snapshot_record_ask(SnapshotRecord *record)
{
    wal_want(record->with.wal, &record->ask);
}

void snapshot_record_write(SnapshotRecord *record)
{
    const SnapshotTables *tables = record->with.tables;
    if (record->writing.count > 0) {
        return; /* what is acknowledged meanwhile comes next */
    }
    for (size_t i = 0; i < tables->items.count; i++) {
        if (snapshot_table_is_acknowledged(&tables->items.items[i])) {
            wal_want(record->with.wal, &record->write);
            return;
        }
    }
}

void snapshot_record_drop(SnapshotRecord *record)
{
    record->writing.count = 0;
}

SnapshotRecord *snapshot_record_new(const SnapshotRecordParts *parts)
{
    SnapshotRecord *record = x_calloc(1, sizeof(*record));
    record->with = *parts;
    record->ask = (ClaimJob){.run = record_run_ask, .arg = record};
    record->write = (ClaimJob){.run = record_run_write, .arg = record};
    return record;
}

void snapshot_record_free(SnapshotRecord **record)
{
    if (*record == NULL) {
        return;
    }
    vec_free(&(*record)->writing);
    free(*record);
    *record = NULL;
}

/* The rows of outbox.publisher, which tell of each table that had the name and may not be finished,
 * whichever capture read it. A pipeline that begins with the log finds there what one that polled
 * left behind, and leaves a row itself for one that polls after it. Kept rows do not tell whether
 * they are published: with on_publish = "keep" there are none. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "rows/succession.h"

static void add_ours(const WalSource *wal, Text *sql)
{
    AUTO_TEXT table = ident_literal(wal->options.pipeline->outbox.table);
    AUTO_TEXT name = ident_literal(wal->table->configured);
    text_printf(sql,
                "(p.table_name = %s OR pg_catalog.to_regclass(p.table_name) ="
                " pg_catalog.to_regclass(%s))",
                table, name);
}

static void on_note_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    Rotation *rotation = &wal->rotation;
    for (int row = 0; PQresultStatus(result) == PGRES_TUPLES_OK && row < PQntuples(result); row++) {
        if (PQfnumber(result, "before") < 0) {
            return;
        }
        uint32_t oid = (uint32_t)strtoul(succession_value(result, row, "before"), NULL, 10);
        tables_find(rotation, oid, succession_value(result, row, "present"));
    }
}

static void on_noted(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    wal_tell(wal, NEWS_NOTED);
}

/* Tables of before are looked for where rows are read from the table: what lies behind a position
 * is known by it. */
static void publisher_note(WalSource *wal)
{
    const char *rows = wal->rotation.publisher;
    AUTO_TEXT seq = ident_literal(wal->options.pipeline->outbox.columns[FIELD_SEQ]);
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (!wal->facts.has_position || wal->options.config->new_slot) {
        text_printf(&sql,
                    "SELECT c.oid AS before, pg_catalog.format('%%I.%%I', n.nspname, c.relname)"
                    " AS present FROM %s AS p JOIN pg_catalog.pg_class c ON c.oid = p.table_id"
                    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                    " JOIN pg_catalog.pg_type t ON t.typrelid = c.oid"
                    " JOIN pg_catalog.pg_attribute s ON s.attrelid = c.oid AND s.attname ="
                    " 'tableoid' AND s.attnum < 0 WHERE ",
                    rows);
        add_ours(wal, &sql);
        text_printf(&sql,
                    " AND p.table_id <> %u AND c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM"
                    " pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = %s AND NOT"
                    " a.attisdropped) ORDER BY pg_catalog.age(s.xmin) DESC,"
                    " pg_catalog.age(t.xmin) DESC, p.updated_at; ",
                    claim_table(wal->claim), seq);
    }
    publisher_add_claim(wal->options.pipeline, rows, claim_table(wal->claim), wal->history->ours,
                        &sql);
    claim_ask(wal->claim, &(PgQuery){.step = "note publisher",
                                     .sql = sql.data,
                                     .rows_wanted = 1,
                                     .arg = wal,
                                     .result = on_note_result,
                                     .done = on_noted});
}

static void on_rights_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
        *succession_value(result, 0, "claims") != 't') {
        free(wal->rotation.publisher);
        wal->rotation.publisher = NULL;
    }
}

static void on_rights_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    if (wal->rotation.publisher == NULL) {
        wal_tell(wal, NEWS_NOTED);
    } else {
        publisher_note(wal);
    }
}

bool wal_publisher_begin(WalSource *wal)
{
    Rotation *rotation = &wal->rotation;
    free(rotation->publisher);
    rotation->publisher = NULL;
    if (*claim_look(wal->claim)->publisher == '\0' || claim_is_shared(wal->claim)) {
        return false;
    }
    rotation->publisher = x_strdup(claim_look(wal->claim)->publisher);
    AUTO_TEXT rows = ident_literal(rotation->publisher);
    AUTO_TEXT sql = x_format("SELECT pg_catalog.has_table_privilege(%1$s, 'SELECT') AND"
                             " pg_catalog.has_table_privilege(%1$s, 'INSERT') AND"
                             " pg_catalog.has_table_privilege(%1$s, 'UPDATE') AND"
                             " pg_catalog.has_table_privilege(%1$s, 'DELETE') AS claims",
                             rows);
    claim_ask(wal->claim, &(PgQuery){.step = "rights on publisher",
                                     .sql = sql,
                                     .rows_wanted = 1,
                                     .arg = wal,
                                     .result = on_rights_result,
                                     .done = on_rights_done});
    return true;
}

bool wal_publisher_forget(WalSource *wal, uint32_t table_oid,
                          void (*done)(void *arg, const Error *err))
{
    if (wal->rotation.publisher == NULL || !claim_is_free(wal->claim)) {
        return false; /* whoever finds the row finds the table finished */
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_printf(&sql, "DELETE FROM %s AS p WHERE p.table_id = %u AND ", wal->rotation.publisher,
                table_oid);
    add_ours(wal, &sql);
    claim_ask(wal->claim,
              &(PgQuery){.step = "forget publisher", .sql = sql.data, .arg = wal, .done = done});
    return true;
}

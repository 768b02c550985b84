/* The rows of outbox.publisher, which tell of each table that had the name and may not be finished,
 * whichever capture read it. A pipeline that begins with the log finds there what one that polled
 * left behind, and leaves a row itself for one that polls after it. Kept rows do not tell whether
 * they are published: with on_publish = "keep" there are none. */
#include "cdc/wal_publisher.h"

#include <stdlib.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "rows/publisher.h"
#include "rows/succession.h"

struct PublisherRows {
    const WalContext *wal;
    const WalStart *start;
    void (*noted)(void *arg);
    void *arg;
    char *table;     /* outbox.publisher as SQL; NULL: there is none, or it is not ours to write */
    OldTables found; /* of which its rows tell, oldest first */
};

static void add_ours(const WalContext *wal, Text *sql)
{
    AUTO_TEXT table = ident_literal(wal->pipeline->outbox.table);
    AUTO_TEXT name = ident_literal(wal->table->configured);
    text_printf(sql,
                "(p.table_name = %s OR pg_catalog.to_regclass(p.table_name) ="
                " pg_catalog.to_regclass(%s))",
                table, name);
}

static void on_note_result(void *arg, const PGresult *result)
{
    PublisherRows *rows = arg;
    for (int row = 0; PQresultStatus(result) == PGRES_TUPLES_OK && row < PQntuples(result); row++) {
        if (PQfnumber(result, "before") < 0) {
            return;
        }
        uint32_t oid = (uint32_t)strtoul(succession_value(result, row, "before"), NULL, 10);
        old_tables_add(&rows->found, oid, succession_value(result, row, "present"));
    }
}

static void on_noted(void *arg, const Error *err)
{
    PublisherRows *rows = arg;
    if (wal_goes_on(rows->wal, err)) {
        rows->noted(rows->arg);
    }
}

/* Tables of before are looked for where rows are read from the table: what lies behind a position
 * is known by it. */
static void publisher_note(PublisherRows *rows)
{
    const WalContext *wal = rows->wal;
    AUTO_TEXT seq = ident_literal(wal->pipeline->outbox.columns[FIELD_SEQ]);
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (!rows->start->given.stored->there || wal->config->new_slot) {
        text_printf(&sql,
                    "SELECT c.oid AS before, pg_catalog.format('%%I.%%I', n.nspname, c.relname)"
                    " AS present FROM %s AS p JOIN pg_catalog.pg_class c ON c.oid = p.table_id"
                    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                    " JOIN pg_catalog.pg_type t ON t.typrelid = c.oid"
                    " JOIN pg_catalog.pg_attribute s ON s.attrelid = c.oid AND s.attname ="
                    " 'tableoid' AND s.attnum < 0 WHERE ",
                    rows->table);
        add_ours(wal, &sql);
        text_printf(&sql,
                    " AND p.table_id <> %u AND c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM"
                    " pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = %s AND NOT"
                    " a.attisdropped) ORDER BY pg_catalog.age(s.xmin) DESC,"
                    " pg_catalog.age(t.xmin) DESC, p.updated_at; ",
                    claim_table(wal->claim), seq);
    }
    publisher_add_claim(wal->pipeline, rows->table, claim_table(wal->claim), wal->history->ours,
                        NULL, &sql);
    claim_ask(wal->claim, &(PgQuery){.step = "note publisher",
                                     .sql = sql.data,
                                     .rows_wanted = 1,
                                     .arg = rows,
                                     .result = on_note_result,
                                     .done = on_noted});
}

static void publisher_forget_table(PublisherRows *rows)
{
    free(rows->table);
    rows->table = NULL;
}

static void on_rights_result(void *arg, const PGresult *result)
{
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
        *succession_value(result, 0, "claims") != 't') {
        publisher_forget_table(arg);
    }
}

static void on_rights_done(void *arg, const Error *err)
{
    PublisherRows *rows = arg;
    if (!wal_goes_on(rows->wal, err)) {
        return;
    }
    if (rows->table == NULL) {
        rows->noted(rows->arg);
    } else {
        publisher_note(rows);
    }
}

bool publisher_rows_begin(PublisherRows *rows)
{
    const WalContext *wal = rows->wal;
    old_tables_clear(&rows->found);
    publisher_forget_table(rows);
    if (*claim_look(wal->claim)->memory == '\0' || claim_is_shared(wal->claim)) {
        return false;
    }
    rows->table = x_strdup(claim_look(wal->claim)->memory);
    AUTO_TEXT table = ident_literal(rows->table);
    AUTO_TEXT sql = x_format("SELECT pg_catalog.has_table_privilege(%1$s, 'SELECT') AND"
                             " pg_catalog.has_table_privilege(%1$s, 'INSERT') AND"
                             " pg_catalog.has_table_privilege(%1$s, 'UPDATE') AND"
                             " pg_catalog.has_table_privilege(%1$s, 'DELETE') AS claims",
                             table);
    claim_ask(wal->claim, &(PgQuery){.step = "rights on publisher",
                                     .sql = sql,
                                     .rows_wanted = 1,
                                     .arg = rows,
                                     .result = on_rights_result,
                                     .done = on_rights_done});
    return true;
}

const OldTables *publisher_rows_found(const PublisherRows *rows)
{
    return &rows->found;
}

bool publisher_rows_forget(PublisherRows *rows, uint32_t table_oid, void *arg,
                           void (*done)(void *arg, const Error *err))
{
    const WalContext *wal = rows->wal;
    if (rows->table == NULL || !claim_is_free(wal->claim)) {
        return false; /* whoever finds the row finds the table finished */
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_printf(&sql, "DELETE FROM %s AS p WHERE p.table_id = %u AND ", rows->table, table_oid);
    add_ours(wal, &sql);
    claim_ask(wal->claim,
              &(PgQuery){.step = "forget publisher", .sql = sql.data, .arg = arg, .done = done});
    return true;
}

PublisherRows *publisher_rows_new(const WalContext *wal, const WalStart *start,
                                  void (*noted)(void *arg), void *arg)
{
    PublisherRows *rows = x_calloc(1, sizeof(*rows));
    rows->wal = wal;
    rows->start = start;
    rows->noted = noted;
    rows->arg = arg;
    return rows;
}

void publisher_rows_free(PublisherRows **rows)
{
    if (*rows == NULL) {
        return;
    }
    publisher_forget_table(*rows);
    old_tables_clear(&(*rows)->found);
    free(*rows);
    *rows = NULL;
}

/* The guard. A row of a transaction with synchronous_commit = off is visible before its commit is
 * on disk; a crash of PostgreSQL would undo a fact that Kafka has. So a fetch is handed on only
 * when WAL is flushed beyond the position noted after its snapshot; if no commit of others does
 * that within milliseconds, one of our own forces it. */
#include "outbox/poll_guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"

enum {
    GUARD_TRIES = 4, /* one a round trip, then a millisecond apart, then we force the flush */
};

/* Looked up with the first fetch of a session. */
static void add_sequence(const OutboxTable *outbox, const char *table, Text *sql)
{
    AUTO_TEXT column = ident_literal(outbox->config->outbox.columns[FIELD_SEQ]);
    text_printf(sql,
                ", (SELECT d.objid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a"
                " ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
                " JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid"
                " WHERE d.refobjid = pg_catalog.to_regclass(%s) AND a.attname = %s"
                " AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
                " AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
                " AND d.deptype IN ('a', 'i') LIMIT 1) AS sequence_oid",
                table, column);
}

void guard_add_query(const Guard *guard, const OutboxTable *table, uint32_t table_oid, Text *sql)
{
    AUTO_TEXT name = ident_literal(table->name);
    text_printf(sql,
                "SELECT pg_catalog.pg_current_wal_insert_lsn() AS insert_lsn,"
                " pg_catalog.pg_current_wal_flush_lsn() >= pg_catalog.pg_current_wal_insert_lsn()"
                " AS durable, pg_catalog.to_regclass(%s)::pg_catalog.oid AS table_oid",
                name);
    if (!guard->sequence_known) {
        add_sequence(table, name, sql);
        return;
    }
    text_printf(sql,
                ", pg_catalog.concat(pg_catalog.pg_relation_filenode(%1$u), ' ',"
                " pg_catalog.pg_relation_filenode(%2$u)) AS storage,"
                " CASE WHEN pg_catalog.has_sequence_privilege(%2$u, 'SELECT, USAGE')"
                " THEN pg_catalog.pg_sequence_last_value(%2$u) END AS last_value",
                table_oid, guard->sequence_oid);
    if (table_may_be_small(table)) {
        AUTO_TEXT oid = x_format("%u", table_oid);
        text_add(sql, ", ");
        table_add_small(table, oid, sql);
        text_add(sql, " AS small");
    }
}

void guard_read(Guard *guard, const PGresult *result)
{
    int fields = PQnfields(result);
    snprintf(guard->insert_lsn, sizeof(guard->insert_lsn), "%s", pg_needed(result, 0, 0));
    guard->durable = pg_needed(result, 0, 1)[0] == 't';
    guard->table_oid = (uint32_t)strtoul(pg_value(result, 0, 2), NULL, 10);
    if (fields <= 4) {
        guard->sequence_oid = (uint32_t)strtoul(pg_value(result, 0, 3), NULL, 10);
        guard->sequence_known = true;
        return;
    }
    snprintf(guard->now.storage, sizeof(guard->now.storage), "%s", pg_value(result, 0, 3));
    guard->small = pg_field(result, 0, "small")[0] == 't';
    guard->now.last =
        pg_is_null(result, 0, 4) ? INT64_MIN : strtoll(pg_value(result, 0, 4), NULL, 10);
}

void guard_reset(Guard *guard)
{
    *guard = (Guard){.sequence_oid = guard->sequence_oid};
}

void guard_begin(Guard *guard)
{
    guard->insert_lsn[0] = '\0';
    guard->durable = false;
    guard->tries = 0;
    guard->table_oid = 0;
    guard->now = (GuardNumbers){0};
}

void guard_cancelled(Guard *guard)
{
    guard->insert_lsn[0] = '\0';
    guard->durable = false;
}

bool guard_is_durable(const Guard *guard)
{
    return guard->durable;
}

const char *guard_insert_lsn(const Guard *guard)
{
    return guard->insert_lsn;
}

uint32_t guard_table(const Guard *guard)
{
    return guard->table_oid;
}

bool guard_finds_numbers_back(Guard *guard)
{
    const GuardNumbers *now = &guard->now;
    bool back = strcmp(now->storage, guard->before.storage) != 0 ||
                (now->last != INT64_MIN && now->last < guard->before.last);
    guard->before = *now;
    guard->doubts = guard->doubts || back;
    return back;
}

void guard_doubt_numbers(Guard *guard, bool doubt)
{
    guard->doubts = doubt;
}

bool guard_doubts_numbers(const Guard *guard)
{
    return guard->doubts;
}

bool guard_finds_small(const Guard *guard)
{
    return guard->small;
}

void guard_forget_small(Guard *guard)
{
    guard->small = false;
}

int guard_add_question(Guard *guard, const OutboxTable *table, uint32_t table_oid, bool rolls_back,
                       Text *sql)
{
    int rows = 1;
    if (guard->insert_lsn[0] == '\0') { /* the fetch was cancelled before it came to that */
        text_add(sql, rolls_back ? "ROLLBACK; " : "");
        guard_add_query(guard, table, table_oid, sql);
        return rows;
    }
    if (++guard->tries > GUARD_TRIES) {
        /* A commit that wrote WAL, with synchronous_commit = on, flushes all before it. */
        text_add(sql, "SELECT pg_logical_emit_message(true, 'outboxd.flush', ''); ");
        rows = 2;
    } else if (guard->tries > 1) {
        text_add(sql, "SELECT pg_sleep(0.001); ");
        rows = 2;
    }
    text_printf(sql, "SELECT pg_current_wal_flush_lsn() >= '%s'::pg_lsn", guard->insert_lsn);
    return rows;
}

void guard_read_answer(Guard *guard, const PGresult *result)
{
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (guard->insert_lsn[0] != '\0') {
        guard->durable = pg_needed(result, 0, 0)[0] == 't';
    } else {
        guard_read(guard, result);
    }
}

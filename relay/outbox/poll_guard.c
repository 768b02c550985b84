/* The guard. A row of a transaction with synchronous_commit = off is visible before its commit is
 * on disk; a crash of PostgreSQL would undo a fact that Kafka has. So a fetch is handed on only
 * when WAL is flushed beyond the position noted after its snapshot; if no commit of others does
 * that within milliseconds, one of our own forces it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "outbox/poll_internal.h"
#include "pg/ident.h"
#include "pg/result.h"

enum {
    GUARD_TRIES = 4, /* one a round trip, then a millisecond apart, then we force the flush */
};

/* Looked up with the first fetch of a session. */
static void add_sequence(const PollSource *poll, const char *table, Text *sql)
{
    AUTO_TEXT column = ident_literal(poll->options.pipeline->outbox.columns[FIELD_SEQ]);
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

void guard_add_query(const PollSource *poll, Text *sql)
{
    AUTO_TEXT table = ident_literal(poll->table->name);
    text_printf(sql,
                "SELECT pg_catalog.pg_current_wal_insert_lsn() AS insert_lsn,"
                " pg_catalog.pg_current_wal_flush_lsn() >= pg_catalog.pg_current_wal_insert_lsn()"
                " AS durable, pg_catalog.to_regclass(%s)::pg_catalog.oid AS table_oid",
                table);
    if (!poll->sequence_known) {
        add_sequence(poll, table, sql);
        return;
    }
    text_printf(sql,
                ", pg_catalog.concat(pg_catalog.pg_relation_filenode(%1$u), ' ',"
                " pg_catalog.pg_relation_filenode(%2$u)) AS storage,"
                " CASE WHEN pg_catalog.has_sequence_privilege(%2$u, 'SELECT, USAGE')"
                " THEN pg_catalog.pg_sequence_last_value(%2$u) END AS last_value",
                claim_table(poll->claim), poll->sequence_oid);
    if (table_may_be_small(poll->table)) {
        AUTO_TEXT oid = x_format("%u", claim_table(poll->claim));
        text_add(sql, ", ");
        table_add_small(poll->table, oid, sql);
        text_add(sql, " AS small");
    }
}

void guard_read(PollSource *poll, const PGresult *result)
{
    Fetch *fetch = &poll->fetch;
    int fields = PQnfields(result);
    snprintf(fetch->insert_lsn, sizeof(fetch->insert_lsn), "%s", pg_needed(result, 0, 0));
    fetch->durable = pg_needed(result, 0, 1)[0] == 't';
    fetch->table_oid = (uint32_t)strtoul(pg_value(result, 0, 2), NULL, 10);
    if (fields <= 4) {
        poll->sequence_oid = (uint32_t)strtoul(pg_value(result, 0, 3), NULL, 10);
        poll->sequence_known = true;
        return;
    }
    snprintf(fetch->numbers.storage, sizeof(fetch->numbers.storage), "%s", pg_value(result, 0, 3));
    poll->small = pg_field(result, 0, "small")[0] == 't';
    fetch->numbers.last =
        pg_is_null(result, 0, 4) ? INT64_MIN : strtoll(pg_value(result, 0, 4), NULL, 10);
}

static void guard_on_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (poll->fetch.insert_lsn[0] != '\0') {
        poll->fetch.durable = pg_needed(result, 0, 0)[0] == 't';
    } else {
        guard_read(poll, result);
    }
}

static void guard_on_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    if (poll->fetch.durable) {
        poll_tell(poll, NEWS_DURABLE);
    } else {
        guard_ask(poll);
    }
}

void guard_ask(PollSource *poll)
{
    Fetch *fetch = &poll->fetch;
    AUTO_BUFFER sql = TEXT_EMPTY;
    int rows = 1;
    if (fetch->insert_lsn[0] == '\0') { /* the fetch was cancelled before it came to that */
        text_add(&sql, fetch->wide ? "ROLLBACK; " : "");
        guard_add_query(poll, &sql);
    } else {
        if (++fetch->guard_tries > GUARD_TRIES) {
            /* A commit that wrote WAL, with synchronous_commit = on, flushes all before it. */
            text_add(&sql, "SELECT pg_logical_emit_message(true, 'outboxd.flush', ''); ");
            rows = 2;
        } else if (fetch->guard_tries > 1) {
            text_add(&sql, "SELECT pg_sleep(0.001); ");
            rows = 2;
        }
        text_printf(&sql, "SELECT pg_current_wal_flush_lsn() >= '%s'::pg_lsn", fetch->insert_lsn);
    }
    claim_ask(poll->claim, &(PgQuery){.step = "guard",
                                      .sql = sql.data,
                                      .rows_wanted = rows,
                                      .arg = poll,
                                      .result = guard_on_result,
                                      .done = guard_on_done});
}

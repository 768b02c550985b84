/* What is between the old table and the present one, and may we finish it? Where the catalog does
 * not tell that there was none between, tables that look like one and have unpublished rows stop
 * the pipeline until a human says what they are. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "outbox/poll_rotation.h"
#include "outbox/poll_session.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/succession.h"

enum { COUNT_MOST = 100000 };

static void between_deny(const Poll *poll, const char *grants)
{
    Error *err = &poll->rotation->between->denied;
    error_set_as(err, claim_has_begun(poll->claim) ? ERROR_RETRY : ERROR_FATAL, EXIT_POSTGRES,
                 CODE_OLD_TABLE_DENIED,
                 "table '%s' was renamed to %s, and the relay's role may not finish that one: its "
                 "last events and those of the new table wait",
                 poll->options.pipeline->outbox.table, poll->rotation->name);
    error_hint(err, "An administrator runs: %s", grants);
}

static void between_add_stray(const Poll *poll, const char *name, bool readable)
{
    Between *between = poll->rotation->between;
    if (readable) {
        AUTO_TEXT literal = ident_literal(name);
        text_printf(&between->stray_counts,
                    "SELECT %s AS counted, pg_catalog.count(*) FROM (SELECT FROM %s WHERE true%s"
                    " LIMIT %d) AS unpublished; ",
                    literal, name, poll->table->unpublished, COUNT_MOST);
        return;
    }
    between->strays++;
    text_printf(&between->stray_names, "%s%s (its rows could not be counted)",
                between->strays > 1 ? ", " : "", name);
}

static void on_succession_result(void *arg, const PGresult *result)
{
    Poll *poll = arg;
    Between *between = poll->rotation->between;
    bool told = PQresultStatus(result) == PGRES_TUPLES_OK;
    for (int row = 0; told && row < PQntuples(result); row++) {
        if (PQfnumber(result, "stray") >= 0) {
            bool readable = *succession_value(result, row, "stray_readable") == 't';
            if (!between->linked) {
                between_add_stray(poll, succession_value(result, row, "stray"), readable);
            }
            continue;
        }
        const char *grants = succession_value(result, row, "grants");
        between->linked = *succession_value(result, row, "linked") == 't';
        if (row == 0 && *grants != '\0' && between->denies) {
            between_deny(poll, grants);
        } else if (row == 1 && *succession_value(result, row, "present") != '\0') {
            between->successor =
                (uint32_t)strtoul(succession_value(result, row, "old_table"), NULL, 10);
        }
    }
}

static void on_strays_result(void *arg, const PGresult *result)
{
    Between *between = ((Poll *)arg)->rotation->between;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    long long count = strtoll(pg_value(result, 0, 1), NULL, 10);
    if (count > 0) {
        between->strays++;
        text_printf(&between->stray_names, "%s%s (%s%lld rows)", between->strays > 1 ? ", " : "",
                    pg_value(result, 0, 0), count >= COUNT_MOST ? "at least " : "", count);
    }
}

static void on_strays_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    Between *between = poll->rotation->between;
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    if (between->strays > 0) {
        AUTO_ERROR unknown = {0};
        const PipelineConfig *pipeline = poll->options.pipeline;
        AUTO_TEXT name = ident_literal(pipeline->name);
        AUTO_TEXT table = ident_literal(pipeline->outbox.table);
        error_set_as(&unknown, claim_has_begun(poll->claim) ? ERROR_RETRY : ERROR_FATAL,
                     EXIT_POSTGRES, CODE_OLD_TABLE_UNKNOWN,
                     "table '%s' was rotated more than once or in several steps, and tables that "
                     "may have had the name in between have unpublished rows: %s",
                     pipeline->outbox.table, between->stray_names.data);
        error_hint(&unknown,
                   "If a table had the name: INSERT INTO %s (table_id, pipeline, table_name, "
                   "generation) VALUES ('<table>'::regclass, %s, %s, gen_random_uuid()); the relay "
                   "then finishes it before the new one. If a table did not have the name: ALTER "
                   "TABLE <table> SET SCHEMA to another schema, or mark its rows as published.",
                   session_publisher_table(poll->session), name, table);
        claim_lose(poll->claim, &unknown);
    } else {
        between->done(poll);
    }
}

static void on_succession_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    Between *between = poll->rotation->between;
    if (err != NULL || between->denied.class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(err != NULL ? err : &between->denied);
        claim_lose(poll->claim, &copy);
        return;
    }
    if (between->stray_counts.length == 0) {
        on_strays_done(poll, NULL);
        return;
    }
    claim_ask(poll->claim, &(PgQuery){.step = "count strays",
                                      .sql = between->stray_counts.data,
                                      .arg = poll,
                                      .result = on_strays_result,
                                      .done = on_strays_done});
}

void between_ask(Poll *poll, uint32_t old_oid, uint32_t next_oid, bool denies,
                 void (*done)(Poll *poll))
{
    Between *between = poll->rotation->between;
    AUTO_TEXT known = x_format("c.oid IN (SELECT p.table_id FROM %s AS p)",
                               session_publisher_table(poll->session));
    AUTO_BUFFER sql = TEXT_EMPTY;
    succession_add_query(poll->options.pipeline, old_oid, next_oid, &sql);
    text_add(&sql, "; ");
    succession_add_strays(old_oid, next_oid, known, &sql);
    between_release(between);
    between->denies = denies;
    between->done = done;
    claim_ask(poll->claim, &(PgQuery){.step = "succession",
                                      .sql = sql.data,
                                      .arg = poll,
                                      .result = on_succession_result,
                                      .done = on_succession_done});
}

uint32_t between_successor(const Between *between)
{
    return between->successor;
}

void between_release(Between *between)
{
    text_free(&between->stray_names);
    text_free(&between->stray_counts);
    error_clear(&between->denied);
    memset(between, 0, sizeof(*between));
}

/* PREPARE waits for whoever locks the table, as a mark does: so it is one of the statements that
 * are tried again. The table may be renamed while its answer is under way: then it is about a name
 * that the table has no more. */
#include "rows/mark_statements.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/text.h"
#include "pg/result.h"

struct MarkStatements {
    MarkerLine *line;
    MarkSql sql;
    unsigned names;    /* raised when the table's name, or the table, is another one */
    unsigned asked;    /* names, when they were asked for */
    unsigned prepared; /* names that they are prepared for; 0: none */
};

void statements_renamed(MarkStatements *statements)
{
    statements->prepared = 0;
    statements->names++;
}

void statements_begin(MarkStatements *statements, uint32_t table_oid, const MarkProof *proof)
{
    const MarkerOptions *options = line_options(statements->line);
    statements->sql =
        (MarkSql){.table = options->table,
                  .table_oid = table_oid,
                  .row_table = proof_table(proof),
                  .row_key = proof_key(proof),
                  .generation = proof_ctid(proof) != NULL ? options->history->ours : NULL};
    statements_renamed(statements);
}

void statements_retarget(MarkStatements *statements, uint32_t table_oid)
{
    statements->sql.table_oid = table_oid;
    statements_renamed(statements);
}

void statements_drop(MarkStatements *statements)
{
    statements->prepared = 0;
}

const MarkSql *statements_sql(const MarkStatements *statements)
{
    return &statements->sql;
}

bool statements_are_prepared(const MarkStatements *statements)
{
    return statements->prepared == statements->names;
}

static void prepare_on_done(void *arg, const Error *err)
{
    MarkStatements *statements = arg;
    if (!line_ends(statements->line, err)) {
        return;
    }
    if (err == NULL) {
        statements->prepared = statements->asked;
    }
    line_go_on(statements->line);
}

static void prepare_send(MarkStatements *statements)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    mark_sql_add_prepare(&statements->sql, &sql);
    line_send(statements->line, &(PgQuery){.step = "prepare marking",
                                           .sql = sql.data,
                                           .arg = statements,
                                           .done = prepare_on_done});
}

static void id_on_result(void *arg, const PGresult *result)
{
    MarkStatements *statements = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQnfields(result) == 1) {
        bool is_null = PQntuples(result) != 1 || pg_is_null(result, 0, 0);
        mark_sql_read_id_type(&statements->sql, is_null ? NULL : pg_value(result, 0, 0));
    }
}

static void id_on_done(void *arg, const Error *err)
{
    if (err != NULL) {
        prepare_on_done(arg, err);
    } else {
        prepare_send(arg);
    }
}

void statements_prepare(MarkStatements *statements)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    MarkSql *mark = &statements->sql;
    statements->asked = statements->names;
    mark->touches_rows = line_touches_rows(statements->line);
    mark->with_position = pipeline_reads_log(line_options(statements->line)->pipeline);
    if (!mark->touches_rows || !mark_sql_add_id_query(mark, &sql)) {
        mark->id_kind = MARK_ID_NONE;
        prepare_send(statements);
        return;
    }
    mark_sql_read_id_type(mark, NULL);
    line_send(statements->line, &(PgQuery){.step = "type of the id",
                                           .sql = sql.data,
                                           .arg = statements,
                                           .result = id_on_result,
                                           .done = id_on_done});
}

MarkStatements *statements_new(MarkerLine *line)
{
    MarkStatements *statements = x_calloc(1, sizeof(*statements));
    statements->line = line;
    return statements;
}

void statements_free(MarkStatements **statements)
{
    free(*statements);
    *statements = NULL;
}

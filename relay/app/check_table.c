/* What must hold of the table of one pipeline, and of publication and slot, as the relay's own list
 * (rows/precondition.h) says it: what `check` knows, `run` enforces. Beside it, what is worth a
 * warning only here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/check.h"
#include "base/memory.h"
#include "config/nearest.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/precondition.h"

/* "; did you mean "topic"?" of a column that is missing. */
static char *table_nearest(PGconn *conn, uint32_t oid, const char *message)
{
    const char *name = strstr(message, "has no column \"");
    if (name == NULL || oid == 0) {
        return NULL;
    }
    name += strlen("has no column \"");
    AUTO_TEXT wanted = x_strndup(name, strcspn(name, "\""));
    AUTO_TEXT table = x_format("%u", oid);
    const char *values[] = {table};
    PGresult *r = PQexecParams(conn,
                               "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid ="
                               " $1::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                               1, NULL, values, NULL, NULL, 0);
    Nearest nearest = nearest_begin(wanted);
    const char *meant = NULL;
    for (int i = 0; PQresultStatus(r) == PGRES_TUPLES_OK && i < PQntuples(r); i++) {
        const char *column = pg_value(r, i, 0);
        meant = nearest_offer(&nearest, column) ? column : meant;
    }
    char *ret = meant != NULL ? x_format("; did you mean \"%s\"?", meant) : NULL;
    PQclear(r);
    return ret;
}

static void table_note(Check *check, PGconn *conn, const PreconditionLook *look)
{
    for (size_t i = 0; i < look->fault_count; i++) {
        const PreconditionFault *fault = &look->faults[i];
        const Error *err = &fault->error;
        const char *remedy = *err->hint != '\0' ? err->hint : NULL;
        if (fault->warning) {
            check_warning(check, "database", remedy, "%s", err->message);
        } else {
            AUTO_TEXT meant = table_nearest(conn, look->table_oid, err->message);
            check_problem(check, EXIT_POSTGRES, "database", remedy, "%s%s", err->message,
                          meant != NULL ? meant : "");
        }
    }
}

bool check_table(Check *check, PGconn *conn, const PipelineConfig *pipeline,
                 PreconditionLook *ret_look)
{
    AUTO(OutboxTable, table_free) table = NULL;
    Error err;
    if (table_new(pipeline, &table, &err) != OK) {
        check_problem(check, EXIT_CONFIG, "configuration", *err.hint != '\0' ? err.hint : NULL,
                      "%s", err.message);
        return false;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    precondition_add_query(pipeline, table, 0, PQserverVersion(conn), &sql);
    PGresult *r = check_query(check, conn, sql.data, 0, NULL);
    if (r == NULL) {
        return false;
    }
    precondition_read(pipeline, r, 0, PRECONDITION_CHECK, ret_look);
    PQclear(r);
    table_note(check, conn, ret_look);
    return precondition_broken(ret_look) == NULL;
}

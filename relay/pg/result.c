#include "pg/result.h"

#include <stdio.h>
#include <string.h>

/* What was missing first. */
static _Thread_local char missing[120];

static void result_note(const PGresult *result, int row, int column, const char *name)
{
    if (missing[0] != '\0') {
        return;
    }
    int columns = PQnfields(result);
    if (row < 0 || row >= PQntuples(result)) {
        snprintf(missing, sizeof(missing), "has no row %d", row + 1);
    } else if (name != NULL && (column < 0 || column >= columns)) {
        snprintf(missing, sizeof(missing), "has no column '%.40s'", name);
    } else if (column < 0 || column >= columns) {
        snprintf(missing, sizeof(missing), "has no column %d", column + 1);
    } else {
        const char *told = PQfname(result, column);
        snprintf(missing, sizeof(missing), "holds NULL in column %d (%.40s)", column + 1,
                 told != NULL ? told : "");
    }
}

static bool result_has(const PGresult *result, int row, int column)
{
    return row >= 0 && row < PQntuples(result) && column >= 0 && column < PQnfields(result);
}

static const char *result_get(const PGresult *result, int row, int column)
{
    const char *value = PQgetvalue(result, row, column);
    return value != NULL && !PQgetisnull(result, row, column) ? value : NULL;
}

const char *pg_value(const PGresult *result, int row, int column)
{
    if (!result_has(result, row, column)) {
        result_note(result, row, column, NULL);
        return "";
    }
    const char *value = result_get(result, row, column);
    return value != NULL ? value : "";
}

static const char *result_needed(const PGresult *result, int row, int column, const char *name)
{
    const char *value = result_has(result, row, column) ? result_get(result, row, column) : NULL;
    if (value == NULL) {
        result_note(result, row, column, name);
        return "";
    }
    return value;
}

const char *pg_needed(const PGresult *result, int row, int column)
{
    return result_needed(result, row, column, NULL);
}

bool pg_is_null(const PGresult *result, int row, int column)
{
    if (!result_has(result, row, column)) {
        result_note(result, row, column, NULL);
        return true;
    }
    return result_get(result, row, column) == NULL;
}

const char *pg_field_or_null(const PGresult *result, int row, const char *name)
{
    int column = PQfnumber(result, name);
    return result_has(result, row, column) ? result_get(result, row, column) : NULL;
}

const char *pg_field(const PGresult *result, int row, const char *name)
{
    const char *value = pg_field_or_null(result, row, name);
    return value != NULL ? value : "";
}

const char *pg_needed_field(const PGresult *result, int row, const char *name)
{
    return result_needed(result, row, PQfnumber(result, name), name);
}

void pg_result_begin(void)
{
    missing[0] = '\0';
}

Status pg_result_end(const char *question, Error *err)
{
    if (missing[0] == '\0') {
        return OK;
    }
    if (question != NULL) {
        error_set(err, CODE_PG_PROTOCOL, "the server's answer to '%s' %s", question, missing);
    } else {
        error_set(err, CODE_PG_PROTOCOL, "an answer of the server %s", missing);
    }
    missing[0] = '\0';
    return FAILED;
}

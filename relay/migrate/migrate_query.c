/* How it works: every statement goes through the session, which has migrate_failed turn a server
 * error into message, detail and remedy. The server's own hint wins; ours stands where it has none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "migrate/migrate_internal.h"
#include "pg/message.h"
#include "pg/result.h"
#include "pg/sqlstate.h"

typedef struct SqlstateHint {
    const char *state; /* or its class: the first two characters */
    ErrorCode code;
    const char *hint; /* NULL: the remedy of the code; "": none */
} SqlstateHint;

static const SqlstateHint HINTS[] = {
    {"55P03", CODE_MIGRATE_LOCKED, NULL},
    {"42501", CODE_MIGRATE_PRIVILEGE,
     "Connect as the role that owns the schema, or as one with CREATE on the database."},
    {"2BP01", CODE_MIGRATE_DEPENDENT, NULL},
    {"25006", CODE_MIGRATE_READ_ONLY,
     "Connect to the primary, in a session whose transactions may write."},
    {"42P06", CODE_MIGRATE_SCHEMA_FOREIGN, NULL},
    {"42P07", CODE_MIGRATE_SCHEMA_FOREIGN,
     "The object already exists, and outboxd did not create it. Choose another name with --schema "
     "NAME."},
    {"08", CODE_MIGRATE_CONNECTION, ""},
    {"57", CODE_MIGRATE_CONNECTION,
     "What was not applied was rolled back. Run outboxd migrate again."},
};

static const SqlstateHint *find_hint(const char *state)
{
    for (size_t i = 0; i < sizeof(HINTS) / sizeof(HINTS[0]); i++) {
        if (sqlstate_matches(state, HINTS[i].state)) {
            return &HINTS[i];
        }
    }
    return NULL;
}

static Status connection_lost(const PGconn *raw, Error *err)
{
    AUTO_TEXT message = pg_message(raw);
    error_set(err, CODE_MIGRATE_CONNECTION, "the connection was lost: %s", message);
    return error_advise(err);
}

Status migrate_failed(void *arg, PGconn *raw, const PGresult *result, Error *err)
{
    Migrate *migrate = arg;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *place = PQresultErrorField(result, PG_DIAG_CONTEXT);
    text_clear(&migrate->place_of_error);
    text_add(&migrate->place_of_error, place != NULL ? place : "");
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (sqlstate == NULL || primary == NULL || PQstatus(raw) != CONNECTION_OK) {
        return connection_lost(raw, err);
    }
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
    const SqlstateHint *ours = find_hint(sqlstate);
    const bool locked = sqlstate_matches(sqlstate, "55P03");
    /* dependent objects: the server's hint is "Use DROP ... CASCADE" */
    const bool ours_wins = sqlstate_matches(sqlstate, "2BP01");
    error_set(err, ours ? ours->code : CODE_MIGRATE_SQL, "%s%s%s [%s]",
              locked ? "another transaction has held a lock for 2 s" : primary, detail ? ". " : "",
              detail ? detail : "", sqlstate);
    if (err != NULL) {
        snprintf(err->sqlstate, sizeof(err->sqlstate), "%s", sqlstate);
    }
    if (hint != NULL && !ours_wins) {
        error_hint(err, "%s", hint);
    } else if (ours != NULL && ours->hint == NULL) {
        error_advise(err);
    } else if (ours != NULL && *ours->hint != '\0') {
        error_hint(err, "%s", ours->hint);
    }
    return FAILED;
}

Status migrate_query(Migrate *migrate, const char *sql, int count, const char *const *values,
                     PGresult **ret_result, Error *err)
{
    return pg_session_query(
        migrate->session, &(PgAsk){.step = "migrate", .sql = sql, .count = count, .values = values},
        ret_result, err);
}

Status migrate_run(Migrate *migrate, const char *sql, Error *err)
{
    return pg_session_run(migrate->session, "migrate", sql, err);
}

Status migrate_value(Migrate *migrate, const char *sql, char **ret_value, Error *err)
{
    const char *values[] = {migrate->schema};
    PGresult *result;
    if (migrate_query(migrate, sql, 1, values, &result, err) != OK) {
        return error_prefix(err, "%s", migrate->place);
    }
    bool null = PQntuples(result) == 0 || pg_is_null(result, 0, 0);
    *ret_value = null ? NULL : x_strdup(pg_value(result, 0, 0));
    PQclear(result);
    return OK;
}

/* The sessions of `outboxd check`, and how it asks in them. */
#include <stdio.h>

#include "base/memory.h"
#include "check/check.h"
#include "config/dsn.h"
#include "pg/conn.h"
#include "pg/open.h"
#include "pg/result.h"
#include "pg/sqlstate.h"

PGresult *check_query(Check *check, PGconn *conn, const char *sql, int count,
                      const char *const *values)
{
    PGresult *result = PQexecParams(conn, sql, count, NULL, values, NULL, NULL, 0);
    if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK) {
        return result;
    }
    AUTO_ERROR err = {0};
    sqlstate_error(result, &err);
    check_problem(check, EXIT_POSTGRES, "database",
                  *error_own_hint(&err) != '\0' ? error_own_hint(&err) : NULL, "%s",
                  error_message(&err));
    PQclear(result);
    return NULL;
}

/* sslmode=prefer, the default, connects without TLS where the server has none. */
static void check_encryption(Check *check, PGconn *conn, bool replication)
{
    const char *host = PQhost(conn);
    if (!replication && !check->clear_told && host != NULL && !dsn_host_is_local(host) &&
        PQsslInUse(conn) == 0) {
        check->clear_told = true;
        check_warning(check, "database",
                      "switch TLS on in the server, and set sslmode=verify-full and sslrootcert in "
                      "database.dsn",
                      "TLS is off for \"%s\", which is not on this machine: the server offers "
                      "none, and sslmode does not ask for it",
                      host);
    }
}

PGconn *check_connect(Check *check, bool replication)
{
    const Config *config = check->config;
    char timeout[24];
    int64_t seconds = (config->database.connect_timeout_ms + 999) / 1000;
    snprintf(timeout, sizeof(timeout), "%lld", (long long)(seconds < 2 ? 2 : seconds));
    AUTO_TEXT name = x_format("%s check", config->name);
    const char *const keys[] = {"dbname",          "fallback_application_name",
                                "connect_timeout", "client_encoding",
                                "replication",     NULL};
    const char *const values[] = {
        config->database.dsn, name, timeout, "UTF8", replication ? "database" : NULL, NULL};
    PGconn *conn = NULL;
    AUTO_ERROR err = {0};
    if (pg_open(keys, values, &conn, &err) == OK) {
        pg_adopt_encoding(conn);
        check_encryption(check, conn, replication);
        return conn;
    }
    const char *hint = replication
                           ? "Is there a pooler in between, or a CONNECTION LIMIT of the role? "
                             "psql with the same string and replication=database says the "
                             "same."
                           : "Is the server running, and are host and port right? psql "
                             "with the same string says the same.";
    bool judged = err.code == CODE_NO_REPLICATION || err.code == CODE_NO_WAL_SENDER;
    check_problem(check, EXIT_POSTGRES, "database",
                  *error_own_hint(&err) != '\0' ? error_own_hint(&err) : hint, "%s%s",
                  judged        ? ""
                  : replication ? "cannot connect for replication: "
                                : "cannot connect: ",
                  error_message(&err));
    PQfinish(conn);
    return NULL;
}

/* The sessions of `outboxd check`, and how it asks in them. */
#include "base/memory.h"
#include "check/check.h"
#include "config/dsn.h"

enum { QUERY_TIMEOUT_MS = 15000 };

PGresult *check_query(Check *check, const char *step, const char *sql, int count,
                      const char *const *values)
{
    PGresult *result = NULL;
    AUTO_ERROR err = {0};
    if (pg_session_query(check->session,
                         &(PgAsk){.step = step, .sql = sql, .count = count, .values = values},
                         &result, &err) != OK) {
        check_problem(check, EXIT_POSTGRES, "database",
                      *error_own_hint(&err) != '\0' ? error_own_hint(&err) : NULL, "%s",
                      error_message(&err));
    }
    return result;
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
                      "TLS is off for \"%s\", which is not on this machine: the server does not "
                      "offer it, and sslmode does not require it",
                      host);
    }
}

PgSession *check_connect(Check *check, bool replication)
{
    const Config *config = check->config;
    AUTO_TEXT name = x_format("%s check", config->name);
    PgSession *session = NULL;
    AUTO_ERROR err = {0};
    if (pg_session_open(
            &(PgSessionOptions){
                .dsn = replication ? *config_replication_dsn(config) : config->database.dsn,
                .pooled = replication || config->database.pooler == POOLER_SESSION,
                .application_name = name,
                .connect_timeout_ms = config->database.connect_timeout_ms,
                .statement_timeout_ms = QUERY_TIMEOUT_MS,
                .settings = "SET lock_timeout = 2000; SET default_transaction_read_only = on",
                .replication = replication,
            },
            &session, &err) == OK) {
        check_encryption(check, pg_session_raw(session), replication);
        return session;
    }
    if (err.code != CODE_POSTGRES_UNREACHABLE && *error_own_hint(&err) == '\0') {
        error_advise(&err); /* it is known what to do */
    }
    const char *hint = replication
                           ? "Check for a pooler in between (then set database.replication_dsn), "
                             "and for a CONNECTION LIMIT of the role. Try the same string and "
                             "replication=database with psql."
                           : "Check that the server is running, and that host and port are right. "
                             "Try the same string with psql.";
    bool judged = err.code == CODE_NO_REPLICATION || err.code == CODE_NO_WAL_SENDER ||
                  err.code == CODE_POSTGRES_POOLER;
    check_problem(check, EXIT_POSTGRES, "database",
                  *error_own_hint(&err) != '\0' ? error_own_hint(&err) : hint, "%s%s",
                  judged        ? ""
                  : replication ? "cannot connect for replication: "
                                : "cannot connect: ",
                  error_message(&err));
    pg_session_close(&session);
    return NULL;
}

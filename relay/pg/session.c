#include "pg/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "pg/encoding.h"
#include "pg/message.h"
#include "pg/open.h"
#include "pg/sqlstate.h"
#include "token/token.h"

#define SETTINGS                                                                                   \
    PG_TEXT_SETTINGS                                                                               \
    "SET row_security = off; SET jit = off; SET idle_in_transaction_session_timeout = 0; "         \
    "SET statement_timeout = "

enum { CONNECT_SECONDS_MIN = 2 }; /* libpq takes 1 for 2 */

struct PgSession {
    PgSessionOptions options; /* its texts are the caller's, and not read after opening */
    PGconn *raw;
};

static Status session_dial(PgSession *session, const char *password, Error *err)
{
    const PgSessionOptions *options = &session->options;
    char timeout[24];
    int64_t seconds = (options->connect_timeout_ms + 999) / 1000;
    snprintf(timeout, sizeof(timeout), "%lld",
             (long long)(seconds < CONNECT_SECONDS_MIN ? CONNECT_SECONDS_MIN : seconds));
    /* What stands before dbname is a default that the DSN may override. */
    const char *const keywords[] = {"fallback_application_name",
                                    "connect_timeout",
                                    "dbname",
                                    "client_encoding",
                                    "password",
                                    "replication",
                                    NULL};
    const char *const values[] = {options->application_name,
                                  options->connect_timeout_ms > 0 ? timeout : NULL,
                                  options->dsn,
                                  "UTF8",
                                  password, /* NULL: not given */
                                  options->replication ? "database" : NULL,
                                  NULL};
    return pg_open(keywords, values, options->pooled || options->replication, &session->raw, err);
}

/* One that served others may have been changed since: then a new one is tried, once. */
static Status session_connect(PgSession *session, Error *err)
{
    if (!token_is_wanted(TOKEN_DATABASE)) {
        return session_dial(session, NULL, err);
    }
    Status status = FAILED;
    for (int attempt = 0; attempt < 2 && status != OK; attempt++) {
        TokenValue value = {0};
        PQfinish(session->raw); /* no reason is looked for there when no password comes */
        session->raw = NULL;
        if (token_get(TOKEN_DATABASE, &value, err) != OK) {
            return FAILED;
        }
        status = session_dial(session, value.secret, err);
        if (status == OK) {
            token_accept(TOKEN_DATABASE, value.number);
            error_clear(err); /* that of the first attempt */
        } else if (err != NULL && sqlstate_is_of_login(err)) {
            token_refuse(TOKEN_DATABASE, value.number, err);
        } else {
            break;
        }
    }
    return status;
}

static Status session_set(PgSession *session, Error *err)
{
    bool newer = PQserverVersion(session->raw) >= 170000;
    AUTO_TEXT sql = x_format(
        SETTINGS "%lld;%s%s%s", (long long)session->options.statement_timeout_ms,
        newer ? " SET transaction_timeout = 0;" : "", session->options.settings != NULL ? " " : "",
        session->options.settings != NULL ? session->options.settings : "");
    return pg_session_run(session, "settings", sql, err);
}

Status pg_session_open(const PgSessionOptions *options, PgSession **ret_session, Error *err)
{
    PgSession *session = x_calloc(1, sizeof(*session));
    session->options = *options;
    *ret_session = session;
    if (session_connect(session, err) != OK) {
        return FAILED;
    }
    pg_adopt_encoding(session->raw);
    if (options->noticed != NULL) {
        PQsetNoticeReceiver(session->raw, options->noticed, options->arg);
    }
    return options->replication ? OK : session_set(session, err);
}

void pg_session_close(PgSession **session)
{
    if (*session != NULL) {
        PQfinish((*session)->raw);
        free(*session);
        *session = NULL;
    }
}

PGconn *pg_session_raw(const PgSession *session)
{
    return session->raw;
}

void pg_session_free_result(PGresult **result)
{
    PQclear(*result);
    *result = NULL;
}

static Status session_failed(const PgSession *session, const char *step, const PGresult *result,
                             Error *err)
{
    if (session->options.failed != NULL) {
        (void)session->options.failed(session->options.arg, session->raw, result, err);
    } else if (PQresultErrorField(result, PG_DIAG_SQLSTATE) != NULL) {
        (void)sqlstate_error(result, err);
    } else { /* libpq's own words */
        AUTO_TEXT message = pg_message(session->raw);
        error_set(err, CODE_POSTGRES_CONNECTION_LOST, "%s", message);
    }
    if (err != NULL) {
        err->step = step;
    }
    return FAILED;
}

Status pg_session_query(PgSession *session, const PgAsk *ask, PGresult **ret_result, Error *err)
{
    AUTO(PGresult, pg_session_free_result)
    result = ask->count > 0 || ask->single ? PQexecParams(session->raw, ask->sql, ask->count, NULL,
                                                          ask->values, NULL, NULL, 0)
                                           : PQexec(session->raw, ask->sql);
    ExecStatusType kind = PQresultStatus(result);
    if (kind != PGRES_TUPLES_OK && kind != PGRES_COMMAND_OK) {
        return session_failed(session, ask->step, result, err);
    }
    if (ret_result != NULL) {
        *ret_result = result;
        result = NULL;
    }
    return OK;
}

Status pg_session_run(PgSession *session, const char *step, const char *sql, Error *err)
{
    return pg_session_query(session, &(PgAsk){.step = step, .sql = sql}, NULL, err);
}

Status pg_session_copy(PgSession *session, const char *step, const char *sql, void *arg,
                       Status (*row)(void *arg, const char *bytes, size_t length, Error *err),
                       Error *err)
{
    AUTO(PGresult, pg_session_free_result) begun = PQexec(session->raw, sql);
    if (PQresultStatus(begun) != PGRES_COPY_OUT) {
        return session_failed(session, step, begun, err);
    }
    Status status = OK;
    char *bytes = NULL;
    int length;
    while ((length = PQgetCopyData(session->raw, &bytes, 0)) > 0) {
        status = status == OK ? row(arg, bytes, (size_t)length, err) : FAILED;
        PQfreemem(bytes);
    }
    PGresult *end;
    while ((end = PQgetResult(session->raw)) != NULL) {
        if (PQresultStatus(end) != PGRES_COMMAND_OK && status == OK) {
            status = session_failed(session, step, end, err);
        }
        PQclear(end);
    }
    return status;
}

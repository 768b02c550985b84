/* Source of the codes: PostgreSQL documentation, appendix A. A row matches by prefix; the first
 * that matches holds. What is not listed is FATAL: an unknown error must not be retried for ever in
 * silence. */
#include "pg/sqlstate.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "pg/message.h"

typedef struct SqlstateRow {
    const char *prefix;
    ErrorClass class;
    const char *code;
    const char *hint;
} SqlstateRow;

static const SqlstateRow ROWS[] = {
    {"08", ERROR_RETRY, "POSTGRES_CONNECTION", ""},
    {"57P01", ERROR_RETRY, "POSTGRES_SHUTDOWN", ""}, /* admin_shutdown, terminated backend */
    {"57P02", ERROR_RETRY, "POSTGRES_CRASH", ""},
    {"57P03", ERROR_RETRY, "POSTGRES_STARTING", ""},
    {"57P05", ERROR_RETRY, "POSTGRES_IDLE_TIMEOUT", ""},
    {"57014", ERROR_RETRY, "POSTGRES_QUERY_CANCELED",
     "If this repeats, look for slow reads of the outbox table: is its partial index there?"},
    {"53300", ERROR_RETRY, "POSTGRES_TOO_MANY_CONNECTIONS",
     "Raise max_connections, or end sessions that nobody needs."},
    {"53", ERROR_RETRY, "POSTGRES_RESOURCES", "Look at disk and memory of the database server."},
    {"58", ERROR_RETRY, "POSTGRES_SYSTEM", "Look at the log of the database server."},
    {"40", ERROR_RETRY, "POSTGRES_SERIALIZATION", ""}, /* serialization_failure, deadlock */
    {"55P03", ERROR_RETRY, "POSTGRES_LOCK_TIMEOUT", ""},
    {"55006", ERROR_RETRY, "POSTGRES_OBJECT_IN_USE", ""},
    {"25006", ERROR_RETRY, "POSTGRES_READ_ONLY",
     "The server is read-only: a standby, or a primary that was demoted. Use a DSN with "
     "target_session_attrs=read-write."},
    {"XX001", ERROR_FATAL, "POSTGRES_DATA_CORRUPTED", "Look at the log of the database server."},
    {"28", ERROR_FATAL, "POSTGRES_AUTHENTICATION", "Check user and password of database.dsn."},
    {"3D000", ERROR_FATAL, "POSTGRES_NO_DATABASE", "Check dbname of database.dsn."},
    {"42501", ERROR_FATAL, "POSTGRES_PRIVILEGE",
     "GRANT outbox_relay TO the relay's role; outboxd check lists what is missing."},
    {"42P01", ERROR_FATAL, "POSTGRES_NO_TABLE",
     "Make the outbox with: outboxd migrate; or name your own table in pipelines.table."},
    {"3F000", ERROR_FATAL, "POSTGRES_NO_SCHEMA", "Make the outbox with: outboxd migrate"},
    {"42703", ERROR_FATAL, "POSTGRES_NO_COLUMN",
     "Name the columns of your table in pipelines.columns, or run: outboxd migrate"},
};

/* The same SQLSTATE, but nothing waited: somebody's function raised it, or asked with NOWAIT. */
static const SqlstateRow LOCK_RAISED = {"55P03", ERROR_RETRY, "POSTGRES_LOCK_RAISED", ""};

static const SqlstateRow UNKNOWN = {"", ERROR_FATAL, "POSTGRES_ERROR", ""};

static const SqlstateRow *sqlstate_find(const char *state)
{
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        if (strncmp(state, ROWS[i].prefix, strlen(ROWS[i].prefix)) == 0) {
            return &ROWS[i];
        }
    }
    return &UNKNOWN;
}

/* Whose code of the database it was, innermost first; other contexts are of no use to a reader, and
 * the text of a statement in such code may be long. */
static const char *sqlstate_function(const char *context, int *ret_length)
{
    enum { CONTEXT_MAX = 200 };
    while (*context != '\0') {
        size_t length = strcspn(context, "\n");
        const char *function = strstr(context, " function ");
        const char *quote = memchr(context, '"', length);
        if (function != NULL && function < context + length &&
            (quote == NULL || function < quote)) {
            *ret_length = length < CONTEXT_MAX ? (int)length : CONTEXT_MAX;
            return context;
        }
        context += length + (context[length] == '\n');
    }
    *ret_length = 0;
    return "";
}

/* lock_timeout passed: the place in the server's source tells, as texts are translated. A server
 * that does not tell it is taken at its word. */
static bool sqlstate_waited(const PGresult *result)
{
    const char *place = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
    return place == NULL || strcmp(place, "ProcessInterrupts") == 0;
}

static const char IN_FUNCTION[] = ", in ";

bool sqlstate_is_of_function(const Error *err)
{
    const char *in = strstr(err->message, IN_FUNCTION);
    return in != NULL && strstr(in, " function ") != NULL;
}

static Status sqlstate_fill(const SqlstateRow *row, const char *state, const char *message,
                            Error *err)
{
    error_set(err, row->class, EXIT_POSTGRES, row->code, "%s%s%s%s", message,
              *state != '\0' ? " (SQLSTATE " : "", state, *state != '\0' ? ")" : "");
    return *row->hint != '\0' ? error_hint(err, "%s", row->hint) : FAILED;
}

/* Five characters; NULL: the error is none of the server's. */
static const char *sqlstate_of(const Error *err)
{
    static const char BEGIN[] = "(SQLSTATE ";
    const char *state = strstr(err->message, BEGIN);
    for (const char *next = state; next != NULL; next = strstr(next + 1, BEGIN)) {
        state = next; /* the last: before it is the server's text */
    }
    return state != NULL ? state + sizeof(BEGIN) - 1 : NULL;
}

bool sqlstate_is_refusal(const Error *err)
{
    const char *state = sqlstate_of(err);
    return state != NULL && (strncmp(state, "42", 2) == 0 || strncmp(state, "55000", 5) == 0);
}

bool sqlstate_is_of_data(const Error *err)
{
    const char *state = sqlstate_of(err);
    return state != NULL && (strncmp(state, "XX", 2) == 0 || strncmp(state, "22", 2) == 0 ||
                             strncmp(state, "54", 2) == 0);
}

unsigned sqlstate_tries_of_data(const Error *err)
{
    enum { MOMENT_TRIES = 3 };
    const char *state = sqlstate_of(err);
    return state != NULL && strncmp(state, "XX", 2) == 0 ? MOMENT_TRIES : 1;
}

Status sqlstate_error(const PGresult *result, Error *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (state == NULL) { /* made by libpq, not by the server: the connection broke */
        error_set(err, ERROR_RETRY, EXIT_POSTGRES, "POSTGRES_CONNECTION_LOST", "%s",
                  PQresultErrorMessage(result));
        return FAILED;
    }
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    bool ends =
        severity != NULL && strcmp(severity, "ERROR") != 0; /* the session, wherever it is */
    const char *context = PQresultErrorField(result, PG_DIAG_CONTEXT);
    int length = 0;
    const char *function = sqlstate_function(context != NULL && !ends ? context : "", &length);
    AUTO_TEXT told = x_format("%s%s%.*s", message != NULL ? message : "",
                              length > 0 ? IN_FUNCTION : "", length, function);
    bool raised = length > 0 && strcmp(state, LOCK_RAISED.prefix) == 0 && !sqlstate_waited(result);
    (void)sqlstate_fill(raised ? &LOCK_RAISED : sqlstate_find(state), state, told, err);
    /* A right, a table or a column that somebody's trigger lacks: no remedy of ours gives it. */
    return length > 0 && strncmp(state, "42", 2) == 0
               ? error_hint(err,
                            "The function that the message names runs as the relay's role, and "
                            "without a path of its own: mend it, give it a SET search_path, and "
                            "give the role the rights that it needs, or make it SECURITY DEFINER.")
               : FAILED;
}

/* libpq tells no SQLSTATE of a refused connection; these texts are the server's, untranslated parts
 * of which are matched, or libpq's own. Everything else may heal by itself. */
static const struct {
    const char *text;
    const char *state; /* NULL: may heal by itself */
    const char *hint;  /* NULL: that of the state */
} CONNECTION_TEXTS[] = {
    {"password authentication failed", "28P01",
     "Check user and password of database.dsn. PostgreSQL says the same of a password that has "
     "expired: ALTER ROLE ... VALID UNTIL 'infinity'."},
    {"no password supplied", "28P01",
     "Give the password: database.password_file, OUTBOXD_DATABASE_PASSWORD_FILE, ~/.pgpass or "
     "PGPASSWORD."},
    {"authentication failed", "28000", NULL},
    {"no pg_hba.conf entry", "28000",
     "Add a line for this role, database and address to pg_hba.conf, and reload PostgreSQL."},
    {"is not permitted to log in", "28000", "An administrator runs: ALTER ROLE ... LOGIN"},
    {"too many connections for role", "53300",
     "Raise the role's limit, ALTER ROLE ... CONNECTION LIMIT, or end sessions of it."},
    {"too many connections for database", "53300",
     "Raise the database's limit, ALTER DATABASE ... CONNECTION LIMIT, or end sessions of it."},
    {"too many clients already", "53300", NULL},
    {"connection slots are reserved", "53300", NULL},
    {"FATAL: role \"", "28000", "Check user of database.dsn: there is no such role."},
    {"is not currently accepting connections", "3D000",
     "An administrator runs: ALTER DATABASE ... ALLOW_CONNECTIONS true"},
    {"FATAL: database \"", "3D000", NULL},
    {"permission denied for database", "42501",
     "An administrator runs: GRANT CONNECT ON DATABASE ... TO the relay's role"},
    {"could not translate host name", NULL,
     "Check the host of database.dsn: no such name is known, or no name server answers."},
    {"does not support SSL", NULL,
     "Switch TLS on at the server (ssl = on); or choose another sslmode, in a network that you "
     "trust."},
    {"root certificate file", NULL,
     "Name the CA of the server's certificate in database.dsn: sslrootcert=/path/to/ca.pem"},
    {"certificate verify failed", NULL,
     "The CA of sslrootcert did not sign the server's certificate, or it has expired: name the "
     "right CA in database.dsn."},
    {"does not match host name", NULL,
     "Connect to a name that is in the server's certificate (host of database.dsn), or give the "
     "server a certificate with this name."},
};

Status sqlstate_connection_error(const PGconn *connection, Error *err)
{
    AUTO_TEXT message = pg_message(connection);
    for (size_t i = 0; i < sizeof(CONNECTION_TEXTS) / sizeof(CONNECTION_TEXTS[0]); i++) {
        if (strstr(message, CONNECTION_TEXTS[i].text) != NULL) {
            if (CONNECTION_TEXTS[i].state == NULL) {
                error_set(err, ERROR_RETRY, EXIT_POSTGRES, "POSTGRES_UNREACHABLE", "%s", message);
                return error_hint(err, "%s", CONNECTION_TEXTS[i].hint);
            }
            (void)sqlstate_fill(sqlstate_find(CONNECTION_TEXTS[i].state), CONNECTION_TEXTS[i].state,
                                message, err);
            return CONNECTION_TEXTS[i].hint != NULL
                       ? error_hint(err, "%s", CONNECTION_TEXTS[i].hint)
                       : FAILED;
        }
    }
    error_set(err, ERROR_RETRY, EXIT_POSTGRES, "POSTGRES_UNREACHABLE", "%s",
              *message != '\0' ? message : "cannot connect to PostgreSQL");
    return FAILED;
}

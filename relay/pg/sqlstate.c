/* Source of the codes: PostgreSQL documentation, appendix A. A row matches by prefix; the first
 * that matches holds. What is not listed is FATAL: an unknown error must not be retried for ever in
 * silence. */
#include "pg/sqlstate.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "pg/message.h"

typedef struct SqlstateRow {
    const char *prefix;
    ErrorCode code;
    const char *hint; /* NULL: the remedy of the code; "": none */
} SqlstateRow;

static const SqlstateRow ROWS[] = {
    {"08", CODE_POSTGRES_CONNECTION, ""},
    {"57P01", CODE_POSTGRES_SHUTDOWN, ""}, /* admin_shutdown, terminated backend */
    {"57P02", CODE_POSTGRES_CRASH, ""},
    {"57P03", CODE_POSTGRES_STARTING, ""},
    {"57P05", CODE_POSTGRES_IDLE_TIMEOUT, ""},
    {"57014", CODE_POSTGRES_QUERY_CANCELED, NULL},
    {"53300", CODE_POSTGRES_TOO_MANY_CONNECTIONS, "Raise max_connections, or end unused sessions."},
    {"53", CODE_POSTGRES_RESOURCES, NULL},
    {"58", CODE_POSTGRES_SYSTEM, NULL},
    {"40", CODE_POSTGRES_SERIALIZATION, ""}, /* serialization_failure, deadlock */
    {"55P03", CODE_POSTGRES_LOCK_TIMEOUT, ""},
    {"55006", CODE_POSTGRES_OBJECT_IN_USE, ""},
    {"25006", CODE_POSTGRES_READ_ONLY,
     "The server is read-only: a standby, or a primary that was demoted. Use a DSN with "
     "target_session_attrs=read-write."},
    {"XX001", CODE_POSTGRES_DATA_CORRUPTED, NULL},
    {"28", CODE_POSTGRES_AUTHENTICATION, "Check user and password of database.dsn."},
    {"3D000", CODE_POSTGRES_NO_DATABASE, NULL},
    {"42501", CODE_POSTGRES_PRIVILEGE, NULL},
    {"42P01", CODE_POSTGRES_NO_TABLE, NULL},
    {"3F000", CODE_POSTGRES_NO_SCHEMA, NULL},
    {"42703", CODE_POSTGRES_NO_COLUMN, NULL},
};

/* The same SQLSTATE, but nothing waited: somebody's function raised it, or asked with NOWAIT. */
static const SqlstateRow LOCK_RAISED = {"55P03", CODE_POSTGRES_LOCK_RAISED, ""};

static const SqlstateRow UNKNOWN = {"", CODE_POSTGRES_ERROR, ""};

bool sqlstate_matches(const char *state, const char *wanted)
{
    enum { CLASS_LENGTH = 2, STATE_LENGTH = 5 };
    size_t length = strlen(wanted);
    assert(length >= CLASS_LENGTH && length <= STATE_LENGTH);
    return strncmp(state, wanted, length) == 0;
}

static const SqlstateRow *sqlstate_find(const char *state)
{
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        if (sqlstate_matches(state, ROWS[i].prefix)) {
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

/* The same in every language of messages, and in every version so far. */
static unsigned char sqlstate_origin(const PGresult *result, const char *state)
{
    const char *source = PQresultErrorField(result, PG_DIAG_SOURCE_FILE);
    const char *slash = source != NULL ? strrchr(source, '/') : NULL;
    const char *file = slash != NULL ? slash + 1 : source != NULL ? source : "";
    bool of_slot = strcmp(file, "slot.c") == 0;
    bool of_memory = strcmp(file, "mcxt.c") == 0; /* "invalid memory alloc request size" */
    if (sqlstate_matches(state, "42704") && *file != '\0' && !of_slot) {
        return ORIGIN_PUBLICATION;
    }
    return sqlstate_matches(state, "XX000") && of_memory ? ORIGIN_SIZE : 0;
}

bool sqlstate_is_of_function(const Error *err)
{
    return (err->origin & ORIGIN_FUNCTION) != 0;
}

static Status sqlstate_fill_row(const SqlstateRow *row, const char *state, const char *message,
                                Error *err)
{
    error_set(err, row->code, "%s (SQLSTATE %s)", message, state);
    if (err != NULL) {
        snprintf(err->sqlstate, sizeof(err->sqlstate), "%s", state);
    }
    if (row->hint == NULL) {
        return error_advise(err);
    }
    return *row->hint != '\0' ? error_hint(err, "%s", row->hint) : FAILED;
}

Status sqlstate_fill(const char *state, const char *message, Error *err)
{
    return sqlstate_fill_row(sqlstate_find(state), state, message, err);
}

bool sqlstate_is(const Error *err, const char *prefix)
{
    return sqlstate_matches(err->sqlstate, prefix);
}

bool sqlstate_is_refusal(const Error *err)
{
    return sqlstate_is(err, "42") || sqlstate_is(err, "55000");
}

bool sqlstate_is_of_data(const Error *err)
{
    return sqlstate_is(err, "XX") || sqlstate_is(err, "22") || sqlstate_is(err, "54");
}

unsigned sqlstate_tries_of_data(const Error *err)
{
    enum { MOMENT_TRIES = 3 };
    return sqlstate_is(err, "XX") ? MOMENT_TRIES : 1;
}

Status sqlstate_error(const PGresult *result, Error *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (state == NULL) { /* made by libpq, not by the server: the connection broke */
        pg_message_check(PQresultErrorMessage(result));
        error_set(err, CODE_POSTGRES_CONNECTION_LOST, "%s", PQresultErrorMessage(result));
        return FAILED;
    }
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    bool ends =
        severity != NULL && strcmp(severity, "ERROR") != 0; /* the session, wherever it is */
    const char *context = PQresultErrorField(result, PG_DIAG_CONTEXT);
    int length = 0;
    const char *function = sqlstate_function(context != NULL && !ends ? context : "", &length);
    AUTO_TEXT told = x_format("%s%s%.*s", message != NULL ? message : "", length > 0 ? ", in " : "",
                              length, function);
    bool raised =
        length > 0 && sqlstate_matches(state, LOCK_RAISED.prefix) && !sqlstate_waited(result);
    (void)sqlstate_fill_row(raised ? &LOCK_RAISED : sqlstate_find(state), state, told, err);
    if (err != NULL) {
        err->origin = sqlstate_origin(result, state) | (length > 0 ? ORIGIN_FUNCTION : 0);
    }
    /* A right, a table or a column that somebody's trigger lacks: no remedy of ours gives it. */
    return length > 0 && sqlstate_matches(state, "42")
               ? error_hint(err,
                            "The function that the message names runs as the relay's role, and it "
                            "has no search_path of its own. Give it a SET search_path and give the "
                            "role the privileges that it needs, or make it SECURITY DEFINER.")
               : FAILED;
}

/* How a command logs in with a password that a program prints: over a libpq that the test plays. */
#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "pg/session.h"
#include "stub/libpq.h"
#include "token/token.h"

enum { KEYWORDS_MAX = 8, POLLS_MAX = 8 };

static int refusals_left;

/* What the stub has for loops, to its end at once. */
PGconn *PQconnectdbParams(const char *const *keywords, const char *const *values, int expand)
{
    const char *given[KEYWORDS_MAX + 1] = {NULL};
    const char *of_them[KEYWORDS_MAX + 1] = {NULL};
    for (size_t i = 0, count = 0; keywords[i] != NULL && count < KEYWORDS_MAX; i++) {
        if (values[i] != NULL) {
            given[count] = keywords[i];
            of_them[count++] = values[i];
        }
    }
    stub_refuse_poll(refusals_left-- > 0 ? "FATAL:  password authentication failed for user\n"
                                         : NULL);
    PGconn *conn = PQconnectStartParams(given, of_them, expand);
    for (int i = 0; i < POLLS_MAX && PQstatus(conn) == CONNECTION_STARTED; i++) {
        (void)PQconnectPoll(conn);
    }
    return conn;
}

PGresult *PQexec(PGconn *conn, const char *query)
{
    cr_assert_eq(PQsendQuery(conn, query), 1);
    cr_assert_eq(PQconsumeInput(conn), 1);
    PGresult *first = PQgetResult(conn);
    PQclear(PQgetResult(conn)); /* the end */
    return first;
}

static void open_with(const char *command)
{
    stub_reset(NULL, NULL);
    token_open(TOKEN_DATABASE, &(TokenOptions){.option = "database.password_command",
                                               .command = command,
                                               .timeout_ms = 60000,
                                               .lifetime_ms = 600000,
                                               .exit_code = EXIT_POSTGRES,
                                               .accepter = "PostgreSQL"});
}

static Status open_session(PgSession **ret_session, Error *err)
{
    return pg_session_open(&(PgSessionOptions){.dsn = "host=db user=relay",
                                               .application_name = "outboxd test",
                                               .replication = true},
                           ret_session, err);
}

TestSuite(session, .fini = token_close_all, .timeout = 60);

Test(session, without_a_password_for_a_second_attempt_no_connection_tells_the_reason)
{
    PgSession *session = NULL;
    AUTO_ERROR err = {0};
    open_with("/bin/echo s3");
    refusals_left = 1;
    cr_assert_eq(open_session(&session, &err), FAILED);
    cr_assert_null(pg_session_raw(session), "who fails looks there for libpq's words");
    cr_assert_eq(err.code, CODE_TOKEN_REFUSED, "%s", error_message(&err));
    cr_assert_eq(err.exit_code, EXIT_POSTGRES);
    pg_session_close(&session);
}

Test(session, nothing_is_left_of_a_first_attempt_when_the_second_one_succeeds)
{
    PgSession *session = NULL;
    AUTO_ERROR err = {0};
    open_with("/bin/sh -c 'sleep 1.1; echo s3'"); /* two runs are at least a second apart */
    refusals_left = 1;
    cr_assert_eq(open_session(&session, &err), OK, "%s", error_message(&err));
    cr_assert_eq(err.class, ERROR_NONE);
    cr_assert_str_eq(error_message(&err), "");
    pg_session_close(&session);
}

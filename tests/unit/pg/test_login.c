/* Passwords that a program prints, over a libpq that the test plays; the program is a shell. */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "pg/conn.h"
#include "pg/sqlstate.h"
#include "stub/libpq.h"
#include "token/token.h"

static char dsn_text[] = "host=db user=relay";
static char *const DSN = dsn_text;

enum { WAIT_US = 60000000 };

static struct {
    struct event_base *base;
    Worker *worker;
    struct event *worker_io;
    PgConn *conn;
    int opened; /* calls with err == NULL */
    int refused;
    Error error;
} at;

static void on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    worker_dispatch(at.worker);
}

static void on_opened(void *arg, const Error *err)
{
    (void)arg;
    at.opened += err == NULL;
    at.refused += err != NULL;
    if (err != NULL) {
        error_copy(&at.error, err);
    }
}

static void begin(void)
{
    memset(&at, 0, sizeof(at));
    stub_reset(NULL, NULL);
    at.base = event_base_new();
    at.worker = worker_new();
    at.worker_io = event_new(at.base, worker_fd(at.worker), EV_READ | EV_PERSIST, on_worker, NULL);
    event_add(at.worker_io, NULL);
}

static void end(void)
{
    pg_conn_free(&at.conn);
    token_close_all();
    worker_free(&at.worker);
    event_free(at.worker_io);
    event_base_free(at.base);
    error_clear(&at.error);
}

TestSuite(login, .init = begin, .fini = end, .timeout = 120);

static void open_with(const char *command, int64_t connect_timeout_ms)
{
    token_open(TOKEN_DATABASE, &(TokenOptions){.option = "database.password_command",
                                               .command = command,
                                               .timeout_ms = 60000,
                                               .lifetime_ms = 600000,
                                               .exit_code = EXIT_POSTGRES,
                                               .accepter = "PostgreSQL"});
    token_attach_all(at.base);
    at.conn = pg_conn_new(&(PgConnOptions){.base = at.base,
                                           .worker = at.worker,
                                           .dsn = &DSN,
                                           .application_name = "shop/orders",
                                           .connect_timeout_ms = connect_timeout_ms,
                                           .silence_timeout_ms = 60000,
                                           .opened = on_opened});
    pg_conn_open(at.conn);
}

static void wait_for(const int *count, int least)
{
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    while (*count < least) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
        cr_assert_lt(clock_monotonic_us(), deadline_us, "waited in vain");
        (void)usleep(100);
    }
}

Test(login, what_a_program_prints_is_the_password)
{
    open_with("/bin/echo \"it's s3\"", 60000);
    wait_for(&at.opened, 1);
    cr_assert_str_eq(stub_connect_value("password"), "it's s3");
    cr_assert_str_eq(stub_connect_value("dbname"), "host=db user=relay");
}

Test(login, without_a_program_no_password_is_given_beside_the_dsn)
{
    open_with("", 60000);
    wait_for(&at.opened, 1);
    cr_assert_null(stub_connect_value("password"));
}

Test(login, a_program_may_take_longer_than_a_server)
{
    open_with("/bin/sh -c 'sleep 1; echo s3'", 200);
    wait_for(&at.opened, 1);
    cr_assert_eq(at.refused, 0);
}

Test(login, a_program_that_fails_is_the_reason_and_no_server_is_asked)
{
    open_with("/bin/false", 60000);
    wait_for(&at.refused, 1);
    cr_assert_eq(at.error.code, CODE_TOKEN_COMMAND_FAILED);
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_str_eq(error_message(&at.error), "database.password_command ended with exit code 1");
    cr_assert_null(stub_connect_value("dbname"));
}

Test(login, one_that_is_refused_may_heal_and_is_replaced)
{
    char path[] = "/tmp/outboxd-unit-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    AUTO_TEXT command = x_format("/bin/sh -c 'echo x >> %s; wc -l < %s'", path, path);
    stub_refuse_poll("FATAL:  password authentication failed for user \"relay\"\n");
    open_with(command, 60000);
    wait_for(&at.refused, 1);
    cr_assert_eq(at.error.code, CODE_TOKEN_REFUSED);
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_str_eq(stub_connect_value("password"), "1");
    stub_refuse_poll(NULL);
    while (at.opened == 0) { /* by the back-off: it had just been printed */
        int refused = at.refused;
        pg_conn_open(at.conn);
        while (at.opened == 0 && at.refused == refused) {
            event_base_loop(at.base, EVLOOP_ONCE);
        }
        (void)usleep(20000);
    }
    cr_assert_str_eq(stub_connect_value("password"), "2");
    close(fd);
    (void)unlink(path);
}

Test(login, what_no_other_password_would_change_stays_as_it_is)
{
    stub_refuse_poll("FATAL:  no pg_hba.conf entry for host\n");
    open_with("/bin/echo s3", 60000);
    wait_for(&at.refused, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_AUTHENTICATION);
    cr_assert_eq(at.error.class, ERROR_FATAL);
}

Test(login, only_what_is_said_of_a_password_refuses_it)
{
    static const struct {
        const char *text;
        bool refused;
    } CASES[] = {
        {"FATAL:  password authentication failed for user \"relay\"\n", true},
        {"FATAL:  PAM authentication failed for user \"relay\"\n", true},
        {"FATAL:  LDAP authentication failed for user \"relay\"\n", true},
        {"FATAL:  Cloud SQL IAM user authentication failed for user \"relay\"\n", true},
        {"FATAL:  certificate authentication failed for user \"relay\"\n", false},
        {"FATAL:  Peer authentication failed for user \"relay\"\n", false},
        {"FATAL:  GSSAPI authentication failed for user \"relay\"\n", false},
        {"FATAL:  authentication failed for user \"relay\": host rejected\n", false},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO_ERROR err = {0};
        cr_assert_eq(sqlstate_connection_said("relay", CASES[i].text, &err), FAILED);
        cr_assert_eq(err.code, CODE_POSTGRES_AUTHENTICATION, "%s", CASES[i].text);
        cr_assert_eq(sqlstate_is_of_login(&err), CASES[i].refused, "%s", CASES[i].text);
    }
}

static void on_token(void *arg, const TokenValue *value, const Error *err)
{
    cr_assert_null(err);
    cr_assert_str_eq(value->secret, "s3");
    *(int *)arg += 1;
}

Test(login, closing_while_the_program_runs_tells_nobody)
{
    char path[] = "/tmp/outboxd-unit-XXXXXX";
    cr_assert_not_null(mkdtemp(path));
    AUTO_TEXT go = x_format("%s/go", path);
    AUTO_TEXT command =
        x_format("/bin/sh -c 'while [ ! -e %s ]; do sleep 0.01; done; echo s3'", go);
    open_with(command, 60000);
    pg_conn_close(at.conn);
    /* Somebody else waits for the same run: when it is told, the connection would have been. */
    int told = 0;
    cr_assert_not_null(token_ask(TOKEN_DATABASE, false, on_token, &told));
    FILE *file = fopen(go, "w");
    cr_assert_not_null(file);
    cr_assert_eq(fclose(file), 0);
    wait_for(&told, 1);
    cr_assert_null(stub_connect_value("dbname"), "a server is asked");
    cr_assert_eq(at.opened + at.refused, 0);
    pg_conn_open(at.conn); /* and it may be tried again */
    wait_for(&at.opened, 1);
    cr_assert_str_eq(stub_connect_value("password"), "s3");
    (void)unlink(go);
    (void)rmdir(path);
}

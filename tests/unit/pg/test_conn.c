/* The connection over a libpq that the test plays: see tests/stub/libpq.h. */
#include <criterion/criterion.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "pg/conn.h"
#include "stub/libpq.h"

enum { WAIT_US = 10000000 };

static struct {
    struct event_base *base;
    Worker *worker;
    struct event *worker_io;
    PgConnOptions options;
    PgConn *conn;
    size_t opened; /* calls with err == NULL */
    size_t refused;
    size_t done;
    Error error; /* of the last refusal or end of a query */
    Text heard;  /* what the query's callbacks got */
    const char *next_sql;
    bool close_in_result;
    bool close_in_row;
    bool cancel_in_row;
    size_t slices; /* that are fed */
    size_t fed;    /* so many have been, of the running query */
    const char *feed_fails;
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
    cr_assert_eq(arg, &at);
    if (err == NULL) {
        at.opened++;
    } else {
        at.refused++;
        error_copy(&at.error, err);
        cr_assert_not(pg_conn_is_open(at.conn), "refused, but open");
    }
}

/* The server: what the SQL says. */
static void serve(void *arg, const StubQuery *query, StubReply *reply)
{
    (void)arg;
    const char *sql = query->sql != NULL ? query->sql : query->statement;
    for (const char *word = sql; *word != '\0'; word++) {
        switch (*word) {
        case 'r':
            stub_reply_row(reply, "column", "value", NULL);
            break;
        case 'c':
            stub_reply_command(reply, 3);
            break;
        case 'y':
            stub_reply_copy(reply);
            stub_reply_copy_row(reply, "one", 3);
            stub_reply_copy_row(reply, "two", 3);
            break;
        case 'z':
            stub_reply_copy(reply);
            stub_reply_copy_row(reply, "a\0b", 3);
            break;
        case 'e':
            stub_reply_error(reply, "42P01", "no such table");
            break;
        case 'x':
            stub_reply_error(reply, NULL, "lost synchronization with server");
            break;
        case 'b':
            stub_reply_break(reply, NULL);
            break;
        case 'B':
            stub_reply_break(reply, "57P01");
            break;
        case 'h':
            stub_reply_hang(reply);
            break;
        case 'i':
            stub_reply_copy_in(reply);
            stub_reply_command(reply, 1);
            break;
        case 'p':
            cr_assert_eq(query->param_count, 2);
            cr_assert_str_eq(query->values[0], "text");
            cr_assert_null(query->values[1]);
            stub_reply_row(reply, "params", "2", NULL);
            break;
        default:
            break;
        }
    }
}

static void on_fed(void *arg, int connection, const char *bytes, size_t length)
{
    (void)arg;
    (void)connection;
    text_append(&at.heard, bytes, length);
}

static void begin(void)
{
    memset(&at, 0, sizeof(at));
    stub_reset(serve, NULL);
    stub_stream_receive(on_fed);
    at.base = event_base_new();
    at.worker = worker_new();
    at.worker_io = event_new(at.base, worker_fd(at.worker), EV_READ | EV_PERSIST, on_worker, NULL);
    event_add(at.worker_io, NULL);
    at.options = (PgConnOptions){.base = at.base,
                                 .worker = at.worker,
                                 .dsn = "host=db user=relay",
                                 .application_name = "shop/orders",
                                 .connect_timeout_ms = 60000,
                                 .silence_timeout_ms = 60000,
                                 .tcp_user_timeout_ms = 7500,
                                 .arg = &at,
                                 .opened = on_opened};
}

static void end(void)
{
    pg_conn_free(&at.conn);
    cr_assert_eq(stub_open_results(), 0);
    worker_free(&at.worker);
    event_free(at.worker_io);
    event_base_free(at.base);
    text_free(&at.heard);
}

TestSuite(conn, .init = begin, .fini = end);

static void wait_for(const size_t *count, size_t least)
{
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    while (*count < least) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
        cr_assert_lt(clock_monotonic_us(), deadline_us, "waited in vain");
    }
}

static void turn(void)
{
    for (int i = 0; i < 20; i++) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
    }
}

static void wait_worker(void)
{
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    while (worker_is_busy(at.worker)) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
        cr_assert_lt(clock_monotonic_us(), deadline_us, "waited in vain");
    }
    turn();
}

static void make(void)
{
    at.conn = pg_conn_new(&at.options);
    pg_conn_open(at.conn);
}

static void connected(void)
{
    make();
    wait_for(&at.opened, 1);
    cr_assert(pg_conn_is_open(at.conn));
}

static void on_row(void *arg, const char *bytes, size_t length)
{
    cr_assert_eq(arg, &at);
    text_printf(&at.heard, "[%zu]", length);
    text_append(&at.heard, bytes, length);
    if (at.close_in_row) {
        pg_conn_close(at.conn);
    } else if (at.cancel_in_row) {
        at.cancel_in_row = false;
        pg_conn_cancel(at.conn);
        int64_t deadline_us = clock_monotonic_us() + WAIT_US;
        while (stub_cancels() == 0) { /* a call of the worker thread */
            sched_yield();
            cr_assert_lt(clock_monotonic_us(), deadline_us, "waited in vain");
        }
    }
}

static void on_result(void *arg, const PGresult *result)
{
    cr_assert_eq(arg, &at);
    text_printf(&at.heard, "%s;",
                PQresultStatus(result) == PGRES_TUPLES_OK ? PQgetvalue(result, 0, 0)
                                                          : PQcmdTuples((PGresult *)result));
    if (at.close_in_result) {
        pg_conn_close(at.conn);
    }
}

static void ask(const char *sql);

static void on_done(void *arg, const Error *err)
{
    cr_assert_eq(arg, &at);
    at.done++;
    error_copy(&at.error, err != NULL ? err : &(Error){0});
    cr_assert_not(pg_conn_is_busy(at.conn));
    text_printf(&at.heard, "%s.", err != NULL ? error_code_name(err->code) : "");
    if (at.next_sql != NULL) {
        const char *sql = at.next_sql;
        at.next_sql = NULL;
        ask(sql);
    }
}

static Slice on_feed(void *arg, const char **ret_why)
{
    cr_assert_eq(arg, &at);
    if (at.fed == at.slices) {
        *ret_why = at.feed_fails;
        return SLICE_NULL;
    }
    return (Slice){.data = &"0123456789"[at.fed++ % 10], .length = 1};
}

static void ask(const char *sql)
{
    size_t done = at.done;
    bool copies = strpbrk(sql, "yz") != NULL;
    at.fed = 0;
    pg_conn_send(at.conn, &(PgQuery){.sql = sql,
                                     .arg = &at,
                                     .feed = strchr(sql, 'i') != NULL ? on_feed : NULL,
                                     .row = copies ? on_row : NULL,
                                     .result = on_result,
                                     .done = on_done});
    cr_assert_eq(at.done, done, "done from inside of pg_conn_send");
}

static void assert_heard(const char *expected)
{
    cr_assert_str_eq(text_string(&at.heard), expected, "%s", text_string(&at.heard));
    text_clear(&at.heard);
}

/* Opening. */

Test(conn, opens_with_what_a_session_of_ours_needs)
{
    make();
    cr_assert_eq(at.opened, 0, "told from inside of pg_conn_open");
    wait_for(&at.opened, 1);
    cr_assert_str_eq(stub_connect_value("dbname"), "host=db user=relay");
    cr_assert_str_eq(stub_connect_value("fallback_application_name"), "shop/orders");
    cr_assert_str_eq(stub_connect_value("client_encoding"), "UTF8");
    cr_assert_str_eq(stub_connect_value("keepalives"), "1");
    cr_assert_str_eq(stub_connect_value("tcp_user_timeout"), "7500");
    cr_assert_str_eq(stub_connect_value("connect_timeout"), "60");
    cr_assert_not_null(pg_conn_raw(at.conn));
    cr_assert_not(pg_conn_is_busy(at.conn));
}

static char first_sql[64];

static void serve_first(void *arg, const StubQuery *query, StubReply *reply)
{
    (void)arg;
    if (first_sql[0] == '\0') {
        snprintf(first_sql, sizeof(first_sql), "%s", query->sql);
    }
    if (strstr(query->sql, "client_encoding") != NULL && at.next_sql != NULL) {
        stub_reply_error(reply, "22023", "no such encoding");
    } else {
        stub_reply_command(reply, 0);
    }
}

Test(conn, a_database_without_an_encoding_sends_its_bytes_as_they_are)
{
    stub_reset(serve_first, NULL);
    stub_set_encoding("SQL_ASCII");
    make();
    wait_for(&at.opened, 1);
    cr_assert_str_eq(first_sql, "SET client_encoding = 'SQL_ASCII'");
    cr_assert(pg_conn_takes_bytes(at.conn));
    cr_assert_not(pg_conn_is_converted(at.conn));
    cr_assert_not(pg_conn_is_busy(at.conn));
    pg_conn_close(at.conn);
    cr_assert_not(pg_conn_takes_bytes(at.conn));
}

Test(conn, a_session_whose_search_path_is_not_ours_is_no_connection)
{
    stub_refuse_open("57P01");
    make();
    wait_for(&at.refused, 1);
    cr_assert_eq(at.opened, 0);
    cr_assert_eq(stub_open_connections(), 0);
    stub_refuse_open(NULL);
    pg_conn_open(at.conn);
    wait_for(&at.opened, 1);
}

Test(conn, an_encoding_that_is_refused_refuses_the_connection)
{
    stub_reset(serve_first, NULL);
    stub_set_encoding("SQL_ASCII");
    at.next_sql = "refuse";
    make();
    wait_for(&at.refused, 1);
    cr_assert_eq(at.opened, 0);
    cr_assert_eq(stub_open_connections(), 0);
}

Test(conn, a_database_in_another_encoding_is_converted)
{
    stub_set_encoding("LATIN1");
    make();
    wait_for(&at.opened, 1);
    cr_assert_not(pg_conn_takes_bytes(at.conn));
    cr_assert(pg_conn_is_converted(at.conn));
}

Test(conn, a_name_that_cannot_be_resolved_is_retried)
{
    stub_refuse_start("could not translate host name \"db\" to address\n");
    make();
    wait_for(&at.refused, 1);
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_eq(at.error.code, CODE_POSTGRES_UNREACHABLE);
    cr_assert_eq(stub_open_connections(), 0);
    stub_refuse_start(NULL);
    pg_conn_open(at.conn); /* it is closed, so it may be opened again */
    wait_for(&at.opened, 1);
    cr_assert_eq(at.refused, 1);
}

Test(conn, what_the_server_says_at_the_door_decides)
{
    static const struct {
        const char *text;
        ErrorClass class;
        ErrorCode code;
        const char *hint; /* has this */
    } CASES[] = {
        {"connection to server at \"db\" failed: FATAL:  password authentication failed for user",
         ERROR_FATAL, CODE_POSTGRES_AUTHENTICATION, NULL},
        {"fe_sendauth: no password supplied\n", ERROR_FATAL, CODE_POSTGRES_AUTHENTICATION,
         "database.password_file"},
        {"FATAL:  no pg_hba.conf entry for host \"10.0.0.1\"", ERROR_FATAL,
         CODE_POSTGRES_AUTHENTICATION, NULL},
        {"FATAL:  database \"shop\" does not exist\n", ERROR_FATAL, CODE_POSTGRES_NO_DATABASE,
         NULL},
        {"FATAL:  role \"relay\" does not exist\n", ERROR_FATAL, CODE_POSTGRES_AUTHENTICATION,
         NULL},
        {"FATAL:  permission denied for database \"shop\"", ERROR_FATAL, CODE_POSTGRES_PRIVILEGE,
         "GRANT CONNECT"},
        {"FATAL:  the database system is starting up\n", ERROR_RETRY, CODE_POSTGRES_UNREACHABLE,
         NULL},
        {"could not translate host name \"db\" to address: Name or service not known\n",
         ERROR_RETRY, CODE_POSTGRES_UNREACHABLE, "the name does not exist"},
        {"server does not support SSL, but SSL was required\n", ERROR_RETRY,
         CODE_POSTGRES_UNREACHABLE, "ssl = on"},
        {"root certificate file \"/root/.postgresql/root.crt\" does not exist\nEither provide the "
         "file or change sslmode to disable server certificate verification.\n",
         ERROR_RETRY, CODE_POSTGRES_UNREACHABLE, "sslrootcert="},
        {"SSL error: certificate verify failed\n", ERROR_RETRY, CODE_POSTGRES_UNREACHABLE,
         "did not sign"},
        {"server certificate for \"a\" does not match host name \"b\"\n", ERROR_RETRY,
         CODE_POSTGRES_UNREACHABLE, "in the server's certificate"},
        {"FATAL:  sorry, too many clients already\n", ERROR_RETRY,
         CODE_POSTGRES_TOO_MANY_CONNECTIONS, "max_connections"},
        {"FATAL:  remaining connection slots are reserved for non-replication superuser "
         "connections\n",
         ERROR_RETRY, CODE_POSTGRES_TOO_MANY_CONNECTIONS, "max_connections"},
        {"FATAL:  too many connections for role \"relay\"\n", ERROR_RETRY,
         CODE_POSTGRES_TOO_MANY_CONNECTIONS, "ALTER ROLE"},
        {"FATAL:  too many connections for database \"shop\"\n", ERROR_RETRY,
         CODE_POSTGRES_TOO_MANY_CONNECTIONS, "ALTER DATABASE"},
        {"FATAL:  role \"relay\" is not permitted to log in\n", ERROR_FATAL,
         CODE_POSTGRES_AUTHENTICATION, "LOGIN"},
        {"FATAL:  database \"shop\" is not currently accepting connections\n", ERROR_FATAL,
         CODE_POSTGRES_NO_DATABASE, "ALLOW_CONNECTIONS"},
        {"Connection refused\n", ERROR_RETRY, CODE_POSTGRES_UNREACHABLE, NULL},
        {"", ERROR_RETRY, CODE_POSTGRES_UNREACHABLE, NULL},
    };
    at.conn = pg_conn_new(&at.options);
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        stub_refuse_poll(CASES[i].text);
        pg_conn_open(at.conn);
        wait_for(&at.refused, i + 1);
        cr_assert_eq(at.error.class, CASES[i].class, "%s", CASES[i].text);
        cr_assert_eq(at.error.code, CASES[i].code, "%s", CASES[i].text);
        cr_assert_neq(error_message(&at.error)[0], '\0');
        cr_assert_not_null(
            strstr(error_own_hint(&at.error), CASES[i].hint != NULL ? CASES[i].hint : ""), "%s",
            error_own_hint(&at.error));
        cr_assert_eq(stub_open_connections(), 0);
    }
}

Test(conn, a_server_that_says_nothing_is_given_up)
{
    stub_stay_connecting(true);
    at.options.connect_timeout_ms = 30;
    make();
    wait_for(&at.refused, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_UNREACHABLE);
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_eq(stub_open_connections(), 0);
}

Test(conn, closing_while_it_connects_tells_nothing)
{
    make();
    pg_conn_close(at.conn); /* the worker may be inside of libpq */
    wait_worker();
    cr_assert_eq(stub_open_connections(), 0);
    stub_stay_connecting(true);
    pg_conn_open(at.conn);
    wait_worker();
    cr_assert_eq(stub_open_connections(), 1);
    pg_conn_close(at.conn);
    turn();
    cr_assert_eq(stub_open_connections(), 0);
    cr_assert_eq(at.opened + at.refused, 0);
}

Test(conn, reopening_at_once_is_a_new_connection)
{
    make();
    pg_conn_close(at.conn);
    pg_conn_open(at.conn);
    wait_for(&at.opened, 1);
    wait_worker();
    cr_assert_eq(at.opened, 1);
    cr_assert_eq(stub_open_connections(), 1);
}

/* Queries. */

Test(conn, results_come_in_order_and_then_the_end)
{
    connected();
    ask("rcr");
    cr_assert(pg_conn_is_busy(at.conn));
    wait_for(&at.done, 1);
    assert_heard("value;3;value;.");
    ask("");
    wait_for(&at.done, 2);
    assert_heard(".");
}

Test(conn, pieces_that_arrive_one_by_one_make_the_same)
{
    stub_set_pieces(1);
    connected();
    ask("ryrc");
    wait_for(&at.done, 1);
    assert_heard("value;[3]one[3]two;value;3;.");
}

Test(conn, rows_of_copy_are_handed_on_whole)
{
    connected();
    ask("yz");
    wait_for(&at.done, 1);
    static const char HEARD[] = "[3]one[3]two;[3]a\0b;.";
    cr_assert_eq(at.heard.length, sizeof(HEARD) - 1);
    cr_assert_eq(memcmp(at.heard.data, HEARD, sizeof(HEARD) - 1), 0);
}

Test(conn, a_copy_is_fed_slice_by_slice)
{
    connected();
    at.slices = 5;
    ask("i");
    wait_for(&at.done, 1);
    assert_heard("012341;.");
    cr_assert(pg_conn_is_open(at.conn));
    at.slices = 0;
    ask("ir");
    wait_for(&at.done, 2);
    assert_heard("1;value;.");
}

/* So libpq holds one slice at a time. */
Test(conn, a_copy_is_fed_as_fast_as_the_socket_takes_it)
{
    connected();
    at.slices = 5;
    ask("i");
    stub_set_slow_flushes(2);
    event_base_loop(at.base, EVLOOP_ONCE);
    assert_heard("");
    event_base_loop(at.base, EVLOOP_ONCE);
    assert_heard("");
    wait_for(&at.done, 1);
    assert_heard("012341;.");
}

Test(conn, a_copy_lets_other_work_have_its_turn)
{
    connected();
    at.slices = 100;
    ask("i");
    event_base_loop(at.base, EVLOOP_ONCE);
    cr_assert_gt(at.fed, 0);
    cr_assert_lt(at.fed, 50);
    wait_for(&at.done, 1);
    cr_assert_eq(at.fed, 100);
    cr_assert_eq(at.heard.length, 100 + strlen("1;."));
}

Test(conn, a_copy_that_cannot_go_on_fails_and_leaves_the_connection)
{
    connected();
    at.slices = 2;
    at.feed_fails = "no more of it";
    ask("i");
    wait_for(&at.done, 1);
    cr_assert_not_null(strstr(error_message(&at.error), "no more of it"), "%s",
                       error_message(&at.error));
    cr_assert(pg_conn_is_open(at.conn));
}

Test(conn, a_copy_that_is_refused_is_not_fed)
{
    connected();
    at.slices = 2;
    pg_conn_send(
        at.conn,
        &(PgQuery){.sql = "e", .arg = &at, .feed = on_feed, .result = on_result, .done = on_done});
    wait_for(&at.done, 1);
    cr_assert_eq(at.fed, 0);
    cr_assert_not_null(strstr(error_message(&at.error), "42P01"));
    cr_assert(pg_conn_is_open(at.conn));
}

Test(conn, parameters_go_along)
{
    connected();
    static const char *const VALUES[] = {"text", NULL};
    pg_conn_send(at.conn, &(PgQuery){.sql = "p",
                                     .param_count = 2,
                                     .values = VALUES,
                                     .arg = &at,
                                     .result = on_result,
                                     .done = on_done});
    wait_for(&at.done, 1);
    pg_conn_send(at.conn, &(PgQuery){.statement = "p",
                                     .param_count = 2,
                                     .values = VALUES,
                                     .arg = &at,
                                     .result = on_result,
                                     .done = on_done});
    wait_for(&at.done, 2);
    assert_heard("2;.2;.");
}

Test(conn, an_error_of_the_server_ends_the_query_and_leaves_the_connection)
{
    connected();
    ask("re");
    wait_for(&at.done, 1);
    assert_heard("value;POSTGRES_NO_TABLE.");
    cr_assert_eq(at.error.class, ERROR_FATAL);
    cr_assert(pg_conn_is_open(at.conn));
    ask("ye");
    wait_for(&at.done, 2);
    cr_assert_eq(at.error.code, CODE_POSTGRES_NO_TABLE);
    ask("c");
    wait_for(&at.done, 3);
    cr_assert_eq(at.error.class, ERROR_NONE, "the error of an earlier query");
}

Test(conn, done_may_send_the_next_query)
{
    connected();
    at.next_sql = "c";
    ask("r");
    wait_for(&at.done, 2);
    assert_heard("value;.3;.");
}

Test(conn, a_callback_may_close_the_connection)
{
    connected();
    at.close_in_result = true;
    ask("rr");
    turn();
    assert_heard("value;");
    cr_assert_eq(at.done, 0, "closed: no callback follows");
    at.close_in_result = false;
    at.close_in_row = true;
    pg_conn_open(at.conn);
    wait_for(&at.opened, 2);
    ask("y");
    turn();
    assert_heard("[3]one");
    cr_assert_eq(at.done, 0);
    cr_assert_eq(stub_open_connections(), 0);
}

Test(conn, a_query_that_could_not_be_sent_has_failed)
{
    connected();
    stub_fail_at(1, false); /* no memory for it; the connection is fine */
    ask("c");
    wait_for(&at.done, 1);
    assert_heard("POSTGRES_NOT_SENT.");
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_not_null(strstr(error_message(&at.error), "cannot allocate memory"), "%s",
                       error_message(&at.error));
    stub_fail_at(1, true); /* it is broken */
    ask("c");
    wait_for(&at.done, 2);
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_not(pg_conn_is_open(at.conn));
}

Test(conn, what_the_socket_does_not_take_at_once_is_sent_later)
{
    connected();
    stub_set_slow_flushes(5);
    ask("r");
    wait_for(&at.done, 1);
    assert_heard("value;.");
}

/* Losing it. */

Test(conn, a_broken_connection_ends_the_query)
{
    connected();
    ask("rb");
    wait_for(&at.done, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_CONNECTION_LOST);
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_not(pg_conn_is_open(at.conn));
    cr_assert_eq(stub_open_connections(), 0);
    turn();
    cr_assert_eq(at.done, 1);
    cr_assert_eq(at.refused, 0, "told twice");
}

Test(conn, the_server_s_last_words_are_the_reason)
{
    connected();
    ask("B");
    wait_for(&at.done, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_SHUTDOWN);
    cr_assert_eq(at.error.class, ERROR_RETRY);
}

Test(conn, an_error_of_libpq_is_a_lost_connection)
{
    connected();
    ask("x");
    wait_for(&at.done, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_CONNECTION_LOST);
    cr_assert_eq(at.error.class, ERROR_RETRY);
}

Test(conn, breaking_while_idle_is_told)
{
    connected();
    stub_break_idle(1);
    wait_for(&at.refused, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_CONNECTION_LOST);
    cr_assert_eq(stub_open_connections(), 0);
}

static void on_notified(void *arg, const char *channel)
{
    cr_assert_eq(arg, &at);
    text_printf(&at.heard, "%s ", channel);
    at.done++;
}

Test(conn, a_notification_is_told_between_queries_and_during_one)
{
    at.options.notified = on_notified;
    connected();
    stub_notify(1, "idle");
    wait_for(&at.done, 1);
    cr_assert_str_eq(text_string(&at.heard), "idle ");
    ask("h");
    stub_notify(1, "busy");
    wait_for(&at.done, 2);
    cr_assert_str_eq(text_string(&at.heard), "idle busy ");
    cr_assert(pg_conn_is_busy(at.conn));
    stub_continue();
    wait_for(&at.done, 3);
}

Test(conn, an_answer_that_came_while_we_stood_still_is_no_silence)
{
    at.options.silence_timeout_ms = 30;
    connected();
    ask("r");
    (void)poll(NULL, 0, 60);
    wait_for(&at.done, 1);
    assert_heard("value;.");
}

Test(conn, a_silent_server_is_given_up)
{
    at.options.silence_timeout_ms = 30;
    connected();
    ask("rh");
    wait_for(&at.done, 1);
    assert_heard("value;POSTGRES_SILENT.");
    cr_assert_not(pg_conn_is_open(at.conn));
}

Test(conn, a_server_that_goes_on_in_time_is_not_given_up)
{
    connected();
    ask("rhc");
    turn();
    cr_assert(pg_conn_is_busy(at.conn));
    stub_continue();
    wait_for(&at.done, 1);
    assert_heard("value;3;.");
}

Test(conn, an_idle_connection_may_be_silent)
{
    at.options.silence_timeout_ms = 20;
    connected();
    ask("c");
    wait_for(&at.done, 1);
    int64_t until_us = clock_monotonic_us() + 60000;
    while (clock_monotonic_us() < until_us) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
    }
    cr_assert(pg_conn_is_open(at.conn));
}

/* Two statements. */

static void ask_both(const char *first, const char *then)
{
    pg_conn_send(at.conn, &(PgQuery){.statement = first,
                                     .then = then,
                                     .then_count = 1,
                                     .then_values = (const char *const[]){"(0,1)"},
                                     .arg = &at,
                                     .result = on_result,
                                     .done = on_done});
}

Test(conn, two_statements_are_one_query)
{
    for (size_t pieces = 0; pieces < 4; pieces++) {
        stub_set_pieces(pieces);
        connected();
        stub_set_slow_flushes(pieces);
        ask_both("c", "r");
        wait_for(&at.done, 1);
        assert_heard("3;value;.");
        cr_assert(pg_conn_is_open(at.conn));
        at.next_sql = "c";
        ask_both("r", "c"); /* the mode is left again */
        wait_for(&at.done, 3);
        assert_heard("value;3;.3;.");
        at.opened = at.done = 0;
        pg_conn_free(&at.conn);
    }
}

Test(conn, of_two_statements_the_second_does_not_run_when_the_first_fails)
{
    connected();
    ask_both("e", "r");
    wait_for(&at.done, 1);
    assert_heard("POSTGRES_NO_TABLE.");
    cr_assert(pg_conn_is_open(at.conn));
    ask_both("c", "e");
    wait_for(&at.done, 2);
    assert_heard("3;POSTGRES_NO_TABLE.");
    ask("c");
    wait_for(&at.done, 3);
    assert_heard("3;.");
}

Test(conn, a_libpq_that_loses_the_end_of_two_statements_costs_the_connection)
{
    connected();
    stub_lose_sync(true);
    ask_both("c", "e");
    wait_for(&at.done, 1);
    assert_heard("3;POSTGRES_NO_TABLE.");
    cr_assert_not(pg_conn_is_open(at.conn));
}

Test(conn, two_statements_that_cannot_be_sent_or_read_end_once)
{
    for (int hard = 0; hard < 2; hard++) {
        bool struck = true;
        for (size_t n = 1; struck; n++) {
            connected();
            size_t before = stub_failures();
            stub_fail_at(n, hard != 0);
            ask_both("c", "r");
            wait_for(&at.done, 1);
            turn();
            struck = stub_failures() > before;
            cr_assert_eq(at.done, 1);
            cr_assert_eq(at.error.class == ERROR_NONE && pg_conn_is_open(at.conn), !struck,
                         "call %zu: %s", n, text_string(&at.heard));
            stub_fail_at(0, false);
            if (pg_conn_is_open(at.conn)) {
                ask("c"); /* what is left open is of use */
                wait_for(&at.done, 2);
                cr_assert_eq(at.error.class, ERROR_NONE, "call %zu: %s", n,
                             error_message(&at.error));
            }
            at.opened = at.done = 0;
            text_clear(&at.heard);
            pg_conn_free(&at.conn);
            cr_assert_lt(n, 100);
        }
    }
}

/* Cancelling. */

Test(conn, a_cancelled_query_ends_with_its_error)
{
    connected();
    ask("rh");
    turn();
    pg_conn_cancel(at.conn);
    wait_for(&at.done, 1);
    assert_heard("value;POSTGRES_QUERY_CANCELED.");
    cr_assert(pg_conn_is_open(at.conn));
    cr_assert_eq(stub_cancels(), 1);
    pg_conn_cancel(at.conn); /* nothing runs */
    wait_worker();
    cr_assert_eq(stub_cancels(), 1);
}

Test(conn, a_copy_can_be_cancelled_from_its_rows)
{
    stub_set_pieces(2);
    connected();
    at.cancel_in_row = true;
    ask("y");
    wait_for(&at.done, 1);
    assert_heard("[3]onePOSTGRES_QUERY_CANCELED.");
}

Test(conn, closing_while_a_cancel_request_is_under_way_is_safe)
{
    connected();
    ask("h");
    turn();
    pg_conn_cancel(at.conn);
    pg_conn_close(at.conn);
    wait_worker();
    cr_assert_eq(at.done, 0);
}

/* Everything that can fail fails once. */

static void try_fail_at(const char *sql, size_t n, bool hard, size_t pieces)
{
    stub_reset(serve, NULL);
    stub_set_pieces(pieces);
    at.conn = pg_conn_new(&at.options);
    at.opened = at.refused = at.done = 0;
    stub_fail_at(n, hard);
    pg_conn_open(at.conn);
    int64_t deadline_us = clock_monotonic_us() + WAIT_US;
    while (at.opened + at.refused == 0) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
        cr_assert_lt(clock_monotonic_us(), deadline_us, "call %zu: no word", n);
    }
    cr_assert_eq(at.opened + at.refused, 1);
    if (at.opened > 0) {
        at.slices = 3;
        ask(sql);
        while (at.done == 0) {
            event_base_loop(at.base, EVLOOP_NONBLOCK);
            cr_assert_lt(clock_monotonic_us(), deadline_us, "call %zu: no end", n);
        }
        cr_assert_eq(at.error.class != ERROR_NONE, stub_failures() > 0, "call %zu", n);
        text_clear(&at.heard);
        turn();
        cr_assert_eq(at.done, 1, "call %zu", n);
        cr_assert_eq(at.refused, 0, "call %zu: told twice", n);
    } else {
        cr_assert_eq(stub_failures(), 1, "refused without a failure");
    }
    pg_conn_free(&at.conn);
    cr_assert_eq(stub_open_connections(), 0, "call %zu", n);
    cr_assert_eq(stub_open_results(), 0, "call %zu", n);
}

Test(conn, each_call_of_libpq_may_fail)
{
    for (int variant = 0; variant < 8; variant++) {
        size_t n = 0;
        do {
            try_fail_at(variant < 4 ? "ryc" : "i", ++n, variant % 2 == 1, variant / 2 % 2);
        } while (stub_failures() > 0);
        cr_assert_geq(n, 12, "only %zu calls", n);
    }
}

/* Answers that are none to the question. */

static void assert_garbled(const char *sql, StubLie lie, int rows_wanted)
{
    connected();
    stub_lie_at(1, 1, lie, NULL);
    pg_conn_send(at.conn,
                 &(PgQuery){.sql = sql, .rows_wanted = rows_wanted, .arg = &at, .done = on_done});
    wait_for(&at.done, 1);
    cr_assert_eq(at.error.code, CODE_PG_PROTOCOL, "%s", error_message(&at.error));
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_not_null(strstr(error_message(&at.error), sql), "%s", error_message(&at.error));
    cr_assert_not(pg_conn_is_open(at.conn), "who lies once may lie again");
}

Test(conn, a_row_that_is_missing_ends_the_connection)
{
    assert_garbled("r", LIE_NO_ROW, 1);
}

Test(conn, fewer_rows_than_questions_end_the_connection)
{
    assert_garbled("rr", LIE_COMMAND, 2);
}

Test(conn, a_copy_to_us_ends_the_connection)
{
    assert_garbled("r", LIE_COPY_OUT, 0);
}

Test(conn, a_copy_from_us_ends_the_connection)
{
    assert_garbled("r", LIE_COPY_IN, 0);
}

Test(conn, a_stream_ends_the_connection)
{
    assert_garbled("r", LIE_COPY_BOTH, 0);
}

Test(conn, a_copy_that_nobody_begins_to_take_ends_the_connection)
{
    connected();
    pg_conn_send(at.conn, &(PgQuery){.sql = "c", .arg = &at, .feed = on_feed, .done = on_done});
    wait_for(&at.done, 1);
    cr_assert_eq(at.error.code, CODE_PG_PROTOCOL);
    cr_assert_not(pg_conn_is_open(at.conn));
}

Test(conn, a_copy_that_does_not_come_ends_the_connection)
{
    connected();
    pg_conn_send(at.conn, &(PgQuery){.sql = "c", .arg = &at, .row = on_row, .done = on_done});
    wait_for(&at.done, 1);
    cr_assert_not_null(strstr(error_message(&at.error), "does not start a COPY"), "%s",
                       error_message(&at.error));
    cr_assert_not(pg_conn_is_open(at.conn));
}

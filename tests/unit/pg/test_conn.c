/* The connection: opening, queries, two statements in one. */
#include <stdio.h>
#include <stdlib.h>

#include "conn_rig.h"

/* Opening. */

Test(conn, opens_with_what_a_session_of_ours_needs)
{
    rig_make();
    cr_assert_eq(at.opened, 0, "told from inside of pg_conn_open");
    rig_wait_for(&at.opened, 1);
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
    rig_make();
    rig_wait_for(&at.opened, 1);
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
    rig_make();
    rig_wait_for(&at.refused, 1);
    cr_assert_eq(at.opened, 0);
    cr_assert_eq(stub_open_connections(), 0);
    stub_refuse_open(NULL);
    pg_conn_open(at.conn);
    rig_wait_for(&at.opened, 1);
}

Test(conn, a_pooler_is_refused_before_anything_is_set)
{
    stub_set_pooled(true);
    rig_make();
    rig_wait_for(&at.refused, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_POOLER);
    cr_assert_eq(at.error.class, ERROR_FATAL);
    cr_assert_str_eq(stub_session_mark(), "");
    cr_assert_eq(stub_open_connections(), 0);
}

Test(conn, a_session_behind_a_pooler_has_a_mark_of_its_own)
{
    stub_set_pooled(true);
    at.options.pooled = true;
    rig_make();
    rig_wait_for(&at.opened, 1);
    char first[32];
    snprintf(first, sizeof(first), "%s", pg_conn_mark(at.conn));
    cr_assert_eq(strlen(first), 16);
    cr_assert_str_eq(first, stub_session_mark());
    pg_conn_close(at.conn);
    cr_assert_str_eq(pg_conn_mark(at.conn), "");
    pg_conn_open(at.conn);
    rig_wait_for(&at.opened, 2);
    cr_assert_str_neq(pg_conn_mark(at.conn), first);
}

Test(conn, an_encoding_that_is_refused_refuses_the_connection)
{
    stub_reset(serve_first, NULL);
    stub_set_encoding("SQL_ASCII");
    at.next_sql = "refuse";
    rig_make();
    rig_wait_for(&at.refused, 1);
    cr_assert_eq(at.opened, 0);
    cr_assert_eq(stub_open_connections(), 0);
}

Test(conn, a_database_in_another_encoding_is_converted)
{
    stub_set_encoding("LATIN1");
    rig_make();
    rig_wait_for(&at.opened, 1);
    cr_assert_not(pg_conn_takes_bytes(at.conn));
    cr_assert(pg_conn_is_converted(at.conn));
}

Test(conn, a_name_that_cannot_be_resolved_is_retried)
{
    stub_refuse_start("could not translate host name \"db\" to address\n");
    rig_make();
    rig_wait_for(&at.refused, 1);
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_eq(at.error.code, CODE_POSTGRES_UNREACHABLE);
    cr_assert_eq(stub_open_connections(), 0);
    stub_refuse_start(NULL);
    pg_conn_open(at.conn); /* it is closed, so it may be opened again */
    rig_wait_for(&at.opened, 1);
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
        rig_wait_for(&at.refused, i + 1);
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
    rig_make();
    rig_wait_worker();
    rig_pass_for(&at.refused, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_UNREACHABLE);
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_eq(stub_open_connections(), 0);
}

Test(conn, closing_while_it_connects_tells_nothing)
{
    rig_make();
    pg_conn_close(at.conn); /* the worker may be inside of libpq */
    rig_wait_worker();
    cr_assert_eq(stub_open_connections(), 0);
    stub_stay_connecting(true);
    pg_conn_open(at.conn);
    rig_wait_worker();
    cr_assert_eq(stub_open_connections(), 1);
    pg_conn_close(at.conn);
    rig_turn();
    cr_assert_eq(stub_open_connections(), 0);
    cr_assert_eq(at.opened + at.refused, 0);
}

Test(conn, reopening_at_once_is_a_new_connection)
{
    rig_make();
    pg_conn_close(at.conn);
    pg_conn_open(at.conn);
    rig_wait_for(&at.opened, 1);
    rig_wait_worker();
    cr_assert_eq(at.opened, 1);
    cr_assert_eq(stub_open_connections(), 1);
}

/* Queries. */

Test(conn, results_come_in_order_and_then_the_end)
{
    rig_connected();
    rig_ask("rcr");
    cr_assert(pg_conn_is_busy(at.conn));
    rig_wait_for(&at.done, 1);
    rig_assert_heard("value;3;value;.");
    rig_ask("");
    rig_wait_for(&at.done, 2);
    rig_assert_heard(".");
}

Test(conn, pieces_that_arrive_one_by_one_make_the_same)
{
    stub_set_pieces(1);
    rig_connected();
    rig_ask("ryrc");
    rig_wait_for(&at.done, 1);
    rig_assert_heard("value;[3]one[3]two;value;3;.");
}

Test(conn, rows_of_copy_are_handed_on_whole)
{
    rig_connected();
    rig_ask("yz");
    rig_wait_for(&at.done, 1);
    static const char HEARD[] = "[3]one[3]two;[3]a\0b;.";
    cr_assert_eq(at.heard.length, sizeof(HEARD) - 1);
    cr_assert_eq(memcmp(at.heard.data, HEARD, sizeof(HEARD) - 1), 0);
}

Test(conn, rows_of_copy_wait_while_they_are_held)
{
    rig_connected();
    at.hold_in_row = true;
    rig_ask("yr");
    rig_turn();
    rig_assert_heard("[3]one");
    cr_assert_eq(at.done, 0);
    pg_conn_go_on(at.conn);
    rig_turn();
    rig_assert_heard("[3]two");
    at.hold_in_row = false;
    pg_conn_go_on(at.conn);
    rig_wait_for(&at.done, 1);
    rig_assert_heard(";value;.");
}

Test(conn, without_a_copy_nothing_is_held)
{
    rig_connected();
    pg_conn_hold(at.conn);
    pg_conn_go_on(at.conn);
    rig_ask("r");
    rig_wait_for(&at.done, 1);
    rig_assert_heard("value;.");
}

Test(conn, a_copy_is_fed_slice_by_slice)
{
    rig_connected();
    at.slices = 5;
    rig_ask("i");
    rig_wait_for(&at.done, 1);
    rig_assert_heard("012341;.");
    cr_assert(pg_conn_is_open(at.conn));
    at.slices = 0;
    rig_ask("ir");
    rig_wait_for(&at.done, 2);
    rig_assert_heard("1;value;.");
}

/* So libpq holds one slice at a time. */
Test(conn, a_copy_is_fed_as_fast_as_the_socket_takes_it)
{
    rig_connected();
    at.slices = 5;
    rig_ask("i");
    stub_set_slow_flushes(2);
    event_base_loop(at.base, EVLOOP_ONCE);
    rig_assert_heard("");
    event_base_loop(at.base, EVLOOP_ONCE);
    rig_assert_heard("");
    rig_wait_for(&at.done, 1);
    rig_assert_heard("012341;.");
}

Test(conn, a_copy_lets_other_work_have_its_turn)
{
    rig_connected();
    at.slices = 100;
    rig_ask("i");
    event_base_loop(at.base, EVLOOP_ONCE);
    cr_assert_gt(at.fed, 0);
    cr_assert_lt(at.fed, 50);
    rig_wait_for(&at.done, 1);
    cr_assert_eq(at.fed, 100);
    cr_assert_eq(at.heard.length, 100 + strlen("1;."));
}

Test(conn, a_copy_that_cannot_go_on_fails_and_leaves_the_connection)
{
    rig_connected();
    at.slices = 2;
    at.feed_fails = "no more of it";
    rig_ask("i");
    rig_wait_for(&at.done, 1);
    cr_assert_not_null(strstr(error_message(&at.error), "no more of it"), "%s",
                       error_message(&at.error));
    cr_assert(pg_conn_is_open(at.conn));
}

Test(conn, a_copy_that_is_refused_is_not_fed)
{
    rig_connected();
    at.slices = 2;
    pg_conn_send(at.conn, &(PgQuery){.sql = "e",
                                     .arg = &at,
                                     .feed = rig_on_feed,
                                     .result = rig_on_result,
                                     .done = rig_on_done});
    rig_wait_for(&at.done, 1);
    cr_assert_eq(at.fed, 0);
    cr_assert_not_null(strstr(error_message(&at.error), "42P01"));
    cr_assert(pg_conn_is_open(at.conn));
}

Test(conn, parameters_go_along)
{
    rig_connected();
    static const char *const VALUES[] = {"text", NULL};
    pg_conn_send(at.conn, &(PgQuery){.sql = "p",
                                     .param_count = 2,
                                     .values = VALUES,
                                     .arg = &at,
                                     .result = rig_on_result,
                                     .done = rig_on_done});
    rig_wait_for(&at.done, 1);
    pg_conn_send(at.conn, &(PgQuery){.statement = "p",
                                     .param_count = 2,
                                     .values = VALUES,
                                     .arg = &at,
                                     .result = rig_on_result,
                                     .done = rig_on_done});
    rig_wait_for(&at.done, 2);
    rig_assert_heard("2;.2;.");
}

Test(conn, an_error_of_the_server_ends_the_query_and_leaves_the_connection)
{
    rig_connected();
    rig_ask("re");
    rig_wait_for(&at.done, 1);
    rig_assert_heard("value;POSTGRES_NO_TABLE.");
    cr_assert_eq(at.error.class, ERROR_FATAL);
    cr_assert(pg_conn_is_open(at.conn));
    rig_ask("ye");
    rig_wait_for(&at.done, 2);
    cr_assert_eq(at.error.code, CODE_POSTGRES_NO_TABLE);
    rig_ask("c");
    rig_wait_for(&at.done, 3);
    cr_assert_eq(at.error.class, ERROR_NONE, "the error of an earlier query");
}

Test(conn, done_may_send_the_next_query)
{
    rig_connected();
    at.next_sql = "c";
    rig_ask("r");
    rig_wait_for(&at.done, 2);
    rig_assert_heard("value;.3;.");
}

Test(conn, a_callback_may_close_the_connection)
{
    rig_connected();
    at.close_in_result = true;
    rig_ask("rr");
    rig_turn();
    rig_assert_heard("value;");
    cr_assert_eq(at.done, 0, "closed: no callback follows");
    at.close_in_result = false;
    at.close_in_row = true;
    pg_conn_open(at.conn);
    rig_wait_for(&at.opened, 2);
    rig_ask("y");
    rig_turn();
    rig_assert_heard("[3]one");
    cr_assert_eq(at.done, 0);
    cr_assert_eq(stub_open_connections(), 0);
}

Test(conn, a_query_that_could_not_be_sent_has_failed)
{
    rig_connected();
    stub_fail_at(1, false); /* no memory for it; the connection is fine */
    rig_ask("c");
    rig_wait_for(&at.done, 1);
    rig_assert_heard("POSTGRES_NOT_SENT.");
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_not_null(strstr(error_message(&at.error), "cannot allocate memory"), "%s",
                       error_message(&at.error));
    stub_fail_at(1, true); /* it is broken */
    rig_ask("c");
    rig_wait_for(&at.done, 2);
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_not(pg_conn_is_open(at.conn));
}

Test(conn, what_the_socket_does_not_take_at_once_is_sent_later)
{
    rig_connected();
    stub_set_slow_flushes(5);
    rig_ask("r");
    rig_wait_for(&at.done, 1);
    rig_assert_heard("value;.");
}

/* Two statements. */

static void ask_both(const char *first, const char *then)
{
    pg_conn_send(at.conn, &(PgQuery){.statement = first,
                                     .then = then,
                                     .then_count = 1,
                                     .then_values = (const char *const[]){"(0,1)"},
                                     .arg = &at,
                                     .result = rig_on_result,
                                     .done = rig_on_done});
}

Test(conn, two_statements_are_one_query)
{
    for (size_t pieces = 0; pieces < 4; pieces++) {
        stub_set_pieces(pieces);
        rig_connected();
        stub_set_slow_flushes(pieces);
        ask_both("c", "r");
        rig_wait_for(&at.done, 1);
        rig_assert_heard("3;value;.");
        cr_assert(pg_conn_is_open(at.conn));
        at.next_sql = "c";
        ask_both("r", "c"); /* the mode is left again */
        rig_wait_for(&at.done, 3);
        rig_assert_heard("value;3;.3;.");
        at.opened = at.done = 0;
        pg_conn_free(&at.conn);
    }
}

Test(conn, of_two_statements_the_second_does_not_run_when_the_first_fails)
{
    rig_connected();
    ask_both("e", "r");
    rig_wait_for(&at.done, 1);
    rig_assert_heard("POSTGRES_NO_TABLE.");
    cr_assert(pg_conn_is_open(at.conn));
    ask_both("c", "e");
    rig_wait_for(&at.done, 2);
    rig_assert_heard("3;POSTGRES_NO_TABLE.");
    rig_ask("c");
    rig_wait_for(&at.done, 3);
    rig_assert_heard("3;.");
}

Test(conn, a_libpq_that_loses_the_end_of_two_statements_costs_the_connection)
{
    rig_connected();
    stub_lose_sync(true);
    ask_both("c", "e");
    rig_wait_for(&at.done, 1);
    rig_assert_heard("3;POSTGRES_NO_TABLE.");
    cr_assert_not(pg_conn_is_open(at.conn));
}

Test(conn, two_statements_that_cannot_be_sent_or_read_end_once)
{
    for (int hard = 0; hard < 2; hard++) {
        bool struck = true;
        for (size_t n = 1; struck; n++) {
            rig_connected();
            size_t before = stub_failures();
            stub_fail_at(n, hard != 0);
            ask_both("c", "r");
            rig_wait_for(&at.done, 1);
            rig_turn();
            struck = stub_failures() > before;
            cr_assert_eq(at.done, 1);
            cr_assert_eq(at.error.class == ERROR_NONE && pg_conn_is_open(at.conn), !struck,
                         "call %zu: %s", n, text_string(&at.heard));
            stub_fail_at(0, false);
            if (pg_conn_is_open(at.conn)) {
                rig_ask("c"); /* what is left open is of use */
                rig_wait_for(&at.done, 2);
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

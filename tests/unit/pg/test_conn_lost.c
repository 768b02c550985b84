/* The connection: losing it, cancelling, and answers that are none. */

#include "conn_rig.h"

/* Losing it. */

Test(conn, a_broken_connection_ends_the_query)
{
    rig_connected();
    rig_ask("rb");
    rig_wait_for(&at.done, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_CONNECTION_LOST);
    cr_assert_eq(at.error.class, ERROR_RETRY);
    cr_assert_not(pg_conn_is_open(at.conn));
    cr_assert_eq(stub_open_connections(), 0);
    rig_turn();
    cr_assert_eq(at.done, 1);
    cr_assert_eq(at.refused, 0, "told twice");
}

Test(conn, the_server_s_last_words_are_the_reason)
{
    rig_connected();
    rig_ask("B");
    rig_wait_for(&at.done, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_SHUTDOWN);
    cr_assert_eq(at.error.class, ERROR_RETRY);
}

Test(conn, an_error_of_libpq_is_a_lost_connection)
{
    rig_connected();
    rig_ask("x");
    rig_wait_for(&at.done, 1);
    cr_assert_eq(at.error.code, CODE_POSTGRES_CONNECTION_LOST);
    cr_assert_eq(at.error.class, ERROR_RETRY);
}

Test(conn, breaking_while_idle_is_told)
{
    rig_connected();
    stub_break_idle(1);
    rig_wait_for(&at.refused, 1);
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
    rig_connected();
    stub_notify(1, "idle");
    rig_wait_for(&at.done, 1);
    cr_assert_str_eq(text_string(&at.heard), "idle ");
    rig_ask("h");
    stub_notify(1, "busy");
    rig_wait_for(&at.done, 2);
    cr_assert_str_eq(text_string(&at.heard), "idle busy ");
    cr_assert(pg_conn_is_busy(at.conn));
    stub_continue();
    rig_wait_for(&at.done, 3);
}

Test(conn, an_answer_that_came_while_we_stood_still_is_no_silence)
{
    rig_connected();
    rig_ask("r");
    clock_skip_us(2 * at.options.silence_timeout_ms * 1000);
    rig_wait_for(&at.done, 1);
    rig_assert_heard("value;.");
}

Test(conn, a_silent_server_is_given_up)
{
    rig_connected();
    rig_ask("rh");
    rig_pass_for(&at.done, 1);
    rig_assert_heard("value;POSTGRES_SILENT.");
    cr_assert_not(pg_conn_is_open(at.conn));
}

Test(conn, a_server_that_goes_on_in_time_is_not_given_up)
{
    rig_connected();
    rig_ask("rhc");
    rig_turn();
    cr_assert(pg_conn_is_busy(at.conn));
    stub_continue();
    rig_wait_for(&at.done, 1);
    rig_assert_heard("value;3;.");
}

Test(conn, an_idle_connection_may_be_silent)
{
    rig_connected();
    rig_ask("c");
    rig_wait_for(&at.done, 1);
    clock_skip_us(2 * at.options.silence_timeout_ms * 1000);
    rig_turn();
    cr_assert(pg_conn_is_open(at.conn));
}

/* Cancelling. */

Test(conn, a_cancelled_query_ends_with_its_error)
{
    rig_connected();
    rig_ask("rh");
    rig_turn();
    pg_conn_cancel(at.conn);
    rig_wait_for(&at.done, 1);
    rig_assert_heard("value;POSTGRES_QUERY_CANCELED.");
    cr_assert(pg_conn_is_open(at.conn));
    cr_assert_eq(stub_cancels(), 1);
    pg_conn_cancel(at.conn); /* nothing runs */
    rig_wait_worker();
    cr_assert_eq(stub_cancels(), 1);
}

Test(conn, a_copy_can_be_cancelled_from_its_rows)
{
    stub_set_pieces(2);
    rig_connected();
    at.cancel_in_row = true;
    rig_ask("y");
    rig_wait_for(&at.done, 1);
    rig_assert_heard("[3]onePOSTGRES_QUERY_CANCELED.");
}

Test(conn, closing_while_a_cancel_request_is_under_way_is_safe)
{
    rig_connected();
    rig_ask("h");
    rig_turn();
    pg_conn_cancel(at.conn);
    pg_conn_close(at.conn);
    rig_wait_worker();
    cr_assert_eq(at.done, 0);
}

/* Everything that can fail fails once. */

static void try_fail_at(const char *sql, size_t n, bool hard, size_t pieces)
{
    stub_reset(rig_serve, NULL);
    stub_set_pieces(pieces);
    at.conn = pg_conn_new(&at.options);
    at.opened = at.refused = at.done = 0;
    stub_fail_at(n, hard);
    pg_conn_open(at.conn);
    int64_t deadline_us = clock_real_us() + WAIT_US;
    while (at.opened + at.refused == 0) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
        cr_assert_lt(clock_real_us(), deadline_us, "call %zu: no word", n);
    }
    cr_assert_eq(at.opened + at.refused, 1);
    if (at.opened > 0) {
        at.slices = 3;
        rig_ask(sql);
        while (at.done == 0) {
            event_base_loop(at.base, EVLOOP_NONBLOCK);
            cr_assert_lt(clock_real_us(), deadline_us, "call %zu: no end", n);
        }
        cr_assert_eq(at.error.class != ERROR_NONE, stub_failures() > 0, "call %zu", n);
        text_clear(&at.heard);
        rig_turn();
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
    rig_connected();
    stub_lie_at(1, 1, lie, NULL);
    pg_conn_send(
        at.conn,
        &(PgQuery){.sql = sql, .rows_wanted = rows_wanted, .arg = &at, .done = rig_on_done});
    rig_wait_for(&at.done, 1);
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
    rig_connected();
    pg_conn_send(at.conn,
                 &(PgQuery){.sql = "c", .arg = &at, .feed = rig_on_feed, .done = rig_on_done});
    rig_wait_for(&at.done, 1);
    cr_assert_eq(at.error.code, CODE_PG_PROTOCOL);
    cr_assert_not(pg_conn_is_open(at.conn));
}

Test(conn, a_copy_that_does_not_come_ends_the_connection)
{
    rig_connected();
    pg_conn_send(at.conn,
                 &(PgQuery){.sql = "c", .arg = &at, .row = rig_on_row, .done = rig_on_done});
    rig_wait_for(&at.done, 1);
    cr_assert_not_null(strstr(error_message(&at.error), "does not start a COPY"), "%s",
                       error_message(&at.error));
    cr_assert_not(pg_conn_is_open(at.conn));
}

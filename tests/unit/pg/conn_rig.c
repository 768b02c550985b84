#include "conn_rig.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static char dsn_text[] = "host=db user=relay";
static char *const DSN = dsn_text;

ConnRig at;

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
void rig_serve(void *arg, const StubQuery *query, StubReply *reply)
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
    stub_reset(rig_serve, NULL);
    stub_stream_receive(on_fed);
    at.base = event_base_new();
    at.worker = worker_new();
    at.worker_io = event_new(at.base, worker_fd(at.worker), EV_READ | EV_PERSIST, on_worker, NULL);
    event_add(at.worker_io, NULL);
    at.options = (PgConnOptions){.base = at.base,
                                 .worker = at.worker,
                                 .dsn = &DSN,
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

void rig_wait_for(const size_t *count, size_t least)
{
    int64_t deadline_us = clock_real_us() + WAIT_US;
    while (*count < least) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
        cr_assert_lt(clock_real_us(), deadline_us, "waited in vain");
    }
}

void rig_pass_for(const size_t *count, size_t least)
{
    int64_t deadline_us = clock_real_us() + WAIT_US;
    while (*count < least) {
        clock_turn(at.base);
        cr_assert_lt(clock_real_us(), deadline_us, "waited in vain");
    }
}

void rig_turn(void)
{
    for (int i = 0; i < 20; i++) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
    }
}

void rig_wait_worker(void)
{
    int64_t deadline_us = clock_real_us() + WAIT_US;
    while (worker_is_busy(at.worker)) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
        cr_assert_lt(clock_real_us(), deadline_us, "waited in vain");
    }
    rig_turn();
}

void rig_make(void)
{
    at.conn = pg_conn_new(&at.options);
    pg_conn_open(at.conn);
}

void rig_connected(void)
{
    rig_make();
    rig_wait_for(&at.opened, 1);
    cr_assert(pg_conn_is_open(at.conn));
}

void rig_on_row(void *arg, const char *bytes, size_t length)
{
    cr_assert_eq(arg, &at);
    text_printf(&at.heard, "[%zu]", length);
    text_append(&at.heard, bytes, length);
    if (at.close_in_row) {
        pg_conn_close(at.conn);
    } else if (at.hold_in_row) {
        pg_conn_hold(at.conn);
    } else if (at.cancel_in_row) {
        at.cancel_in_row = false;
        pg_conn_cancel(at.conn);
        int64_t deadline_us = clock_real_us() + WAIT_US;
        while (stub_cancels() == 0) { /* a call of the worker thread */
            sched_yield();
            cr_assert_lt(clock_real_us(), deadline_us, "waited in vain");
        }
    }
}

void rig_on_result(void *arg, const PGresult *result)
{
    cr_assert_eq(arg, &at);
    text_printf(&at.heard, "%s;",
                PQresultStatus(result) == PGRES_TUPLES_OK ? PQgetvalue(result, 0, 0)
                                                          : PQcmdTuples((PGresult *)result));
    if (at.close_in_result) {
        pg_conn_close(at.conn);
    }
}

void rig_on_done(void *arg, const Error *err)
{
    cr_assert_eq(arg, &at);
    at.done++;
    error_copy(&at.error, err != NULL ? err : &(Error){0});
    cr_assert_not(pg_conn_is_busy(at.conn));
    text_printf(&at.heard, "%s.", err != NULL ? error_code_name(err->code) : "");
    if (at.next_sql != NULL) {
        const char *sql = at.next_sql;
        at.next_sql = NULL;
        rig_ask(sql);
    }
}

Slice rig_on_feed(void *arg, const char **ret_why)
{
    cr_assert_eq(arg, &at);
    if (at.fed == at.slices) {
        *ret_why = at.feed_fails;
        return SLICE_NULL;
    }
    return (Slice){.data = &"0123456789"[at.fed++ % 10], .length = 1};
}

void rig_ask(const char *sql)
{
    size_t done = at.done;
    bool copies = strpbrk(sql, "yz") != NULL;
    at.fed = 0;
    pg_conn_send(at.conn, &(PgQuery){.sql = sql,
                                     .arg = &at,
                                     .feed = strchr(sql, 'i') != NULL ? rig_on_feed : NULL,
                                     .row = copies ? rig_on_row : NULL,
                                     .result = rig_on_result,
                                     .done = rig_on_done});
    cr_assert_eq(at.done, done, "done from inside of pg_conn_send");
}

void rig_assert_heard(const char *expected)
{
    cr_assert_str_eq(text_string(&at.heard), expected, "%s", text_string(&at.heard));
    text_clear(&at.heard);
}

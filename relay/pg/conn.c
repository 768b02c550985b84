/* How it works: login.c begins the connection, off the loop. From there on the loop drives
 * PQconnectPoll and, once open, sends one query and reads its results as the socket becomes
 * readable. Rows of COPY are handed on one by one and never collected.
 *
 * A cancel request travels on a connection of its own and hits whatever runs when it arrives. So a
 * query that was cancelled ends for its owner only when the request has been dealt with: what is
 * sent next is never hit. */
#include "pg/conn.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/answer.h"
#include "pg/cancel.h"
#include "pg/encoding.h"
#include "pg/login.h"
#include "pg/message.h"
#include "pg/open.h"
#include "pg/query.h"
#include "pg/sqlstate.h"

enum { FEEDS_PER_TURN = 16 };

typedef enum ConnState {
    CONN_CLOSED,
    CONN_RESOLVING, /* pg/login.h is at work */
    CONN_CONNECTING,
    CONN_OPEN,
} ConnState;

struct PgConn {
    PgConnOptions *options;
    ConnState state;
    PGconn *pg;
    PgLogin *login;   /* from pg_conn_open until the server has let us in */
    PgCancel *cancel; /* under way for the running query */
    struct event *io;
    struct event *timer; /* connect time-out */
    PgQuery *query;      /* that runs, or ran last */
    PgAnswer *answer;    /* to it */
    bool busy;
    bool copying;
    bool feeding;   /* the server takes what query.feed brings */
    bool held;      /* nothing is read of the COPY for now */
    bool pipelined; /* two statements run: libpq is in pipeline mode until both are answered */
    bool between;   /* ... and the result before was the end of one of them */
    bool unsent;    /* not all of it could be sent: the session is of no use any more */
    bool ended;     /* the running query has, and waits for its cancel request */
    bool greeted;   /* by the process that answers */
    char mark[PG_MARK_SIZE];
};

static void conn_on_io(evutil_socket_t fd, short what, void *arg);

static void conn_drop_io(PgConn *conn)
{
    if (conn->io != NULL) {
        event_free(conn->io);
        conn->io = NULL;
    }
}

static void conn_watch(PgConn *conn, short what, int64_t timeout_ms)
{
    struct timeval tv = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    conn_drop_io(conn);
    conn->io = event_new(conn->options->base, PQsocket(conn->pg), what, conn_on_io, conn);
    event_add(conn->io, timeout_ms > 0 ? &tv : NULL);
}

void pg_conn_close(PgConn *conn)
{
    conn_drop_io(conn);
    event_del(conn->timer);
    pg_login_drop(&conn->login);
    pg_cancel_drop(&conn->cancel);
    if (conn->pg != NULL) {
        PQfinish(conn->pg);
        conn->pg = NULL;
    }
    conn->state = CONN_CLOSED;
    conn->busy = false;
    conn->copying = false;
    conn->feeding = false;
    conn->held = false;
    conn->pipelined = false;
    conn->unsent = false;
    conn->ended = false;
    conn->mark[0] = '\0';
}

static void conn_refuse(PgConn *conn, const Error *err)
{
    AUTO_ERROR copy = error_of(err);
    pg_conn_close(conn);
    conn->options->opened(conn->options->arg, &copy);
}

/* The server, or libpq, does not let us in. */
static void conn_refuse_login(PgConn *conn)
{
    AUTO_ERROR err = {0};
    sqlstate_connection_error(conn->pg, &err);
    pg_login_refused(conn->login, &err);
    conn_refuse(conn, &err);
}

static void conn_on_timeout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    PgConn *conn = arg;
    AUTO_ERROR err = {0};
    error_set(&err, CODE_POSTGRES_UNREACHABLE, "no connection to PostgreSQL within %lld ms",
              (long long)conn->options->connect_timeout_ms);
    conn_refuse(conn, &err);
}

static void conn_on_encoding(void *arg, const Error *err)
{
    PgConn *conn = arg;
    if (err != NULL) {
        conn_refuse(conn, err);
    } else {
        event_del(conn->timer);
        conn->options->opened(conn->options->arg, NULL);
    }
}

/* A statement of its own each: a walsender takes no two at once before PostgreSQL 15. */
static void conn_on_path(void *arg, const Error *err)
{
    PgConn *conn = arg;
    if (err == NULL && pg_conn_takes_bytes(conn)) {
        pg_conn_send(conn, &(PgQuery){.step = "session encoding",
                                      .sql = "SET client_encoding = 'SQL_ASCII'",
                                      .arg = conn,
                                      .done = conn_on_encoding});
    } else {
        conn_on_encoding(conn, err);
    }
}

static void conn_on_greeting(void *arg, const PGresult *result)
{
    ((PgConn *)arg)->greeted = PQntuples(result) > 0;
}

/* The pooler of a replication connection keeps a server connection for it alone, if it passes one
 * on at all. */
static void conn_on_greeted(void *arg, const Error *err)
{
    PgConn *conn = arg;
    if (err != NULL || conn->greeted) {
        conn_on_path(conn, err);
    } else if (conn->options->pooled || conn->options->replication) {
        AUTO_TEXT sql = pg_open_pooled_sql(conn->mark);
        pg_conn_send(conn, &(PgQuery){.step = "pooled session",
                                      .sql = sql,
                                      .rows_wanted = 1,
                                      .arg = conn,
                                      .done = conn_on_path});
    } else {
        AUTO_ERROR pooler = {0};
        (void)pg_refuse_pooler(&pooler);
        conn_refuse(conn, &pooler);
    }
}

static void conn_connect_poll(PgConn *conn)
{
    switch (PQconnectPoll(conn->pg)) {
    case PGRES_POLLING_READING:
        conn_watch(conn, EV_READ, 0);
        return;
    case PGRES_POLLING_WRITING:
        conn_watch(conn, EV_WRITE, 0);
        return;
    case PGRES_POLLING_OK: {
        AUTO_TEXT sql = pg_open_sql(conn->pg);
        conn->state = CONN_OPEN;
        pg_login_accepted(conn->login);
        pg_login_drop(&conn->login);
        PQsetnonblocking(conn->pg, 1);
        conn_watch(conn, EV_READ | EV_PERSIST, 0);
        pg_conn_send(conn, &(PgQuery){.step = "session path",
                                      .sql = sql,
                                      .arg = conn,
                                      .result = conn_on_greeting,
                                      .done = conn_on_greeted});
        return;
    }
    default:
        conn_refuse_login(conn);
    }
}

static void conn_on_no_password(void *arg, const Error *err)
{
    conn_refuse(arg, err);
}

static void conn_on_dialing(void *arg)
{
    PgConn *conn = arg;
    struct timeval tv = {.tv_sec = conn->options->connect_timeout_ms / 1000,
                         .tv_usec = conn->options->connect_timeout_ms % 1000 * 1000};
    event_add(conn->timer, &tv);
}

static void conn_on_dialed(void *arg, PGconn *pg)
{
    PgConn *conn = arg;
    conn->pg = pg;
    conn->state = CONN_CONNECTING;
    if (PQstatus(pg) == CONNECTION_BAD) {
        conn_refuse_login(conn);
        return;
    }
    conn_watch(conn, EV_WRITE, 0);
}

void pg_conn_open(PgConn *conn)
{
    assert(conn->state == CONN_CLOSED);
    conn->state = CONN_RESOLVING;
    conn->login = pg_login_begin(conn->options, &(PgLoginEvents){.arg = conn,
                                                                 .dialing = conn_on_dialing,
                                                                 .dialed = conn_on_dialed,
                                                                 .failed = conn_on_no_password});
}

/* Ends the query. The connection stays open only after an error of the server in a good one. */
static void conn_finish_query(PgConn *conn)
{
    if (conn->cancel != NULL) {
        conn->ended = true; /* conn_on_cancelled() comes back here */
        conn_drop_io(conn);
        return;
    }
    bool broken = PQstatus(conn->pg) != CONNECTION_OK;
    if (!broken) {
        answer_judge(conn->answer, conn->query);
    }
    PgQuery query = *conn->query;
    AUTO_ERROR err = error_of(&conn->answer->error);
    broken = broken || conn->answer->garbled || conn->pipelined;
    conn->busy = false;
    conn->copying = false;
    conn->feeding = false;
    conn->ended = false;
    if (broken) {
        if (err.class == ERROR_NONE) {
            AUTO_TEXT message = pg_message(conn->pg);
            error_set(&err, CODE_POSTGRES_CONNECTION_LOST, "%s", message);
        }
        pg_conn_close(conn);
    } else {
        conn_watch(conn, EV_READ | EV_PERSIST, 0);
    }
    err.step = query.step;
    if (conn->options->answered != NULL) {
        conn->options->answered(conn->options->arg);
    }
    query.done(query.arg, err.class == ERROR_NONE ? NULL : &err);
    if (conn->options->idle != NULL && conn->state == CONN_OPEN && !conn->busy) {
        conn->options->idle(conn->options->arg);
    }
}

/* False: wait for more input, or the query (or connection) has ended inside a callback. */
static bool conn_read_copy(PgConn *conn)
{
    if (conn->query->arrived != NULL) {
        conn->query->arrived(conn->query->arg);
    }
    for (;;) {
        char *row = NULL;
        int length = PQgetCopyData(conn->pg, &row, 1);
        if (length == 0) {
            return false;
        }
        if (length < 0) {
            pg_message_check(PQerrorMessage(conn->pg)); /* without memory it would begin anew */
            conn->copying = false;
            return true; /* PQgetResult tells whether it went well */
        }
        if (conn->query->row != NULL) {
            conn->query->row(conn->query->arg, row, (size_t)length);
        }
        PQfreemem(row);
        if (conn->pg == NULL || conn->held) {
            return false;
        }
    }
}

/* A slice is handed to libpq when the one before has left, and other work has its turn: a server
 * that takes them as fast as they come would hold up the loop for all of them. What fails here is
 * found by the next read. */
static void conn_feed(PgConn *conn)
{
    short what = EV_READ | EV_WRITE | EV_PERSIST;
    for (int i = 0; i < FEEDS_PER_TURN && conn->feeding && PQflush(conn->pg) == 0; i++) {
        const char *why = NULL;
        Slice bytes = conn->query->feed(conn->query->arg, &why);
        if (why != NULL || slice_is_null(bytes)) {
            conn->feeding = false;
            conn->unsent = PQputCopyEnd(conn->pg, why) != 1;
            what = PQflush(conn->pg) == 1 ? what : EV_READ | EV_PERSIST;
        } else {
            conn->unsent = PQputCopyData(conn->pg, bytes.data, (int)bytes.length) != 1;
            conn->feeding = !conn->unsent;
        }
    }
    conn_watch(conn, what, conn->options->silence_timeout_ms);
    if (conn->unsent) { /* the server waits for more, and libpq would begin anew */
        answer_garble(conn->answer, "asks for more data than there is");
    }
}

static void conn_take_result(PgConn *conn, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    bool wanted = status == PGRES_COPY_OUT    ? conn->query->row != NULL
                  : status == PGRES_COPY_BOTH ? conn->query->copy_both != NULL
                  : status == PGRES_COPY_IN   ? conn->query->feed != NULL
                                              : true;
    if (!wanted) { /* libpq would go on in a COPY that nobody reads or feeds */
        answer_garble(conn->answer, "starts a COPY that was not requested");
        PQclear(result);
        return;
    }
    switch (status) {
    case PGRES_COPY_OUT:
        conn->copying = true;
        conn->answer->copy_told = true;
        break;
    case PGRES_COPY_IN:
        conn->answer->copy_told = true;
        conn->feeding = true;
        conn_feed(conn);
        break;
    case PGRES_COPY_BOTH:
        conn_drop_io(conn);
        conn->ended = true; /* nothing here reads any more */
        break;
    case PGRES_PIPELINE_ABORTED: /* the statement before it failed */
        break;
    case PGRES_FATAL_ERROR:
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
        if (conn->answer->error.class == ERROR_NONE) {
            sqlstate_error(result, &conn->answer->error);
        }
        break;
    default:
        answer_hand_on(conn->answer, conn->query, result);
        break;
    }
    PQclear(result);
}

/* The end of two statements. Each ends with NULL, both with a result of its own; without that one
 * (libpq before 15.6 loses it when a constraint fails at the commit) a second NULL comes at once,
 * and the connection is given up. */
static bool conn_is_answered(PgConn *conn, const PGresult *result)
{
    bool last = result == NULL && conn->between;
    conn->between = result == NULL;
    if (result != NULL && PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        conn->pipelined = PQexitPipelineMode(conn->pg) != 1;
        last = true;
    }
    return last;
}

static void conn_read(PgConn *conn)
{
    while (conn->pg != NULL && conn->busy && !conn->ended) {
        if (conn->unsent) {
            conn_finish_query(conn);
            return;
        }
        if (conn->feeding || (conn->copying && !conn_read_copy(conn))) {
            return;
        }
        if (PQisBusy(conn->pg)) {
            return;
        }
        PGresult *result = PQgetResult(conn->pg);
        if (conn->pipelined ? conn_is_answered(conn, result) : result == NULL) {
            PQclear(result);
            conn_finish_query(conn);
            return;
        }
        if (result == NULL) {
            continue;
        }
        bool streams = PQresultStatus(result) == PGRES_COPY_BOTH && conn->query->copy_both != NULL;
        conn_take_result(conn, result);
        if (conn->pg != NULL && conn->answer->garbled) {
            conn_finish_query(conn);
            return;
        }
        if (streams) {
            conn->query->copy_both(conn->query->arg);
            return;
        }
    }
}

static void conn_lose(PgConn *conn, const Error *err)
{
    PgQuery query = *conn->query;
    AUTO_ERROR copy = error_of(err);
    copy.step = conn->busy ? query.step : NULL;
    bool busy = conn->busy;
    pg_conn_close(conn);
    if (busy) {
        query.done(query.arg, &copy);
    } else {
        conn->options->opened(conn->options->arg, &copy); /* lost while idle */
    }
}

static void conn_tell_notifications(PgConn *conn)
{
    while (conn->state == CONN_OPEN && conn->options->notified != NULL) {
        PGnotify *notification = PQnotifies(conn->pg);
        if (notification == NULL) {
            return;
        }
        conn->options->notified(conn->options->arg, notification->relname);
        PQfreemem(notification);
    }
}

/* When this process stood still (a suspended machine), the time is over and the answer there. */
static bool conn_has_input(const PgConn *conn)
{
    struct pollfd io = {.fd = PQsocket(conn->pg), .events = POLLIN};
    return poll(&io, 1, 0) == 1;
}

static void conn_on_io(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    PgConn *conn = arg;
    if (conn->state == CONN_CONNECTING) {
        conn_connect_poll(conn);
        return;
    }
    if ((what & EV_TIMEOUT) != 0 && !conn_has_input(conn)) {
        AUTO_ERROR err = {0};
        error_set(&err, CODE_POSTGRES_SILENT, "PostgreSQL did not answer within %lld ms",
                  (long long)conn->options->silence_timeout_ms);
        conn_lose(conn, &err);
        return;
    }
    if (conn->feeding && (what & EV_WRITE) != 0) {
        conn_feed(conn);
    } else if ((what & EV_WRITE) != 0 && PQflush(conn->pg) == 0) {
        conn_watch(conn, EV_READ | EV_PERSIST, conn->options->silence_timeout_ms);
    }
    if (PQconsumeInput(conn->pg) == 0) {
        AUTO_ERROR err = {0};
        AUTO_TEXT message = pg_message(conn->pg);
        error_set(&err, CODE_POSTGRES_CONNECTION_LOST, "%s", message);
        /* The server's last words (57P01 and the like) may be in the buffer. */
        if (conn->busy) {
            PGresult *result = PQgetResult(conn->pg);
            if (result != NULL && PQresultStatus(result) == PGRES_FATAL_ERROR) {
                sqlstate_error(result, &err);
            }
            PQclear(result);
        }
        conn_lose(conn, &err);
        return;
    }
    conn_read(conn);
    conn_tell_notifications(conn);
}

void pg_conn_send(PgConn *conn, const PgQuery *query)
{
    assert(conn->state == CONN_OPEN && !conn->busy);
    *conn->query = *query;
    conn->busy = true;
    answer_begin(conn->answer, query);
    conn->between = false;
    bool sent = query_send(conn->pg, query, &conn->pipelined);
    conn->unsent = query->then != NULL && !sent;
    if (!sent) {
        /* Not always a broken connection: a message can be too large for libpq's buffer. The loop
         * finds no result and ends the query with this; done() never comes from inside this call.
         */
        AUTO_TEXT message = pg_message(conn->pg);
        error_set(&conn->answer->error, CODE_POSTGRES_NOT_SENT, "cannot send a query: %s", message);
    }
    int flushed = sent ? PQflush(conn->pg) : 0;
    short what = flushed == 1 ? EV_READ | EV_WRITE : EV_READ;
    conn_watch(conn, (short)(what | EV_PERSIST), conn->options->silence_timeout_ms);
    if (!sent || flushed < 0) {
        event_active(conn->io, EV_READ, 0);
    }
}

void pg_conn_hold(PgConn *conn)
{
    if (conn->copying && !conn->held) {
        conn->held = true;
        conn_drop_io(conn);
    }
}

void pg_conn_go_on(PgConn *conn)
{
    if (conn->held) {
        conn->held = false;
        conn_watch(conn, EV_READ | EV_PERSIST, conn->options->silence_timeout_ms);
        event_active(conn->io, EV_READ, 0); /* libpq may hold rows already */
    }
}

static void conn_on_cancelled(void *arg)
{
    PgConn *conn = arg;
    conn->cancel = NULL;
    if (conn->ended) {
        conn_finish_query(conn);
    }
}

void pg_conn_cancel(PgConn *conn)
{
    if (conn->pg != NULL && conn->busy && !conn->ended && conn->cancel == NULL) {
        conn->cancel = pg_cancel_send(conn->pg, conn->options->worker, conn_on_cancelled, conn);
    }
}

bool pg_conn_is_open(const PgConn *conn)
{
    return conn->state == CONN_OPEN;
}

bool pg_conn_is_busy(const PgConn *conn)
{
    return conn->busy;
}

PGconn *pg_conn_raw(PgConn *conn)
{
    return conn->state == CONN_OPEN ? conn->pg : NULL;
}

const char *pg_conn_mark(const PgConn *conn)
{
    return conn->mark;
}

PgConn *pg_conn_new(const PgConnOptions *options)
{
    PgConn *conn = x_calloc(1, sizeof(*conn));
    conn->options = x_malloc(sizeof(*conn->options));
    *conn->options = *options;
    conn->query = x_calloc(1, sizeof(*conn->query));
    conn->answer = x_calloc(1, sizeof(*conn->answer));
    conn->timer = event_new(options->base, -1, 0, conn_on_timeout, conn);
    return conn;
}

void pg_conn_free(PgConn **conn)
{
    if (*conn != NULL) {
        pg_conn_close(*conn);
        event_free((*conn)->timer);
        error_clear(&(*conn)->answer->error);
        free((*conn)->options);
        free((*conn)->query);
        free((*conn)->answer);
        free(*conn);
        *conn = NULL;
    }
}

bool pg_conn_takes_bytes(const PgConn *conn)
{
    return pg_takes_bytes(conn->pg);
}

bool pg_conn_is_converted(const PgConn *conn)
{
    return pg_is_converted(conn->pg);
}

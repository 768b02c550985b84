/* conn: one non-blocking connection to PostgreSQL on the libevent loop, one query at a time.
 *
 * It is open, and told so, once its session is as pg/open.h says. What a pooler in between does not
 * pass on to a session of its own is refused there with POSTGRES_POOLER, before anything is set.
 *
 * An answer that is none to the question (result.h, PgQuery) ends the query with RETRY /
 * PG_PROTOCOL and the connection with it.
 *
 * Callbacks run on the loop thread, never from inside pg_conn_open or pg_conn_send. A callback may
 * send the next query or close the connection, but not free it. */
#pragma once

#include <event2/event.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "base/worker.h"

typedef struct PgConn PgConn;

typedef struct PgConnOptions {
    struct event_base *base;
    Worker *worker;   /* for name look-ups and cancel requests */
    char *const *dsn; /* read at each attempt to connect: the password in it may change */
    const char *application_name;
    int64_t connect_timeout_ms;
    int64_t silence_timeout_ms; /* no byte from the server for so long during a query: lost */
    int64_t tcp_user_timeout_ms;
    bool replication; /* a walsender of the database, for logical replication */
    bool pooled;      /* a pooler in session mode may be in between; else it is refused */
    void *arg;
    /** Connected (err == NULL) or not; then the connection is closed again. */
    void (*opened)(void *arg, const Error *err);
    /** A NOTIFY on a channel that a query LISTENs to; NULL: not wanted. Between queries it comes at
     * once, during one with its end or before. */
    void (*notified)(void *arg, const char *channel);
    /** A query has ended; its done() follows. NULL: not wanted. */
    void (*answered)(void *arg);
    /** Its done() has sent nothing: the connection is open and free. NULL: not wanted. */
    void (*idle)(void *arg);
} PgConnOptions;

typedef struct PgQuery {
    const char *step;      /* its name, for Error.step; static */
    const char *sql;       /* one or several statements; or, with params, exactly one */
    bool single;           /* exactly one also without params: the server refuses a second one */
    const char *statement; /* name of a prepared statement: sql is ignored */
    int param_count;
    const char *const *values; /* NULL entry: SQL NULL */
    const int *lengths;        /* of binary values */
    const int *formats;        /* 0 text, 1 binary; NULL: all text */
    /** Another prepared statement, behind that of `statement`, in one transaction and one round
     * trip; result() hears of one after the other. NULL: none. */
    const char *then;
    int then_count;
    const char *const *then_values; /* text */
    int rows_wanted; /* so many results must hold a row: else the answer is none to the question */
    void *arg;
    /** Rows of COPY TO STDOUT follow that arrived together. NULL: not wanted. */
    void (*arrived)(void *arg);
    /** A row of COPY TO STDOUT, which the query must bring then, even without rows; the bytes are
     * valid during the call. */
    void (*row)(void *arg, const char *bytes, size_t length);
    /** The next bytes for COPY FROM STDIN, which the query must be then; valid until the next call.
     * The null slice: that was all, or, with *ret_why set (static text), that the query fails for
     * that reason. It is asked again when the socket has taken them, so libpq's buffer stays as
     * small as they are. Sends nothing and closes nothing. */
    Slice (*feed)(void *arg, const char **ret_why);
    /** START_REPLICATION was accepted: from here on the socket and PQgetCopyData are the caller's,
     * until pg_conn_close. The query stays busy, and done() never follows. */
    void (*copy_both)(void *arg);
    /** A result without error; borrowed, read with pg/result.h. NULL: not wanted. */
    void (*result)(void *arg, const PGresult *result);
    /** The end. err != NULL: it failed; with pg_conn_is_open() false the connection is lost. */
    void (*done)(void *arg, const Error *err);
} PgQuery;

PgConn *pg_conn_new(const PgConnOptions *options);
void pg_conn_free(PgConn **conn);

/** Connects; `opened` follows. Must be closed before. */
void pg_conn_open(PgConn *conn);

/** Closes at once; no callback follows. Allowed in every state. */
void pg_conn_close(PgConn *conn);

/** Sends a query; done() follows. Must be open and not busy. */
void pg_conn_send(PgConn *conn, const PgQuery *query);

/** Reads no more of the COPY that runs: row() is not called, and the server waits once the buffers
 * in between are full. Allowed in row(); without a COPY it does nothing. A connection that breaks
 * meanwhile is noticed when it goes on. */
void pg_conn_hold(PgConn *conn);
/** ... reads on, from the loop. */
void pg_conn_go_on(PgConn *conn);

/** Asks the server to cancel the running query; done() follows with the error. */
void pg_conn_cancel(PgConn *conn);

bool pg_conn_is_open(const PgConn *conn);
bool pg_conn_is_busy(const PgConn *conn);

/** The connection itself, for PQserverVersion and the like; NULL unless open. */
PGconn *pg_conn_raw(PgConn *conn);

/** The mark of a session behind a pooler (pg/open.h); "" without one. Valid while it is open. */
const char *pg_conn_mark(const PgConn *conn);

/** True when the database is in SQL_ASCII: texts are whatever bytes somebody wrote. An open
 * connection then has client_encoding = SQL_ASCII, too, because with UTF8 the server refuses to
 * send a whole result for one odd byte in it. False while it is not open. */
bool pg_conn_takes_bytes(const PgConn *conn);
/** True when the database is neither in UTF8 nor in SQL_ASCII: the server converts, and refuses
 * characters that it has no form for. */
bool pg_conn_is_converted(const PgConn *conn);

/* session: a session with PostgreSQL for one thread that waits for its answers: that of a
 * sub-command. The relay's own never wait (pg/conn.h).
 *
 * However it was reached, and whatever role, database and DSN set, it begins as pg/open.h says, and
 * values have one form in it: UTF-8 (in SQL_ASCII: the bytes as they are), times in UTC and ISO
 * 8601, bytea in hex; row security is off, so that policies hide nothing.
 *
 * Each query has a name, which its error carries as its step. What a statement that fails means is
 * what pg/sqlstate.h says, unless the caller has a word of its own for it. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct PgSession PgSession;

typedef struct PgSessionOptions {
    const char *dsn;              /* NULL: libpq's environment */
    const char *application_name; /* unless the DSN has one */
    int64_t connect_timeout_ms;   /* for each host, unless the DSN has one; at least 2 s; 0: libpq's
                                     own */
    int64_t statement_timeout_ms; /* 0: none */
    const char *settings;         /* further SET statements, or NULL */
    bool replication; /* a walsender of the database: nothing is set, and queries have no
                         parameters */
    bool pooled;      /* a pooler in session mode may be in between; else it is refused */
    void *arg;
    /** Notices of the server; NULL: they go nowhere. */
    void (*noticed)(void *arg, const PGresult *notice);
    /** Fills *err from a statement that failed, also of the settings, and returns FAILED; NULL: as
     * pg/sqlstate.h says. */
    Status (*failed)(void *arg, PGconn *raw, const PGresult *result, Error *err);
} PgSessionOptions;

/** Connects. *ret_session is the caller's also after a failure, to ask why; freed with
 * pg_session_close. Errors: those of pg/sqlstate.h. */
Status pg_session_open(const PgSessionOptions *options, PgSession **ret_session, Error *err);

/** Takes NULL. */
void pg_session_close(PgSession **session);

typedef struct PgAsk {
    const char *step; /* its name, for Error.step; static */
    const char *sql;  /* one statement; or, without values, one or several */
    int count;
    const char *const *values; /* NULL entry: SQL NULL */
    bool single; /* one statement also without values: the server refuses a second one */
} PgAsk;

/** Asks. *ret_result, the last statement's, is set only on success and freed with
 * pg_session_free_result; a null ret_result: not wanted. */
Status pg_session_query(PgSession *session, const PgAsk *ask, PGresult **ret_result, Error *err);

/** Runs statements whose results do not matter. */
Status pg_session_run(PgSession *session, const char *step, const char *sql, Error *err);

/** Runs a COPY TO STDOUT and hands its rows on, one by one, until one of them is refused; the rest
 * is read and dropped. */
Status pg_session_copy(PgSession *session, const char *step, const char *sql, void *arg,
                       Status (*row)(void *arg, const char *bytes, size_t length, Error *err),
                       Error *err);

/** The connection itself, for PQserverVersion and the like; after a failure it may be NULL. */
PGconn *pg_session_raw(const PgSession *session);

/** For AUTO(PGresult, pg_session_free_result). */
void pg_session_free_result(PGresult **result);

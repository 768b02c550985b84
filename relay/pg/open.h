/* open: how every session with PostgreSQL begins, before its first other statement.
 *
 * Names without a schema are looked up in pg_catalog alone, so that an object that somebody made in
 * `public`, in a schema of a user's, or in pg_temp is never taken for a function, operator, cast or
 * type of PostgreSQL's and run with our rights. A statement and no option of the connection, which
 * poolers refuse and DSNs, roles and databases may override.
 *
 * What a session sets stays in the server connection of a pooler in transaction mode, for whoever
 * is given that next. So the first statement sets nothing unless the process that greeted us
 * answers; a pooler greets with a number of its own. Where sessions are told to be pooled, one
 * bears a mark: a session whose mark is gone, or another's, shares its server connection.
 *
 * Nothing else in relay/ and cdc/ connects (tests/support/connections.py); conn.c does it without
 * blocking. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/error.h"

/* How the first statement of each session begins. */
#define PG_OPEN_SQL "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)"
/* The setting that holds the mark of a pooled session. */
#define PG_SESSION_MARK "outboxd.session"

/* What every session sets so that texts mean the same in all, whatever the server, the database or
 * the role say: how values and names are printed, and how SQL is read. */
#define PG_TEXT_SETTINGS                                                                           \
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; "                \
    "SET bytea_output = 'hex'; SET extra_float_digits = 3; SET quote_all_identifiers = off; "      \
    "SET standard_conforming_strings = on; SET transform_null_equals = off; "

enum { PG_MARK_SIZE = 17 };

/** The first statement: a row when the server itself answers, none when a pooler does. The caller
 * frees it. */
char *pg_open_sql(const PGconn *conn);
/** The second one, behind a pooler; fills in the mark that the session gets. The caller frees it.
 */
char *pg_open_pooled_sql(char mark[static PG_MARK_SIZE]);
/** POSTGRES_POOLER: one stands in between, and nothing says that it pools sessions. */
Status pg_refuse_pooler(Error *err);

/** Connects as PQconnectdbParams does, with a DSN in dbname, and waits. pooled: a pooler may be in
 * between. *ret_conn is the caller's also after a failure, to ask why, and may be NULL then. */
Status pg_open(const char *const *keywords, const char *const *values, bool pooled,
               PGconn **ret_conn, Error *err);

/** A PQnoticeProcessor. libpq's own writes to stderr whatever the server says, which is what any
 * trigger of the outbox RAISEs, as often and as long as it likes, with the controls of a terminal.
 */
void pg_ignore_notice(void *arg, const char *message);

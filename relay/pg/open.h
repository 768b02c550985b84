/* open: how every session with PostgreSQL begins, before its first other statement.
 *
 * Names without a schema are looked up in pg_catalog alone, so that an object that somebody made in
 * `public`, in a schema of a user's, or in pg_temp is never taken for a function, operator, cast or
 * type of PostgreSQL's and run with our rights. A statement and no option of the connection, which
 * poolers refuse and DSNs, roles and databases may override.
 *
 * Nothing else in relay/ and cdc/ connects (tests/support/connections.py); conn.c does it without
 * blocking. */
#pragma once

#include <libpq-fe.h>

#include "base/error.h"

#define PG_OPEN_SQL "SET search_path = pg_catalog, pg_temp"

/* What every session sets so that texts mean the same in all, whatever the server, the database or
 * the role say: how values and names are printed, and how SQL is read. */
#define PG_TEXT_SETTINGS                                                                           \
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; "                \
    "SET bytea_output = 'hex'; SET extra_float_digits = 3; SET quote_all_identifiers = off; "      \
    "SET standard_conforming_strings = on; SET transform_null_equals = off; "

/** Connects as PQconnectdbParams does, with a DSN in dbname, and waits. *ret_conn is the caller's
 * also after a failure, to ask why, and may be NULL then. */
Status pg_open(const char *const *keywords, const char *const *values, PGconn **ret_conn,
               Error *err);

/** A PQnoticeProcessor. libpq's own writes to stderr whatever the server says, which is what any
 * trigger of the outbox RAISEs, as often and as long as it likes, with the controls of a terminal.
 */
void pg_ignore_notice(void *arg, const char *message);

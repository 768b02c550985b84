/* encoding: what a database is in, as its connection tells. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

/** True when the database is in SQL_ASCII; pg may be NULL. */
bool pg_takes_bytes(const PGconn *pg);
/** True when it is neither in UTF8 nor in SQL_ASCII; pg may be NULL. */
bool pg_is_converted(const PGconn *pg);
/** What an open PgConn does by itself, for a connection of libpq with client_encoding UTF8: waits
 * for the server. */
void pg_adopt_encoding(PGconn *pg);

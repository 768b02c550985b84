/* message: what libpq says about a connection. Its texts enter the relay here only, without the
 * password, should one of them ever repeat it, and on one line. */
#pragma once

#include <libpq-fe.h>

/** PQerrorMessage, for people; the caller frees it. */
char *pg_message(const PGconn *pg);

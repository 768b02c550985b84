/* query: a PgQuery on its way into libpq. For conn.c. */
#pragma once

#include "pg/conn.h"

/** False: not all of it could be given to libpq, whose message says why. *ret_pipelined: libpq is
 * in pipeline mode, for two statements. */
bool query_send(PGconn *pg, const PgQuery *query, bool *ret_pipelined);

/* instance: which server a session reached, which run of it, and which database: compared where the
 * replication connection has a connection string of its own (database.replication_dsn).
 *
 * The number of the system alone would not do: a standby, and a copy that was made from a backup,
 * have the same one. The time at which the server was started tells these apart. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

typedef struct Instance {
    bool told;
    char system_id[24];
    char database[64];
    char started[32];
} Instance;

/** Appends the statement, without a semicolon; any session can ask it, a walsender's, too. */
void instance_add_query(Text *sql);
/** True when the result is that of the statement. */
bool instance_is(const PGresult *result);
/** Reads its row. */
void instance_read(const PGresult *result, Instance *ret_instance);

/** REPLICATION_DSN: the second is another server or database. REPLICATION_RESTARTED: it is another
 * run, or a copy, of the first; may be over when both are asked again. */
Status instance_compare(const Instance *first, const Instance *second, Error *err);

/* migrate_internal: shared by migrate.c (connection, order of work), migrate_plan.c (what is
 * applied, what may be done), migrate_baseline.c, migrate_publication.c, migrate_around.c (rights,
 * and what else is in the database), migrate_step.c (one transaction), migrate_trigger.c (event
 * triggers) and migrate_query.c (statements and their errors); for nobody else. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"
#include "migrate/migrate.h"
#include "pg/session.h"

struct Migrate {
    PgSession *session;
    char *schema;
    char *place;
    char *foreign_owner;    /* of the schema, when we are not a member of it; else NULL */
    MigrateRecord *records; /* one for each of MIGRATIONS */
    Text notices;           /* of the server, since last cleared; a line each */
    Text place_of_error;    /* of the last error: the server's context, or "" */
    bool pooled;            /* sessions may change between transactions */
    bool schema_exists;
};

/** PgSessionOptions.failed: message, detail and remedy of a statement that failed; arg is the
 * Migrate. */
Status migrate_failed(void *arg, PGconn *raw, const PGresult *result, Error *err);

/** Runs one statement with parameters, or several without; *ret_result (the last one's) is cleared
 * by the caller. */
Status migrate_query(Migrate *migrate, const char *sql, int count, const char *const *values,
                     PGresult **ret_result, Error *err);

/** Runs statements whose results do not matter. */
Status migrate_run(Migrate *migrate, const char *sql, Error *err);

/** Ends a failed transaction; FAILED when the connection is gone. */
Status migrate_rollback(Migrate *migrate);

/** Process ids, with application names, of the sessions that hold locks on tables of the schema, or
 * NULL; the caller frees it. */
char *migrate_blockers(Migrate *migrate);

/** After a failed step that was rolled back: names the event trigger of the database that raised
 * the error, if one did. */
void migrate_name_event_trigger(Migrate *migrate, Error *err);

/** One row, one column, as text in *ret_value (NULL: no row or SQL NULL), freed by the caller; $1
 * is the schema. */
Status migrate_value(Migrate *migrate, const char *sql, char **ret_value, Error *err);

/** Runs a script of its own transaction; on error rolls back and puts the place and `what` before
 * the message. */
Status migrate_run_script(Migrate *migrate, const char *sql, const char *what, Error *err);

/** FAILED unless the connected role may change the schema's objects. */
Status migrate_check_owner(Migrate *migrate, Error *err);

/** FAILED unless the connected role may apply what is pending. */
Status migrate_check_privileges(Migrate *migrate, int last, MigrateRoles roles, Error *err);

/* How it works: a step is a script of one transaction. One that failed is rolled back, and the
 * error says which step it was, who held the lock, or which event trigger of the database raised
 * it. */
#include "base/memory.h"
#include "migrate/migrate_internal.h"
#include "pg/result.h"

Status migrate_rollback(Migrate *migrate)
{
    return migrate_run(migrate, "ROLLBACK", NULL);
}

char *migrate_blockers(Migrate *migrate)
{
    const char *values[] = {migrate->schema};
    PGresult *result;
    if (migrate_query(migrate,
                      "SELECT string_agg(DISTINCT l.pid || coalesce(nullif(' (' ||"
                      " a.application_name || ')', ' ()'), ''), ', ')"
                      " FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
                      " JOIN pg_namespace n ON n.oid = c.relnamespace"
                      " LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
                      " WHERE n.nspname = $1 AND l.granted AND l.pid <> pg_backend_pid()"
                      " AND l.database = (SELECT oid FROM pg_database"
                      " WHERE datname = current_database())",
                      1, values, &result, NULL) != OK) {
        return NULL;
    }
    char *blockers = pg_is_null(result, 0, 0) ? NULL : x_strdup(pg_value(result, 0, 0));
    PQclear(result);
    return blockers;
}

Status migrate_run_script(Migrate *migrate, const char *sql, const char *what, Error *err)
{
    text_clear(&migrate->notices);
    if (migrate_run(migrate, sql, err) == OK) {
        return OK;
    }
    AUTO_TEXT blockers = NULL;
    if (migrate_rollback(migrate) == OK && err != NULL) {
        if (err->code == CODE_MIGRATE_LOCKED) {
            blockers = migrate_blockers(migrate);
        } else {
            migrate_name_event_trigger(migrate, err);
        }
    }
    if (blockers != NULL) {
        AUTO_TEXT before = x_strdup(error_message(err));
        AUTO_ERROR locked = error_of(err);
        error_set_as(err, locked.class, locked.exit_code, locked.code, "%s; held by pid %s", before,
                     blockers);
        error_hint(err, "%s", error_own_hint(&locked));
        error_caused(err, &locked);
    }
    return error_prefix(err, "%s: %s", migrate->place, what);
}

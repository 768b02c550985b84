/* How it works: the text is that of --print, in a transaction of its own under the migration lock.
 * It does nothing when the publication is there already and is right. */
#include <stdlib.h>

#include "base/memory.h"
#include "migrate/migrate_internal.h"
#include "migrate/migrate_script.h"
#include "pg/result.h"

/* The answers of one query with two columns. */
static Status publication_look(Migrate *migrate, bool *ret_exists, char **ret_wal_level, Error *err)
{
    PGresult *result;
    if (migrate_query(migrate,
                      "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = 'outboxd_outbox'),"
                      " current_setting('wal_level')",
                      0, NULL, &result, err) != OK) {
        return error_prefix(err, "%s", migrate->place);
    }
    *ret_exists = pg_value(result, 0, 0)[0] == 't';
    *ret_wal_level = x_strdup(pg_value(result, 0, 1));
    PQclear(result);
    return OK;
}

Status migrate_publish(Migrate *migrate, bool *ret_created, char **ret_wal_level, Error *err)
{
    bool exists = false;
    AUTO_TEXT wal_level = NULL;
    if (publication_look(migrate, &exists, &wal_level, err) != OK) {
        return FAILED;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    migrate_script_begin(&sql, migrate->schema);
    migrate_script_publication(&sql, migrate->schema);
    migrate_script_end(&sql);
    if (migrate_run_script(migrate, text_string(&sql), "publication", err) != OK) {
        return FAILED;
    }
    *ret_created = !exists;
    *ret_wal_level = wal_level;
    wal_level = NULL;
    return OK;
}

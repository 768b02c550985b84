/* Whether the server leaves the relay the sessions that it needs: many pipelines, or many replicas,
 * meet its limits first. */
#include <stdlib.h>

#include "base/memory.h"
#include "check/check.h"
#include "pg/result.h"

/* Each limit, how many sessions there are, and how many look like ours. Everybody may see the
 * sessions of all (pg_stat_activity: pid, database, user and application name). None of these
 * limits counts walsenders: they have one of their own, which is among the conditions of the slot.
 */
static const char LIMITS[] =
    "WITH s AS (SELECT datid, usesysid, starts_with(application_name, $1) OR application_name ="
    " current_setting('application_name') AS ours FROM pg_catalog.pg_stat_activity"
    " WHERE datid IS NOT NULL AND usesysid IS NOT NULL AND pid <> pg_backend_pid()"
    " AND pid NOT IN (SELECT w.pid FROM pg_catalog.pg_stat_get_wal_senders() w))"
    " SELECT 'max_connections of the server', current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int"
    " - coalesce(current_setting('reserved_connections', true)::int, 0), (SELECT count(*) FROM s), "
    "(SELECT count(*) FROM s WHERE ours)"
    " UNION ALL SELECT format('CONNECTION LIMIT of role %I', r.rolname), r.rolconnlimit,"
    " (SELECT count(*) FROM s WHERE s.usesysid = r.oid),"
    " (SELECT count(*) FROM s WHERE s.usesysid = r.oid AND ours) FROM pg_roles r"
    " WHERE r.rolname = current_user AND r.rolconnlimit >= 0 AND NOT r.rolsuper"
    " UNION ALL SELECT format('CONNECTION LIMIT of database %I', d.datname), d.datconnlimit,"
    " (SELECT count(*) FROM s WHERE s.datid = d.oid),"
    " (SELECT count(*) FROM s WHERE s.datid = d.oid AND ours) FROM pg_database d"
    " WHERE d.datname = current_database() AND d.datconnlimit >= 0";

/* For good, without what only the rows of before the slot take. A pipeline that polls has one for
 * the lock and the rows and one for marks. */
static long connections_of(const PipelineConfig *pipeline)
{
    switch (pipeline->capture) {
    case CAPTURE_POLL:
        return 2;
    case CAPTURE_WAL:
        return 1;
    case CAPTURE_TABLES:
        return pipeline->tables.toast == TOAST_RESELECT ? 2 : 1;
    }
    return 1;
}

/* With the one that watches. */
static long connections_needed(const Config *config)
{
    long needed = 1;
    for (size_t i = 0; i < config->pipeline_count; i++) {
        needed += connections_of(&config->pipelines[i]);
    }
    return needed;
}

void check_connections(Check *check)
{
    AUTO_TEXT prefix = x_format("%s/", check->config->name);
    const char *const values[] = {prefix};
    long needed = connections_needed(check->config);
    PGresult *r = check_query(check, "limits of connections", LIMITS, 1, values);
    for (int i = 0; r != NULL && i < PQntuples(r); i++) {
        long limit = strtol(pg_value(r, i, 1), NULL, 10);
        long ours = strtol(pg_value(r, i, 3), NULL, 10); /* of a relay that runs, or of many */
        long used = strtol(pg_value(r, i, 2), NULL, 10) - (ours < needed ? ours : needed);
        long left = used < limit ? limit - used : 0;
        if (needed > left) {
            check_warning(check, "database", "raise that limit, or end sessions of others",
                          "outboxd run needs %ld connections to the database, and %s leaves %ld: "
                          "some pipelines would wait",
                          needed, pg_value(r, i, 0), left);
        }
    }
    PQclear(r);
}

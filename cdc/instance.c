#include "cdc/instance.h"

#include <stdio.h>
#include <string.h>

#include "pg/result.h"

void instance_add_query(Text *sql)
{
    text_add(sql, "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()) AS"
                  " instance, pg_catalog.current_database() AS database,"
                  " extract(epoch FROM pg_catalog.pg_postmaster_start_time()) AS started");
}

bool instance_is(const PGresult *result)
{
    return PQresultStatus(result) == PGRES_TUPLES_OK && PQfnumber(result, "instance") >= 0;
}

static void instance_take(const PGresult *result, const char *name, char *to, size_t capacity)
{
    (void)snprintf(to, capacity, "%s", pg_needed_field(result, 0, name));
}

void instance_read(const PGresult *result, Instance *ret_instance)
{
    Instance *at = ret_instance;
    instance_take(result, "instance", at->system_id, sizeof(at->system_id));
    instance_take(result, "database", at->database, sizeof(at->database));
    instance_take(result, "started", at->started, sizeof(at->started));
    at->told = true;
}

Status instance_compare(const Instance *first, const Instance *second, Error *err)
{
    if (strcmp(first->system_id, second->system_id) != 0) {
        error_set(err, CODE_REPLICATION_DSN,
                  "database.dsn and database.replication_dsn lead to two different servers: their "
                  "system identifiers are %s and %s",
                  first->system_id, second->system_id);
        return error_advise(err);
    }
    if (strcmp(first->database, second->database) != 0) {
        error_set(err, CODE_REPLICATION_DSN,
                  "database.dsn leads to database '%s', and database.replication_dsn to database "
                  "'%s'",
                  first->database, second->database);
        return error_advise(err);
    }
    if (strcmp(first->started, second->started) != 0) {
        error_set(err, CODE_REPLICATION_RESTARTED,
                  "database.dsn and database.replication_dsn lead to two servers with the same "
                  "system identifier that were not started at the same time");
        return error_advise(err);
    }
    return OK;
}

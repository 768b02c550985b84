#include "pg/open.h"

#include "pg/sqlstate.h"

void pg_ignore_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

Status pg_open(const char *const *keywords, const char *const *values, PGconn **ret_conn,
               Error *err)
{
    *ret_conn = PQconnectdbParams(keywords, values, 1);
    if (PQstatus(*ret_conn) != CONNECTION_OK) {
        return sqlstate_connection_error(*ret_conn, err);
    }
    PQsetNoticeProcessor(*ret_conn, pg_ignore_notice, NULL);
    PGresult *result = PQexec(*ret_conn, PG_OPEN_SQL);
    Status status = PQresultStatus(result) == PGRES_COMMAND_OK ? OK : sqlstate_error(result, err);
    PQclear(result);
    return status;
}

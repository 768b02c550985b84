#include "pg/open.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/memory.h"
#include "pg/sqlstate.h"

void pg_ignore_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

char *pg_open_sql(const PGconn *conn)
{
    return x_format(PG_OPEN_SQL " WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %d",
                    PQbackendPID(conn));
}

char *pg_open_pooled_sql(char mark[static PG_MARK_SIZE])
{
    uint64_t number = 0;
    if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number)) {
        abort(); /* so few bytes are never refused nor cut short once the kernel has its entropy */
    }
    (void)snprintf(mark, PG_MARK_SIZE, "%016" PRIx64, number);
    return x_format(PG_OPEN_SQL ", pg_catalog.set_config('" PG_SESSION_MARK "', '%s', false)",
                    mark);
}

Status pg_refuse_pooler(Error *err)
{
    error_set(err, CODE_POSTGRES_POOLER,
              "a connection pooler stands between outboxd and PostgreSQL");
    return error_advise(err);
}

static Status open_ask(PGconn *conn, const char *sql, int *ret_rows, Error *err)
{
    PGresult *result = PQexec(conn, sql);
    Status status = PQresultStatus(result) == PGRES_TUPLES_OK ? OK : sqlstate_error(result, err);
    *ret_rows = PQntuples(result);
    PQclear(result);
    return status;
}

Status pg_open(const char *const *keywords, const char *const *values, bool pooled,
               PGconn **ret_conn, Error *err)
{
    *ret_conn = PQconnectdbParams(keywords, values, 1);
    if (PQstatus(*ret_conn) != CONNECTION_OK) {
        return sqlstate_connection_error(*ret_conn, err);
    }
    PQsetNoticeProcessor(*ret_conn, pg_ignore_notice, NULL);
    AUTO_TEXT first = pg_open_sql(*ret_conn);
    int rows = 0;
    if (open_ask(*ret_conn, first, &rows, err) != OK || rows > 0) {
        return rows > 0 ? OK : FAILED;
    }
    if (!pooled) {
        return pg_refuse_pooler(err);
    }
    char mark[PG_MARK_SIZE];
    AUTO_TEXT second = pg_open_pooled_sql(mark);
    return open_ask(*ret_conn, second, &rows, err);
}

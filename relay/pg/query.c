#include "pg/query.h"

static bool query_send_both(PGconn *pg, const PgQuery *query)
{
    return PQsendQueryPrepared(pg, query->statement, query->param_count, query->values,
                               query->lengths, query->formats, 0) == 1 &&
           PQsendQueryPrepared(pg, query->then, query->then_count, query->then_values, NULL, NULL,
                               0) == 1 &&
           PQpipelineSync(pg) == 1;
}

bool query_send(PGconn *pg, const PgQuery *query, bool *ret_pipelined)
{
    if (query->then != NULL) {
        *ret_pipelined = PQenterPipelineMode(pg) == 1;
        return *ret_pipelined && query_send_both(pg, query);
    }
    if (query->statement != NULL) {
        return PQsendQueryPrepared(pg, query->statement, query->param_count, query->values,
                                   query->lengths, query->formats, 0) == 1;
    }
    if (query->param_count > 0 || query->single) {
        return PQsendQueryParams(pg, query->sql, query->param_count, NULL, query->values,
                                 query->lengths, query->formats, 0) == 1;
    }
    return PQsendQuery(pg, query->sql) == 1;
}

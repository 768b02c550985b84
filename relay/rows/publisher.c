#include "rows/publisher.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/open.h"
#include "pg/result.h"

enum {
    LOCK_TIMEOUT_MAX_MS = 5000,
    NAME_MAX_BYTES = 63, /* of an application_name */
    HOST_SHOWN_MAX = 30,
};

/* "shop/orders web-1:4242". Whoever stands by reads host and process from it: those of the relay,
 * which the backend's number and the address of a network in between are not. */
static void publisher_add_name(const Config *config, const PipelineConfig *pipeline,
                               const PGconn *raw, Text *sql)
{
    char host[HOST_NAME_MAX + 1] = "";
    (void)gethostname(host, sizeof(host) - 1);
    AUTO_TEXT fallback = x_format("%s/%s", config->name, pipeline->name);
    const char *given = PQparameterStatus(raw, "application_name");
    const char *base = given != NULL && *given != '\0' ? given : fallback;
    AUTO_TEXT process = x_format(" %.*s:%d", HOST_SHOWN_MAX, host, (int)getpid());
    AUTO_TEXT name = x_format("%.*s%s", (int)(NAME_MAX_BYTES - strlen(process)), base, process);
    AUTO_TEXT literal = ident_literal(name);
    text_printf(sql, "SET application_name = %s; ", literal);
}

void publisher_add_settings(const Config *config, const PipelineConfig *pipeline, bool lease,
                            const PGconn *raw, Text *sql)
{
    int server_version = PQserverVersion(raw);
    int64_t lease_ms = pipeline->claim.lease_ms;
    text_add(sql, PG_TEXT_SETTINGS);
    text_add(sql, "SET default_transaction_isolation = 'read committed'; "
                  "SET default_transaction_read_only = off; "
                  "SET synchronous_commit = on; SET row_security = off; SET jit = off; SET "
                  "enable_seqscan = off; "
                  "SET max_parallel_workers_per_gather = 0; "
                  "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; "
                  "SET tcp_keepalives_count = 3; SET idle_in_transaction_session_timeout = 0; ");
    text_printf(sql, "SET tcp_user_timeout = %lld; SET statement_timeout = %lld; ",
                (long long)lease_ms,
                (long long)(lease ? lease_ms : config->database.statement_timeout_ms));
    if (lease) {
        publisher_add_name(config, pipeline, raw, sql);
        /* A table without statistics would be sorted whole for each fetch, and only a plain index
         * scan marks the dead entries that it meets. */
        text_add(sql, "SET enable_bitmapscan = off; ");
        /* Nor does one that is stopped in the middle of a transaction keep the lock. */
        text_printf(sql, "SET idle_in_transaction_session_timeout = %lld; ",
                    (long long)lease_ms + PUBLISHER_MARGIN_MS);
    }
    if (server_version >= 170000) {
        text_add(sql, "SET transaction_timeout = 0; ");
    }
    if (lease && server_version >= 140000) {
        text_printf(sql, "SET idle_session_timeout = %lld; ",
                    (long long)lease_ms + PUBLISHER_MARGIN_MS);
    } else if (server_version >= 140000) {
        text_add(sql, "SET idle_session_timeout = 0; ");
    }
}

void publisher_add_pooler_query(Text *sql)
{
    text_add(sql, "SELECT pg_catalog.current_setting('" PG_SESSION_MARK "', true) AS session_mark,"
                  " pg_catalog.pg_backend_pid() AS backend_pid; ");
}

Status publisher_check_pooler(const Config *config, const PgConn *conn, const PGresult *result,
                              bool replication, Error *err)
{
    const char *mark = pg_conn_mark(conn);
    if (*mark == '\0') {
        return OK;
    }
    if (strcmp(pg_field(result, 0, "session_mark"), mark) != 0) {
        error_set(err, CODE_POSTGRES_POOLER,
                  "the pooler between outboxd and PostgreSQL gave the connection of this session "
                  "to another client: it is not in session mode");
        return error_hint(err, "Connect to PostgreSQL directly, or set pool_mode = session in the "
                               "pooler for this database and this user.");
    }
    if (replication && *config->database.replication_dsn == '\0') {
        return publisher_refuse_replication(err);
    }
    return OK;
}

Status publisher_refuse_replication(Error *err)
{
    error_set(
        err, CODE_POSTGRES_POOLER,
        "a connection pooler stands between outboxd and PostgreSQL, and capture = \"wal\" "
        "needs a replication connection: many poolers do not support replication connections");
    return error_hint(err, "Connect to PostgreSQL directly, or set database.replication_dsn to a "
                           "connection string that leads to the same server: directly, or through "
                           "a pooler that supports replication connections.");
}

/* A third of the lease: the connection that holds the lock must be free for the next question of
 * the lease in time. */
int64_t publisher_lock_timeout_ms(const PipelineConfig *pipeline)
{
    int64_t ms = pipeline->claim.lease_ms / 3;
    return ms < LOCK_TIMEOUT_MAX_MS ? ms : LOCK_TIMEOUT_MAX_MS;
}

void publisher_add_lock_timeout(const PipelineConfig *pipeline, Text *sql)
{
    text_printf(sql, "SET lock_timeout = %lld; ", (long long)publisher_lock_timeout_ms(pipeline));
}

void publisher_add_claim(const PipelineConfig *pipeline, const char *row_table, uint32_t table_oid,
                         const char *generation, const History *found, Text *sql)
{
    AUTO_TEXT name = ident_literal(pipeline->name);
    AUTO_TEXT table = ident_literal(pipeline->outbox.table);
    text_printf(sql,
                "WITH claimed AS (INSERT INTO %s AS p (table_id, pipeline, table_name, generation,"
                " writes) VALUES (%u, %s, %s, '%s', 1) ON CONFLICT (table_id) DO UPDATE SET"
                " pipeline = excluded.pipeline, table_name = excluded.table_name,"
                " generation = excluded.generation, writes = p.writes + 1,"
                " updated_at = clock_timestamp()",
                row_table, table_oid, name, table, generation);
    if (found != NULL) {
        AUTO_TEXT was = found->has_row ? x_format("'%s'", found->generation) : x_strdup("NULL");
        text_printf(sql, " WHERE p.writes = %llu AND p.generation IS NOT DISTINCT FROM %s::uuid",
                    (unsigned long long)found->writes, was);
    }
    text_add(sql, " RETURNING p.ctid) SELECT count(*) AS claimed, min(ctid::text) AS ctid FROM"
                  " claimed");
}

void publisher_add_unlock(uint32_t table_oid, Text *sql)
{
    text_printf(sql, "SELECT pg_advisory_unlock(%d, %d)", PUBLISHER_LOCK_CLASS, (int32_t)table_oid);
}

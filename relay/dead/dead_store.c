#include "dead/dead_store.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/result.h"
#include "rows/companion.h"
#include "rows/dead_letter.h"

enum { CONNECT_TIMEOUT_MS = 5000, QUERY_TIMEOUT_MS = 30000 };

#define LISTED                                                                                     \
    "id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), pipeline,"              \
    " event->>'event_type', coalesce(event->>'aggregate_id',"                                      \
    " CASE WHEN record_key IS NOT NULL THEN encode(record_key, 'escape') END),"                    \
    " error_code, reason, attempts, event_id, event->>'" DEAD_LETTER_LSN "'"
#define FURTHER                                                                                    \
    ", seq, event::text, topic, record_key, record_value, record_headers::text,"                   \
    " to_char(record_timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),"          \
    " error_class, extract(epoch FROM clock_timestamp() - at), event_whole,"                       \
    " to_char(requeued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"                  \
    " (SELECT jsonb_object_agg(n, octet_length(v)) FROM unnest(event_large, event_large_values)"   \
    " AS u(n, v) WHERE n IS NOT NULL)::text"

/* The general hint names the role's membership; here it is clear which right it is. */
static Status store_name_right(const DeadStore *store, const char *right, Error *err)
{
    if (err->class != ERROR_NONE && err->code == CODE_POSTGRES_PRIVILEGE) {
        error_hint(err, "GRANT outbox_relay TO %s; or GRANT %s ON %s TO %s;", store->role, right,
                   store->table, store->role);
    }
    return FAILED;
}

static Status store_connect(DeadStore *store, Error *err)
{
    AUTO(PGresult, pg_session_free_result) role = NULL;
    if (pg_session_open(
            &(PgSessionOptions){
                .dsn = store->config->database.dsn,
                .pooled = store->config->database.pooler == POOLER_SESSION,
                .application_name = "outboxd dead",
                .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                .statement_timeout_ms = QUERY_TIMEOUT_MS,
                .settings = "SET default_transaction_isolation = 'read committed'; SET "
                            "default_transaction_read_only = off",
            },
            &store->session, err) != OK ||
        pg_session_query(store->session,
                         &(PgAsk){.step = "role", .sql = "SELECT quote_ident(current_user)"}, &role,
                         err) != OK) {
        return FAILED;
    }
    store->role = x_strdup(pg_value(role, 0, 0));
    return OK;
}

static Status store_several(const char *one, const char *pipeline, const char *other, Error *err)
{
    error_set(err, CODE_DEAD_LETTER_TABLES,
              "the pipelines store dead letters in different tables: %s, and %s of pipeline '%s'",
              one, other, pipeline);
    return error_hint(err, "Choose one pipeline, for example: --pipeline %s", pipeline);
}

static Status store_find_tables(DeadStore *store, const char *name, Error *err)
{
    const Config *config = store->config;
    const PipelineConfig *only = NULL;
    for (size_t i = 0; name != NULL && i < config->pipeline_count; i++) {
        only = strcmp(config->pipelines[i].name, name) == 0 ? &config->pipelines[i] : only;
    }
    for (size_t i = 0; i < config->pipeline_count; i++) {
        const PipelineConfig *pipeline = &config->pipelines[i];
        AUTO_TEXT table = NULL;
        if (only != NULL && pipeline != only) {
            continue;
        }
        if (companion_find(store->session, pipeline->outbox.table, COMPANION_DEAD_LETTER, false,
                           &table, err) != OK) {
            return FAILED;
        }
        if (table == NULL) {
            continue;
        }
        if (store->table != NULL && strcmp(store->table, table) != 0) {
            return store_several(store->table, pipeline->name, table, err);
        }
        if (store->table == NULL) {
            store->table = table;
            table = NULL;
        }
    }
    if (store->table == NULL) {
        error_set_as(err, ERROR_FATAL, EXIT_POSTGRES, CODE_NO_DEAD_LETTER_TABLE,
                     "there is no dead-letter table in database \"%s\"",
                     PQdb(pg_session_raw(store->session)));
        return error_advise(err);
    }
    return OK;
}

Status dead_store_open(const Config *config, const char *pipeline, DeadStore *ret_store, Error *err)
{
    DeadStore store = {.config = config};
    if (store_connect(&store, err) != OK || store_find_tables(&store, pipeline, err) != OK) {
        dead_store_close(&store);
        return FAILED;
    }
    *ret_store = store;
    return OK;
}

void dead_store_close(DeadStore *store)
{
    pg_session_close(&store->session);
    free(store->table);
    free(store->role);
    *store = (DeadStore){0};
}

Status dead_store_list(const DeadStore *store, const DeadFilter *filter, int64_t limit,
                       PGresult **ret_rows, int64_t *ret_total, Error *err)
{
    static const char WHERE[] = "($1::text IS NULL OR pipeline = $1) AND"
                                " ($2::text IS NULL OR error_code = $2)";
    const char *const values[] = {filter->pipeline, filter->code};
    AUTO_TEXT rows = limit > 0
                         ? x_format("SELECT " LISTED " FROM %s WHERE %s ORDER BY dead_letter.id"
                                    " DESC LIMIT %lld",
                                    store->table, WHERE, (long long)limit)
                         : x_format("SELECT " LISTED " FROM %s WHERE %s ORDER BY dead_letter.id",
                                    store->table, WHERE);
    AUTO_TEXT count = x_format("SELECT count(*) FROM %s WHERE %s", store->table, WHERE);
    AUTO(PGresult, pg_session_free_result) total = NULL;
    if (pg_session_query(
            store->session,
            &(PgAsk){.step = "count dead letters", .sql = count, .count = 2, .values = values},
            &total, err) != OK ||
        pg_session_query(
            store->session,
            &(PgAsk){.step = "list dead letters", .sql = rows, .count = 2, .values = values},
            ret_rows, err) != OK) {
        return store_name_right(store, "SELECT", err);
    }
    *ret_total = strtoll(pg_value(total, 0, 0), NULL, 10);
    return OK;
}

Status dead_store_find(const DeadStore *store, const char *id, bool lock, PGresult **ret_row,
                       Error *err)
{
    const char *const values[] = {id};
    bool number = strspn(id, "0123456789") == strlen(id);
    AUTO_TEXT sql = x_format("SELECT " LISTED FURTHER " FROM %s WHERE %s%s", store->table,
                             number ? "id = $1::bigint" : "event_id = $1 ORDER BY id DESC LIMIT 1",
                             lock ? " FOR UPDATE" : "");
    if (pg_session_query(
            store->session,
            &(PgAsk){.step = "find dead letter", .sql = sql, .count = 1, .values = values}, ret_row,
            err) != OK) {
        return store_name_right(store, lock ? "SELECT, UPDATE, DELETE" : "SELECT", err);
    }
    return OK;
}

Status dead_store_discard(const DeadStore *store, const char *id, PGresult **ret_row, Error *err)
{
    const char *const values[] = {id};
    AUTO_TEXT sql =
        x_format("DELETE FROM %s WHERE id = $1::bigint RETURNING " LISTED, store->table);
    if (pg_session_query(
            store->session,
            &(PgAsk){.step = "discard dead letter", .sql = sql, .count = 1, .values = values},
            ret_row, err) != OK) {
        return store_name_right(store, "SELECT, DELETE", err);
    }
    return OK;
}

Status dead_store_ignored(const char *what, const char *table, Error *err)
{
    error_set(err, CODE_DEAD_LETTER_IGNORED,
              "%s %s changed nothing: a trigger or rule of the table discards it", what, table);
    return error_hint(err, "Change or drop the trigger or rule (a trigger that returns NULL "
                           "discards the statement). The dead letter is still there.");
}

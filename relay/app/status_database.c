/* Reads the views that `outboxd migrate` made; needs the rights of outbox_relay. */
#include "app/status_database.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/screen.h"
#include "base/memory.h"
#include "pg/ident.h"
#include "pg/open.h"
#include "pg/result.h"
#include "pg/sqlstate.h"

#define CONNECT_TIMEOUT_S "5"
#define SESSION_SQL       "SET statement_timeout = '30s'; SET row_security = off"
/* A name that `outboxd migrate` gives. */
#define EVENT_TABLE ".\"event\""

enum { AGGREGATE_TYPES_MAX = 50 };

static void database_finish(PGconn **connection)
{
    PQfinish(*connection);
}

static void database_clear(PGresult **result)
{
    PQclear(*result);
}

static Status database_connect(const Config *config, PGconn **ret_connection, Error *err)
{
    const char *const names[] = {"dbname", "connect_timeout", "application_name", NULL};
    const char *const values[] = {config->database.dsn, CONNECT_TIMEOUT_S, "outboxd status", NULL};
    PGconn *connection = NULL;
    if (pg_open(names, values, &connection, err) != OK) {
        PQfinish(connection);
        return FAILED;
    }
    *ret_connection = connection;
    return OK;
}

static Status database_query(PGconn *connection, const char *sql, PGresult **ret_result, Error *err)
{
    PGresult *result = PQexec(connection, sql);
    ExecStatusType kind = PQresultStatus(result);
    if (kind != PGRES_TUPLES_OK && kind != PGRES_COMMAND_OK) {
        Status status = sqlstate_error(result, err);
        PQclear(result);
        return status;
    }
    *ret_result = result;
    return OK;
}

static double database_real(const PGresult *result, int row, int column)
{
    return pg_is_null(result, row, column) ? -1 : strtod(pg_value(result, row, column), NULL);
}

static Status database_read_backlog(PGconn *connection, BacklogSchema *schema, Error *err)
{
    AUTO_TEXT sql =
        x_format("SELECT aggregate_type, pending, extract(epoch FROM clock_timestamp() - oldest)"
                 " FROM %s.backlog ORDER BY oldest LIMIT %d",
                 schema->name, AGGREGATE_TYPES_MAX);
    AUTO(PGresult, database_clear) result = NULL;
    if (database_query(connection, sql, &result, err) != OK) {
        return FAILED;
    }
    schema->row_count = (size_t)PQntuples(result);
    schema->rows = x_calloc(schema->row_count, sizeof(schema->rows[0]));
    for (int i = 0; i < PQntuples(result); i++) {
        schema->rows[i].aggregate_type = x_strdup(pg_value(result, i, 0));
        schema->rows[i].pending = strtoll(pg_value(result, i, 1), NULL, 10);
        schema->rows[i].age_seconds = database_real(result, i, 2);
    }
    return OK;
}

static Status database_read_schema(PGconn *connection, BacklogSchema *schema, Error *err)
{
    AUTO_TEXT view = x_format("%s.backlog", schema->name);
    AUTO_TEXT literal = ident_literal(view);
    AUTO_TEXT exists = x_format("SELECT to_regclass(%s) IS NOT NULL", literal);
    AUTO(PGresult, database_clear) found = NULL;
    if (database_query(connection, exists, &found, err) != OK) {
        return FAILED;
    }
    schema->present = pg_value(found, 0, 0)[0] == 't';
    if (!schema->present) {
        return OK;
    }
    if (database_read_backlog(connection, schema, err) != OK) {
        return FAILED;
    }
    AUTO_TEXT sql = x_format("SELECT count(*), extract(epoch FROM clock_timestamp() - max(at))"
                             " FROM %s.dead_letter",
                             schema->name);
    AUTO(PGresult, database_clear) dead = NULL;
    if (database_query(connection, sql, &dead, err) != OK) {
        return FAILED;
    }
    schema->dead_letters = strtoll(pg_value(dead, 0, 0), NULL, 10);
    schema->dead_letter_age_seconds = database_real(dead, 0, 1);
    return OK;
}

/* The quoted schema of "schema"."event" is added once; another table goes to the unknown ones. */
static void database_note_table(StatusDatabase *found, const char *quoted)
{
    size_t length = strlen(quoted);
    size_t suffix = sizeof(EVENT_TABLE) - 1;
    if (length <= suffix || strcmp(quoted + length - suffix, EVENT_TABLE) != 0) {
        found->unknown_tables =
            x_realloc(found->unknown_tables, (found->unknown_count + 1) * sizeof(char *));
        found->unknown_tables[found->unknown_count++] = x_strdup(quoted);
        return;
    }
    AUTO_TEXT name = x_strndup(quoted, length - suffix);
    for (size_t i = 0; i < found->schema_count; i++) {
        if (strcmp(found->schemas[i].name, name) == 0) {
            return;
        }
    }
    found->schemas =
        x_realloc(found->schemas, (found->schema_count + 1) * sizeof(found->schemas[0]));
    found->schemas[found->schema_count++] = (BacklogSchema){.name = x_strdup(name)};
}

static void database_note_server(StatusDatabase *found, const PGconn *connection)
{
    const char *host = PQhost(connection);
    const char *version = PQparameterStatus(connection, "server_version");
    found->server =
        x_format("%s:%s/%s", host != NULL ? host : "", PQport(connection), PQdb(connection));
    found->version =
        x_strndup(version != NULL ? version : "", version != NULL ? strcspn(version, " ") : 0);
}

Status status_database_read(const Config *config, StatusDatabase *ret_found, Error *err)
{
    StatusDatabase found = {0};
    for (size_t i = 0; i < config->pipeline_count; i++) {
        AUTO_TEXT quoted = NULL;
        if (ident_quote_table(config->pipelines[i].outbox.table, &quoted, err) != OK) {
            status_database_free(&found);
            return FAILED;
        }
        database_note_table(&found, quoted);
    }
    AUTO(PGconn, database_finish) connection = NULL;
    AUTO(PGresult, database_clear) session = NULL;
    Status status = database_connect(config, &connection, err);
    if (status == OK) {
        database_note_server(&found, connection);
        status = database_query(connection, SESSION_SQL, &session, err);
    }
    for (size_t i = 0; status == OK && i < found.schema_count; i++) {
        status = database_read_schema(connection, &found.schemas[i], err);
    }
    if (status != OK) {
        status_database_free(&found);
        return FAILED;
    }
    *ret_found = found;
    return OK;
}

void status_database_free(StatusDatabase *found)
{
    for (size_t i = 0; i < found->schema_count; i++) {
        BacklogSchema *schema = &found->schemas[i];
        for (size_t row = 0; row < schema->row_count; row++) {
            free(schema->rows[row].aggregate_type);
        }
        free(schema->rows);
        free(schema->name);
    }
    for (size_t i = 0; i < found->unknown_count; i++) {
        free(found->unknown_tables[i]);
    }
    free(found->schemas);
    free(found->unknown_tables);
    free(found->server);
    free(found->version);
    *found = (StatusDatabase){0};
}

/* A name as people read it: without its quotes where SQL does not need them. */
static char *database_label(const char *quoted)
{
    size_t inside = strlen(quoted) - 2;
    bool plain = strspn(quoted + 1, "abcdefghijklmnopqrstuvwxyz_0123456789") == inside;
    return plain ? x_strndup(quoted + 1, inside) : x_strdup(quoted);
}

static void database_add_rows(const BacklogSchema *schema, const char *label, bool colours,
                              Text *out)
{
    ScreenTable table = {.columns = 3};
    screen_table_add(&table, false, COLOUR_DIM, "aggregate type");
    screen_table_add(&table, true, COLOUR_DIM, "unpublished");
    screen_table_add(&table, false, COLOUR_DIM, "oldest");
    for (size_t i = 0; i < schema->row_count; i++) {
        AUTO_BUFFER pending = TEXT_EMPTY;
        AUTO_BUFFER age = TEXT_EMPTY;
        screen_add_count(&pending, schema->rows[i].pending);
        screen_add_duration(&age, schema->rows[i].age_seconds);
        text_add(&age, " ago");
        screen_table_add(&table, false, COLOUR_NONE, schema->rows[i].aggregate_type);
        screen_table_add(&table, true, COLOUR_NONE, text_string(&pending));
        screen_table_add(&table, false, COLOUR_NONE, text_string(&age));
    }
    screen_table_print(&table, colours, out);
    screen_table_free(&table);
    if (schema->row_count == AGGREGATE_TYPES_MAX) {
        text_printf(out, "and perhaps more: SELECT * FROM %s.backlog\n", label);
    }
}

void status_database_add_screen(const StatusDatabase *found, bool colours, Text *out)
{
    for (size_t i = 0; i < found->schema_count; i++) {
        const BacklogSchema *schema = &found->schemas[i];
        AUTO_TEXT label = database_label(schema->name);
        text_add(out, "postgres ");
        screen_add(out, false, COLOUR_NONE, found->server);
        text_printf(out, " (%s), schema %s\n", found->version, label);
        if (!schema->present) {
            screen_add(out, colours, COLOUR_BAD, "no outbox here");
            text_add(out, "; make it with: outboxd migrate\n");
            continue;
        }
        if (schema->row_count == 0) {
            text_add(out, "no unpublished events\n");
        } else {
            database_add_rows(schema, label, colours, out);
        }
        if (schema->dead_letters > 0) {
            text_add(out, "dead letters: ");
            screen_add_count(out, schema->dead_letters);
            text_add(out, ", the last ");
            screen_add_duration(out, schema->dead_letter_age_seconds);
            text_add(out, " ago; see: outboxd dead list\n");
        } else {
            text_add(out, "no dead letters\n");
        }
    }
    for (size_t i = 0; i < found->unknown_count; i++) {
        text_add(out, "the backlog of ");
        screen_add(out, false, COLOUR_NONE, found->unknown_tables[i]);
        text_add(out, " is not known without a relay: outboxd migrate did not make it\n");
    }
}

void status_database_add_json(const StatusDatabase *found, Text *json)
{
    text_add(json, "{\"connected\":true,\"server\":");
    text_add_json(json, slice_of(found->server));
    text_add(json, ",\"version\":");
    text_add_json(json, slice_of(found->version));
    text_add(json, ",\"schemas\":[");
    for (size_t i = 0; i < found->schema_count; i++) {
        const BacklogSchema *schema = &found->schemas[i];
        AUTO_TEXT label = database_label(schema->name);
        text_printf(json, "%s{\"schema\":", i > 0 ? "," : "");
        text_add_json(json, slice_of(label));
        text_printf(json, ",\"present\":%s,\"backlog\":[", schema->present ? "true" : "false");
        for (size_t row = 0; row < schema->row_count; row++) {
            text_printf(json, "%s{\"aggregate_type\":", row > 0 ? "," : "");
            text_add_json(json, slice_of(schema->rows[row].aggregate_type));
            text_printf(json, ",\"pending\":%" PRId64 ",\"oldest_seconds\":%.3f}",
                        schema->rows[row].pending, schema->rows[row].age_seconds);
        }
        text_printf(json, "],\"dead_letters\":%" PRId64 "}", schema->dead_letters);
    }
    text_add(json, "]}");
}

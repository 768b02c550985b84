/* Reads the views that `outboxd migrate` made; needs the rights of outbox_relay. */
#include "status/status_database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/document.h"
#include "base/memory.h"
#include "command/screen.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/session.h"
#include "rows/companion.h"

/* A name that `outboxd migrate` gives. */
#define EVENT_TABLE ".\"event\""

enum { AGGREGATE_TYPES_MAX = 50, CONNECT_TIMEOUT_MS = 5000, QUERY_TIMEOUT_MS = 30000 };

static double database_real(const PGresult *result, int row, int column)
{
    return pg_is_null(result, row, column) ? -1 : strtod(pg_value(result, row, column), NULL);
}

static Status database_read_backlog(PgSession *session, const char *view, BacklogSchema *schema,
                                    Error *err)
{
    AUTO_TEXT sql =
        x_format("SELECT aggregate_type, pending, extract(epoch FROM clock_timestamp() - oldest)"
                 " FROM %s ORDER BY oldest LIMIT %d",
                 view, AGGREGATE_TYPES_MAX);
    AUTO(PGresult, pg_session_free_result) result = NULL;
    if (pg_session_query(session, &(PgAsk){.step = "backlog", .sql = sql}, &result, err) != OK) {
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

static Status database_read_letters(PgSession *session, const char *letters, BacklogSchema *schema,
                                    Error *err)
{
    AUTO_TEXT sql = x_format("SELECT count(*), extract(epoch FROM clock_timestamp() - max(at))"
                             " FROM %s",
                             letters);
    AUTO(PGresult, pg_session_free_result) dead = NULL;
    if (pg_session_query(session, &(PgAsk){.step = "dead letters", .sql = sql}, &dead, err) != OK) {
        return FAILED;
    }
    schema->dead_letters = strtoll(pg_value(dead, 0, 0), NULL, 10);
    schema->dead_letter_age_seconds = database_real(dead, 0, 1);
    return OK;
}

static Status database_read_schema(PgSession *session, BacklogSchema *schema, Error *err)
{
    AUTO_TEXT table = x_format("%s" EVENT_TABLE, schema->name);
    AUTO_TEXT view = NULL;
    AUTO_TEXT letters = NULL;
    if (companion_find(session, table, COMPANION_BACKLOG, true, &view, err) != OK ||
        companion_find(session, table, COMPANION_DEAD_LETTER, true, &letters, err) != OK) {
        return FAILED;
    }
    schema->present = view != NULL;
    schema->dead_letter_age_seconds = -1;
    if (!schema->present) {
        return OK;
    }
    if (database_read_backlog(session, view, schema, err) != OK) {
        return FAILED;
    }
    return letters != NULL ? database_read_letters(session, letters, schema, err) : OK;
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
        if (config->pipelines[i].capture == CAPTURE_TABLES) {
            continue; /* no table shows what of its changes is published */
        }
        if (ident_quote_table(config->pipelines[i].outbox.table, &quoted, err) != OK) {
            status_database_free(&found);
            return FAILED;
        }
        database_note_table(&found, quoted);
    }
    AUTO(PgSession, pg_session_close) session = NULL;
    Status status = pg_session_open(
        &(PgSessionOptions){
            .dsn = config->database.dsn,
            .pooled = config->database.pooler == POOLER_SESSION,
            .application_name = "outboxd status",
            .connect_timeout_ms = CONNECT_TIMEOUT_MS,
            .statement_timeout_ms = QUERY_TIMEOUT_MS,
        },
        &session, err);
    if (status == OK) {
        database_note_server(&found, pg_session_raw(session));
    }
    for (size_t i = 0; status == OK && i < found.schema_count; i++) {
        status = database_read_schema(session, &found.schemas[i], err);
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
            text_add(out, "; create it with: outboxd migrate\n");
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
        text_add(
            out,
            " is not known without a relay, because outboxd migrate did not create the table\n");
    }
}

void status_database_status(const StatusDatabase *found, json_t *database)
{
    document_bool(database, "connected", true);
    document_text(database, "server", found->server);
    document_text(database, "version", found->version);
    json_t *schemas = document_array(database, "schemas");
    for (size_t i = 0; i < found->schema_count; i++) {
        const BacklogSchema *schema = &found->schemas[i];
        AUTO_TEXT label = database_label(schema->name);
        json_t *object = document_item(schemas);
        document_text(object, "schema", label);
        document_bool(object, "present", schema->present);
        json_t *backlog = document_array(object, "backlog");
        for (size_t row = 0; row < schema->row_count; row++) {
            json_t *type = document_item(backlog);
            document_text(type, "aggregate_type", schema->rows[row].aggregate_type);
            document_count(type, "pending", schema->rows[row].pending);
            document_number(type, "oldest_seconds", "%.3f", schema->rows[row].age_seconds);
        }
        document_count(object, "dead_letters", schema->dead_letters);
    }
}

/* The columns go back as the texts that PostgreSQL printed, into parameters of the columns' own
 * types: what a relay reads from the new row is, byte for byte, what it read from the old one. */
#include "app/dead_requeue.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "app/dead_store.h"
#include "base/memory.h"
#include "base/text.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/dead_letter.h"
#include "rows/table.h"

typedef struct InsertBuilder {
    Text columns;
    Text places;
    const char **values;
    int count;
} InsertBuilder;

static void insert_add(InsertBuilder *builder, const char *column, const json_t *value)
{
    AUTO_TEXT quoted = ident_quote(column);
    builder->values =
        x_realloc(builder->values, (size_t)(builder->count + 1) * sizeof(builder->values[0]));
    builder->values[builder->count++] = json_string_value(value);
    text_printf(&builder->columns, "%s%s", builder->count > 1 ? ", " : "", quoted);
    text_printf(&builder->places, "%s$%d", builder->count > 1 ? ", " : "", builder->count);
}

static Status insert_add_field(InsertBuilder *builder, const PipelineConfig *pipeline,
                               const json_t *event, EventField field, Error *err)
{
    const char *name = event_field_name(field);
    const char *column = table_column(pipeline, field);
    const json_t *value = json_object_get(event, name);
    if (*column != '\0') {
        insert_add(builder, column, value);
        return OK;
    }
    if (json_is_string(value)) {
        error_set(err, ERROR_POISON, EXIT_CONFIG, "DEAD_LETTER_COLUMN",
                  "the event has a value for %s, and %s has no such column", name, pipeline->table);
        return error_hint(err,
                          "Name the column in pipelines.columns.%s, or write the event anew "
                          "from what outboxd dead show prints.",
                          name);
    }
    return OK;
}

static Status insert_add_all(InsertBuilder *builder, const PipelineConfig *pipeline,
                             const json_t *event, Error *err)
{
    for (EventField field = FIELD_EVENT_ID; field < FIELD_COUNT; field++) {
        if (insert_add_field(builder, pipeline, event, field, err) != OK) {
            return FAILED;
        }
    }
    const char *column = NULL;
    json_t *value = NULL;
    json_t *extra = json_object_get(event, DEAD_LETTER_HEADER_COLUMNS);
    json_object_foreach(extra, column, value)
    {
        bool again = false; /* a column may be a field and a header */
        for (EventField field = FIELD_SEQ; field < FIELD_COUNT; field++) {
            again = again || strcmp(table_column(pipeline, field), column) == 0;
        }
        if (!again && strcmp(pipeline->columns.published_at, column) != 0) {
            insert_add(builder, column, value);
        }
    }
    return OK;
}

Status dead_insert_build(const PipelineConfig *pipeline, const char *event, DeadInsert *ret_insert,
                         Error *err)
{
    json_t *object = event != NULL ? json_loads(event, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!json_is_object(object) || !json_is_string(json_object_get(object, "event_type"))) {
        json_decref(object);
        return error_set(err, ERROR_POISON, EXIT_CONFIG, "DEAD_LETTER_NO_EVENT",
                         "the dead letter holds no event");
    }
    InsertBuilder builder = {0};
    char *table = NULL;
    Status status = ident_quote_table(pipeline->table, &table, err);
    if (status == OK) {
        status = insert_add_all(&builder, pipeline, object, err);
    }
    DeadInsert insert = {
        .values = builder.values, .count = builder.count, .table = table, .json = object};
    if (status == OK) {
        insert.sql = x_format("INSERT INTO %s (%s) VALUES (%s)", table,
                              text_string(&builder.columns), text_string(&builder.places));
        *ret_insert = insert;
    } else {
        dead_insert_free(&insert);
    }
    text_free(&builder.columns);
    text_free(&builder.places);
    return status;
}

void dead_insert_free(DeadInsert *insert)
{
    free(insert->sql);
    free(insert->values);
    free(insert->table);
    json_decref(insert->json);
    *insert = (DeadInsert){0};
}

/* What follows runs it. */

static const PipelineConfig *requeue_pipeline(const DeadStore *store, const char *name, Error *err)
{
    for (size_t i = 0; i < store->config->pipeline_count; i++) {
        if (strcmp(store->config->pipelines[i].name, name) == 0) {
            return &store->config->pipelines[i];
        }
    }
    error_set(err, ERROR_POISON, EXIT_CONFIG, "DEAD_LETTER_PIPELINE",
              "no pipeline '%s' is configured", name);
    error_hint(err, "Its table is where the event goes: give the configuration of that relay, "
                    "-c FILE.");
    return NULL;
}

static Status requeue_build(const DeadStore *store, const PGresult *row, DeadInsert *insert,
                            Error *err)
{
    const PipelineConfig *pipeline = requeue_pipeline(store, pg_value(row, 0, DEAD_PIPELINE), err);
    if (pipeline == NULL) {
        return FAILED;
    }
    if (strcmp(pg_value(row, 0, DEAD_CODE), "MESSAGE_MALFORMED") == 0) {
        error_set(err, ERROR_POISON, EXIT_CONFIG, "DEAD_LETTER_NO_EVENT",
                  "it is no event: a message in the WAL that outbox.emit_message did not write");
    } else if (dead_insert_build(
                   pipeline, pg_is_null(row, 0, DEAD_EVENT) ? NULL : pg_value(row, 0, DEAD_EVENT),
                   insert, err) == OK) {
        return OK;
    }
    if (strcmp(err->code, "DEAD_LETTER_NO_EVENT") == 0) {
        error_hint(err,
                   "Nothing can be published from it. See: outboxd dead show %s; then: outboxd "
                   "dead discard %s",
                   pg_value(row, 0, DEAD_ID), pg_value(row, 0, DEAD_ID));
    }
    return FAILED;
}

/* The relay keeps or marks the row that an event came from; where event_id is unique (an adopted
 * table), it stands in the way. The dead letter holds what it held. */
static Status requeue_remove_old(const DeadStore *store, const PGresult *row,
                                 const DeadInsert *insert, bool *ret_removed, Error *err)
{
    const PipelineConfig *pipeline = requeue_pipeline(store, pg_value(row, 0, DEAD_PIPELINE), err);
    if (pipeline == NULL || pg_is_null(row, 0, DEAD_SEQ) || pg_is_null(row, 0, DEAD_EVENT_ID)) {
        *ret_removed = false;
        return OK;
    }
    AUTO_TEXT seq = ident_quote(pipeline->columns.seq);
    AUTO_TEXT event_id = ident_quote(pipeline->columns.event_id);
    AUTO_TEXT sql =
        x_format("DELETE FROM %s WHERE %s = $1 AND %s = $2", insert->table, seq, event_id);
    const char *const values[] = {pg_value(row, 0, DEAD_SEQ), pg_value(row, 0, DEAD_EVENT_ID)};
    PGresult *result = NULL;
    if (dead_store_exec(store, sql, 2, values, &result, err) != OK) {
        return FAILED;
    }
    *ret_removed = strcmp(PQcmdTuples(result), "1") == 0;
    PQclear(result);
    return OK;
}

static bool requeue_is_duplicate(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return state != NULL && strcmp(state, "23505") == 0;
}

static Status requeue_insert(const DeadStore *store, const PGresult *row, const DeadInsert *insert,
                             bool *ret_replaced, Error *err)
{
    *ret_replaced = false;
    if (dead_store_exec(store, "SAVEPOINT requeue", 0, NULL, NULL, err) != OK) {
        return FAILED;
    }
    PGresult *result =
        PQexecParams(store->conn, insert->sql, insert->count, NULL, insert->values, NULL, NULL, 0);
    bool done = PQresultStatus(result) == PGRES_COMMAND_OK;
    bool duplicate = requeue_is_duplicate(result);
    if (!done) {
        (void)sqlstate_error(result, err);
    }
    PQclear(result);
    if (done || !duplicate) {
        return done ? OK : FAILED;
    }
    Error first = *err;
    bool removed = false;
    if (dead_store_exec(store, "ROLLBACK TO SAVEPOINT requeue", 0, NULL, NULL, err) != OK ||
        requeue_remove_old(store, row, insert, &removed, err) != OK) {
        return FAILED;
    }
    if (!removed) {
        *err = first;
        return error_hint(err,
                          "A row with that value is in %s already, and it is not the one that "
                          "the dead letter came from.",
                          insert->table);
    }
    *ret_replaced = true;
    return dead_store_exec(store, insert->sql, insert->count, insert->values, NULL, err);
}

/* Whether what went wrong is of this event alone. */
static bool requeue_is_own(const Error *err)
{
    return err->class == ERROR_POISON || strcmp(err->code, "POSTGRES_ERROR") == 0;
}

static void requeue_name_right(const DeadStore *store, const DeadInsert *insert, Error *err)
{
    if (strcmp(err->code, "POSTGRES_PRIVILEGE") == 0) {
        error_hint(err,
                   "GRANT INSERT, DELETE ON %s TO %s; and, where seq is a serial column, "
                   "GRANT USAGE on its sequence.",
                   insert->table, store->role);
    }
}

static Status requeue_locked(const DeadStore *store, const PGresult *row, bool *ret_replaced,
                             Error *err)
{
    DeadInsert insert = {0};
    if (requeue_build(store, row, &insert, err) != OK) {
        return FAILED;
    }
    Status status = requeue_insert(store, row, &insert, ret_replaced, err);
    if (status != OK) {
        requeue_name_right(store, &insert, err);
    }
    dead_insert_free(&insert);
    if (status != OK) {
        return FAILED;
    }
    AUTO(PGresult, dead_store_clear) deleted = NULL;
    return dead_store_discard(store, pg_value(row, 0, DEAD_ID), &deleted, err);
}

Status dead_store_requeue(const DeadStore *store, const char *id, DeadOutcome *ret_outcome,
                          PGresult **ret_row, Error *err)
{
    AUTO(PGresult, dead_store_clear) row = NULL;
    bool replaced = false;
    *ret_row = NULL;
    Status status = dead_store_exec(store, "BEGIN", 0, NULL, NULL, err);
    if (status == OK) {
        status = dead_store_find(store, id, true, &row, err);
    }
    if (status == OK && PQntuples(row) == 0) {
        *ret_outcome = DEAD_GONE;
        return dead_store_exec(store, "ROLLBACK", 0, NULL, NULL, err);
    }
    if (status == OK) {
        status = requeue_locked(store, row, &replaced, err);
    }
    if (status == OK) {
        status = dead_store_exec(store, "COMMIT", 0, NULL, NULL, err);
    }
    if (status != OK) {
        Error ignored = {0};
        (void)dead_store_exec(store, "ROLLBACK", 0, NULL, NULL, &ignored);
        *ret_outcome = DEAD_REFUSED;
        if (!requeue_is_own(err)) {
            return FAILED;
        }
    } else {
        *ret_outcome = replaced ? DEAD_REPLACED : DEAD_REQUEUED;
    }
    *ret_row = row;
    row = NULL;
    return OK;
}

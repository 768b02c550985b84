/* The columns go back as the texts that PostgreSQL printed, into parameters of the columns' own
 * types: what a relay reads from the new row is, byte for byte, what it read from the old one. */
#include "dead/dead_requeue.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "dead/dead_change.h"
#include "dead/dead_print.h"
#include "dead/dead_store.h"
#include "pg/encoding.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/dead_letter.h"
#include "rows/precondition.h"
#include "rows/table.h"

typedef struct InsertBuilder {
    const DeadLarges *large;
    Text columns;
    Text places;
    VEC(const char *) values;
} InsertBuilder;

/* The column gets the SQL, or else the value. */
static void insert_add(InsertBuilder *builder, const char *column, const char *sql,
                       const json_t *value)
{
    AUTO_TEXT quoted = ident_quote(column);
    const char *comma = builder->columns.length > 0 ? ", " : "";
    text_printf(&builder->columns, "%s%s", comma, quoted);
    if (sql != NULL) {
        text_printf(&builder->places, "%s%s", comma, sql);
        return;
    }
    *vec_add(&builder->values) = json_string_value(value);
    text_printf(&builder->places, "%s$%zu", comma, builder->values.count);
}

static const char *large_sql(const DeadLarges *large, const char *name)
{
    for (size_t i = 0; large != NULL && i < large->count; i++) {
        if (strcmp(large->items[i].name, name) == 0) {
            return large->items[i].sql;
        }
    }
    return NULL;
}

static Status insert_add_field(InsertBuilder *builder, const PipelineConfig *pipeline,
                               uint32_t absent, const json_t *event, EventField field, Error *err)
{
    const char *name = event_field_name(field);
    bool has = (absent & TABLE_COLUMN(field)) == 0;
    const char *column = has ? table_column(pipeline, field) : "";
    const json_t *value = json_object_get(event, name);
    const char *sql = large_sql(builder->large, name);
    if (*column != '\0') {
        insert_add(builder, column, sql, value);
        return OK;
    }
    if (json_is_string(value) || sql != NULL) {
        error_set(err, CODE_DEAD_LETTER_COLUMN,
                  "the event has a value for %s, but %s has no such column", name,
                  pipeline->outbox.table);
        return error_hint(err,
                          "Name the column in pipelines.columns.%s, or write a new event from what "
                          "outboxd dead show prints.",
                          name);
    }
    return OK;
}

static Status insert_add_all(InsertBuilder *builder, const PipelineConfig *pipeline,
                             uint32_t absent, const json_t *event, Error *err)
{
    for (EventField field = FIELD_EVENT_ID; field < FIELD_COUNT; field++) {
        if (insert_add_field(builder, pipeline, absent, event, field, err) != OK) {
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
        if (!again && strcmp(pipeline->outbox.columns[FIELD_PUBLISHED_AT], column) != 0) {
            AUTO_TEXT name = x_format(DEAD_LETTER_HEADER_COLUMNS ".%s", column);
            insert_add(builder, column, large_sql(builder->large, name), value);
        }
    }
    return OK;
}

Status dead_insert_build(const PipelineConfig *pipeline, uint32_t absent, const char *event,
                         const DeadLarges *large, DeadInsert *ret_insert, Error *err)
{
    json_t *object = event != NULL ? json_loads(event, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!json_is_object(object) || (!json_is_string(json_object_get(object, "event_type")) &&
                                    large_sql(large, "event_type") == NULL)) {
        json_decref(object);
        return error_set(err, CODE_DEAD_LETTER_NO_EVENT, "the dead letter holds no event");
    }
    InsertBuilder builder = {.large = large};
    char *table = NULL;
    Status status = ident_quote_table(pipeline->outbox.table, &table, err);
    if (status == OK) {
        status = insert_add_all(&builder, pipeline, absent, object, err);
    }
    DeadInsert insert = {.values = builder.values.items,
                         .count = (int)builder.values.count,
                         .table = table,
                         .json = object};
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
        const PipelineConfig *pipeline = &store->config->pipelines[i];
        if (strcmp(pipeline->name, name) == 0) {
            return pipeline;
        }
    }
    error_set(err, CODE_DEAD_LETTER_PIPELINE, "no pipeline '%s' is configured", name);
    error_hint(err, "The event belongs in the table of that pipeline. Give the configuration of "
                    "the relay that runs it: -c FILE.");
    return NULL;
}

/* The columns that an adopted table does not have: asked for once, as planning the question costs
 * the server more than all else that a letter needs. */
static Status requeue_look(DeadStore *store, const PipelineConfig *pipeline, Error *err)
{
    if (store->looked_at == pipeline) {
        return OK;
    }
    AUTO(OutboxTable, table_free) table = NULL;
    if (table_new(pipeline, &table, err) != OK) {
        return FAILED;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    precondition_add_query(pipeline, table, 0, PQserverVersion(pg_session_raw(store->session)),
                           &sql);
    AUTO(PGresult, pg_session_free_result) result = NULL;
    if (pg_session_query(store->session, &(PgAsk){.step = "preconditions", .sql = sql.data},
                         &result, err) != OK) {
        return FAILED;
    }
    PreconditionLook look = {0};
    if (PQntuples(result) == 1) {
        precondition_read(table, result, 0, PRECONDITION_CHECK, &look);
    }
    store->absent = look.table_oid != 0 ? look.absent : 0;
    store->looked_at = pipeline;
    precondition_release(&look);
    return OK;
}

/* The column's type, as SQL; NULL: the table has no such column, which its INSERT will say. */
static Status requeue_type(const DeadStore *store, const char *table, const char *column,
                           char **ret_type, Error *err)
{
    const char *const values[] = {table, column};
    AUTO(PGresult, pg_session_free_result) found = NULL;
    if (pg_session_query(
            store->session,
            &(PgAsk){.step = "type of a column",
                     .sql =
                         "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid"
                         " = to_regclass($1) AND attname = $2 AND NOT attisdropped",
                     .count = 2,
                     .values = values},
            &found, err) != OK) {
        return FAILED;
    }
    *ret_type = x_strdup(PQntuples(found) == 1 ? pg_value(found, 0, 0) : "text");
    return OK;
}

static const char *large_column(const PipelineConfig *pipeline, const char *name)
{
    static const char HEADER[] = DEAD_LETTER_HEADER_COLUMNS ".";
    if (strncmp(name, HEADER, sizeof(HEADER) - 1) == 0) {
        return name + sizeof(HEADER) - 1;
    }
    for (EventField field = FIELD_EVENT_ID; field < FIELD_COUNT; field++) {
        if (strcmp(event_field_name(field), name) == 0) {
            return table_column(pipeline, field);
        }
    }
    return "";
}

static bool is_bytes(const char *name)
{
    EventField field = FIELD_EVENT_ID;
    while (field < FIELD_COUNT && strcmp(event_field_name(field), name) != 0) {
        field++;
    }
    return column_is_bytes(field);
}

static Status requeue_add_large(const DeadStore *store, const PipelineConfig *pipeline,
                                const char *id, const char *name, DeadLarges *large, Error *err)
{
    AUTO_TEXT table = NULL;
    AUTO_TEXT type = NULL;
    AUTO_TEXT literal = ident_literal(name);
    if (ident_quote_table(pipeline->outbox.table, &table, err) != OK ||
        requeue_type(store, table, large_column(pipeline, name), &type, err) != OK) {
        return FAILED;
    }
    bool bytes = is_bytes(name);
    *vec_add(large) = (DeadLarge){
        .name = x_strdup(name),
        .sql = x_format("(SELECT %sd.event_large_values[array_position(d.event_large, %s)]%s%s%s"
                        " FROM %s AS d WHERE d.id = %s)",
                        bytes ? "" : "convert_from(", literal, bytes ? "" : ", ",
                        bytes                                            ? "::"
                        : pg_takes_bytes(pg_session_raw(store->session)) ? "'SQL_ASCII')::"
                                                                         : "'UTF8')::",
                        type, store->table, id)};
    return OK;
}

static void requeue_free_large(DeadLarges *large)
{
    for (size_t i = 0; i < large->count; i++) {
        free(large->items[i].name);
        free(large->items[i].sql);
    }
    vec_free(large);
}

static Status requeue_find_large(const DeadStore *store, const PipelineConfig *pipeline,
                                 const PGresult *row, DeadLarges *large, Error *err)
{
    if (pg_is_null(row, 0, DEAD_LARGE)) {
        return OK;
    }
    json_t *names = json_loads(pg_value(row, 0, DEAD_LARGE), 0, NULL);
    Status status = OK;
    const char *name = NULL;
    json_t *octets = NULL;
    json_object_foreach(names, name, octets)
    {
        if (status == OK) {
            status =
                requeue_add_large(store, pipeline, pg_value(row, 0, DEAD_ID), name, large, err);
        }
    }
    json_decref(names);
    return status;
}

static Status requeue_not_whole(const PGresult *row, Error *err)
{
    const char *seq = pg_is_null(row, 0, DEAD_SEQ) ? "none" : pg_value(row, 0, DEAD_SEQ);
    error_set(err, CODE_DEAD_LETTER_NOT_WHOLE,
              "the dead letter does not contain the complete event (seq %s), because it could not "
              "be stored",
              seq);
    return error_hint(err,
                      "If the row is still in the pipeline's table, correct it there and set its "
                      "published_at to NULL. Then run: outboxd dead discard %s",
                      pg_value(row, 0, DEAD_ID));
}

static Status requeue_build(DeadStore *store, const PGresult *row, DeadInsert *insert, Error *err)
{
    const PipelineConfig *pipeline = requeue_pipeline(store, pg_value(row, 0, DEAD_PIPELINE), err);
    if (pipeline == NULL) {
        return FAILED;
    }
    if (!dead_is_whole(row)) {
        return requeue_not_whole(row, err);
    }
    const char *event = pg_is_null(row, 0, DEAD_EVENT) ? NULL : pg_value(row, 0, DEAD_EVENT);
    DeadLarges large = {0};
    Status status = FAILED;
    if (error_code_find(pg_value(row, 0, DEAD_CODE)) == CODE_MESSAGE_MALFORMED) {
        error_set(err, CODE_DEAD_LETTER_NO_EVENT,
                  "the dead letter is not an event, but a WAL message that outbox.emit_message did "
                  "not write");
    } else if (requeue_look(store, pipeline, err) == OK &&
               requeue_find_large(store, pipeline, row, &large, err) == OK) {
        status = dead_insert_build(pipeline, store->absent, event, &large, insert, err);
    }
    requeue_free_large(&large);
    if (status != OK && err->code == CODE_DEAD_LETTER_NO_EVENT) {
        error_hint(err,
                   "It cannot be published. Read it with outboxd dead show %s, then delete it with "
                   "outboxd dead discard %s",
                   pg_value(row, 0, DEAD_ID), pg_value(row, 0, DEAD_ID));
    }
    return status;
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
    AUTO_TEXT seq = ident_quote(pipeline->outbox.columns[FIELD_SEQ]);
    AUTO_TEXT event_id = ident_quote(pipeline->outbox.columns[FIELD_EVENT_ID]);
    AUTO_TEXT same = x_format("%s::text = $2::text", event_id);
    AUTO_BUFFER named = TEXT_EMPTY;
    table_add_id_is(event_id, "$2::text", same, &named);
    AUTO_TEXT sql =
        x_format("DELETE FROM %s WHERE %s = $1 AND %s", insert->table, seq, text_string(&named));
    const char *const values[] = {pg_value(row, 0, DEAD_SEQ), pg_value(row, 0, DEAD_EVENT_ID)};
    PGresult *result = NULL;
    if (pg_session_query(
            store->session,
            &(PgAsk){.step = "remove old row", .sql = sql, .count = 2, .values = values}, &result,
            err) != OK) {
        return FAILED;
    }
    *ret_removed = strcmp(PQcmdTuples(result), "1") == 0;
    PQclear(result);
    return OK;
}

/* The statement passed, and did nothing: the event would be gone, or come again and again. */
static Status requeue_inserted(const PGresult *result, const DeadInsert *insert, Error *err)
{
    bool any = strcmp(PQcmdTuples((PGresult *)result), "0") != 0;
    return any ? OK : dead_store_ignored("INSERT INTO", insert->table, err);
}

static Status requeue_insert(const DeadStore *store, const PGresult *row, const DeadInsert *insert,
                             bool *ret_replaced, Error *err)
{
    *ret_replaced = false;
    if (pg_session_run(store->session, "SAVEPOINT requeue", "SAVEPOINT requeue", err) != OK) {
        return FAILED;
    }
    AUTO(PGresult, pg_session_free_result) result = NULL;
    bool done = pg_session_query(store->session,
                                 &(PgAsk){.step = "requeue",
                                          .sql = insert->sql,
                                          .count = insert->count,
                                          .values = insert->values},
                                 &result, err) == OK;
    bool duplicate = !done && sqlstate_is(err, "23505");
    Status status = done ? requeue_inserted(result, insert, err) : FAILED;
    if (done || !duplicate) {
        return status;
    }
    AUTO_ERROR first = error_of(err);
    bool removed = false;
    if (pg_session_run(store->session, "ROLLBACK TO SAVEPOINT requeue",
                       "ROLLBACK TO SAVEPOINT requeue", err) != OK ||
        requeue_remove_old(store, row, insert, &removed, err) != OK) {
        return FAILED;
    }
    if (!removed) {
        error_copy(err, &first);
        return error_hint(err,
                          "%s already has a row with that value, and it is not the row that the "
                          "dead letter came from.",
                          insert->table);
    }
    *ret_replaced = true;
    AUTO(PGresult, pg_session_free_result) again = NULL;
    return pg_session_query(store->session,
                            &(PgAsk){.step = "requeue",
                                     .sql = insert->sql,
                                     .count = insert->count,
                                     .values = insert->values},
                            &again, err) == OK
               ? requeue_inserted(again, insert, err)
               : FAILED;
}

/* Whether what went wrong is of this event alone. */
static bool requeue_is_own(const Error *err)
{
    return err->class == ERROR_POISON || err->code == CODE_POSTGRES_ERROR;
}

static void requeue_name_right(const DeadStore *store, const DeadInsert *insert, Error *err)
{
    if (err->code == CODE_POSTGRES_PRIVILEGE) {
        error_hint(err,
                   "GRANT INSERT, DELETE ON %s TO %s; and, where seq is a serial column, "
                   "GRANT USAGE on its sequence.",
                   insert->table, store->role);
    }
}

static Status requeue_event(DeadStore *store, const PGresult *row, bool *ret_replaced, Error *err)
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
    AUTO(PGresult, pg_session_free_result) deleted = NULL;
    if (dead_store_discard(store, pg_value(row, 0, DEAD_ID), &deleted, err) != OK) {
        return FAILED;
    }
    return PQntuples(deleted) == 1 ? OK : dead_store_ignored("DELETE FROM", store->table, err);
}

static Status requeue_locked(DeadStore *store, const PGresult *row, DeadOutcome *ret_outcome,
                             Error *err)
{
    const PipelineConfig *pipeline = requeue_pipeline(store, pg_value(row, 0, DEAD_PIPELINE), err);
    bool replaced = false;
    if (pipeline == NULL) {
        return FAILED;
    }
    if (pipeline->capture == CAPTURE_TABLES) {
        *ret_outcome = DEAD_ASKED;
        return dead_change_ask(store, pipeline, row, err);
    }
    Status status = requeue_event(store, row, &replaced, err);
    *ret_outcome = replaced ? DEAD_REPLACED : DEAD_REQUEUED;
    return status;
}

Status dead_store_requeue(DeadStore *store, const char *id, DeadOutcome *ret_outcome,
                          PGresult **ret_row, Error *err)
{
    AUTO(PGresult, pg_session_free_result) row = NULL;
    *ret_row = NULL;
    Status status = pg_session_run(store->session, "BEGIN", "BEGIN", err);
    if (status == OK) {
        status = dead_store_find(store, id, true, &row, err);
    }
    if (status == OK && PQntuples(row) == 0) {
        *ret_outcome = DEAD_GONE;
        return pg_session_run(store->session, "ROLLBACK", "ROLLBACK", err);
    }
    if (status == OK) {
        status = requeue_locked(store, row, ret_outcome, err);
    }
    if (status == OK) {
        status = pg_session_run(store->session, "COMMIT", "COMMIT", err);
    }
    if (status != OK) {
        AUTO_ERROR ignored = {0};
        (void)pg_session_run(store->session, "ROLLBACK", "ROLLBACK", &ignored);
        *ret_outcome = DEAD_REFUSED;
        if (!requeue_is_own(err)) {
            return FAILED;
        }
    }
    *ret_row = row;
    row = NULL;
    return OK;
}

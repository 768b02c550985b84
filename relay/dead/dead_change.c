#include "dead/dead_change.h"

#include <jansson.h>

#include "base/memory.h"
#include "base/text.h"
#include "pg/result.h"
#include "rows/dead_letter.h"
#include "rows/mapped.h"

static Status change_names_no_row(const PGresult *row, Error *err)
{
    error_set(err, CODE_DEAD_LETTER_CHANGE, "the dead letter does not name a row by its key");
    return error_hint(
        err,
        "Change the row, so that its present state is published: UPDATE ... SET c = c "
        "WHERE ... Then run: outboxd dead discard %s",
        pg_value(row, 0, DEAD_ID));
}

static Status change_is_unmapped(const PipelineConfig *pipeline, const char *schema,
                                 const char *table, const PGresult *row, Error *err)
{
    error_set(err, CODE_DEAD_LETTER_UNMAPPED, "no mapping of pipeline '%s' matches table %s.%s",
              pipeline->name, schema, table);
    return error_hint(err,
                      "Add a mapping for the table, restart the relay, and run the command again "
                      "with its configuration. Or delete the dead letter: outboxd dead discard %s",
                      pg_value(row, 0, DEAD_ID));
}

static Status change_find_mapping(const DeadStore *store, const PipelineConfig *pipeline,
                                  const MappedTold *told, bool *ret_mapped, Error *err)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO(PGresult, pg_session_free_result) found = NULL;
    mapped_add_name_query(pipeline, told, &sql);
    if (pg_session_query(store->session,
                         &(PgAsk){.step = "mapping of a dead letter", .sql = sql.data}, &found,
                         err) != OK) {
        return FAILED;
    }
    *ret_mapped = PQntuples(found) == 1 && !pg_is_null(found, 0, 0);
    return OK;
}

static Status change_mark(const DeadStore *store, const PGresult *row, Error *err)
{
    const char *const values[] = {pg_value(row, 0, DEAD_ID)};
    AUTO_TEXT sql = x_format("UPDATE %s SET requeued_at = clock_timestamp() WHERE id = $1::bigint"
                             " RETURNING 1",
                             store->table);
    AUTO(PGresult, pg_session_free_result) updated = NULL;
    if (pg_session_query(
            store->session,
            &(PgAsk){.step = "requeue a change", .sql = sql, .count = 1, .values = values},
            &updated, err) != OK) {
        return FAILED;
    }
    return PQntuples(updated) == 1 ? OK : dead_store_ignored("UPDATE", store->table, err);
}

Status dead_change_ask(const DeadStore *store, const PipelineConfig *pipeline, const PGresult *row,
                       Error *err)
{
    const char *text = pg_is_null(row, 0, DEAD_EVENT) ? "null" : pg_value(row, 0, DEAD_EVENT);
    json_t *event = json_loads(text, JSON_DECODE_ANY, NULL);
    const json_t *of = json_object_get(event, DEAD_LETTER_ROW);
    const char *schema = json_string_value(json_object_get(of, "schema"));
    const char *table = json_string_value(json_object_get(of, "table"));
    const MappedTold told = {(uint32_t)json_integer_value(json_object_get(of, "oid")), schema,
                             table};
    bool mapped = false;
    Status status = FAILED;
    if (schema == NULL || table == NULL || json_object_size(json_object_get(of, "key")) == 0) {
        (void)change_names_no_row(row, err);
    } else if (change_find_mapping(store, pipeline, &told, &mapped, err) == OK) {
        status = mapped ? change_mark(store, row, err)
                        : change_is_unmapped(pipeline, schema, table, row, err);
    }
    json_decref(event);
    return status;
}

#include "cdc/requeue_letters.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"

void requeue_letters_clear(RequeueLetters *letters)
{
    for (size_t i = 0; i < letters->items.count; i++) {
        free(letters->items.items[i].key);
        free(letters->items.items[i].values);
        free(letters->items.items[i].texts);
    }
    vec_free(&letters->items);
    free(letters->schema);
    free(letters->relation);
    free(letters->name);
    *letters = (RequeueLetters){0};
}

static void add_ids(const int64_t *ids, size_t count, Text *sql)
{
    text_add(sql, "'{");
    for (size_t i = 0; i < count; i++) {
        text_printf(sql, "%s%lld", i > 0 ? "," : "", (long long)ids[i]);
    }
    text_add(sql, "}'::bigint[]");
}

void requeue_add_look(const char *dead_letter, const char *pipeline, const RequeueLater *later,
                      Text *sql)
{
    AUTO_BUFFER kept = TEXT_EMPTY;
    add_ids(later->kept, later->kept_count, &kept);
    AUTO_TEXT name = ident_literal(pipeline);
    text_printf(sql,
                "SELECT a.id AS requeued_id, a.r->>'schema' AS table_schema,"
                " a.r->>'table' AS table_name, (a.r->'key')::pg_catalog.text AS row_key,"
                " c.oid AS table_oid FROM (SELECT d.id, d.id <= %lld AS late,"
                "  d.event->'row' AS r FROM %s d WHERE d.pipeline = %s AND d.requeued_at IS NOT"
                "  NULL AND d.id <> ALL (%s) ORDER BY late, d.id LIMIT %d) a"
                " LEFT JOIN LATERAL (SELECT k.oid FROM pg_catalog.pg_class k"
                "  JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace"
                "  WHERE k.relkind IN ('r', 'p') AND (k.oid = (a.r->>'oid')::pg_catalog.oid"
                "   OR (n.nspname = a.r->>'schema' AND k.relname = a.r->>'table'))"
                "  ORDER BY k.oid = (a.r->>'oid')::pg_catalog.oid DESC LIMIT 1) c ON true"
                " ORDER BY a.late, a.id",
                (long long)later->put_off, dead_letter, name, kept.data, REQUEUE_ROUND);
}

bool requeue_read_look(const PGresult *result, RequeueLetters *letters)
{
    if (PQfnumber(result, "requeued_id") < 0) {
        return false;
    }
    requeue_letters_clear(letters);
    for (int row = 0; row < PQntuples(result); row++) {
        const char *schema = pg_field(result, row, "table_schema");
        const char *relation = pg_field(result, row, "table_name");
        if (row == 0) {
            letters->schema = x_strdup(schema);
            letters->relation = x_strdup(relation);
            letters->name = x_format("%s.%s", schema, relation);
            letters->table = (uint32_t)strtoul(pg_field(result, row, "table_oid"), NULL, 10);
        }
        if (strcmp(letters->schema, schema) == 0 && strcmp(letters->relation, relation) == 0) {
            *vec_add(&letters->items) = (RequeueLetter){
                .id = strtoll(pg_needed_field(result, row, "requeued_id"), NULL, 10),
                .key = x_strdup(pg_field(result, row, "row_key"))};
        }
    }
    return true;
}

static size_t column_of(const ChangeTable *table, const char *name)
{
    size_t at = 0;
    while (at < table->count && strcmp(table->columns[at].name, name) != 0) {
        at++;
    }
    return at;
}

/* The key's texts, at the places of its columns; false: the table has no such columns. */
static bool letter_read_key(RequeueLetter *letter, const ChangeTable *table)
{
    AUTO_BUFFER texts = TEXT_EMPTY;
    json_t *key = json_loads(letter->key, 0, NULL);
    size_t *places = x_calloc(table->count + 1, sizeof(*places));
    bool known = json_object_size(key) > 0;
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(key, name, value)
    {
        size_t at = column_of(table, name);
        known = known && at < table->count && json_is_string(value);
        if (known) {
            places[at] = texts.length + 1;
            text_append(&texts, json_string_value(value), json_string_length(value) + 1);
        }
    }
    if (known) {
        letter->texts = texts.data;
        texts = TEXT_EMPTY;
        letter->values = x_calloc(table->count + 1, sizeof(*letter->values));
        for (size_t i = 0; i < table->count; i++) {
            letter->values[i] =
                places[i] > 0 ? slice_of(letter->texts + places[i] - 1) : SLICE_NULL;
        }
    }
    json_decref(key);
    free(places);
    return known;
}

/* Its key is of the same columns. */
static bool letter_fits(const RequeueLetter *letter, const KeyedTable *asked)
{
    size_t columns = 0;
    size_t shared = 0;
    for (size_t i = 0; i < asked->table->count; i++) {
        columns += !slice_is_null(letter->values[i]);
    }
    for (size_t i = 0; i < asked->key.count; i++) {
        shared += !slice_is_null(letter->values[asked->key.items[i]]);
    }
    return columns == asked->key.count && shared == asked->key.count;
}

void requeue_ask(RequeueLetters *letters, const ChangeTable *table, KeyedTable *ret_asked)
{
    *ret_asked = (KeyedTable){.table = table};
    for (size_t i = 0; i < table->count; i++) {
        *vec_add(&ret_asked->columns) = (uint16_t)i;
    }
    for (size_t i = 0; i < letters->items.count; i++) {
        RequeueLetter *letter = &letters->items.items[i];
        if (!letter_read_key(letter, table)) {
            continue;
        }
        for (size_t at = 0; ret_asked->rows.count == 0 && at < table->count; at++) {
            if (!slice_is_null(letter->values[at])) {
                *vec_add(&ret_asked->key) = (uint16_t)at;
            }
        }
        if (letter_fits(letter, ret_asked)) {
            *vec_add(&ret_asked->rows) = letter->values;
        } else {
            letter->other = true;
            free(letter->values);
            letter->values = NULL;
        }
    }
}

static void add_asked_for(const int64_t *ids, size_t count, Text *sql)
{
    text_add(sql, " WHERE requeued_at IS NOT NULL AND id = ANY (");
    add_ids(ids, count, sql);
    text_add_char(sql, ')');
}

void requeue_add_ends(const char *dead_letter, const RequeueEnds *ends, Text *sql)
{
    text_printf(sql, "DELETE FROM %s", dead_letter);
    add_asked_for(ends->over, ends->over_count, sql);
    text_printf(sql, "; UPDATE %s SET requeued_at = NULL", dead_letter);
    add_asked_for(ends->refused, ends->refused_count, sql);
    text_printf(sql, "; SELECT id AS " REQUEUE_KEPT_ID " FROM %s", dead_letter);
    add_asked_for(ends->over, ends->over_count, sql);
    text_printf(sql, " UNION SELECT id FROM %s", dead_letter);
    add_asked_for(ends->refused, ends->refused_count, sql);
}

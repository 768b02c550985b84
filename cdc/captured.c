#include "cdc/captured.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/wire.h"

struct Captured {
    const PipelineConfig *pipeline;
    char *database;
    ChangeCatalog catalog;
    Mapped mapped; /* the last answer */
    ChangeOut out;
    VEC(CapturedTable) tables; /* by OID */
    size_t last;               /* that was found */
    VEC(char *) names;         /* that events in flight may show, each once */
};

/* How a question's answer is known. */
#define COLUMN_TABLES "relreplident"
#define COLUMN_TYPES  "typtype"

void captured_set_database(Captured *captured, const char *database)
{
    free(captured->database);
    captured->database = x_strdup(database);
}

void captured_restart(Captured *captured)
{
    for (size_t i = 0; i < captured->tables.count; i++) {
        captured->tables.items[i].told = false;
    }
}

/* The place of the first that is not before it. */
static size_t captured_place(const Captured *captured, uint32_t oid)
{
    size_t low = 0;
    size_t high = captured->tables.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (captured->tables.items[middle].oid < oid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static CapturedTable *captured_at(const Captured *captured, uint32_t oid)
{
    size_t at = captured_place(captured, oid);
    bool there = at < captured->tables.count && captured->tables.items[at].oid == oid;
    return there ? &captured->tables.items[at] : NULL;
}

const CapturedTable *captured_find(Captured *captured, uint32_t oid)
{
    if (captured->last >= captured->tables.count ||
        captured->tables.items[captured->last].oid != oid) {
        captured->last = captured_place(captured, oid);
    }
    if (captured->last >= captured->tables.count) {
        return NULL;
    }
    const CapturedTable *found = &captured->tables.items[captured->last];
    return found->oid == oid && found->told ? found : NULL;
}

/* Questions. */

static void add_catalog(const char *query, uint32_t relation, Text *sql)
{
    for (const char *at = query; *at != '\0'; at++) {
        if (at[0] == '$' && at[1] == '1') {
            text_printf(sql, "'{%u}'", relation);
            at++;
        } else {
            text_add_char(sql, *at);
        }
    }
}

void captured_add_questions(const PipelineConfig *pipeline, uint32_t relation, int server_version,
                            Text *sql)
{
    mapped_add_query(pipeline, &(MappedQuestion){.only = relation}, server_version, sql);
    text_add(sql, "; ");
    captured_add_catalog_questions(relation, sql);
}

void captured_add_catalog_questions(uint32_t relation, Text *sql)
{
    add_catalog(CHANGE_CATALOG_TABLES, relation, sql);
    text_add(sql, "; ");
    add_catalog(CHANGE_CATALOG_TYPES, relation, sql);
}

bool captured_read(Captured *captured, const PGresult *result, Error *err)
{
    if (mapped_is(result)) {
        (void)mapped_read(result, &captured->mapped, err);
        return true;
    }
    if (PQfnumber(result, COLUMN_TABLES) >= 0) {
        (void)change_catalog_read_tables(&captured->catalog, result, err);
        return true;
    }
    if (PQfnumber(result, COLUMN_TYPES) >= 0) {
        (void)change_catalog_read_types(&captured->catalog, result, err);
        return true;
    }
    return false;
}

/* Relations. */

/* A copy that lives as long as everything else. */
static Slice captured_keep(Captured *captured, const char *text)
{
    for (size_t i = 0; i < captured->names.count; i++) {
        if (strcmp(captured->names.items[i], text) == 0) {
            return slice_of(captured->names.items[i]);
        }
    }
    *vec_add(&captured->names) = x_strdup(text);
    return slice_of(captured->names.items[captured->names.count - 1]);
}

static CapturedTable *captured_add(Captured *captured, uint32_t oid)
{
    CapturedTable *known = captured_at(captured, oid);
    if (known != NULL) {
        return known;
    }
    size_t at = captured_place(captured, oid);
    (void)vec_add(&captured->tables);
    CapturedTable *items = captured->tables.items;
    memmove(&items[at + 1], &items[at], (captured->tables.count - 1 - at) * sizeof(*items));
    items[at] = (CapturedTable){.oid = oid};
    return &items[at];
}

Status captured_set(Captured *captured, const MappingConfig *mapping,
                    const ChangeRelation *relation, Error *err)
{
    const PipelineConfig *pipeline = captured->pipeline;
    CapturedTable *known = captured_add(captured, relation->oid);
    change_table_free(&known->table);
    known->told = true;
    known->mapping = mapping;
    if (mapping == NULL) {
        return OK;
    }
    if (change_table_new(&(ChangeTables){.catalog = &captured->catalog,
                                         .modes = &pipeline->tables.modes,
                                         .prefix = pipeline->tables.topic_prefix,
                                         .database = captured->database},
                         mapping, relation, &captured->out, &known->table, err) != OK) {
        return FAILED;
    }
    known->topic = captured_keep(captured, known->table->topic);
    known->name = captured_keep(captured, known->table->name);
    return OK;
}

Status captured_put(Captured *captured, const PgOutputRelation *relation, Error *err)
{
    if (captured->tables.count >= CAPTURED_MAX && captured_at(captured, relation->id) == NULL) {
        return error_set(err, CODE_PG_PROTOCOL, "the server tells of more than %d tables",
                         CAPTURED_MAX);
    }
    const MappedTable *mapped = mapped_find(&captured->mapped, relation->id);
    ChangeColumn *columns = x_calloc(relation->columns + 1U, sizeof(*columns));
    ByteReader rest = bytes_reader(relation->bytes.data, relation->bytes.length);
    for (size_t i = 0; i < relation->columns; i++) {
        PgOutputColumn column = pgoutput_column(&rest);
        columns[i] = (ChangeColumn){column.name, column.type, column.type_modifier};
    }
    AUTO_ERROR why = {0};
    Status set = captured_set(
        captured, mapped != NULL ? &captured->pipeline->tables.mappings[mapped->mapping] : NULL,
        &(ChangeRelation){relation->id, columns, relation->columns}, &why);
    free(columns);
    if (set != OK && why.code != CODE_CHANGE_SCHEMA_STALE) { /* which is dropped by now */
        error_copy(err, &why);
        return FAILED;
    }
    return OK;
}

Captured *captured_new(const PipelineConfig *pipeline)
{
    Captured *captured = x_calloc(1, sizeof(*captured));
    captured->pipeline = pipeline;
    captured->database = x_strdup("");
    return captured;
}

void captured_free(Captured **captured)
{
    Captured *old = *captured;
    *captured = NULL;
    if (old == NULL) {
        return;
    }
    for (size_t i = 0; i < old->tables.count; i++) {
        change_table_free(&old->tables.items[i].table);
    }
    for (size_t i = 0; i < old->names.count; i++) {
        free(old->names.items[i]);
    }
    vec_free(&old->tables);
    vec_free(&old->names);
    mapped_clear(&old->mapped);
    change_catalog_clear(&old->catalog);
    change_out_free(&old->out);
    free(old->database);
    free(old);
}

#include "cdc/captured.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/result.h"

struct Captured {
    const PipelineConfig *pipeline;
    char *database;
    TableCounts *counts;
    ChangeCatalog catalog;
    Mapped mapped;  /* the last answer ... */
    size_t by_name; /* ... the mapping of the name that was told; SIZE_MAX: none */
    bool gone;      /* ... the table is not there any more */
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

static void add_catalog(const char *query, const char *oids, Text *sql)
{
    for (const char *at = query; *at != '\0'; at++) {
        if (at[0] == '$' && at[1] == '1') {
            text_printf(sql, "'%s'", oids);
            at++;
        } else {
            text_add_char(sql, *at);
        }
    }
}

/* Types are those of the relation: the table's may be others by now. */
static void add_questions(const PipelineConfig *pipeline, const CapturedRelation *relation,
                          int server_version, Text *sql)
{
    AUTO_TEXT oid = x_format("{%u}", relation->oid);
    AUTO_BUFFER types = TEXT_EMPTY;
    captured_relation_add_types(relation, &types);
    mapped_add_query(pipeline, &(MappedQuestion){.only = relation->oid}, server_version, sql);
    text_add(sql, "; ");
    mapped_add_name_query(pipeline, relation->schema, relation->name, sql);
    text_add(sql, "; ");
    add_catalog(CHANGE_CATALOG_TABLES, oid, sql);
    text_add(sql, "; ");
    add_catalog(CHANGE_CATALOG_TYPES_BY_OID, text_string(&types), sql);
}

void captured_add_questions(const PipelineConfig *pipeline, const PgOutputRelation *relation,
                            int server_version, Text *sql)
{
    AUTO(CapturedRelation, captured_relation_free) kept = captured_relation_new(relation);
    add_questions(pipeline, kept, server_version, sql);
}

void captured_add_questions_again(const Captured *captured, uint32_t oid, int server_version,
                                  Text *sql)
{
    add_questions(captured->pipeline, captured_at(captured, oid)->relation, server_version, sql);
}

void captured_add_catalog_questions(uint32_t relation, Text *sql)
{
    AUTO_TEXT oid = x_format("{%u}", relation);
    add_catalog(CHANGE_CATALOG_TABLES, oid, sql);
    text_add(sql, "; ");
    add_catalog(CHANGE_CATALOG_TYPES, oid, sql);
}

bool captured_read(Captured *captured, const PGresult *result, Error *err)
{
    int by_name = PQfnumber(result, MAPPED_BY_NAME);
    if (mapped_is(result)) {
        (void)mapped_read(result, &captured->mapped, err);
        return true;
    }
    if (by_name >= 0) {
        const char *place = PQntuples(result) == 1 ? pg_value(result, 0, by_name) : "";
        captured->by_name = *place != '\0' ? strtoul(place, NULL, 10) : SIZE_MAX;
        return true;
    }
    if (PQfnumber(result, COLUMN_TABLES) >= 0) {
        captured->gone = PQntuples(result) == 0;
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
    CapturedTable *added = vec_insert(&captured->tables, captured_place(captured, oid));
    *added = (CapturedTable){.oid = oid};
    return added;
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
    known->count = table_counts_of(captured->counts, known->table->name);
    known->name = table_count_name(known->count);
    return OK;
}

Status captured_put(Captured *captured, const PgOutputRelation *relation, Error *err)
{
    if (captured->tables.count >= CAPTURED_MAX && captured_at(captured, relation->id) == NULL) {
        return error_set(err, CODE_PG_PROTOCOL, "the server tells of more than %d tables",
                         CAPTURED_MAX);
    }
    CapturedTable *known = captured_add(captured, relation->id);
    captured_relation_free(&known->relation);
    known->relation = captured_relation_new(relation);
    return captured_renew(captured, relation->id, err);
}

/* What is gone is known by its name, if anything was ever asked for by it. */
static const MappingConfig *mapping_of(const Captured *captured, uint32_t oid)
{
    const MappedTable *mapped = mapped_find(&captured->mapped, oid);
    size_t at = mapped != NULL ? mapped->mapping : captured->gone ? captured->by_name : SIZE_MAX;
    return at != SIZE_MAX ? &captured->pipeline->tables.mappings[at] : NULL;
}

/* Rows go by the name that the table had when they were written. */
Status captured_renew(Captured *captured, uint32_t oid, Error *err)
{
    const CapturedRelation *relation = captured_at(captured, oid)->relation;
    if (captured->gone && change_catalog_table(&captured->catalog, oid) == NULL) {
        captured_relation_describe(relation, &captured->catalog);
    }
    change_catalog_name_table(&captured->catalog, oid, slice_of(relation->schema),
                              slice_of(relation->name));
    return captured_set(captured, mapping_of(captured, oid),
                        &(ChangeRelation){oid, relation->columns, relation->count}, err);
}

const TableCounts *captured_counts(const Captured *captured)
{
    return captured->counts;
}

Captured *captured_new(const PipelineConfig *pipeline, Metrics *metrics)
{
    Captured *captured = x_calloc(1, sizeof(*captured));
    captured->pipeline = pipeline;
    captured->counts = table_counts_new(metrics, pipeline->name);
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
        captured_relation_free(&old->tables.items[i].relation);
    }
    for (size_t i = 0; i < old->names.count; i++) {
        free(old->names.items[i]);
    }
    vec_free(&old->tables);
    vec_free(&old->names);
    table_counts_free(&old->counts);
    mapped_clear(&old->mapped);
    change_catalog_clear(&old->catalog);
    change_out_free(&old->out);
    free(old->database);
    free(old);
}

#include "cdc/captured.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/captured_answers.h"
#include "cdc/captured_hidden.h"

struct Captured {
    const PipelineConfig *pipeline;
    char *database;
    TableCounts *counts;
    CapturedAnswers *answers;
    ChangeOut *out;            /* where what is the same in all records of a table is made */
    VEC(CapturedTable) tables; /* by OID */
    size_t last;               /* that was found */
    VEC(char *) names;         /* that events in flight may show, each once */
};

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

void captured_add_questions_again(const Captured *captured, uint32_t oid, Text *sql)
{
    captured_answers_add_questions(captured->pipeline, captured_at(captured, oid)->relation, sql);
}

void captured_add_questions(const PipelineConfig *pipeline, const PgOutputRelation *relation,
                            Text *sql)
{
    AUTO(CapturedRelation, captured_relation_free) kept = captured_relation_new(relation);
    captured_answers_add_questions(pipeline, kept, sql);
}

void captured_add_table_questions(const PipelineConfig *pipeline, const MappedTold *table,
                                  Text *sql)
{
    mapped_add_name_query(pipeline, table, sql);
    text_add(sql, "; ");
    captured_answers_add_catalog_questions(table->oid, sql);
}

bool captured_read(Captured *captured, const PGresult *result, Error *err)
{
    return captured_answers_read(captured->answers, result, err);
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
    if (change_table_new(&(ChangeTables){.catalog = captured_answers_catalog(captured->answers),
                                         .modes = &pipeline->tables.modes,
                                         .prefix = pipeline->tables.topic_prefix,
                                         .database = captured->database},
                         mapping, relation, captured->out, &known->table, err) != OK) {
        return FAILED;
    }
    if (!known->met &&
        captured_hidden_judge(mapping, known->table, captured_answers_catalog(captured->answers),
                              err) != OK) {
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
    CapturedRelation *before = known->relation;
    known->relation = captured_relation_new(relation);
    if (before != NULL) {
        captured_relation_follow(known->relation, before);
        known->met = true;
    }
    captured_relation_free(&before);
    return captured_renew(captured, relation->id, err);
}

/* Rows go by the name that the table had when they were written. */
Status captured_renew(Captured *captured, uint32_t oid, Error *err)
{
    const CapturedRelation *relation = captured_at(captured, oid)->relation;
    captured_answers_take_relation(captured->answers, relation);
    return captured_set(captured, captured_answers_mapping(captured->answers, captured->pipeline),
                        &(ChangeRelation){oid, relation->columns, relation->count}, err);
}

void captured_follow(Captured *captured, const Captured *stream, const ChangeRelation *now)
{
    const CapturedTable *known = captured_at(stream, now->oid);
    bool met = known != NULL && known->relation != NULL;
    if (met) {
        captured_answers_follow(captured->answers, known->relation, now);
    }
    captured_add(captured, now->oid)->met = met;
}

const MappingConfig *captured_mapping(const Captured *captured)
{
    return captured_answers_mapping(captured->answers, captured->pipeline);
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
    captured->answers = captured_answers_new();
    captured->out = x_calloc(1, sizeof(*captured->out));
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
    captured_answers_free(&old->answers);
    change_out_free(old->out);
    free(old->out);
    free(old->database);
    free(old);
}

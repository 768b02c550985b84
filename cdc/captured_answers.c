#include "cdc/captured_answers.h"

#include <stdlib.h>

#include "base/memory.h"
#include "cdc/captured_past.h"
#include "pg/result.h"
#include "rows/mapped.h"

struct CapturedAnswers {
    ChangeCatalog catalog;
    size_t mapping; /* SIZE_MAX: none */
    bool gone;      /* the table is not there any more */
};

/* How a question's answer is known. */
#define COLUMN_TABLES "relreplident"
#define COLUMN_TYPES  "typtype"

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

void captured_answers_add_questions(const PipelineConfig *pipeline,
                                    const CapturedRelation *relation, Text *sql)
{
    AUTO_TEXT oid = x_format("{%u}", relation->oid);
    AUTO_BUFFER types = TEXT_EMPTY;
    captured_relation_add_types(relation, &types);
    mapped_add_name_query(pipeline, &(MappedTold){relation->oid, relation->schema, relation->name},
                          sql);
    text_add(sql, "; ");
    add_catalog(CHANGE_CATALOG_TABLES, oid, sql);
    text_add(sql, "; ");
    add_catalog(CHANGE_CATALOG_TYPES_BY_OID, text_string(&types), sql);
}

void captured_answers_add_catalog_questions(uint32_t relation, Text *sql)
{
    AUTO_TEXT oid = x_format("{%u}", relation);
    add_catalog(CHANGE_CATALOG_TABLES, oid, sql);
    text_add(sql, "; ");
    add_catalog(CHANGE_CATALOG_TYPES, oid, sql);
}

bool captured_answers_read(CapturedAnswers *answers, const PGresult *result, Error *err)
{
    int mapping = PQfnumber(result, MAPPED_BY_NAME);
    if (mapping >= 0) {
        const char *place = PQntuples(result) == 1 ? pg_value(result, 0, mapping) : "";
        answers->mapping = *place != '\0' ? strtoul(place, NULL, 10) : SIZE_MAX;
        return true;
    }
    if (PQfnumber(result, COLUMN_TABLES) >= 0) {
        answers->gone = PQntuples(result) == 0;
        (void)change_catalog_read_tables(&answers->catalog, result, err);
        return true;
    }
    if (PQfnumber(result, COLUMN_TYPES) >= 0) {
        (void)change_catalog_read_types(&answers->catalog, result, err);
        return true;
    }
    return false;
}

void captured_answers_take_relation(CapturedAnswers *answers, const CapturedRelation *relation)
{
    captured_past_apply(relation, answers->gone, &answers->catalog);
}

void captured_answers_follow(CapturedAnswers *answers, const CapturedRelation *before,
                             const ChangeRelation *now)
{
    captured_past_follow(before, now, &answers->catalog);
}

/* By the name that it had when its rows were written: since then the table may have been renamed,
 * moved, attached to another or dropped, which takes back nothing of what was committed. Who calls
 * a mapping by the new name of a table means its rows of before as well. */
const MappingConfig *captured_answers_mapping(const CapturedAnswers *answers,
                                              const PipelineConfig *pipeline)
{
    return answers->mapping != SIZE_MAX ? &pipeline->tables.mappings[answers->mapping] : NULL;
}

const ChangeCatalog *captured_answers_catalog(const CapturedAnswers *answers)
{
    return &answers->catalog;
}

CapturedAnswers *captured_answers_new(void)
{
    CapturedAnswers *answers = x_calloc(1, sizeof(*answers));
    answers->mapping = SIZE_MAX;
    return answers;
}

void captured_answers_free(CapturedAnswers **answers)
{
    if (*answers == NULL) {
        return;
    }
    change_catalog_clear(&(*answers)->catalog);
    free(*answers);
    *answers = NULL;
}

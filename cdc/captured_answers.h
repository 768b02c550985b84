/* captured_answers: what the server is asked about a captured table, and what it answered last:
 * which mapping means it, and what the catalog says of its columns and their types. */
#pragma once

#include <libpq-fe.h>

#include "cdc/captured_relation.h"
#include "config/config.h"

typedef struct CapturedAnswers CapturedAnswers;

CapturedAnswers *captured_answers_new(void);
void captured_answers_free(CapturedAnswers **answers);

/** Appends all questions about a relation; types are those that it was told with, since the table's
 * may be others by now. */
void captured_answers_add_questions(const PipelineConfig *pipeline,
                                    const CapturedRelation *relation, Text *sql);
/** Only those about the table's columns and their types. */
void captured_answers_add_catalog_questions(uint32_t relation, Text *sql);
/** True when it was an answer to one of them. */
bool captured_answers_read(CapturedAnswers *answers, const PGresult *result, Error *err);

/** The table is taken as it was when the rows were written (captured_past.h). */
void captured_answers_take_relation(CapturedAnswers *answers, const CapturedRelation *relation);
/** The table is taken as it is now; columns that were renamed since it was told keep their old
 * names beside the new ones. */
void captured_answers_follow(CapturedAnswers *answers, const CapturedRelation *before,
                             const ChangeRelation *now);
/** NULL: no mapping means the table. */
const MappingConfig *captured_answers_mapping(const CapturedAnswers *answers,
                                              const PipelineConfig *pipeline);
const ChangeCatalog *captured_answers_catalog(const CapturedAnswers *answers);

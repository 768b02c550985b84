/* mark_statements: the statements of a session that marks: what they say, and whether they are
 * prepared for the table that has the name. */
#pragma once

#include "rows/mark_proof.h"
#include "rows/mark_sql.h"
#include "rows/marker_line.h"

typedef struct MarkStatements MarkStatements;

MarkStatements *statements_new(MarkerLine *line);
void statements_free(MarkStatements **statements);

/** A session begins. Borrows what the proof says of its row until the next one. */
void statements_begin(MarkStatements *statements, uint32_t table_oid, const MarkProof *proof);
/** The table has another name, or it is another one. */
void statements_renamed(MarkStatements *statements);
void statements_retarget(MarkStatements *statements, uint32_t table_oid);
/** They may be wrong: they are prepared once more. */
void statements_drop(MarkStatements *statements);

const MarkSql *statements_sql(const MarkStatements *statements);
bool statements_are_prepared(const MarkStatements *statements);
void statements_prepare(MarkStatements *statements);

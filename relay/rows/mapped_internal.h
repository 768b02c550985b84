/* What those share who ask which tables are mapped; nobody else includes this. */
#pragma once

#include "rows/mapped.h"

/** Appends "WITH ...": the parts of the query (mapped_sql.c), of which `t` has a row for each
 * table. A SELECT follows. */
void mapped_add_parts(const PipelineConfig *pipeline, const MappedQuestion *question,
                      int server_version, Text *sql);

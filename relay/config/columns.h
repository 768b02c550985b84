/* columns: which columns of the outbox table a pipeline cannot be without. A column that the file
 * does not name and that the table does not have is simply absent, unless something rests on it.
 */
#pragma once

#include <stddef.h>

#include "config/config.h"
#include "config/options.h"

/** Which column, an EventField or FIELD_PUBLISHED_AT, an option of columns.* is; COLUMN_COUNT: it
 * is none. */
size_t column_index(const Option *option);

/** The configured name of the index-th column in the table; "" when it has none. */
const char *column_name(const PipelineConfig *pipeline, size_t index);

/** Why the pipeline needs the index-th column: "columns.topic names it", "the key ${aggregate_id}
 * needs it"; malloc'd. NULL: it does without. */
char *column_need(const PipelineConfig *pipeline, size_t index);

/** Whether an event can be read of the index-th column when it is of that type, as format_type()
 * says it without a modifier. */
bool column_takes(size_t index, const char *type);

/** What the index-th column has to be, for people: "an integer"; NULL: of any type, or but for one
 * of bytes. Static. */
const char *column_wants(size_t index);

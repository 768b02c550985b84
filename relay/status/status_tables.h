/* status_tables: of a pipeline that captures ordinary tables, a line for each of them: changes and
 * bytes that were read, the last change, and the first snapshot. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

enum { STATUS_TABLES_MAX = 20 };

/** Appends the lines, at most STATUS_TABLES_MAX; nothing for a pipeline of another kind. */
void status_tables_add(const json_t *pipeline, bool colours, Text *out);

/* fetch_sql: the statement that reads what is unpublished. */
#pragma once

#include "outbox/gaps.h"
#include "rows/table.h"

/** Appends COPY (...) TO STDOUT (FORMAT binary): all unpublished rows in the gaps and beyond the
 * top, in order of seq, at most limit. With sweep_below > INT64_MIN also those below it. */
void fetch_add_sql(const OutboxTable *table, const Gaps *gaps, int64_t sweep_below, size_t limit,
                   Text *sql);

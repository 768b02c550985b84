/* fetch_sql: the statements that read what is unpublished. */
#pragma once

#include "outbox/gaps.h"
#include "outbox/known.h"
#include "rows/table.h"

/** Appends COPY (...) TO STDOUT (FORMAT binary): all unpublished rows in the gaps and beyond the
 * top, in order of seq, at most limit. Gaps that are reset: the whole table. */
void fetch_add_sql(const OutboxTable *table, const Gaps *gaps, size_t limit, Text *sql);

/** The same without a look at sizes; no row at all unless table_add_small() holds. It fails where a
 * text is large although what is stored is not. */
void fetch_add_small_sql(const OutboxTable *table, const Gaps *gaps, size_t limit, Text *sql);

/** The same, but of each row only seq and event id, and only from the number `from` on. */
void fetch_add_keys_sql(const OutboxTable *table, const Gaps *gaps, int64_t from, size_t limit,
                        Text *sql);

/** The unpublished rows with these numbers, in order of seq. */
void fetch_add_chosen_sql(const OutboxTable *table, const KnownRow *rows, size_t count,
                          TableLean lean, Text *sql);

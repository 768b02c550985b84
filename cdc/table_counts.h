/* table_counts: what was read of each captured table since the process started: changes, bytes of
 * their records, time of the last one; as metrics and in the status document. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/slice.h"
#include "metrics/metrics.h"

typedef struct TableCounts TableCounts;
typedef struct TableCount TableCount;

/** metrics may be NULL: nothing is exposed then. Names of the pipeline live as long. */
TableCounts *table_counts_new(Metrics *metrics, const char *pipeline);
void table_counts_free(TableCounts **counts);

/** That of a table (schema.table), which lives as long as the counts. */
TableCount *table_counts_of(TableCounts *counts, const char *table);
/** Its name, which does so, too. */
Slice table_count_name(const TableCount *count);
/** One change was read, whose records have so many bytes, of a transaction that committed then. */
void table_count_add(TableCount *count, uint64_t bytes, int64_t committed_at_us);

enum { TABLE_COUNTS_SHOWN = 1000 };
/** Sets the member "tables": those that were read, at most TABLE_COUNTS_SHOWN. */
void table_counts_show(const TableCounts *counts, json_t *pipeline);

/* mapped_filter: the filter of a mapping, as the server judges it for one table. PostgreSQL alone
 * evaluates it: as the row filter of the publications, and as WHERE of a snapshot. Before that, it
 * is asked
 *
 *   - is it one condition, as it stands and in parentheses, so that it changes nothing around it?
 *   - does PostgreSQL take it as a row filter, which allows no subquery and nothing whose result
 *     may change?
 *   - is it the row filter that the publications have?
 *   - which columns does it use that are not in the replica identity?
 *
 * Each question is an EXPLAIN of a condition on a row of NULLs that has the table's columns: it
 * reads nothing, locks no table and needs no right. Two conditions are the same when their plans
 * are. The session must have set FILTER_SESSION; the statements are for the protocol that takes one
 * at a time (PgQuery.single), as the filter is not yet known to be only one. */
#pragma once

#include "rows/mapped.h"

typedef struct FilterTest FilterTest;

/** The error is of data, of a row that is read or decoded, and the pipeline has filters: most
 * likely one of them failed for it. */
bool filter_may_have_failed(const PipelineConfig *pipeline, const Error *err);
#define FILTER_FAILED_HINT                                                                         \
    "Write filter so that it fails for no row, such as a division by a column that may be 0; the " \
    "publication then gets it by the SQL that outboxd check prints. Or correct the row."

/* The planner then finds contradictions, also where no table is read. */
#define FILTER_SESSION "SET constraint_exclusion = on"

/** A table with a filter, of an answer about filters. Both must outlive it. */
FilterTest *filter_test_new(const PipelineConfig *pipeline, MappedTable *table);
void filter_test_free(FilterTest **test);

/** The next question; false: all is known, and all of the table's filter is set. */
bool filter_test_next(FilterTest *test, Text *sql);
/** Its answer. */
void filter_test_take(FilterTest *test, const PGresult *answer);
/** Its answer is an error. FAILED: it is not about the filter, and nobody knows more. */
Status filter_test_refused(FilterTest *test, const Error *err);

/** Once all is known: what is wrong, with the remedy; OK when nothing is. FATAL / MAPPED_FILTER: no
 * publication can carry it; FATAL / PUBLICATION_FILTER: one does not. */
Status filter_test_judge(const FilterTest *test, Error *err);

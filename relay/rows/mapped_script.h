/* mapped_script: the SQL that an administrator runs so that the mapped tables are published, and
 * that who reads them (mapped_reader()) may do so. A table without a usable replica identity, or
 * with a filter on other columns, is never put into a publication of updates or deletes: PostgreSQL
 * would refuse those of the application. A table whose filter was not tested (mapped_filter.h), or
 * is of no use to PostgreSQL, is put into none. */
#pragma once

#include "base/text.h"
#include "rows/mapped.h"

/* What follows from a renewal, as SQL: the catalog does not tell that both statements were one
 * transaction. */
#define MAPPED_RENEWAL_IS_GAP                                                                      \
    "/* a pipeline that has a position then stops with exit code 4, since nothing proves that no " \
    "change is missing: continue with outboxd run --new-slot */"

/** Appends what takes a table out of one of the publications and puts it in again, with the filter
 * of its mapping and without a column list, in one transaction. publication: MAPPED_FIRST or
 * MAPPED_SECOND. */
void mapped_script_add_renewal(const PipelineConfig *pipeline, const MappedTable *table,
                               size_t publication, Text *script);

/** Appends the statements, one a line; nothing when nothing is missing. role: as SQL. */
void mapped_script_add(const PipelineConfig *pipeline, const Mapped *mapped, const char *role,
                       Text *script);

/** Appends what makes the publications that are missing, for the tables as they are; "" when both
 * are there. The second is made also when no table needs it yet: a stream that began without it
 * does not see what it gets later. */
void mapped_script_add_publications(const PipelineConfig *pipeline, const Mapped *mapped,
                                    Text *script);

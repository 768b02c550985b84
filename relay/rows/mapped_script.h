/* mapped_script: the SQL that an administrator runs so that the mapped tables are published and a
 * snapshot may read them. A table without a usable replica identity is never put into a publication
 * of updates or deletes: PostgreSQL would refuse those of the application. */
#pragma once

#include "base/text.h"
#include "rows/mapped.h"

/** Appends the statements, one a line; nothing when nothing is missing. role: as SQL. */
void mapped_script_add(const PipelineConfig *pipeline, const Mapped *mapped, const char *role,
                       Text *script);

/** Appends what makes the publications that are missing, for the tables as they are; "" when both
 * are there. The second is made also when no table needs it yet: a stream that began without it
 * does not see what it gets later. */
void mapped_script_add_publications(const PipelineConfig *pipeline, const Mapped *mapped,
                                    Text *script);

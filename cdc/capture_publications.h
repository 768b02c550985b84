/* capture_publications: the SQL that makes the two publications of capture = "tables". */
#pragma once

#include "base/text.h"
#include "rows/mapped.h"

/** Appends the statements. A table whose updates and deletes PostgreSQL would refuse, were they
 * published, goes into the second one; both are made, since a publication must be older than the
 * slot. */
void capture_publications_add(const PipelineConfig *pipeline, const Mapped *mapped, Text *sql);

/* slot_tables: are the tables of capture = "tables" in the publications as they were when the
 * position was reached? */
#pragma once

#include "cdc/slot.h"
#include "rows/mapped.h"

/** Compares what the position row notes with what is there. Sets known->publication_changed and
 * known->lost, and says which tables are new. RETRY: the note is none of ours. */
Status slot_tables_compare(const PipelineConfig *pipeline, const SlotStored *stored,
                           const Mapped *mapped, SlotKnown *known, Error *err);

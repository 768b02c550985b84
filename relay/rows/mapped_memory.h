/* mapped_memory: what was captured of each mapped table, as a text that outlives the relay, and
 * what of it is captured no more, or is since.
 *
 * A table is captured by its entries in the pipeline's publications. One that was taken out of a
 * publication and put back has another entry, and what was changed between is missing in the
 * stream: a gap of this table, for the operations that no other entry covered all the time. A table
 * that is only added has no gap, and neither has one that was dropped or that no mapping means any
 * more: its changes were asked for by nobody. One that has lost its replica identity has none of
 * updates and deletes.
 *
 * The text: "1", the two publications (identity and operations), and each table with its entries,
 * some 25 bytes for a table. It says the same for the same state. */
#pragma once

#include "base/error.h"
#include "base/text.h"
#include "base/vec.h"
#include "rows/mapped.h"

typedef struct MappedChange {
    const MappedTable *table; /* of the list that was compared; it must outlive this */
    unsigned lost;            /* bits of OPERATION_: some of these may be missing in the stream */
    unsigned gained;          /* bits of OPERATION_: these were not captured before, and are now */
} MappedChange;

typedef VEC(MappedChange) MappedChanges;

/** Appends the text. */
void mapped_memory_add(const Mapped *mapped, Text *text);
/** Compares the text of an earlier look with what is found now; changes is zero or cleared with
 * vec_free. RETRY / POSTGRES_ANSWER: it is no such text. */
Status mapped_memory_compare(const char *before, const Mapped *now, MappedChanges *changes,
                             Error *err);

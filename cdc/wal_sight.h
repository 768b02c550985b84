/* wal_sight: what the table shows of rows whose events wait for their topic. One look at a time. */
#pragma once

#include <libpq-fe.h>

#include "base/text.h"
#include "flow/batch.h"
#include "rows/table.h"

typedef struct Sight Sight;

Sight *sight_new(void);
void sight_free(Sight **sight);

/** Appends the question about the parked rows of the first of these batches. target: OID of the
 * table that they are rows of. */
void sight_add_question(Sight *sight, const OutboxTable *table, uint32_t target,
                        const Batch *oldest, Text *sql);
/** Reads the answer. */
void sight_read(Sight *sight, const PGresult *result);
/** The answer came, and told what is visible. */
bool sight_is_taken(const Sight *sight);
/** Another table has the name by now. */
bool sight_is_of_another(const Sight *sight);
/** The transactions of all parked rows of the batch are over. */
bool sight_shows_all(const Sight *sight, const Batch *batch);
/** The row is there, and unpublished. */
bool sight_has(const Sight *sight, const Event *event);
/** The last batch that was asked about. */
bool sight_ends_with(const Sight *sight, const Batch *batch);
/** The rows that were found are let go. */
void sight_forget(Sight *sight);

/* dead_change: a dead letter of a change (capture = "tables") is requeued by asking the relay to
 * read its row again: the old state would be published over a newer one. */
#pragma once

#include "dead/dead_store.h"

/** row: of dead_store_find, locked. POISON / EXIT_CONFIG when the letter names no row, or no
 * mapping means its table. */
Status dead_change_ask(const DeadStore *store, const PipelineConfig *pipeline, const PGresult *row,
                       Error *err);

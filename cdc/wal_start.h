/* wal_start: what was found at the start, once the lock was ours: facts about slot, position and
 * publication, and the history of the server. A record: wal_session.c fills it in, whoever decides
 * something at the start reads it, wal_slot.c adds what it compares. */
#pragma once

#include "cdc/instance.h"
#include "cdc/slot.h"
#include "rows/history.h"
#include "rows/mapped.h"

typedef struct WalStart {
    SlotCase given; /* whose facts are told, or are not */
    bool facts_told;
    Instance *instance; /* told when a walsender is reached by a connection string of its own */
    History *found;
    bool found_told;
    char *position_table; /* outbox.position as SQL */
    char *captured_table; /* outbox.captured_table as SQL; of tables alone */
    char *position_key;   /* condition that finds our row in it */
    Mapped *mapped;       /* capture = "tables": which tables there are */
} WalStart;

WalStart *start_new(const PipelineConfig *pipeline);
void start_free(WalStart **start);
/** The filter of a table that this mapping means; NULL: it means all rows. Valid until the facts
 * are asked for again. */
const char *start_filter(const WalStart *start, const PipelineConfig *pipeline,
                         const MappingConfig *mapping, uint32_t oid);
/** Nothing is known: it is asked for again. */
void start_forget(WalStart *start);

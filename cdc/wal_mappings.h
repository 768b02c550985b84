/* wal_mappings: can what the mappings say of columns be done for each table? A mask of a number, or
 * a key that the rows of a table do not have, would stop the stream with the first row of that
 * table. Asked once, at the first start of a source of tables: a running relay knows a column that
 * is renamed (captured_names.h), which the catalog alone does not. */
#pragma once

#include "cdc/wal_context.h"
#include "cdc/wal_start.h"

typedef struct WalMappings WalMappings;

/** followed: they can. */
WalMappings *mappings_new(const WalContext *wal, const WalStart *start, void (*followed)(void *arg),
                          void *arg);
void mappings_free(WalMappings **mappings);

/** Asks on the claim's connection, which must be free. followed() comes, at once if no mapping
 * names a column or it came before; or the claim is lost with the reason. */
void mappings_follow(WalMappings *mappings);

/* wal_filters: are the filters of the mappings such that PostgreSQL can use them, and do the
 * publications carry them? Asked at each start of a source of tables, and so whenever an entry of a
 * publication is another one than before (wal_verify.h). */
#pragma once

#include "cdc/wal_context.h"
#include "cdc/wal_start.h"

typedef struct WalFilters WalFilters;

/** tested: all is as it should be, and each table of start->mapped says whether its filter fits. */
WalFilters *filters_new(const WalContext *wal, const WalStart *start, void (*tested)(void *arg),
                        void *arg);
void filters_free(WalFilters **filters);

/** Asks about all tables, one question after the other, on the claim's connection, which must be
 * free. tested() follows, or the claim is lost. */
void filters_test(WalFilters *filters);

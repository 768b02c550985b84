/* wal_ping: the question of the lease: is the table still the one that is published; did others
 * write; does another relay read the slot? */
#pragma once

#include "cdc/assemble.h"
#include "cdc/wal_context.h"
#include "cdc/wal_log.h"

typedef struct Ping Ping;

Ping *ping_new(const WalContext *wal, ServerLog *log, const Assembler *assembler);
void ping_free(Ping **ping);

/** Of ClaimReader. */
void ping_add(Ping *ping, Text *sql);
void ping_read(Ping *ping, const PGresult *result);
/** False: by its answer the claim was lost, or somebody else publishes. */
bool ping_is_good(const Ping *ping);

/* wal_session: what the start depends on, asked for once the lock is ours; and the proof, before
 * that, that nobody else published. */
#pragma once

#include "cdc/wal_log.h"
#include "cdc/wal_waiting.h"

typedef struct WalSession WalSession;

WalSession *wal_session_new(WalContext *wal, WalStart *start, ServerLog *log, Waiting *waiting,
                            Relations *relations);
void wal_session_free(WalSession **session);

/** Of ClaimReader. */
void wal_session_looked(WalSession *session, const PreconditionLook *look);
bool wal_session_tolerates(const WalSession *session, const Error *fault);
void wal_session_lock_held(WalSession *session);
/** Asks for the facts of the start: NEWS_FACTS. */
void wal_session_ask_facts(WalSession *session);

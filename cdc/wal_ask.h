/* wal_ask: a message of the stream that waits for an answer of the claim's connection, or for marks
 * that go elsewhere. Nothing behind it is read. */
#pragma once

#include "cdc/captured.h"
#include "cdc/wal_verify.h"

typedef struct Ask Ask;

Ask *ask_new(const WalContext *wal, ServerLog *log, Tables *tables, Verify *verify,
             Relations *relations, Captured *captured);
void ask_free(Ask **ask);

/** Keeps the message and asks the server, about this relation unless it is NULL: NEWS_ANSWERED. */
void ask_hold(Ask *ask, const char *bytes, size_t length, const PgOutputRelation *relation);
/** Keeps a change of a captured table whose schema is older than its row, and asks about that. */
void ask_hold_change(Ask *ask, const char *bytes, size_t length, uint32_t relation);
/** Keeps the message, and asks nothing. */
void ask_keep(Ask *ask, const char *bytes, size_t length);
bool ask_holds(const Ask *ask);
/** Hands the message out, to be taken anew: what was answered holds for it ... */
char *ask_take(Ask *ask, size_t *ret_length);
bool ask_is_answered(const Ask *ask);
/** ... until it is taken. Another one may be held by then. */
void ask_end(Ask *ask);
/** The stream was left: its successor asks for itself. */
void ask_forget(Ask *ask);

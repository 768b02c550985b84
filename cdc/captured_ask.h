/* captured_ask: the questions that the stream has about a captured table, and what was wrong with
 * an answer to them (wal_ask.h holds the message meanwhile). */
#pragma once

#include "cdc/captured.h"
#include "cdc/wal_context.h"

typedef struct CapturedAsk CapturedAsk;

/** Both are borrowed. */
CapturedAsk *captured_ask_new(const WalContext *wal, Captured *captured);
void captured_ask_free(CapturedAsk **ask);

/** Notes the questions about a relation that is told. True: this stream told of it before. */
bool captured_ask_relation(CapturedAsk *ask, const PgOutputRelation *relation);
/** Notes those about a table that was told before, and may have changed since. */
void captured_ask_again(CapturedAsk *ask, uint32_t relation);
/** Nothing is to be asked any more. */
void captured_ask_forget(CapturedAsk *ask);

/** Appends how far the log goes, and the questions that were noted. */
void captured_ask_add(CapturedAsk *ask, Text *sql);
/** True when it was an answer to one of them. */
bool captured_ask_read(CapturedAsk *ask, const PGresult *result);
/** What was wrong with an answer; NULL: nothing. */
const Error *captured_ask_unread(const CapturedAsk *ask);

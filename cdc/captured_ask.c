#include "cdc/captured_ask.h"

#include <stdlib.h>

#include "base/memory.h"

struct CapturedAsk {
    const WalContext *wal;
    Captured *captured;
    Text questions; /* none: how far the log goes is all that is asked */
    Error unread;
};

bool captured_ask_relation(CapturedAsk *ask, const PgOutputRelation *relation)
{
    captured_add_questions(ask->wal->pipeline, relation, &ask->questions);
    return captured_find(ask->captured, relation->id) != NULL;
}

void captured_ask_again(CapturedAsk *ask, uint32_t relation)
{
    captured_add_questions_again(ask->captured, relation, &ask->questions);
}

void captured_ask_forget(CapturedAsk *ask)
{
    text_free(&ask->questions);
}

void captured_ask_add(CapturedAsk *ask, Text *sql)
{
    error_clear(&ask->unread);
    text_add(sql, "SELECT pg_catalog.pg_current_wal_insert_lsn() AS insert_lsn");
    if (ask->questions.length > 0) {
        text_add(sql, "; ");
        text_append(sql, ask->questions.data, ask->questions.length);
    }
}

bool captured_ask_read(CapturedAsk *ask, const PGresult *result)
{
    return captured_read(ask->captured, result, &ask->unread);
}

const Error *captured_ask_unread(const CapturedAsk *ask)
{
    return ask->unread.class != ERROR_NONE ? &ask->unread : NULL;
}

CapturedAsk *captured_ask_new(const WalContext *wal, Captured *captured)
{
    CapturedAsk *ask = x_calloc(1, sizeof(*ask));
    ask->wal = wal;
    ask->captured = captured;
    return ask;
}

void captured_ask_free(CapturedAsk **ask)
{
    if (*ask == NULL) {
        return;
    }
    captured_ask_forget(*ask);
    error_clear(&(*ask)->unread);
    free(*ask);
    *ask = NULL;
}

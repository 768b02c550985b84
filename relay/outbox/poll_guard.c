/* The guard. A row of a transaction with synchronous_commit = off is visible before its commit is
 * on disk; a crash of PostgreSQL would undo a fact that Kafka has. So a fetch is handed on only
 * when WAL is flushed beyond the position noted after its snapshot; if no commit of others does
 * that within milliseconds, one of our own forces it. */
#include <stdio.h>

#include "base/text.h"
#include "outbox/poll_internal.h"

enum {
    GUARD_TRIES = 4, /* one a round trip, then a millisecond apart, then we force the flush */
};

static void guard_on_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (PQnfields(result) == 2) {
        snprintf(poll->fetch.insert_lsn, sizeof(poll->fetch.insert_lsn), "%s",
                 PQgetvalue(result, 0, 0));
    }
    poll->fetch.durable = PQgetvalue(result, 0, PQnfields(result) - 1)[0] == 't';
}

static void guard_on_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    if (err != NULL) {
        poll_lose(poll, err);
        return;
    }
    session_renew_lease(poll);
    if (poll->fetch.durable) {
        fetch_complete(poll);
    } else {
        guard_ask(poll);
    }
}

void guard_ask(PollSource *poll)
{
    Fetch *fetch = &poll->fetch;
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (fetch->insert_lsn[0] == '\0') { /* the fetch was cancelled before it came to that */
        text_add(&sql, fetch->wide ? "ROLLBACK; " GUARD_QUERY : GUARD_QUERY);
    } else {
        if (++fetch->guard_tries > GUARD_TRIES) {
            /* A commit that wrote WAL, with synchronous_commit = on, flushes all before it. */
            text_add(&sql, "SELECT pg_logical_emit_message(true, 'outboxd.flush', ''); ");
        } else if (fetch->guard_tries > 1) {
            text_add(&sql, "SELECT pg_sleep(0.001); ");
        }
        text_printf(&sql, "SELECT pg_current_wal_flush_lsn() >= '%s'::pg_lsn", fetch->insert_lsn);
    }
    session_ask(
        poll,
        &(PgQuery){.sql = sql.data, .arg = poll, .result = guard_on_result, .done = guard_on_done});
}

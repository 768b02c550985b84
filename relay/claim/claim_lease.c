/* The lease: each answer of the server proves that the session, and so the lock, existed when the
 * question was asked. */
#include "base/clock.h"
#include "claim/claim_internal.h"
#include "rows/publisher.h"

void claim_ask(Claim *claim, const PgQuery *query)
{
    claim->asked_us = clock_monotonic_us();
    claim->asking = true;
    pg_conn_send(claim->conn, query);
}

int64_t claim_asked_us(const Claim *claim)
{
    return claim->asked_us;
}

void claim_pulse_now(Claim *claim)
{
    event_active(claim->pulse, 0, 0);
}

void claim_answered(void *arg)
{
    Claim *claim = arg;
    if (claim->asking && pg_conn_is_open(claim->conn)) {
        claim->lease_until_us =
            claim->asked_us + claim->options.source->pipeline->claim.lease_ms * 1000;
    }
    claim->asking = false;
}

/* The lease, while nothing else is asked. */

static void on_ping_result(void *arg, const PGresult *result)
{
    Claim *claim = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (PQfnumber(result, "backend_pid") >= 0) {
        (void)publisher_check_pooler(claim->options.source->config, claim->conn, result,
                                     claim->options.reader->replicates, &claim->loss->error);
    } else {
        claim->options.reader->ping_result(claim->options.arg, result);
    }
}

static void on_ping_done(void *arg, const Error *err)
{
    Claim *claim = arg;
    if (err == NULL && claim->loss->error.class != ERROR_NONE) {
        err = &claim->loss->error;
    }
    if (err != NULL) {
        claim_lose(claim, err);
        return;
    }
    claim->options.reader->pinged(claim->options.arg);
}

void claim_ask_ping(void *arg)
{
    Claim *claim = arg;
    if (claim->state != CLAIM_HELD) {
        return;
    }
    bool pooled = *pg_conn_mark(claim->conn) != '\0';
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (pooled) { /* a pooler that does not pool sessions shows it when somebody else comes */
        publisher_add_pooler_query(&sql);
    }
    claim->options.reader->add_ping(claim->options.arg, &sql);
    error_clear(&claim->loss->error);
    claim_ask(claim, &(PgQuery){.step = "ping",
                                .sql = sql.data,
                                .rows_wanted = pooled ? 2 : 1,
                                .arg = claim,
                                .result = on_ping_result,
                                .done = on_ping_done});
}

void claim_ping(Claim *claim)
{
    if (claim->state == CLAIM_HELD) {
        claim_want_first(claim, &claim->jobs->ping);
    }
}

/* The life of a claim below its connection: what it is, how it ends, how long it is surely ours. */
#include <assert.h>

#include "base/clock.h"
#include "base/memory.h"
#include "claim/claim_internal.h"
#include "rows/publisher.h"

void claim_arm(struct event *timer, int64_t delay_ms)
{
    struct timeval tv = {.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};
    event_add(timer, &tv);
}

/* First the connections: the reader gives back what it holds, and nothing of that is sent. */
static void claim_close(Claim *claim, ClaimState state)
{
    event_del(claim->timer);
    event_del(claim->pulse);
    claim_drop_jobs(claim->jobs);
    pg_conn_close(claim->conn);
    if (claim->marks->conn != NULL) {
        pg_conn_close(claim->marks->conn);
    }
    claim->options.reader->close(claim->options.arg, state == CLAIM_LOST);
    marker_stop(claim->marks->marker);
    *claim->options.source->stats->rows->postgres_connected = 0;
    claim->lease_until_us = 0;
    claim->asking = false;
    claim->look->again = false;
    claim->state = state;
    event_active(claim->loss->report, 0, 0);
}

bool claim_lease_holds(const Claim *claim)
{
    return clock_monotonic_us() < claim->lease_until_us;
}

static bool claim_is_over(const Claim *claim)
{
    const ClaimReader *reader = claim->options.reader;
    const void *arg = claim->options.arg;
    return reader->lease_holds != NULL ? !reader->lease_holds(arg) : !claim_lease_holds(claim);
}

void claim_lose(Claim *claim, const Error *err)
{
    if (!claim_is_live(claim)) {
        return;
    }
    const ClaimReader *reader = claim->options.reader;
    void *arg = claim->options.arg;
    AUTO_ERROR copy = error_of(err); /* may be claim->loss->error */
    AUTO_TEXT place = reader->place(arg, &copy);
    repeats_judge(&claim->loss->repeats, place, &copy);
    error_copy(&claim->loss->error, &copy);
    claim->loss->doubts =
        precondition_soften(&claim->loss->error, claim->loss->begun, &claim->loss->refusals);
    claim->options.events->lease_over = reader->publishes(arg) && claim_is_over(claim);
    claim_close(claim, CLAIM_LOST);
}

void claim_lose_table(Claim *claim)
{
    AUTO_ERROR err = {0};
    error_set(&err, CODE_TABLE_REPLACED,
              "table '%s' was replaced (different OID): examining it again",
              claim->options.source->pipeline->outbox.table);
    claim_lose(claim, &err);
}

void claim_end(Claim *claim)
{
    claim_close(claim, CLAIM_ENDED);
}

bool claim_is_live(const Claim *claim)
{
    return claim->state != CLAIM_LOST && claim->state != CLAIM_ENDED;
}

void claim_stand_by(Claim *claim, const char *holder)
{
    const SourceEvents *events = &claim->options.events->events;
    claim->loss->begun = true;
    claim->look->again = true;
    events->standby(events->arg, holder);
    claim_drop_jobs(claim->jobs);
    claim->state = CLAIM_STANDBY;
    claim_arm(claim->timer, claim->options.source->pipeline->claim.standby_interval_ms);
}

void claim_begin(Claim *claim)
{
    claim->loss->begun = true;
}

bool claim_has_begun(const Claim *claim)
{
    return claim->loss->begun;
}

void claim_start(Claim *claim, int64_t delay_ms)
{
    assert(claim->state == CLAIM_LOST);
    claim->state = CLAIM_DELAYED;
    claim_arm(claim->timer, delay_ms);
}

void claim_wake(Claim *claim)
{
    if (claim->state == CLAIM_DELAYED) {
        claim_arm(claim->timer, 0);
    }
}

PgConn *claim_new_conn(const Claim *claim, const PgConnOptions *how)
{
    const SourceOptions *source = claim->options.source;
    PgConnOptions options = *how;
    options.base = source->base;
    options.worker = source->worker;
    options.dsn =
        how->replication ? config_replication_dsn(source->config) : &source->config->database.dsn;
    options.pooled = source->config->database.pooler == POOLER_SESSION;
    options.application_name = claim->application_name;
    options.connect_timeout_ms = source->config->database.connect_timeout_ms;
    return pg_conn_new(&options);
}

/* Marks may take longer than a question of the lease, where they run on its connection. */
void claim_add_settings(const Claim *claim, PgConn *conn, Text *sql)
{
    const SourceOptions *source = claim->options.source;
    bool lease = conn == claim->conn;
    publisher_add_settings(source->config, source->pipeline, lease, pg_conn_raw(conn), sql);
    if (lease && !claim->options.reader->marks_apart) {
        text_printf(sql, "SET statement_timeout = %lld; ",
                    (long long)source->config->database.statement_timeout_ms);
    }
    publisher_add_lock_timeout(source->pipeline, sql);
}

PgConn *claim_conn(const Claim *claim)
{
    return claim->conn;
}

bool claim_is_shared(const Claim *claim)
{
    return claim->options.shared;
}

int claim_backend_pid(const Claim *claim)
{
    return claim->look->backend_pid;
}

uint32_t claim_table(const Claim *claim)
{
    return claim->table_oid;
}

void claim_set_table(Claim *claim, uint32_t table_oid)
{
    claim->table_oid = table_oid;
}

PreconditionLook *claim_look(Claim *claim)
{
    return &claim->look->look;
}

Marker *claim_marker(const Claim *claim)
{
    return claim->marks->marker;
}

HistoryMemory *claim_history(Claim *claim)
{
    return &claim->marks->history;
}

/* Connecting, trying the lock, keeping it. Below it: claim_state.c (what a claim is, and its end),
 * claim_look.c (what must hold), claim_schema.c (who made the schema), claim_lock.c (one try). */
#include <stdlib.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "claim/claim_internal.h"

/* The lock. */

static void claim_take(Claim *claim)
{
    claim->state = CLAIM_HELD;
    claim->look->owner_pid = claim->look->backend_pid;
    claim_arm(claim->pulse, claim->options.source->pipeline->claim.lease_ms / 4);
    claim->options.reader->held(claim->options.arg);
}

static void on_look_again_done(void *arg, const Error *err)
{
    Claim *claim = arg;
    if (claim_look_failed(claim, err)) {
        return;
    }
    claim_check_table(claim);
    if (claim->loss->error.class != ERROR_NONE) { /* the lock that we have is another table's */
        claim_lose(claim, &claim->loss->error);
        return;
    }
    claim_take(claim);
}

static void on_locked(void *arg)
{
    Claim *claim = arg;
    if (!claim->look->again || claim->options.reader->looks_itself) {
        claim_take(claim);
        return;
    }
    claim->look->again = false;
    AUTO_BUFFER sql = TEXT_EMPTY;
    claim_ask_look(claim, &sql, on_look_again_done);
}

static void on_taken(void *arg, const ClaimLock *lock)
{
    Claim *claim = arg;
    claim->options.reader->taken(claim->options.arg, lock);
}

/* The connection. */

static void on_look_done(void *arg, const Error *err)
{
    Claim *claim = arg;
    claim->table_oid = claim->look->look.table_oid;
    if (!claim_look_failed(claim, err)) {
        *claim->options.source->stats->rows->postgres_connected = 1;
        claim_ask_schema(claim);
    }
}

static void on_opened(void *arg, const Error *err)
{
    Claim *claim = arg;
    if (err != NULL) {
        claim_lose(claim, err);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    claim_add_settings(claim, claim->conn, &sql);
    claim_ask_look(claim, &sql, on_look_done);
}

static void claim_open(Claim *claim)
{
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("connect", &err)) {
        claim_lose(claim, &err);
        return;
    }
    claim->state = CLAIM_OPENING;
    pg_conn_open(claim->conn);
}

static void claim_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Claim *claim = arg;
    const PipelineConfig *pipeline = claim->options.source->pipeline;
    if (claim->state == CLAIM_DELAYED) {
        claim_open(claim);
    } else if (claim->state == CLAIM_STANDBY && !claim_is_free(claim)) {
        claim_arm(claim->timer, pipeline->claim.standby_interval_ms); /* an answer is due */
    } else if (claim->state == CLAIM_STANDBY) {
        claim_lock_try(claim->lock, claim->table_oid);
    }
}

/* Often enough for the lease and idle_session_timeout. */
static void claim_on_pulse(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Claim *claim = arg;
    if (claim->state == CLAIM_HELD) {
        claim_arm(claim->pulse, claim->options.source->pipeline->claim.lease_ms / 4);
        claim->options.reader->pulse(claim->options.arg);
        if (*pg_conn_mark(claim->conn) != '\0') { /* is the session still ours alone? */
            claim_ping(claim);
        }
    }
}

static void claim_on_report(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Claim *claim = arg;
    const SourceEvents *events = &claim->options.events->events;
    if (claim->state == CLAIM_ENDED) {
        events->drained(events->arg);
    } else if (claim->state == CLAIM_LOST) {
        if (claim->loss->doubts) {
            events->doubt(events->arg);
        }
        events->lost(events->arg, &claim->loss->error);
    }
}

/* Life. */

/* Questions alone are answered within the lease; marks may take longer. */
static PgConn *claim_connect(Claim *claim)
{
    const SourceOptions *source = claim->options.source;
    int64_t lease_ms = source->pipeline->claim.lease_ms;
    int64_t statement_ms = source->config->database.statement_timeout_ms + 5000;
    bool apart = claim->options.reader->marks_apart;
    return claim_new_conn(claim,
                          &(PgConnOptions){.silence_timeout_ms = apart ? lease_ms : statement_ms,
                                           .tcp_user_timeout_ms = lease_ms,
                                           .arg = claim,
                                           .opened = on_opened,
                                           .answered = claim_answered,
                                           .idle = claim_on_idle});
}

Claim *claim_new(const ClaimOptions *options)
{
    const SourceOptions *source = options->source;
    Claim *claim = x_calloc(1, sizeof(*claim));
    claim->options = *options;
    claim->application_name = x_format("%s/%s", source->config->name, source->pipeline->name);
    claim->timer = event_new(source->base, -1, 0, claim_on_timer, claim);
    claim->pulse = event_new(source->base, -1, 0, claim_on_pulse, claim);
    claim->loss = x_calloc(1, sizeof(*claim->loss));
    claim->loss->report = event_new(source->base, -1, 0, claim_on_report, claim);
    claim->look = claim_look_new();
    claim->jobs = claim_jobs_new();
    claim->jobs->ping = (ClaimJob){.run = claim_ask_ping, .arg = claim};
    claim->lock = claim_lock_new(claim, claim, on_locked, on_taken);
    claim->conn = claim_connect(claim);
    claim->marks = claim_marks_new(claim);
    return claim;
}

void claim_free(Claim **claim)
{
    if (*claim == NULL) {
        return;
    }
    claim_marks_free(&(*claim)->marks);
    pg_conn_free(&(*claim)->conn);
    claim_lock_free(&(*claim)->lock);
    claim_look_free(&(*claim)->look);
    free((*claim)->jobs);
    event_free((*claim)->timer);
    event_free((*claim)->pulse);
    event_free((*claim)->loss->report);
    error_clear(&(*claim)->loss->error);
    free((*claim)->loss);
    free((*claim)->application_name);
    free(*claim);
    *claim = NULL;
}

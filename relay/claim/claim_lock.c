/* The publisher's lock: one try, and who has it when it is not ours. PostgreSQL frees the lock of a
 * relay that is cut off by TCP time-outs and, from version 14, idle_session_timeout; on every
 * version whoever finds the lock taken ends a session that did nothing for lease +
 * PUBLISHER_MARGIN_MS (a stopped owner in the middle of a COPY over a socket that never times out
 * is caught only by that). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "claim/claim_internal.h"
#include "pg/result.h"
#include "rows/publisher.h"

struct ClaimLock {
    Claim *claim;
    uint32_t table_oid;
    bool held; /* answer to the last try */
    char holder[PUBLISHER_HOLDER_MAX];
    int holder_pid;
    void *arg;
    void (*locked)(void *arg);
    void (*taken)(void *arg, const ClaimLock *lock);
};

/* "shop/orders web-1:4242" -> "shop/orders, pid 4242 on web-1"; other names as they are. */
static char *holder_name(const char *name)
{
    const char *host = strrchr(name, ' ');
    const char *pid = strrchr(name, ':');
    bool told = host != NULL && pid != NULL && pid > host + 1 && pid[1] != '\0' &&
                strspn(pid + 1, "0123456789") == strlen(pid + 1);
    return told ? x_format("%.*s, pid %s on %.*s", (int)(host - name), name, pid + 1,
                           (int)(pid - host - 1), host + 1)
                : x_strdup(name);
}

static void on_holder_result(void *arg, const PGresult *result)
{
    ClaimLock *lock = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) == 0) {
        return;
    }
    lock->holder_pid = (int)strtol(pg_value(result, 0, 0), NULL, 10);
    const char *host = pg_value(result, 0, 2);
    const char *port = pg_value(result, 0, 4); /* "": not for our role; -1: a Unix socket */
    AUTO_TEXT where = *host != '\0'  ? x_format("from %.40s port %.8s, ", host, port)
                      : *port == '-' ? x_strdup("from PostgreSQL's machine, ")
                                     : x_strdup("");
    AUTO_TEXT name = holder_name(pg_value(result, 0, 1));
    snprintf(lock->holder, sizeof(lock->holder), "%.80s (%sPostgreSQL backend %.20s)", name, where,
             pg_value(result, 0, 0));
    if (pg_value(result, 0, 3)[0] == 't') {
        log_write(
            LOG_WARN, lock->claim->options.source->pipeline->name, CODE_LEASE_BROKEN,
            LOG_FIELDS(log_text("holder", lock->holder)),
            "the publishing relay was silent for longer than its lease; its session was ended");
    }
}

static void on_holder_done(void *arg, const Error *err)
{
    ClaimLock *lock = arg;
    if (err != NULL) {
        claim_lose(lock->claim, err);
    } else {
        lock->taken(lock->arg, lock);
    }
}

static void lock_look_at_holder(ClaimLock *lock)
{
    snprintf(lock->holder, sizeof(lock->holder), "unknown");
    lock->holder_pid = 0;
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_printf(
        &sql,
        "SELECT a.pid, a.application_name, a.client_addr, CASE WHEN"
        " greatest(a.query_start, a.state_change) < clock_timestamp() - interval '%lld ms'"
        " AND pg_has_role(a.usesysid, 'MEMBER') THEN pg_terminate_backend(a.pid) END,"
        " a.client_port"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory'"
        " AND l.granted AND l.classid = %u AND l.objid = %u AND l.objsubid = 2"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (long long)lock->claim->options.source->pipeline->claim.lease_ms + PUBLISHER_MARGIN_MS,
        (unsigned)PUBLISHER_LOCK_CLASS, lock->table_oid);
    claim_ask(lock->claim, &(PgQuery){.step = "holder of the table",
                                      .sql = sql.data,
                                      .arg = lock,
                                      .result = on_holder_result,
                                      .done = on_holder_done});
}

static void on_lock_result(void *arg, const PGresult *result)
{
    ClaimLock *lock = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        lock->held = pg_needed(result, 0, 0)[0] == 't';
    }
}

static void on_lock_done(void *arg, const Error *err)
{
    ClaimLock *lock = arg;
    if (err != NULL) {
        claim_lose(lock->claim, err);
    } else if (lock->held) {
        lock->locked(lock->arg);
    } else {
        lock_look_at_holder(lock);
    }
}

void claim_lock_try(ClaimLock *lock, uint32_t table_oid)
{
    lock->table_oid = table_oid;
    lock->held = false;
    AUTO_TEXT sql = x_format("SELECT pg_try_advisory_lock%s(%d, %d)",
                             lock->claim->options.shared ? "_shared" : "", PUBLISHER_LOCK_CLASS,
                             (int32_t)lock->table_oid);
    claim_ask(lock->claim, &(PgQuery){.step = "lock table",
                                      .sql = sql,
                                      .rows_wanted = 1,
                                      .arg = lock,
                                      .result = on_lock_result,
                                      .done = on_lock_done});
}

/* Not while an answer is due, nor with the lock in our hands (only the slot is in use), nor when
 * the holder is a session of ours that the server has not given up yet. */
bool claim_stands_by(const Claim *claim)
{
    const ClaimLock *lock = claim->lock;
    bool kept = lock->held && !claim->options.shared;
    bool own = claim->look->owner_pid != 0 && lock->holder_pid == claim->look->owner_pid;
    return claim->state == CLAIM_STANDBY && !claim->asking && !kept && !own;
}

const char *claim_lock_holder(const ClaimLock *lock)
{
    return lock->holder;
}

int claim_lock_holder_pid(const ClaimLock *lock)
{
    return lock->holder_pid;
}

ClaimLock *claim_lock_new(Claim *claim, void *arg, void (*locked)(void *arg),
                          void (*taken)(void *arg, const ClaimLock *lock))
{
    ClaimLock *lock = x_calloc(1, sizeof(*lock));
    lock->claim = claim;
    lock->arg = arg;
    lock->locked = locked;
    lock->taken = taken;
    return lock;
}

void claim_lock_free(ClaimLock **lock)
{
    free(*lock);
    *lock = NULL;
}

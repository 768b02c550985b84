#include "cdc/wal_context.h"

void wal_tell(const WalContext *wal, WalNews news)
{
    wal->tell(wal->arg, news);
}

void wal_stand_by(const WalContext *wal, const char *holder)
{
    wal->stand_by(wal->arg, holder);
}

void wal_lose_lease(const WalContext *wal)
{
    AUTO_ERROR err = {0};
    error_set(
        &err, CODE_LEASE_EXPIRED,
        "PostgreSQL was not reached within the lease of %lld ms: another relay may publish now",
        (long long)wal->pipeline->claim.lease_ms);
    claim_lose(wal->claim, &err);
}

bool wal_goes_on(const WalContext *wal, const Error *err)
{
    if (err != NULL) {
        claim_lose(wal->claim, err);
    }
    return err == NULL;
}

bool wal_is_connected(const WalContext *wal)
{
    return wal->state == WAL_ACTIVE || wal->state == WAL_FILLING || wal->state == WAL_CHECKING ||
           wal->state == WAL_STARTING;
}

bool wal_keeps_rows(const WalContext *wal)
{
    return wal->pipeline->outbox.on_publish == ON_PUBLISH_KEEP;
}

bool wal_reads_snapshot_alone(const WalContext *wal)
{
    return wal->pipeline->capture == CAPTURE_TABLES &&
           wal->pipeline->tables.snapshot == SNAPSHOT_MODE_INITIAL_ONLY;
}

void wal_add_look(const WalContext *wal, Text *sql)
{
    precondition_add_wal_end(sql);
    claim_add_look(wal->claim, sql);
}

void wal_want(const WalContext *wal, ClaimJob *job)
{
    claim_want(wal->claim, job);
}

int wal_server_version(const WalContext *wal)
{
    return PQserverVersion(pg_conn_raw(claim_conn(wal->claim)));
}

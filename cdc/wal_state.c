/* What every file of the source that reads the log stands on: the right to publish, room, turns on
 * the claim's connection, and news for whoever decides what comes next (wal.c). Calls none of the
 * other files. */
#include "base/clock.h"
#include "cdc/wal_internal.h"
#include "pg/sqlstate.h"
#include "rows/row.h"

void wal_tell(WalSource *wal, WalNews news)
{
    wal->tell(wal, news);
}

/* The slot is ours as long as the server hears from us: it ends a walsender that was silent for
 * lease + PUBLISHER_MARGIN_MS. The lock is ours for lease_ms from each question it answered. */
bool wal_lease_holds(const WalSource *wal)
{
    int64_t now_us = clock_monotonic_us();
    int64_t lease_us = wal->options.pipeline->claim.lease_ms * 1000;
    return claim_lease_holds(wal->claim) ||
           (wal->state == WAL_ACTIVE && now_us - wal->stream.status_us < lease_us);
}

void wal_lose_lease(WalSource *wal)
{
    AUTO_ERROR err = {0};
    error_set(
        &err, CODE_LEASE_EXPIRED,
        "PostgreSQL was not reached within the lease of %lld ms: another relay may publish now",
        (long long)wal->options.pipeline->claim.lease_ms);
    claim_lose(wal->claim, &err);
}

void wal_want(WalSource *wal, WalJob job)
{
    claim_want(wal->claim, &wal->jobs[job]);
}

void wal_deliver(WalSource *wal, Batch *batch)
{
    wal->outstanding++;
    wal->outstanding_events += batch->count;
    if (pg_conn_takes_bytes(claim_conn(wal->claim))) {
        row_check_texts(batch);
    }
    wal->source.events.batch(wal->source.events.arg, batch);
}

size_t wal_unmarked(const Source *source)
{
    const WalSource *wal = (const WalSource *)source;
    return marker_unmarked(wal->marker) + wal->waiting.events;
}

bool wal_room(WalSource *wal, size_t *ret_events, size_t *ret_bytes)
{
    return !wal->draining && !wal->waiting.stands &&
           wal->source.events.room(wal->source.events.arg, wal_unmarked(&wal->source), ret_events,
                                   ret_bytes);
}

bool wal_is_idle(const WalSource *wal)
{
    return wal->state == WAL_ACTIVE && wal->outstanding == 0 && !wal->hole &&
           wal->assembler.batch == NULL && !wal->assembler.in_transaction &&
           !marker_pending(wal->marker) && wal->waiting.oldest == NULL;
}

void wal_add_look(const WalSource *wal, Text *sql)
{
    precondition_add_wal_end(sql);
    claim_add_look(wal->claim, sql);
}

/* The first time at a place the publication may be missing, and be made again in time; the second
 * time it is there, and too young for this place. */
bool wal_cannot_decode(WalSource *wal, Error *err)
{
    AUTO_ERROR gap = error_of(err);
    if (!slot_judge_decoding(wal->options.pipeline, &gap)) {
        return false;
    }
    if (wal->undecodable == wal->start_lsn || slot_cannot_send(err)) {
        error_copy(err, &gap);
    }
    wal->undecodable = wal->start_lsn;
    return true;
}

/* What was refused may be allowed again; the log stays what it is. */
void wal_lose_log(WalSource *wal, const Error *err)
{
    AUTO_ERROR copy = error_of(err);
    bool stays = copy.class == ERROR_FATAL && !sqlstate_is_refusal(&copy);
    if (stays && wal->options.config->new_slot && !wal->gap_accepted) {
        error_copy(&wal->unreadable, &copy);
        copy.class = ERROR_RETRY;
    }
    claim_lose(wal->claim, &copy);
}

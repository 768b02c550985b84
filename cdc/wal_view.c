/* What the WAL source shows: what it knows of a row, its backlog, its slot. */
#include <math.h>

#include "base/document.h"
#include "cdc/wal_internal.h"

/* The stream is in the order of commits, and the look's snapshot shows nothing that commits behind
 * its insert position. */
SourceSight view_sight(const Source *source, int64_t seq, Slice event_id, uint64_t insert_lsn,
                       int64_t looked_us)
{
    (void)looked_us;
    const WalSource *wal = (const WalSource *)source;
    const Assembler *assembler = &wal->assembler;
    if (marker_has(wal->marker, seq, event_id)) {
        return SIGHT_PUBLISHED;
    }
    if (waiting_knows(wal, seq, event_id)) {
        return SIGHT_KNOWN;
    }
    if (wal->state != WAL_ACTIVE || wal->draining || wal->hole || !wal->waiting.known ||
        wal->rotation.switching) {
        return SIGHT_BEHIND;
    }
    if (assembler->batch != NULL && batch_find(assembler->batch, seq, event_id) != NULL) {
        return SIGHT_KNOWN;
    }
    bool inside = assembler->in_transaction && assembler->commit_lsn < insert_lsn;
    return inside || wal->stream.received < insert_lsn ? SIGHT_BEHIND : SIGHT_UNKNOWN;
}

static bool view_caught_up(const WalSource *wal)
{
    return wal->state == WAL_ACTIVE && !wal->stream.paused && !wal->stream.coalescing;
}

double view_backlog(const Source *source)
{
    const WalSource *wal = (const WalSource *)source;
    if (view_caught_up(wal)) {
        return (double)(wal->outstanding_events + marker_unmarked(wal->marker) +
                        wal->waiting.events + wal->waiting.parked.count);
    }
    bool capped = false;
    double backlog = marker_backlog(wal->marker, &capped);
    return backlog < 0 ? NAN : backlog;
}

void view_status(const Source *source, json_t *pipeline)
{
    const WalSource *wal = (const WalSource *)source;
    bool capped = false;
    (void)marker_backlog(wal->marker, &capped);
    double backlog = view_backlog(source);
    document_number(pipeline, "backlog_events", "%.0f", backlog);
    document_bool(pipeline, "backlog_capped", !isnan(backlog) && !view_caught_up(wal) && capped);
}

void view_slot(const Source *source, json_t *slot)
{
    const WalSource *wal = (const WalSource *)source;
    char lsn[24];
    document_text(slot, "name", wal->options.pipeline->wal.slot);
    document_text(slot, "confirmed_lsn", lsn_format(marker_position(wal->marker).lsn, lsn));
    document_text(slot, "received_lsn", lsn_format(wal->stream.received, lsn));
}

#include "cdc/wal_view.h"

#include <math.h>
#include <stdlib.h>

#include "base/document.h"
#include "base/memory.h"
#include "cdc/wire.h"

struct View {
    ViewParts with;
};

/* The stream is in the order of commits, and the look's snapshot shows nothing that commits behind
 * its insert position. */
SourceSight view_sight(const View *view, int64_t seq, Slice event_id, uint64_t insert_lsn)
{
    const ViewParts *with = &view->with;
    const Assembler *assembler = with->assembler;
    if (marker_has(with->wal->marker, seq, event_id)) {
        return SIGHT_PUBLISHED;
    }
    if (waiting_knows(with->waiting, seq, event_id)) {
        return SIGHT_KNOWN;
    }
    if (with->wal->state != WAL_ACTIVE || with->wal->draining ||
        progress_has_hole(with->progress) || !waiting_rows_are_known(with->rows) ||
        tables_are_turning(with->tables, NULL)) {
        return SIGHT_BEHIND;
    }
    if (assembler->batch != NULL && batch_find(assembler->batch, seq, event_id) != NULL) {
        return SIGHT_KNOWN;
    }
    bool inside = assembler->in_transaction && assembler->commit_lsn < insert_lsn;
    return inside || stream_received(with->stream) < insert_lsn ? SIGHT_BEHIND : SIGHT_UNKNOWN;
}

double view_backlog(const View *view)
{
    const ViewParts *with = &view->with;
    const Marker *marker = with->wal->marker;
    if (stream_is_caught_up(with->stream)) {
        return (double)(progress_outstanding_events(with->progress) + marker_unmarked(marker) +
                        waiting_events(with->waiting) + waiting_rows_parked(with->rows)->count);
    }
    bool capped = false;
    double backlog = marker_backlog(marker, &capped);
    return backlog < 0 ? NAN : backlog;
}

void view_status(const View *view, json_t *pipeline)
{
    bool capped = false;
    (void)marker_backlog(view->with.wal->marker, &capped);
    double backlog = view_backlog(view);
    document_number(pipeline, "backlog_events", "%.0f", backlog);
    document_bool(pipeline, "backlog_capped",
                  !isnan(backlog) && !stream_is_caught_up(view->with.stream) && capped);
    if (view->with.changes != NULL) {
        table_counts_show(captured_counts(change_reader_captured(view->with.changes)), pipeline);
    }
}

void view_slot(const View *view, json_t *slot)
{
    const WalContext *wal = view->with.wal;
    char lsn[24];
    document_text(slot, "name", wal->pipeline->wal.slot);
    document_text(slot, "confirmed_lsn", lsn_format(marker_position(wal->marker).lsn, lsn));
    document_text(slot, "received_lsn", lsn_format(stream_received(view->with.stream), lsn));
}

View *view_new(const ViewParts *parts)
{
    View *view = x_calloc(1, sizeof(*view));
    view->with = *parts;
    return view;
}

void view_free(View **view)
{
    free(*view);
    *view = NULL;
}

#include "cdc/wal_handover.h"

#include <stdlib.h>

#include "base/memory.h"
#include "rows/row.h"

struct Handover {
    const WalContext *wal;
    Progress *progress;
    const Waiting *waiting;
    const Assembler *assembler;
};

void handover_deliver(Handover *handover, Batch *batch)
{
    const WalContext *wal = handover->wal;
    progress_send(handover->progress, batch);
    if (pg_conn_takes_bytes(claim_conn(wal->claim))) {
        row_check_texts(batch);
    }
    wal->source->events.batch(wal->source->events.arg, batch);
}

size_t handover_unmarked(const Handover *handover)
{
    return marker_unmarked(handover->wal->marker) + waiting_events(handover->waiting);
}

bool handover_room(const Handover *handover, size_t *ret_events, size_t *ret_bytes)
{
    const WalContext *wal = handover->wal;
    return !wal->draining && !waiting_stands(handover->waiting) &&
           wal->source->events.room(wal->source->events.arg, handover_unmarked(handover),
                                    ret_events, ret_bytes);
}

bool handover_is_drained(const Handover *handover)
{
    return progress_outstanding(handover->progress) == 0 &&
           !progress_has_hole(handover->progress) && !marker_pending(handover->wal->marker) &&
           !waiting_has_any(handover->waiting);
}

bool handover_is_idle(const Handover *handover)
{
    return handover->wal->state == WAL_ACTIVE && handover_is_drained(handover) &&
           handover->assembler->batch == NULL && !handover->assembler->in_transaction;
}

Handover *handover_new(const WalContext *wal, Progress *progress, const Waiting *waiting,
                       const Assembler *assembler)
{
    Handover *handover = x_calloc(1, sizeof(*handover));
    *handover =
        (Handover){.wal = wal, .progress = progress, .waiting = waiting, .assembler = assembler};
    return handover;
}

void handover_free(Handover **handover)
{
    free(*handover);
    *handover = NULL;
}

#include "cdc/wal_handover.h"

#include <stdlib.h>

#include "base/memory.h"
#include "cdc/change_reader.h"
#include "rows/row.h"

struct Handover {
    const WalContext *wal;
    Progress *progress;
    const Waiting *waiting;
    const Assembler *assembler;
    Reselect *reselect;
    VEC(Batch *) incomplete; /* the oldest, whose rows are read, and those behind it */
};

static void handover_pass(const Handover *handover, Batch *batch)
{
    const WalContext *wal = handover->wal;
    if (pg_conn_takes_bytes(claim_conn(wal->claim))) {
        row_check_texts(batch);
    }
    wal->source->events.batch(wal->source->events.arg, batch);
}

/* The oldest that is not complete is read; those before it go out. Sending one may tell that the
 * right to publish is gone: what waits is taken back then. */
static void handover_go_on(Handover *handover)
{
    while (handover->incomplete.count > 0 && handover->wal->state == WAL_ACTIVE) {
        Batch *batch = handover->incomplete.items[0];
        if (reselect_has(handover->reselect, batch)) {
            reselect_complete(handover->reselect, batch,
                              change_reader_events(handover->assembler->changes));
            return;
        }
        vec_remove(&handover->incomplete, 0, 1);
        handover_pass(handover, batch);
    }
}

static void on_completed(void *arg)
{
    Handover *handover = arg;
    handover_go_on(handover);
    if (handover->incomplete.count == 0) {
        wal_tell(handover->wal, NEWS_COMPLETED);
    }
}

void handover_deliver(Handover *handover, Batch *batch)
{
    progress_send(handover->progress, batch);
    if (handover->incomplete.count > 0) {
        *vec_add(&handover->incomplete) = batch;
    } else if (handover->reselect != NULL && reselect_has(handover->reselect, batch)) {
        *vec_add(&handover->incomplete) = batch;
        handover_go_on(handover);
    } else {
        handover_pass(handover, batch);
    }
}

void handover_close(Handover *handover)
{
    if (handover->reselect != NULL) {
        reselect_close(handover->reselect);
    }
}

Batch *handover_take_back(Handover *handover)
{
    if (handover->incomplete.count == 0) {
        return NULL;
    }
    Batch *batch = handover->incomplete.items[0];
    vec_remove(&handover->incomplete, 0, 1);
    return batch;
}

size_t handover_unmarked(const Handover *handover)
{
    return marker_unmarked(handover->wal->marker) + waiting_events(handover->waiting);
}

bool handover_room(const Handover *handover, size_t *ret_events, size_t *ret_bytes)
{
    const WalContext *wal = handover->wal;
    return !wal->draining && handover->incomplete.count == 0 &&
           !waiting_stands(handover->waiting) &&
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
                       const Assembler *assembler, Reselect *reselect)
{
    Handover *handover = x_calloc(1, sizeof(*handover));
    *handover = (Handover){.wal = wal,
                           .progress = progress,
                           .waiting = waiting,
                           .assembler = assembler,
                           .reselect = reselect};
    if (reselect != NULL) {
        reselect_tell(reselect, on_completed, handover);
    }
    return handover;
}

void handover_free(Handover **handover)
{
    if (*handover == NULL) {
        return;
    }
    for (Batch *batch; (batch = handover_take_back(*handover)) != NULL;) {
        batch_free(&batch);
    }
    vec_free(&(*handover)->incomplete);
    free(*handover);
    *handover = NULL;
}

/* What is known of the events that wait for their topic; wal_waiting.c sees to them. */
#include "cdc/wal_internal.h"

bool waiting_may_park(const Source *source, const Event *event)
{
    const WalSource *wal = (const WalSource *)source;
    const PipelineConfig *pipeline = wal->options.pipeline;
    if (event->commit_lsn != 0 &&
        parked_has(&wal->waiting.rowless, event->seq, event->row[FIELD_EVENT_ID])) {
        return false;
    }
    size_t most = wal->waiting.parked.count + wal->waiting.events + wal->outstanding_events;
    return pipeline->outbox.on_publish != ON_PUBLISH_KEEP && !pipeline->wal.messages &&
           most < PARKED_MAX;
}

void waiting_note(WalSource *wal, const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event->state == EVENT_PARKED && !parked_is_full(&wal->waiting.parked)) {
            parked_add(&wal->waiting.parked, event->seq, event->row[FIELD_EVENT_ID]);
        }
    }
}

bool waiting_knows(const WalSource *wal, int64_t seq, Slice event_id)
{
    for (const Batch *batch = wal->waiting.oldest; batch != NULL; batch = batch->newer) {
        if (batch_find(batch, seq, event_id) != NULL) {
            return true;
        }
    }
    return parked_has(&wal->waiting.parked, seq, event_id);
}

void waiting_forget(WalSource *wal)
{
    wal->waiting.known = false;
    wal->waiting.recorded = false;
    parked_clear(&wal->waiting.parked);
}

void waiting_acked(WalSource *wal)
{
    if (wal->waiting.rowless.count > 0 && wal->acked.lsn > wal->waiting.rowless_until) {
        waiting_forget_rowless(wal);
    }
}

void waiting_forget_rowless(WalSource *wal)
{
    parked_clear(&wal->waiting.rowless);
    wal->waiting.rowless_until = 0;
}

bool waiting_is_known(const WalSource *wal)
{
    return wal->live && wal->waiting.known;
}

size_t waiting_parked(const Source *source)
{
    return ((const WalSource *)source)->waiting.parked.count;
}

/* Batches that came back: what of them is marked, what moves the position, what is remembered until
 * the stream brings it again. */
#include "cdc/wal_internal.h"

/* Numbers of one table: another one gives them again. */
static void wal_note_filled(WalSource *wal, int64_t seq)
{
    if (wal->rotation.filled != wal->rotation.target) {
        known_seqs_release(&wal->filled);
        wal->rotation.filled = wal->rotation.target;
    }
    known_seqs_add(&wal->filled, seq);
}

/* Events of the batch that were acknowledged in an earlier stream and met again in this one. */
static void wal_remember_met(WalSource *wal, const Batch *batch)
{
    for (size_t i = 0; batch != NULL && i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event_is_over(event)) {
            known_events_add(&wal->again, event->commit_lsn, event->ordinal);
        }
    }
}

void wal_take_up(WalSource *wal)
{
    /* In the order of the stream: what came back, what was not handed on, what was not met yet. */
    wal_remember_met(wal, wal->assembler.batch);
    batch_free(&wal->assembler.batch);
    known_events_restart(&wal->assembler.known, &wal->again);
    wal->outstanding = 0;
    wal->outstanding_events = 0;
    wal->hole = false;
}

/* Everything up to here is acknowledged. */
static void wal_acked(WalSource *wal, const Batch *batch, const MarkerPosition *position)
{
    bool from_stream = batch->count > 0 && batch->events[0]->commit_lsn != 0;
    waiting_note(wal, batch);
    if (!from_stream) {
        for (size_t i = 0; i < batch->count; i++) {
            if (event_is_over(batch->events[i])) {
                wal_note_filled(wal, batch->events[i]->seq);
            }
        }
        /* Rows that are kept do not show that they are published: the position does. */
        bool keep = wal->options.pipeline->outbox.on_publish == ON_PUBLISH_KEEP && batch->count > 0;
        int64_t read = keep ? batch->events[batch->count - 1]->seq : 0;
        MarkerPosition filled = {.lsn = wal->start_lsn, .backfill_seq = read};
        marker_add(wal->marker, batch, read != 0 ? &filled : NULL);
        return;
    }
    wal->acked = *position;
    waiting_acked(wal);
    wal->verify.idle = false;
    MarkerPosition stored = verify_cap(wal, position);
    wal->verify.pushed = stored;
    marker_add(wal->marker, batch, &stored);
}

/* A batch that came back with events that are not settled, or behind one that did.
 *
 * The head, all that is settled before the first event that is not, is as good as a batch that was
 * acknowledged: it is marked, and the position moves, inside the transaction (tx_lsn, tx_ordinal)
 * of its last event. The marker takes batches, not halves: for that moment the batch is as short as
 * its head. Its length is put back before anybody frees it, since the rest has to be freed, too.
 *
 * From the first event that is not settled there is a *hole*. Positions are a prefix of the log, so
 * nothing behind a hole may move one, in this batch or in those that come back after it, however
 * much of them is settled: wal->hole stays until the stream begins again (wal_take_up()), from the
 * position, before the hole. That stream brings everything behind it a second time. What was
 * settled there is remembered (`again`) by commit LSN and ordinal, and is recognised: it is not
 * published twice, and the position passes it in its turn.
 *
 * Rows that a filling read from the table have no place in the log (commit_lsn 0). Each is
 * published or not by itself, and a mark tells that for good; so they are marked also behind a
 * hole. `rest` is the batch without its head, in a copy, for the marker alone, which looks at
 * settled events only. */
static void wal_take_back(WalSource *wal, Batch *batch)
{
    size_t head = 0;
    while (!wal->hole && head < batch->count && event_is_settled(batch->events[head])) {
        head++;
    }
    wal->hole = true;
    size_t count = batch->count;
    if (head > 0) {
        const Event *last = batch->events[head - 1];
        MarkerPosition position = wal->acked;
        position.tx_lsn = last->commit_lsn;
        position.tx_ordinal = last->ordinal;
        batch->count = head; /* the marker sees the head alone */
        wal_acked(wal, batch, &position);
        batch->count = count;
    }
    for (size_t i = head; i < count; i++) {
        const Event *event = batch->events[i];
        if (!event_is_over(event)) {
            continue;
        }
        if (event->commit_lsn != 0) {
            known_events_add(&wal->again, event->commit_lsn, event->ordinal);
        } else {
            wal_note_filled(wal, event->seq);
        }
    }
    if (count > head && batch->events[head]->commit_lsn == 0) {
        /* Rows of the table are marked one by one, whatever came of their neighbours. */
        Batch rest = *batch;
        rest.events = batch->events + head;
        rest.count = count - head;
        marker_add(wal->marker, &rest, NULL);
    }
}

void wal_pass(WalSource *wal, Batch *batch)
{
    if (batch->unsettled == 0 && !wal->hole) {
        MarkerPosition position = {
            .lsn = batch->position, .tx_lsn = batch->tx_lsn, .tx_ordinal = batch->tx_ordinal};
        if (position.lsn < wal->acked.lsn) {
            position.lsn = wal->acked.lsn; /* while idle it followed the log of others */
        }
        wal_acked(wal, batch, &position);
    } else {
        wal_take_back(wal, batch);
    }
    batch_free(&batch);
}

#include "cdc/wal_ack.h"

#include <stdlib.h>

#include "base/memory.h"

struct Acks {
    AcksParts with;
    KnownEvents known; /* that the stream brings again: the assembler asks */
    KnownEvents again; /* settled in batches that came back */
    KnownSeqs filled;  /* published from the table, perhaps not marked yet */
    uint32_t filled_table;
};

/* Numbers of one table: another one gives them again. */
static void acks_note_filled(Acks *acks, int64_t seq)
{
    if (acks->filled_table != tables_target(acks->with.tables)) {
        known_seqs_release(&acks->filled);
        acks->filled_table = tables_target(acks->with.tables);
    }
    known_seqs_add(&acks->filled, seq);
}

bool acks_have_filled(const Acks *acks, uint32_t table, int64_t seq)
{
    return acks->filled_table == table && known_seqs_has(&acks->filled, seq);
}

void acks_forget_filled(Acks *acks)
{
    known_seqs_release(&acks->filled);
}

/* Events of the batch that were acknowledged in an earlier stream and met again in this one. */
static void acks_remember_met(Acks *acks, const Batch *batch)
{
    for (size_t i = 0; batch != NULL && i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event_is_over(event)) {
            known_events_add(&acks->again, event->commit_lsn, event->ordinal);
        }
    }
}

void acks_take_up(Acks *acks)
{
    /* In the order of the stream: what came back, what was not handed on, what was not met yet. */
    Batch **unfinished = &acks->with.assembler->batch;
    acks_remember_met(acks, *unfinished);
    batch_free(unfinished);
    known_events_restart(&acks->known, &acks->again);
    progress_take_up(acks->with.progress);
}

/* Rows of ordinary tables are never marked. */
static bool acks_are_of_snapshot(const Batch *batch)
{
    return batch->count > 0 && batch->events[0]->commit_lsn == 0 &&
           batch->events[0]->seq == EVENT_NO_SEQ;
}

/* Everything up to here is acknowledged. */
static void acks_count(Acks *acks, const Batch *batch, const MarkerPosition *position)
{
    const AcksParts *with = &acks->with;
    Marker *marker = with->wal->marker;
    bool from_stream = batch->count > 0 && batch->events[0]->commit_lsn != 0;
    waiting_rows_note(with->rows, batch);
    if (acks_are_of_snapshot(batch)) {
        return; /* its tables tell how far it is */
    }
    if (!from_stream) {
        for (size_t i = 0; i < batch->count; i++) {
            if (event_is_over(batch->events[i])) {
                acks_note_filled(acks, batch->events[i]->seq);
            }
        }
        /* Rows that are kept do not show that they are published: the position does. */
        bool keep = wal_keeps_rows(with->wal) && batch->count > 0;
        int64_t read = keep ? batch->events[batch->count - 1]->seq : 0;
        MarkerPosition filled = {.lsn = progress_start(with->progress), .backfill_seq = read};
        marker_add(marker, batch, read != 0 ? &filled : NULL);
        return;
    }
    progress_ack(with->progress, position);
    waiting_rows_acked(with->rows, position->lsn);
    MarkerPosition stored = verify_cap(with->verify, position);
    verify_pushed(with->verify, &stored);
    marker_add(marker, batch, &stored);
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
 * much of them is settled: the hole stays until the stream begins again (acks_take_up()), from the
 * position, before the hole. That stream brings everything behind it a second time. What was
 * settled there is remembered (`again`) by commit LSN and ordinal, and is recognised: it is not
 * published twice, and the position passes it in its turn.
 *
 * Rows that a filling read from the table have no place in the log (commit_lsn 0). Each is
 * published or not by itself, and a mark tells that for good; so they are marked also behind a
 * hole. `rest` is the batch without its head, in a copy, for the marker alone, which looks at
 * settled events only. */
static void acks_take_back(Acks *acks, Batch *batch)
{
    Progress *progress = acks->with.progress;
    size_t head = 0;
    if (acks_are_of_snapshot(batch)) {
        progress_note_hole(progress);
        return;
    }
    while (!progress_has_hole(progress) && head < batch->count &&
           event_is_settled(batch->events[head])) {
        head++;
    }
    progress_note_hole(progress);
    size_t count = batch->count;
    if (head > 0) {
        const Event *last = batch->events[head - 1];
        MarkerPosition position = *progress_acked(progress);
        position.tx_lsn = last->commit_lsn;
        position.tx_ordinal = last->ordinal;
        batch->count = head; /* the marker sees the head alone */
        acks_count(acks, batch, &position);
        batch->count = count;
    }
    for (size_t i = head; i < count; i++) {
        const Event *event = batch->events[i];
        if (!event_is_over(event)) {
            continue;
        }
        if (event->commit_lsn != 0) {
            known_events_add(&acks->again, event->commit_lsn, event->ordinal);
        } else {
            acks_note_filled(acks, event->seq);
        }
    }
    if (count > head && batch->events[head]->commit_lsn == 0) {
        /* Rows of the table are marked one by one, whatever came of their neighbours. */
        Batch rest = *batch;
        rest.events = batch->events + head;
        rest.count = count - head;
        marker_add(acks->with.wal->marker, &rest, NULL);
    }
}

void acks_pass(Acks *acks, Batch *batch)
{
    Progress *progress = acks->with.progress;
    if (batch->unsettled == 0 && !progress_has_hole(progress)) {
        MarkerPosition position = {.lsn = batch->position,
                                   .tx_lsn = batch->tx_lsn,
                                   .tx_ordinal = batch->tx_ordinal,
                                   .backfill_seq = (int64_t)batch->last_commit};
        if (position.lsn < progress_acked(progress)->lsn) {
            position.lsn =
                progress_acked(progress)->lsn; /* while idle it followed the log of others */
        }
        acks_count(acks, batch, &position);
    } else {
        acks_take_back(acks, batch);
    }
    batch_free(&batch);
}

void acks_forget(Acks *acks)
{
    known_events_release(&acks->again);
    known_events_release(&acks->known);
    known_seqs_release(&acks->filled);
    progress_forget(acks->with.progress);
}

Acks *acks_new(const AcksParts *parts)
{
    Acks *acks = x_calloc(1, sizeof(*acks));
    acks->with = *parts;
    parts->assembler->known = &acks->known;
    return acks;
}

void acks_free(Acks **acks)
{
    if (*acks == NULL) {
        return;
    }
    known_events_release(&(*acks)->again);
    known_events_release(&(*acks)->known);
    known_seqs_release(&(*acks)->filled);
    free(*acks);
    *acks = NULL;
}

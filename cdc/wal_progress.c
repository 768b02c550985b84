#include "cdc/wal_progress.h"

#include <stdlib.h>

#include "base/memory.h"

struct Progress {
    uint64_t start_lsn;
    MarkerPosition acked;
    bool live;
    bool distrust;
    bool follows;
    bool hole;
    size_t outstanding;
    size_t outstanding_events;
    size_t beats; /* batches that have one, of those */
};

uint64_t progress_start(const Progress *progress)
{
    return progress->start_lsn;
}

void progress_start_at(Progress *progress, uint64_t lsn)
{
    progress->start_lsn = lsn;
}

MarkerPosition progress_begin(Progress *progress, const MarkerPosition *stored)
{
    MarkerPosition from = progress->live ? progress->acked : *stored;
    if (from.lsn < progress->start_lsn) {
        from = (MarkerPosition){.lsn = progress->start_lsn};
    }
    progress->start_lsn = from.lsn;
    progress->acked = from;
    progress->follows = false;
    progress->live = true;
    return from;
}

const MarkerPosition *progress_acked(const Progress *progress)
{
    return &progress->acked;
}

void progress_ack(Progress *progress, const MarkerPosition *position)
{
    progress->acked = *position;
    progress->follows = false;
}

void progress_follow(Progress *progress, uint64_t lsn)
{
    progress->acked = (MarkerPosition){.lsn = lsn, .backfill_seq = progress->acked.backfill_seq};
    progress->follows = true;
}

bool progress_follows(const Progress *progress)
{
    return progress->follows;
}

bool progress_is_live(const Progress *progress)
{
    return progress->live;
}

void progress_distrust(Progress *progress)
{
    progress->distrust = true;
}

bool progress_is_distrusted(const Progress *progress)
{
    return progress->distrust;
}

void progress_forget(Progress *progress)
{
    progress->live = false;
    progress->acked = (MarkerPosition){0};
    progress->distrust = false;
}

void progress_send(Progress *progress, const Batch *batch)
{
    progress->outstanding++;
    progress->outstanding_events += batch->count;
    progress->beats += batch->beats;
}

void progress_return(Progress *progress, const Batch *batch)
{
    if (progress->outstanding > 0) {
        progress->outstanding--;
        progress->outstanding_events -= batch->count;
        progress->beats -= batch->beats;
    }
}

bool progress_has_beat(const Progress *progress)
{
    return progress->beats > 0;
}

size_t progress_outstanding(const Progress *progress)
{
    return progress->outstanding;
}

size_t progress_outstanding_events(const Progress *progress)
{
    return progress->outstanding_events;
}

void progress_note_hole(Progress *progress)
{
    progress->hole = true;
}

bool progress_has_hole(const Progress *progress)
{
    return progress->hole;
}

void progress_take_up(Progress *progress)
{
    progress->outstanding = 0;
    progress->outstanding_events = 0;
    progress->beats = 0;
    progress->hole = false;
}

Progress *progress_new(void)
{
    return x_calloc(1, sizeof(Progress));
}

void progress_free(Progress **progress)
{
    free(*progress);
    *progress = NULL;
}

#include "cdc/wal_snapshot.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

typedef struct Snapshot {
    Filling filling; /* first */
    WalContext *wal;
    const WalBooks *books;
    Handover *handover;
    char exported[64]; /* name of the slot's snapshot; "": there is none */
    bool announced;
    bool complete;
    bool recorded;
    bool recording;
} Snapshot;

static_assert(offsetof(Snapshot, filling) == 0, "a Filling * is one of its Snapshot");

static void on_recorded(void *arg, const Error *err)
{
    Snapshot *snapshot = arg;
    if (!wal_goes_on(snapshot->wal, err)) {
        return;
    }
    verify_stored(snapshot->books->verify);
    snapshot->recorded = true;
    wal_tell(snapshot->wal, NEWS_FILLED);
}

static void snapshot_record(Snapshot *snapshot)
{
    const WalBooks *books = snapshot->books;
    if (snapshot->recording) {
        return;
    }
    snapshot->recording = true;
    PositionWrite write = {.read = true,
                           .identity = verify_identity(books->verify),
                           .position = {.lsn = progress_start(books->progress)}};
    position_save(books->row, &write, snapshot, on_recorded);
}

static void snapshot_next(Filling *filling)
{
    Snapshot *snapshot = (Snapshot *)filling;
    if (snapshot->wal->state == WAL_FILLING && snapshot->complete &&
        handover_is_drained(snapshot->handover)) {
        snapshot_record(snapshot);
    }
}

static void snapshot_start(Filling *filling)
{
    Snapshot *snapshot = (Snapshot *)filling;
    const Source *source = snapshot->wal->source;
    snapshot->wal->state = WAL_FILLING;
    snapshot->complete = true;
    if (!snapshot->announced) {
        snapshot->announced = true;
        source->events.active(source->events.arg);
    }
    snapshot_next(filling);
}

static void snapshot_set(Filling *filling, const char *name)
{
    Snapshot *snapshot = (Snapshot *)filling;
    snprintf(snapshot->exported, sizeof(snapshot->exported), "%s", name);
}

static bool snapshot_is_complete(const Filling *filling)
{
    return ((const Snapshot *)filling)->complete;
}

static bool snapshot_is_recorded(const Filling *filling)
{
    return ((const Snapshot *)filling)->recorded;
}

static bool snapshot_is_announced(const Filling *filling)
{
    return ((const Snapshot *)filling)->announced;
}

static void snapshot_close(Filling *filling)
{
    ((Snapshot *)filling)->recording = false;
}

static void snapshot_forget(Filling *filling)
{
    Snapshot *snapshot = (Snapshot *)filling;
    snapshot->exported[0] = '\0';
    snapshot->announced = snapshot->complete = false;
    snapshot->recorded = snapshot->recording = false;
}

static void snapshot_free(Filling *filling)
{
    free(filling);
}

static const FillingOps SNAPSHOT_OPS = {
    .set_snapshot = snapshot_set,
    .start = snapshot_start,
    .go_on = snapshot_start,
    .next = snapshot_next,
    .is_complete = snapshot_is_complete,
    .is_recorded = snapshot_is_recorded,
    .is_announced = snapshot_is_announced,
    .close = snapshot_close,
    .forget = snapshot_forget,
    .free = snapshot_free,
};

Filling *wal_snapshot_new(WalContext *wal, const WalBooks *books, Handover *handover)
{
    Snapshot *snapshot = x_calloc(1, sizeof(*snapshot));
    snapshot->filling.ops = &SNAPSHOT_OPS;
    snapshot->wal = wal;
    snapshot->books = books;
    snapshot->handover = handover;
    return &snapshot->filling;
}

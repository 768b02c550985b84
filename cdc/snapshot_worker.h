/* snapshot_worker: a connection that reads chunks of tables in a snapshot that another one keeps,
 * each in a transaction of its own: a table is locked (ACCESS SHARE) for no longer than its chunk.
 *
 * A table that is not what the snapshot shows is no failure of the source: the worker says
 * WORKER_CHANGED, and can go on with something else. Whatever else fails loses the source. */
#pragma once

#include "cdc/captured.h"
#include "cdc/snapshot_sql.h"
#include "cdc/wal_context.h"

typedef struct SnapshotWorker SnapshotWorker;

typedef enum WorkerNews {
    WORKER_READY,   /* it is connected, or has rolled back: it may be given work */
    WORKER_ASKED,   /* what the table is: snapshot_worker_answer() */
    WORKER_READ,    /* the chunk was read whole */
    WORKER_CHANGED, /* the table is another one than the snapshot shows; WORKER_READY follows */
} WorkerNews;

typedef struct WorkerParts {
    const WalContext *wal;
    Captured *captured;
    void *arg;
    /** Rows follow that arrived together. */
    void (*arrived)(void *arg);
    /** A row of COPY in the text format; FAILED: the source is lost with *err. */
    Status (*row)(void *arg, SnapshotWorker *worker, Slice bytes, Error *err);
    void (*news)(void *arg, SnapshotWorker *worker, WorkerNews news);
} WorkerParts;

SnapshotWorker *snapshot_worker_new(const WorkerParts *parts);
void snapshot_worker_free(SnapshotWorker **worker);

/** Connects. */
void snapshot_worker_open(SnapshotWorker *worker);
void snapshot_worker_close(SnapshotWorker *worker);
/** It is connected, and does nothing. */
bool snapshot_worker_is_free(const SnapshotWorker *worker);

/** Asks what the table at this place is. */
void snapshot_worker_ask(SnapshotWorker *worker, size_t place, const SnapshotTable *table,
                         const char *snapshot);
/** Reads a chunk of it. filter: of its rows, as SQL; NULL: all. */
void snapshot_worker_read(SnapshotWorker *worker, const SnapshotTable *table,
                          const SnapshotChunk *chunk, const char *snapshot, const char *filter);

/** What it was given last. */
const SnapshotChunk *snapshot_worker_chunk(const SnapshotWorker *worker);
SnapshotAnswer *snapshot_worker_answer(SnapshotWorker *worker);

/** Reads no more rows for now, or reads on. */
void snapshot_worker_hold(SnapshotWorker *worker, bool hold);

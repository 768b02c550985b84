/* snapshot_view: how far a snapshot is: for the log and `status` (metrics: snapshot_series.h). */
#pragma once

#include <jansson.h>

#include "cdc/snapshot_tables.h"
#include "config/config.h"

/* What was warned of in this run of it. */
typedef enum SnapshotWarning {
    WARNED_LONG = 1, /* it is held for too long */
    WARNED_WAL = 2,  /* the slot retains too much */
} SnapshotWarning;

typedef struct SnapshotView {
    const PipelineConfig *pipeline;
    int64_t began_us;         /* monotonic: of this run of it; 0: it did not begin */
    int64_t ended_us;         /* monotonic: when it was complete; 0: it is not */
    double began_at;          /* what was done then, 0 to 1 */
    uint64_t began_wal_bytes; /* that the slot retained then */
    int64_t said_us;          /* monotonic: of the last line */
    unsigned warned;          /* bits of SnapshotWarning */
} SnapshotView;

/* All tables together. */
typedef struct SnapshotTotal {
    uint64_t rows;
    uint64_t bytes;
    int64_t rows_expected; /* of the tables of which it is known */
    size_t tables;
    size_t tables_done;
    double done; /* 0 to 1, by the size of the tables and the blocks that were given out */
} SnapshotTotal;

SnapshotTotal snapshot_view_total(const SnapshotTables *tables);

/** It begins. wal_bytes: that the slot retains. */
void snapshot_view_begin(SnapshotView *view, const SnapshotTables *tables, uint64_t wal_bytes);
/** It is published. */
void snapshot_view_end(SnapshotView *view);
/** Seconds that it will still take; -1: not known. */
int64_t snapshot_view_left_s(const SnapshotView *view, const SnapshotTotal *total);
/** Bytes of WAL that the slot will retain at the end, of which it is this many now, if the server
 * writes as much as since the beginning; -1: not known. */
int64_t snapshot_view_wal_at_end(const SnapshotView *view, const SnapshotTotal *total,
                                 uint64_t wal_bytes);
/** It is read and published. */
bool snapshot_view_is_running(const SnapshotView *view);
/** Microseconds that this run of it has taken, or did. */
int64_t snapshot_view_took_us(const SnapshotView *view);
/* What it costs the server. */
typedef struct SnapshotCost {
    int64_t held_us;    /* monotonic: since when the snapshot is held */
    uint64_t wal_bytes; /* that the slot retains */
} SnapshotCost;

/** A line, if the last one is ten seconds old; a warning, once, for what is beyond
 * snapshot_xmin_max or snapshot_wal_max. */
void snapshot_view_say(SnapshotView *view, const SnapshotTables *tables, const SnapshotCost *cost);
/** The member "snapshot" of the pipeline's status. wal_bytes: that the slot retains. */
void snapshot_view_show(const SnapshotView *view, const SnapshotTables *tables, uint64_t wal_bytes,
                        json_t *pipeline);

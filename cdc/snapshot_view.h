/* snapshot_view: how far a snapshot is: for the log and `status` (metrics: snapshot_series.h). */
#pragma once

#include <jansson.h>

#include "cdc/snapshot_tables.h"
#include "config/config.h"

typedef struct SnapshotView {
    const PipelineConfig *pipeline;
    int64_t began_us; /* monotonic: of this run of it; 0: it did not begin */
    int64_t ended_us; /* monotonic: when it was complete; 0: it is not */
    double began_at;  /* what was done then, 0 to 1 */
    int64_t said_us;  /* monotonic: of the last line */
    bool long_said;   /* that it is held for too long */
    bool wal_said;    /* that the slot retains too much */
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

/** It begins. */
void snapshot_view_begin(SnapshotView *view, const SnapshotTables *tables);
/** It is published. */
void snapshot_view_end(SnapshotView *view);
/** Seconds that it will still take; -1: not known. */
int64_t snapshot_view_left_s(const SnapshotView *view, const SnapshotTotal *total);
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
/** The member "snapshot" of the pipeline's status. */
void snapshot_view_show(const SnapshotView *view, const SnapshotTables *tables, json_t *pipeline);

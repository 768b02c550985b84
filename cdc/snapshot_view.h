/* snapshot_view: how far a snapshot is: for the log, `status` and metrics. */
#pragma once

#include <jansson.h>

#include "cdc/snapshot_tables.h"
#include "config/config.h"

typedef struct SnapshotView {
    const PipelineConfig *pipeline;
    int64_t began_us;    /* monotonic: of this run of it; 0: it does not run */
    double began_at;     /* what was done then, 0 to 1 */
    int64_t said_us;     /* monotonic: of the last line */
    bool long_said;      /* that it is held for too long */
    int64_t end_wall_us; /* when it was complete; 0: it is not */
} SnapshotView;

/* All tables together. */
typedef struct SnapshotTotal {
    uint64_t rows;
    uint64_t bytes;
    int64_t rows_expected; /* -1: not known */
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
/** A line, if the last one is ten seconds old; a warning, once, when the snapshot is held since
 * held_us (monotonic) and that is longer than snapshot_xmin_max. */
void snapshot_view_say(SnapshotView *view, const SnapshotTables *tables, int64_t held_us);
/** The member "snapshot" of the pipeline's status. */
void snapshot_view_show(const SnapshotView *view, const SnapshotTables *tables, json_t *pipeline);

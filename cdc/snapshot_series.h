/* snapshot_series: how far a snapshot is, as metrics: of all tables together, and of each. They are
 * set before each scrape. Tables beyond the registry's bound share one series, which is their sum.
 */
#pragma once

#include "cdc/snapshot_view.h"
#include "metrics/metrics.h"

typedef struct SnapshotSeries SnapshotSeries;

/** metrics may be NULL: nothing is exposed then. The pipeline's name lives as long. */
SnapshotSeries *snapshot_series_new(Metrics *metrics, const char *pipeline);
/** The series of tables leave the registry, as by snapshot_series_forget(). */
void snapshot_series_free(SnapshotSeries **series);

/** Sets them. wal_bytes: that the slot retains while the snapshot runs. */
void snapshot_series_collect(SnapshotSeries *series, const SnapshotView *view,
                             const SnapshotTables *tables, uint64_t wal_bytes);
/** Other tables follow, or none: their series leave the registry. */
void snapshot_series_forget(SnapshotSeries *series);

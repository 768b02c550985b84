/* objective: how well a pipeline keeps its lag objective: late seconds, burn rates, error budget.
 *
 * Once a second the relay notes each pipeline's lag. A second is late when the lag is above the
 * objective, observed when the lag is known at all. The burn rate of a window is the share of late
 * seconds in it, divided by the share that the target allows: at 1 the budget of 30 days lasts 30
 * days, at 14.4 two days. Seconds of a window that were not observed count as in time, so that a
 * relay that catches up after its start does not look like a whole window of failure. A standby
 * that knows the lag from the database observes it, too: of several relays, the highest counts.
 *
 * All of it is since the start of the process; the two counters outlive it in Prometheus. One loop
 * thread. Memory is fixed: rings of coarser and coarser buckets, 4 kB for each pipeline. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "metrics/metrics.h"

enum { OBJECTIVE_BUDGET_DAYS = 30, OBJECTIVE_GAP_SECONDS_MAX = 3600 };

typedef enum ObjectiveWindow {
    OBJECTIVE_5M,
    OBJECTIVE_30M,
    OBJECTIVE_1H,
    OBJECTIVE_6H,
    OBJECTIVE_3D,
    OBJECTIVE_WINDOW_COUNT
} ObjectiveWindow;

typedef struct Objective Objective;

/** Creates the pipeline's series with value 0; lag_ms is the lag that is still good, target the
 * share of seconds that shall be good, more than 0 and less than 1. */
Objective *objective_new(Metrics *metrics, const char *pipeline, int64_t lag_ms, double target);
void objective_free(Objective **objective);

/** Another lag and target from now on; the seconds of before stay as they were judged. */
void objective_aim(Objective *objective, Metrics *metrics, int64_t lag_ms, double target);

/** Notes the lag of the second that holds now_us (monotonic); NAN: not known, nothing is noted. A
 * second call within the same second is ignored. After a pause of the loop the seconds in which
 * the oldest event was already late are noted, too, up to OBJECTIVE_GAP_SECONDS_MAX. */
void objective_observe(Objective *objective, int64_t now_us, double lag_seconds);

/** Share of late seconds in the window that ends at now_us, divided by 1 - target; at least 0. The
 * window is shorter by at most one bucket: 10 s up to one hour, 5 min beyond. */
double objective_burn_rate(Objective *objective, int64_t now_us, ObjectiveWindow window);

/** What is left of the late seconds that the target allows in 30 days: 1 all, 0 nothing, negative
 * when there were more. */
double objective_budget_remaining(Objective *objective, int64_t now_us);

/** Refreshes the gauges; called before each exposition. */
void objective_collect(Objective *objective, int64_t now_us);

/** Sets "seconds", "target", "late_seconds", "observed_seconds", "budget_remaining" and
 * "burn_rate": {"5m":..,..}. */
void objective_status(Objective *objective, int64_t now_us, json_t *status);

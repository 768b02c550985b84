/* process: the standard process_* metrics about ourselves, read from /proc and the system calls
 * that need none of it. */
#pragma once

#include "metrics/metrics.h"

/** Adds the metrics, and a collector that refreshes them. */
void process_add_metrics(Metrics *metrics);

/* process: the standard process_* metrics about ourselves, read from /proc and the system calls
 * that need none of it. Belongs to the registry. */
#pragma once

typedef struct Metrics Metrics;
typedef struct Process Process;

/** Adds the metrics and a collector that refreshes them; the registry frees the result with
 * free(). */
Process *process_new(Metrics *metrics);

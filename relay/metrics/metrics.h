/* metrics: counters, gauges and histograms, and their Prometheus text form.
 *
 * One registry per process. Only the loop thread writes and reads values, so they are plain
 * numbers: a series is a pointer that hot code increments. All known series are created at start,
 * so that they exist with value 0. Owned by the registry; pointers stay valid until metrics_free.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

typedef struct Metrics Metrics;

typedef struct Histogram Histogram;

Metrics *metrics_new(void);
void metrics_free(Metrics **metrics);

/* Label pairs follow as "name", "value", ..., NULL. The same name and labels give the same series;
 * a name used with two types is an assertion failure. */

/** A counter: starts at 0, only grows. */
uint64_t *metrics_counter(Metrics *metrics, const char *name, const char *help, ...)
    __attribute__((sentinel));

/** A gauge: set it to anything; NAN hides the series. */
double *metrics_gauge(Metrics *metrics, const char *name, const char *help, ...)
    __attribute__((sentinel));

/** A histogram of seconds from 0.5 ms to 60 s (fixed bounds). */
Histogram *metrics_histogram(Metrics *metrics, const char *name, const char *help, ...)
    __attribute__((sentinel));

/** Notes one duration in microseconds (negative counts as 0). */
void histogram_observe_us(Histogram *histogram, int64_t us);

/** Estimated quantile (0..1) in microseconds, 0 when empty. */
int64_t histogram_quantile_us(const Histogram *histogram, double quantile);

/** Before each exposition `collect(arg)` is called, to compute gauges such as ages. */
void metrics_on_collect(Metrics *metrics, void (*collect)(void *arg), void *arg);

/** Appends the Prometheus text format 0.0.4: HELP, TYPE and series of every metric. */
void metrics_expose(Metrics *metrics, Text *out);

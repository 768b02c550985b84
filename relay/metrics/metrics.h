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
#include "metrics/histogram.h"

/* Series of one name. Further label values share one series in which every label is "other", so
 * that names from outside (topics, tables) cannot grow the registry without bound. */
enum { METRICS_SERIES_MAX = 1000 };

typedef struct Metrics Metrics;

Metrics *metrics_new(void);
void metrics_free(Metrics **metrics);

/* Label pairs follow as "name", "value", ..., NULL; texts are copied. The same name and labels (in
 * any order) give the same series; a name used with two types, or one that Prometheus would not
 * accept, is an assertion failure. */

/** A counter: starts at 0, only grows. */
uint64_t *metrics_counter(Metrics *metrics, const char *name, const char *help, ...)
    __attribute__((sentinel));

/** A counter with a fraction, for seconds: starts at 0, only grows; NAN hides the series. */
double *metrics_counter_seconds(Metrics *metrics, const char *name, const char *help, ...)
    __attribute__((sentinel));

/** A gauge: set it to anything; NAN hides the series. */
double *metrics_gauge(Metrics *metrics, const char *name, const char *help, ...)
    __attribute__((sentinel));

/** A histogram of seconds from 0.5 ms to 60 s (fixed bounds). */
Histogram *metrics_histogram(Metrics *metrics, const char *name, const char *help, ...)
    __attribute__((sentinel));

/** Takes the series with these labels out of the registry, so that names that come and go do not
 * fill it; its pointer is of no use any more. Nothing happens when there is none (or it became
 * "other").
 */
void metrics_remove(Metrics *metrics, const char *name, ...) __attribute__((sentinel));

/** The same for every series, of whatever name, with this label. */
void metrics_remove_labelled(Metrics *metrics, const char *label, const char *value);

/** Before each exposition `collect(arg)` is called, to compute gauges such as ages; collectors are
 * called in the order in which they were added. */
void metrics_on_collect(Metrics *metrics, void (*collect)(void *arg), void *arg);

/** Memory, zeroed, that lives as long as the registry: what a collector needs. */
void *metrics_keep(Metrics *metrics, size_t bytes);

/** Appends the Prometheus text format 0.0.4: HELP, TYPE and series of every metric, sorted by name
 * and labels. */
void metrics_expose(Metrics *metrics, Text *out);

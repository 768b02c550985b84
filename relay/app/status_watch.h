/* status_watch: what `outboxd status --watch` remembers between two looks, drawn as sparklines. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

enum { WATCH_LOOKS = 60 };

typedef struct WatchSeries {
    double values[WATCH_LOOKS]; /* a ring; NAN: not known */
    size_t count;
    size_t next;
} WatchSeries;

typedef struct WatchPipeline {
    char *name;
    WatchSeries lag;  /* seconds */
    WatchSeries rate; /* events per second */
    bool seen;        /* in this look */
} WatchPipeline;

/* Zero-initialised, and freed with watch_free. */
typedef struct Watch {
    WatchPipeline *pipelines; /* in the order in which they appeared */
    size_t count;
} Watch;

/** Notes one look; NULL: no relay answered. Pipelines that are not in it get a gap. */
void watch_note(Watch *watch, const json_t *status);

/** Appends a line for each pipeline: lag and rate over the last WATCH_LOOKS looks, with the most.
 */
void watch_add_screen(const Watch *watch, bool colours, Text *out);

/** Appends one character for each value, oldest first: a space for NAN, else a bar whose height is
 * its share of the greatest value; 0 and everything without a greater value is the lowest bar. */
void watch_add_sparkline(const WatchSeries *series, Text *out);

void watch_free(Watch *watch);

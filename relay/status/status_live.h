/* status_live: what `outboxd status --watch` remembers between two looks, drawn as sparklines. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

enum { LIVE_LOOKS = 60 };

typedef struct LiveSeries {
    double values[LIVE_LOOKS]; /* a ring; NAN: not known */
    size_t count;
    size_t next;
} LiveSeries;

typedef struct LivePipeline {
    char *name;
    LiveSeries lag;  /* seconds */
    LiveSeries rate; /* events per second */
    bool seen;       /* in this look */
} LivePipeline;

/* Zero-initialised, and freed with live_free. */
typedef struct Live {
    LivePipeline *pipelines; /* in the order in which they appeared */
    size_t count;
} Live;

/** Notes one look; NULL: no relay answered. Pipelines that are not in it get a gap. */
void live_note(Live *live, const json_t *status);

/** Appends a line for each pipeline: lag and rate over the last LIVE_LOOKS looks, with the most;
 * of fewer looks when the lines would be longer than `columns` (0: any). */
void live_add_screen(const Live *live, bool colours, size_t columns, Text *out);

/** Appends one character for each of the last `looks` values, oldest first: a space for NAN, else a
 * bar whose height is its share of the greatest value; 0 and everything without a greater value is
 * the lowest bar. */
void live_add_sparkline(const LiveSeries *series, size_t looks, Text *out);

void live_free(Live *live);

/* When a fetch looks at the whole table: see poll_fetch.c. As often as that costs next to nothing,
 * at the latest after sweep_interval, and when something hints at rows below what was given up. */
#pragma once

#include "config/config.h"
#include "flow/stats.h"
#include "outbox/poll_fetch.h"

typedef struct Sweep {
    const PipelineConfig *config;
    Stats *stats;
    int64_t next_us;
    int64_t ended_us; /* when the last one ended ... */
    int64_t cost_us;  /* ... and how much longer than a plain fetch it took */
    int64_t plain_us; /* what a fetch takes at the least */
    bool insists;     /* until one has seen everything */
    size_t unsaid;    /* rows that were found */
    int64_t said_us;
} Sweep;

/** The next fetch is one. */
void sweep_want(Sweep *sweep);
/** So is each that follows the other at once, until everything was looked at. */
void sweep_insist(Sweep *sweep);
bool sweep_insists(const Sweep *sweep);

bool sweep_is_due(const Sweep *sweep, int64_t now_us);
/** Of a fetch that is complete: when is the next one? */
void sweep_plan(Sweep *sweep, const Fetch *fetch);
/** So many rows were found whose numbers were no gap. */
void sweep_found(Sweep *sweep, size_t rows);

/* mark_positions: the positions that hold once so many events, counted since the start, are marked;
 * which of them is committed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"

/* Where a source that reads the WAL stands. */
typedef struct MarkerPosition {
    uint64_t lsn;         /* everything that committed before it is done */
    uint64_t tx_lsn;      /* of the transaction that commits there ... */
    uint64_t tx_ordinal;  /* ... so many events are done, too; 0: none */
    int64_t backfill_seq; /* while rows from before are published and kept: up to here; of captured
                             tables: end of the last transaction that was read before lsn, as their
                             records tell it. 0: none */
} MarkerPosition;

/* Holds once so many events are marked. */
typedef struct MarkBoundary {
    uint64_t events;
    MarkerPosition position;
} MarkBoundary;

typedef struct MarkPositions {
    VEC(MarkBoundary) waiting; /* oldest first */
    size_t sent;               /* the first so many are in the running statement */
    MarkerPosition committed;
    MarkerPosition on_its_way; /* by the running statement */
} MarkPositions;

void mark_positions_add(MarkPositions *positions, uint64_t events, const MarkerPosition *position);

/** The statement holds no position but the committed one ... */
void mark_positions_hold(MarkPositions *positions);
/** ... or the last that holds when so many events are marked. */
void mark_positions_send(MarkPositions *positions, uint64_t events);

/** The statement was committed: whole, or without its position. */
void mark_positions_settle(MarkPositions *positions, bool whole);

/** Nothing is known of the statement. */
void mark_positions_unsend(MarkPositions *positions);

/** Forgets those that are not committed. */
void mark_positions_forget(MarkPositions *positions);

void mark_positions_release(MarkPositions *positions);

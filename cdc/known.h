/* known: what was published already and comes again: after a reconnect by (commit LSN, ordinal),
 * behind a backfill by sequence number. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct KnownEvent {
    uint64_t commit_lsn;
    uint64_t ordinal;
} KnownEvent;

/* Events in the order of the stream. */
typedef struct KnownEvents {
    KnownEvent *items;
    size_t count;
    size_t capacity;
    size_t next; /* those before it have been met again */
} KnownEvents;

/** Notes an event that lies behind all others. */
void known_events_add(KnownEvents *known, uint64_t commit_lsn, uint64_t ordinal);

/** True when the event is known. Must be asked in the order of the stream. */
bool known_events_meet(KnownEvents *known, uint64_t commit_lsn, uint64_t ordinal);

/** The stream begins again: what was met and came back (already added to `again`) goes before what
 * was not met yet. Takes the content of *again. */
void known_events_restart(KnownEvents *known, KnownEvents *again);
void known_events_release(KnownEvents *known);

/* Sequence numbers, as ranges. */
typedef struct KnownRange {
    int64_t low; /* inclusive */
    int64_t high;
} KnownRange;

typedef struct KnownSeqs {
    KnownRange *ranges; /* ascending, disjoint, not adjacent */
    size_t count;
    size_t capacity;
} KnownSeqs;

void known_seqs_add(KnownSeqs *known, int64_t seq);
bool known_seqs_has(const KnownSeqs *known, int64_t seq);
void known_seqs_release(KnownSeqs *known);

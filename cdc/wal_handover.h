/* wal_handover: the way to the pipeline: room, and batches that go out. A batch with changes whose
 * rows are read again (reselect.h) waits for them, and what comes behind it waits, too. */
#pragma once

#include "cdc/reselect.h"
#include "cdc/wal_waiting.h"

typedef struct Handover Handover;

/** reselect: NULL: no batch waits. */
Handover *handover_new(const WalContext *wal, Progress *progress, const Waiting *waiting,
                       const Assembler *assembler, Reselect *reselect);
void handover_free(Handover **handover);

void handover_deliver(Handover *handover, Batch *batch);
/** The stream was left: what waits never goes out ... */
void handover_close(Handover *handover);
/** ... and is the caller's, the oldest first; NULL: none is left. */
Batch *handover_take_back(Handover *handover);
/** Acknowledged, and not marked yet (SourceOps). */
size_t handover_unmarked(const Handover *handover);
/** How much more may be read; false: nothing. */
bool handover_room(const Handover *handover, size_t *ret_events, size_t *ret_bytes);
/** Nothing is out, and what came back is marked; false also behind a hole. */
bool handover_is_drained(const Handover *handover);
/** The stream comes in, and nothing is read that is not acknowledged and committed. */
bool handover_is_idle(const Handover *handover);

/* wal_ack: batches that came back: what of them is marked, what moves the position, what is
 * remembered until the stream brings it again. */
#pragma once

#include "cdc/assemble.h"
#include "cdc/wal_verify.h"

typedef struct Acks Acks;

typedef struct AcksParts {
    const WalContext *wal;
    const Tables *tables;
    Progress *progress;
    Verify *verify;
    WaitingRows *rows;
    Assembler *assembler;
} AcksParts;

/** The assembler is told what is known when the stream brings it again. */
Acks *acks_new(const AcksParts *parts);
void acks_free(Acks **acks);

/** The batch came back: what is settled counts, or is known when the stream brings it again. Frees
 * it. */
void acks_pass(Acks *acks, Batch *batch);
/** The stream begins again: what came back of it is known. */
void acks_take_up(Acks *acks);
/** Nothing that was remembered of rows and events holds any more. */
void acks_forget(Acks *acks);

/** The row of this table was published from it, and is perhaps not marked yet. */
bool acks_have_filled(const Acks *acks, uint32_t table, int64_t seq);
/** What is left of those to mark is in the marker. */
void acks_forget_filled(Acks *acks);

/* assemble_rig: an assembler, and the server whose messages it takes one by one. One rig for a test
 * process. */
#pragma once

#include <criterion/criterion.h>

#include "cdc/outbox_reader.h"
#include "stub/given.h"
#include "stub/pgoutput_build.h"

enum { OUTBOX = 16400, OTHER_TABLE = 16500 };
enum { FEED_COLUMN_COUNT = 7 };

typedef struct AssembleRig {
    PipelineConfig pipeline;
    OutboxTable table;
    Tree tree;
    Relations relations;
    KnownEvents known;
    Assembler assembler;
    Batch *batch; /* the last that was finished */
    Text bytes;   /* the next message */
    Error err;
} AssembleRig;

extern AssembleRig feed;
extern const BuildColumn FEED_COLUMNS[FEED_COLUMN_COUNT];

/** The assembler gets the message in `bytes`, and likes it. */
void feed_bytes(void);
/** Likewise, and it breaks the feed. */
void feed_assert_violation(const char *what);

/** Tells of the outbox and of another table. */
void feed_relations(void);
void feed_begin(uint64_t commit_lsn);
void feed_commit(uint64_t commit_lsn);
/** Puts an insert in `bytes`; of another table it has one column. */
void feed_build_event(uint32_t oid, int64_t seq);
void feed_row(int64_t seq);
void feed_message(const char *prefix, bool transactional, const char *event_id);

/** Finishes the batch. "2000:1=7 2000:2=-": commit LSN, number and seq of each event, with "!" when
 * it is settled. */
void feed_assert_batch(const char *expected);
void feed_assert_position(uint64_t position, uint64_t tx_lsn, uint64_t tx_ordinal);

/* slot: slot and our own position, compared: may the stream begin, and where? What does not depend
 * on the position (rows/precondition.h) was judged before. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "rows/marker.h"

#define SLOT_NO_END INT64_MIN

typedef struct SlotFacts {
    int server_version; /* 150020 */
    /* from IDENTIFY_SYSTEM */
    char system_id[32];
    int timeline;
    /* outbox.position */
    bool has_position;
    char position_system_id[32];
    int position_timeline;
    char position_slot[64];
    MarkerPosition position;
    bool backfill;        /* rows from before the slot are not all published */
    int64_t backfill_end; /* the highest seq among them; SLOT_NO_END: not known */
    bool same_messages;
    /* pg_replication_slots */
    bool has_slot;
    char lost[64]; /* why it is invalid; "": it is not */
    bool failover;
    int active_pid; /* 0: nobody reads it */
    uint64_t confirmed;
    /* pg_publication */
    bool has_publication;
} SlotFacts;

/** Appends the query for everything but IDENTIFY_SYSTEM; one row. */
void slot_add_query(const PipelineConfig *pipeline, const char *position_table, Text *sql);
/** Reads its row. */
void slot_read_facts(const PGresult *row, bool messages, SlotFacts *ret);

typedef enum SlotVerdict {
    SLOT_CREATE,   /* there is none and never was: make it, fill up from the table */
    SLOT_ADOPT,    /* it is there and we never read it: fill up from the table */
    SLOT_BACKFILL, /* filling up from the table was interrupted: again */
    SLOT_START,    /* go on at *ret_start */
    SLOT_GAP,      /* *err: events may be missing; run --new-slot */
    SLOT_REFUSED,  /* *err: a human must act */
} SlotVerdict;

/** Decides. *ret_start: where the stream begins for ADOPT, BACKFILL and START. */
SlotVerdict slot_judge(const SlotFacts *facts, const PipelineConfig *pipeline, uint64_t *ret_start,
                       Error *err);

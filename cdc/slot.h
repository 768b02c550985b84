/* slot: slot and our own position, compared: may the stream begin, and where? What does not depend
 * on the position (rows/precondition.h) was judged before. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "rows/history.h"
#include "rows/mark_positions.h"

#define SLOT_NO_END INT64_MIN

/* What the server has. */
typedef struct SlotFacts {
    int server_version; /* 150020 */
    char system_id[32]; /* from IDENTIFY_SYSTEM */
    int timeline; /* of the WAL file that is written: IDENTIFY_SYSTEM tells late of a promotion */
    uint64_t insert_lsn;
    uint64_t switch_lsn; /* where the present timeline left left_timeline; 0: it does not hold it */
    char
        before[128]; /* a pipeline that has a position in this table while ours has none, is not in
                        the configuration: ours by another name? Best one whose slot nobody reads */
    char before_slot[64];
    bool before_active;       /* somebody reads it */
    char position_table[136]; /* as SQL writes it */
    /* pg_replication_slots */
    bool has_slot;
    char lost[64];  /* why it is invalid; "": it is not */
    bool failover;  /* a standby gets it (17) */
    int active_pid; /* 0: nobody reads it */
    uint64_t confirmed;
    /* pg_publication */
    bool has_publication;
} SlotFacts;

/* Our row of outbox.position. */
typedef struct SlotStored {
    bool there;
    char system_id[32];
    int timeline;
    char slot[64];
    MarkerPosition position;
    bool backfill;        /* rows from before the slot are not all published */
    int64_t backfill_end; /* the highest seq among them; SLOT_NO_END: not known */
    uint32_t table_id;    /* table that was read; 0: not told */
    int64_t backfill_seq; /* kept rows of it are published up to here; 0: none */
    bool same_messages;
    bool waiting;      /* rows before the position wait for their topic */
    char *publication; /* its identity as of the position, of tables what mapped_memory.h notes;
                          "": not known */
} SlotStored;

/* What the reader knows beside it. Zeros: nothing. */
typedef struct SlotKnown {
    MarkerPosition position; /* that this process stored */
    HistoryVerdict history;  /* the server's is the one it knew, or not */
    char difference[128];
    int left_timeline; /* the position's, or the last that this process saw, when the server is on
                          another one; 0: it is not */
    bool publication_changed; /* it is another one now */
    char lost[256];           /* the tables of which changes may be missing, for people */
    bool before_lives;        /* the one of SlotFacts.before is another relay's, beside us */
} SlotKnown;

/* All of it. */
typedef struct SlotCase {
    SlotFacts *facts;
    SlotStored *stored;
    SlotKnown *known;
} SlotCase;

/** Appends the query for everything but system_id and switch_lsn; one row. */
void slot_add_query(const Config *config, const PipelineConfig *pipeline,
                    const char *position_table, Text *sql);
/** Reads its row; to be freed with slot_forget_stored(). */
void slot_read_facts(const PGresult *row, bool messages, SlotFacts *ret_facts,
                     SlotStored *ret_stored);

/** The same for who looks beside a relay that runs: it saves its position, then confirms it, but
 * the row above has the position of when its statement began and the slot of a moment later. So
 * this query comes before that one, and its row, read after that one's, says where the slot stood.
 */
void slot_add_confirmed_query(const PipelineConfig *pipeline, Text *sql);
void slot_read_confirmed(const PGresult *row, SlotFacts *facts);

void slot_forget_stored(SlotStored *stored);

/** Looks for a timeline in a history file (TIMELINE_HISTORY): where it was left. False when it is
 * not in there. */
bool slot_read_history(const char *content, int timeline, uint64_t *ret_switch_lsn);

/** How a human finds such a row without its text. */
#define SLOT_FIND_HUGE_NUMBERS                                                                     \
    "Of a jsonb this finds it: WHERE jsonb_path_exists(payload, '$.** ? (@.type() == "             \
    "\"number\" && @ > 1e1000)')."

/** An error of decoding that means: the text of a row is more than the server can build, today and
 * tomorrow. */
bool slot_cannot_send(const Error *err);

/** An error of decoding that means: the publication was dropped, or is younger than the place where
 * the slot stands, or slot_cannot_send(), or the filter of a mapping failed, so the log from there
 * on cannot be read. Makes a gap of it; false: it is none. */
bool slot_judge_decoding(const PipelineConfig *pipeline, Error *err);

typedef enum SlotVerdict {
    SLOT_CREATE,   /* there is none and never was: make it, fill up from the table */
    SLOT_ADOPT,    /* it is there and we never read it: fill up from the table */
    SLOT_BACKFILL, /* filling up from the table was interrupted: again */
    SLOT_START,    /* go on at *ret_start */
    SLOT_GAP,      /* *err: events may be missing; run --new-slot */
    SLOT_REFUSED,  /* *err: a human must act, or (RETRY) something must end */
} SlotVerdict;

/** *err: what slot_judge() lets pass of the facts, and a human should know. False: nothing. */
bool slot_is_renamed(const SlotCase *given, const PipelineConfig *pipeline, Error *err);

/** *err: the slot is being created (by that process of the server, 0: not told), which takes long.
 */
void slot_unfinished(const char *slot, int pid, const char *waits_for, Error *err);

/** Decides. *ret_start: where the stream begins for ADOPT, BACKFILL and START. */
SlotVerdict slot_judge(const SlotCase *given, const PipelineConfig *pipeline, uint64_t *ret_start,
                       Error *err);

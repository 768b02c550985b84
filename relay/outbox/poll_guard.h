/* What the server says beside a fetch: what the fetch saw, is it on disk; which table has the name;
 * may numbers have gone back since the one before; has no row a value out of line. */
#pragma once

#include <libpq-fe.h>

#include "base/text.h"
#include "rows/table.h"

/* What tells that numbers may have gone back: where table and sequence are stored, which TRUNCATE
 * and RESTART change, and the last number that was drawn, which setval() lowers. */
typedef struct GuardNumbers {
    char storage[32]; /* "": not known yet */
    int64_t last;     /* INT64_MIN: none, or we may not know */
} GuardNumbers;

typedef struct Guard {
    /* Of this fetch. */
    char insert_lsn[32]; /* WAL position that covers everything it saw; "": it was not told */
    bool durable;        /* ... and is flushed */
    int tries;
    uint32_t table_oid; /* of the table that was read */
    GuardNumbers now;   /* after its snapshot */
    /* Of all since guard_reset(). */
    GuardNumbers before;   /* as the last fetch saw them */
    bool doubts;           /* nothing is concluded from the numbers that were seen */
    bool sequence_known;   /* its OID was asked for */
    uint32_t sequence_oid; /* of the column; 0: it has none */
    bool small;            /* no row of the table has a value out of line, as of the last fetch */
} Guard;

/** Reads from the beginning. */
void guard_reset(Guard *guard);
/** A fetch is sent. */
void guard_begin(Guard *guard);

/** WAL positions, and which table has the name: asked in the transaction of the COPY, whose lock
 * keeps the table of that name. */
void guard_add_query(const Guard *guard, const OutboxTable *table, uint32_t table_oid, Text *sql);
void guard_read(Guard *guard, const PGresult *result);
/** The fetch was cancelled: whatever was told may be older than its last row. */
void guard_cancelled(Guard *guard);

/** What the fetch saw is on disk. */
bool guard_is_durable(const Guard *guard);
const char *guard_insert_lsn(const Guard *guard);
uint32_t guard_table(const Guard *guard);

/** Numbers may have gone back since the fetch before: they are doubted from now on. The first fetch
 * of a session knows nothing of them yet: that they did since then nothing could tell. */
bool guard_finds_numbers_back(Guard *guard);
void guard_doubt_numbers(Guard *guard, bool doubt);
bool guard_doubts_numbers(const Guard *guard);

/** No row of the table has a value out of line. */
bool guard_finds_small(const Guard *guard);
void guard_forget_small(Guard *guard);

/** The question whether it is on disk by now, and how many rows its answer has; after that was
 * asked a few times one that forces it. rolls_back: the fetch left a transaction open. */
int guard_add_question(Guard *guard, const OutboxTable *table, uint32_t table_oid, bool rolls_back,
                       Text *sql);
/** Its answer. */
void guard_read_answer(Guard *guard, const PGresult *result);

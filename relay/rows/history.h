/* history: what proves that a server is still the one we know, and that nobody published meanwhile.
 *
 * What a source remembers about rows (in flight, acknowledged, unmarked, seen) holds for one
 * server, one history of it and one table. A server that comes back may be another one: a standby
 * that was promoted and lags, a data directory that was put back to an older copy, a database that
 * was restored under its old name. So each publishing source draws a random *generation* and writes
 * it into a row of ours beside a count, `writes`, that is raised by each new owner and by each
 * statement that marks rows or moves the position, in its transaction. After a reconnect, with
 * the publisher's lock held, the row is read and judged; then it is claimed, which raises it again.
 *
 * Where there is no such row (an adopted table without our schema) only system identifier,
 * timeline, table and WAL position are compared. Loop thread only. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

enum { HISTORY_GENERATION = 40, HISTORY_SYSTEM_ID = 24 };

typedef struct History {
    char system_id[HISTORY_SYSTEM_ID];
    uint32_t timeline;  /* of the WAL that is being written */
    uint32_t table_oid; /* of the outbox table */
    uint64_t lsn;       /* where the next WAL goes */
    uint64_t flushed;   /* WAL that no crash takes back */
    bool has_row;       /* there is a row of ours; else the next two mean nothing */
    char generation[HISTORY_GENERATION];
    uint64_t writes;
} History;

typedef enum HistoryVerdict {
    HISTORY_FIRST,       /* nothing was known before */
    HISTORY_SAME,        /* nobody else published: what is remembered holds */
    HISTORY_NEWER_OWNER, /* another relay published since: forget what is known about rows */
    HISTORY_OTHER,       /* another server, table or past: forget what is known about rows */
} HistoryVerdict;

/* A row that is to be ours. */
typedef struct HistoryClaim {
    History found;          /* as it must be for that */
    HistoryVerdict verdict; /* on it */
} HistoryClaim;

/* What one source knows. */
typedef struct HistoryMemory {
    bool known;
    History last;                  /* with all our writes that are committed */
    HistoryClaim *claimed;         /* whose answer has not come; NULL: there is none */
    bool writing;                  /* a write of ours was sent, and no answer came yet */
    char ours[HISTORY_GENERATION]; /* generation of this source */
} HistoryMemory;

/** Draws the generation. */
void history_begin(HistoryMemory *memory);
/** Frees what it holds. */
void history_end(HistoryMemory *memory);

/** Appends the query: row_table (SQL, or NULL: there is none) and the condition that finds the row
 * in it, which begins with a column's name. One row. */
void history_add_query(const char *row_table, const char *row_key, Text *sql);

/** Reads its answer. False when it is none: a server must not be believed. */
bool history_read(const PGresult *result, uint32_t table_oid, History *ret);

/** Compares. *ret_difference (size bytes) says what is not as it was, "" when nothing is. */
HistoryVerdict history_judge(const HistoryMemory *memory, const History *found,
                             char *ret_difference, size_t size);

/** After the verdict was acted upon, where there is no row to be claimed: what was found is what is
 * known. */
void history_adopt(HistoryMemory *memory, const History *found);

/** After the verdict was acted upon: the next write claims the row, if it still is as it was found.
 * What was found is known from when that is committed, and not before: until then the row is
 * somebody else's, whose writes are no other past of ours. A claim whose answer was lost, or that
 * landed after it was given up, is recognized by history_judge(), which then says the same verdict
 * again (HISTORY_NEWER_OWNER for HISTORY_OTHER). */
void history_claim(HistoryMemory *memory, const History *found, HistoryVerdict verdict);
/** True if that claim of ours made the row as it was found now. */
bool history_is_claimed(const HistoryMemory *memory, const History *found);
/** As history_claim(), and nothing that was known before counts. */
void history_claim_anew(HistoryMemory *memory, const History *found);

/** A statement that raises the count was sent. */
void history_write_sent(HistoryMemory *memory);
/** It is committed. */
void history_write_committed(HistoryMemory *memory);
/** It surely changed nothing. (An error alone does not tell that: its answer may have been lost.)
 */
void history_write_failed(HistoryMemory *memory);

/** So much WAL is flushed, by the server that is known: "0/1234". */
void history_note_flushed(HistoryMemory *memory, const char *lsn);

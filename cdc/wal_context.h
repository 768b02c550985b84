/* wal_context: what every object of the source that reads the log stands on: whose it is, the
 * claim's connection and marker, how far its life has come, and news for whoever decides what comes
 * next (wal.c). It knows none of the other objects.
 *
 * Each of them has a header of its own, is made and freed by wal.c (or by the one that owns it),
 * and keeps what it needs of those before it. None calls one behind it: what follows from what
 * happened in it (an answer, a table that is finished, a filling that is complete) it tells. */
#pragma once

#include "base/text.h"
#include "claim/claim.h"

typedef enum WalState {
    WAL_AWAY,     /* the lock, or the slot, is not ours: what comes next is the claim's business */
    WAL_LOCKED,   /* lock is ours, resume() may come */
    WAL_CHECKING, /* slot, publication, position */
    WAL_FILLING,  /* rows from before the slot are published from the table */
    WAL_STARTING, /* START_REPLICATION is sent */
    WAL_ACTIVE,   /* the stream comes in */
} WalState;

/* What one object tells wal.c. */
typedef enum WalNews {
    NEWS_SETTLED,    /* something that a stop may wait for is over */
    NEWS_FACTS,      /* what the start depends on is known, and nobody else publishes */
    NEWS_REREAD,     /* everything came back and is marked: the start is made again */
    NEWS_TABLES,     /* so are the tables that had the name, and their locks are ours */
    NEWS_IDENTIFIED, /* so is the history of the server */
    NEWS_ANSWERED,   /* what was asked about the message that is held is known */
    NEWS_TURNED,     /* marks go to another table */
    NEWS_COMPARED,   /* what of the table the log will not bring is known */
    NEWS_HELD,       /* the stream stands between two transactions, as was asked for */
    NEWS_COMPLETED,  /* the rows that changes waited for were read, and all of them went out */
    NEWS_FILLED,     /* the rows from before the slot are published, and that is recorded */
} WalNews;

typedef struct WalContext {
    const SourceOptions *options;
    const Config *config;
    const PipelineConfig *pipeline;
    Source *source; /* its events are the pipeline's */
    OutboxTable *table;
    Claim *claim;           /* its connection: lock, position, marks, dead letters */
    Marker *marker;         /* the claim's */
    HistoryMemory *history; /* likewise */
    WalState state;
    bool draining;
    void *arg; /* of the two */
    void (*tell)(void *arg, WalNews news);
    void (*stand_by)(void *arg, const char *holder);
} WalContext;

/** To whoever decides what comes next. */
void wal_tell(const WalContext *wal, WalNews news);
/** Somebody else publishes: what hangs on the claim's connection is let go. */
void wal_stand_by(const WalContext *wal, const char *holder);
/** The right to publish may be gone. */
void wal_lose_lease(const WalContext *wal);
/** True: err is NULL. Else the claim is lost with it. */
bool wal_goes_on(const WalContext *wal, const Error *err);
/** The claim's connection can be asked for what concerns the log. */
bool wal_is_connected(const WalContext *wal);
/** Nothing is marked (on_publish = "keep"). */
bool wal_keeps_rows(const WalContext *wal);
/** Only the first snapshot is wanted (snapshot = "initial_only"). */
bool wal_reads_snapshot_alone(const WalContext *wal);
/** Appends the statements of a look at the preconditions. */
void wal_add_look(const WalContext *wal, Text *sql);
/** Wants `job` to run when it is its turn on the claim's connection; it is its owner's. */
void wal_want(const WalContext *wal, ClaimJob *job);
/** The version of the server at the other end of the claim's connection. */
int wal_server_version(const WalContext *wal);

/* What the files of the polling source share; nobody else includes this. */
#pragma once

#include <assert.h>
#include <stddef.h>

#include "claim/claim.h"
#include "outbox/fetch_sql.h"
#include "outbox/gaps.h"
#include "outbox/known.h"
#include "outbox/poll.h"
#include "rows/parked.h"
#include "rows/table.h"
#include "rows/unreadable.h"

typedef struct PollSource PollSource;

typedef enum PollState {
    POLL_AWAY,      /* the lock is not ours: what comes next is the claim's business */
    POLL_CLAIMING,  /* the lock is ours: is this the history we know? */
    POLL_LOCKED,    /* resume() may come */
    POLL_PREPARING, /* marker connects and marks what is left over */
    POLL_ACTIVE,
} PollState;

/* What tells that numbers may have gone back: where table and sequence are stored, which TRUNCATE
 * and RESTART change, and the last number that was drawn, which setval() lowers. */
typedef struct Numbers {
    char storage[32]; /* "": not known yet */
    int64_t last;     /* INT64_MIN: none, or we may not know */
} Numbers;

/* What one file tells poll.c, which decides what comes next. */
typedef enum PollNews {
    NEWS_GO_ON,        /* there may be something to read, or room for it */
    NEWS_DURABLE,      /* what the fetch saw is on disk */
    NEWS_TABLES_KNOWN, /* which table is to be read, and its lock is ours */
    NEWS_OLD_TAKEN,    /* somebody else finishes the old table */
} PollNews;

/* The fetch that is running or was the last. */
typedef struct Fetch {
    Batch *batch; /* being filled */
    bool sweep;   /* looks at the whole table */
    bool wide;    /* poll_wide.c */
    bool small;   /* without a look at sizes; nothing at all if they were needed */
    bool header_read;
    bool truncated; /* byte budget reached: the rest was not kept */
    bool cut;       /* there may be more behind last_seq */
    bool cancelling;
    size_t limit;
    size_t budget_bytes;
    size_t rows; /* that the server sent */
    size_t dropped_bytes;
    size_t swept; /* rows whose number was no gap */
    int64_t last_seq;
    int64_t top; /* of gaps when it was sent */
    int64_t sent_us;
    int64_t took_us;     /* until the rows were there */
    uint32_t table_oid;  /* of the table that was read */
    char insert_lsn[32]; /* WAL position that covers everything this fetch saw */
    bool durable;        /* ... and is flushed */
    Numbers numbers;     /* after its snapshot */
    int guard_tries;
    KnownRow *wanted; /* wide: rows that are not known, by seq */
    size_t wanted_count;
    size_t wanted_capacity;
    size_t page_limit; /* of the page of keys, and so many came */
    size_t page_rows;
    int64_t *present; /* wide: numbers of the known rows that it saw, ascending */
    size_t present_count;
    size_t present_capacity;
    int64_t page_from; /* its first number may be this */
    int64_t page_end;  /* its last */
    TableLean lean;    /* wide: one row that cannot be read, without its bodies */
    void (*done)(void *arg, const Error *err); /* of the statement that brings the rows */
    void (*failed)(PollSource *poll, const Error *err);
    Error error;
} Fetch;

/* Which writers could still fill gaps: see poll_fence.c. */
typedef struct Fence {
    bool active;
    int64_t top;
    char *writers; /* virtual transaction ids, space-separated */
    char *latest;  /* of the running fetch */
    int64_t next_us;
} Fence;

/* The table was renamed and made anew: poll_rotation.c. */
typedef struct Rotation {
    bool active; /* the table that is read is no longer the one of the configured name */
    bool wanted; /* something hints at that: look, as soon as the reader is free */
    bool whole;  /* nothing was read since everything was looked at from the beginning */
    bool locked; /* the lock of the new table is ours, too */
    bool said_taken;
    uint32_t next_oid; /* of the table that has the configured name by now; 0: none has */
    uint32_t old_oid;  /* at the start: a table of before that may not be finished */
    char *name;        /* present one, as SQL, of the table that is read */
    int64_t retry_us;
    int64_t look_us;    /* while active the name is looked at again, at the latest then */
    bool looked_anyway; /* ... as now: nothing hints that anything changed */
    bool others;        /* further tables had the name and are not finished */
    bool undone;        /* the name came back, and such tables go first */
    void (*between)(PollSource *poll); /* once it is known what is between two tables */
    bool finishing;                    /* the table that is read is empty: what comes after it? */
    uint32_t carrier;                  /* has the name at the end */
    ClaimLock *lock;                   /* of the other table */
    uint32_t dropped;                  /* at the start: a table that had the name is gone */
    bool linked;                       /* the catalog tells every table up to the present one */
    uint32_t successor; /* had the name after the one that is read, and has it no more; 0: none */
    size_t strays;      /* tables that may have been between, with unpublished rows */
    Text stray_names;
    Text stray_counts; /* the query that counts their rows */
    Error denied;
    Error refused; /* why the look is wanted; class ERROR_NONE: by the OID */
} Rotation;

/* An old table of which nothing is left but rows that wait for their topic. */
typedef struct LeftTable {
    uint32_t oid;
    size_t parked;
    bool go_back; /* a topic is there: it is read before anything else */
} LeftTable;

typedef struct LeftTables {
    LeftTable *items;
    size_t count;
} LeftTables;

struct PollSource {
    Source source; /* first */
    SourceOptions options;
    Claim *claim;           /* on the reader's connection */
    Marker *marker;         /* the claim's */
    HistoryMemory *history; /* likewise */
    OutboxTable *table;
    PollState state;
    bool draining;
    void (*tell)(PollSource *poll, PollNews news);
    struct event *timer;   /* next poll */
    Error error;           /* of what an answer says */
    History found;         /* by the session that is being opened */
    char *publisher_table; /* as SQL; NULL: no row proves the history */
    char *publisher_key;   /* condition that finds the row */
    char *publisher_ctid;  /* where it was claimed */
    int owner_pid;         /* of the reader that held the lock last */
    bool taken;            /* somebody else held the lock since */
    Rotation rotation;
    LeftTables left;       /* outlives the session */
    bool foreign;          /* batches that are out are of another history */
    bool sequence_known;   /* since fetch_reset */
    bool small;            /* no row of the table has a value out of line, as of the last fetch */
    uint32_t sequence_oid; /* of the column; 0: it has none */
    Numbers numbers;       /* as the last fetch saw them */
    bool numbers_moved;    /* nothing is concluded from the numbers that were seen */
    Gaps gaps;
    Known known;
    bool rereading; /* reads from the beginning, as soon as everything acknowledged is marked */
    Fetch fetch;
    Fence fence;
    Batch **outstanding; /* handed to the pipeline, oldest first */
    size_t outstanding_count;
    size_t outstanding_capacity;
    int64_t interval_ms; /* present poll interval */
    bool more;           /* there is, or may be, something to read right now */
    size_t row_bytes;    /* average of recent rows */
    size_t next_limit;
    Unreadable unreadable;
    KnownRow unreadable_row; /* failed alone */
    int64_t next_sweep_us;
    int64_t swept_us;   /* when the last sweep ended ... */
    int64_t sweep_us;   /* ... and how much longer than a plain fetch it took */
    int64_t plain_us;   /* what a fetch takes at the least */
    bool widen;         /* a sweep was asked for */
    KnownRow forgotten; /* of the fail point forget_row */
    size_t swept_unsaid;
    int64_t swept_said_us;
    bool caught_up; /* the last fetch emptied the table */
    bool blocked_said;
    bool refused;             /* the server refused the last fetch */
    int64_t refused_until_us; /* ... and is not asked again before that */
    int64_t
        complete_us;    /* monotonic: when the last fetch was sent that left nothing; 0: none yet */
    int64_t covered_us; /* when the last one was sent that left something behind ... */
    int64_t covered_seq; /* ... this number */
};

static_assert(offsetof(PollSource, source) == 0, "a Source of POLL_OPS is cast to it");

/* The files call each other in this order, upwards only: each stands on those before it. */

/* poll_state.c */
/** To whoever decides what comes next: poll.c. */
void poll_tell(PollSource *poll, PollNews news);
void poll_set_timer(PollSource *poll, int64_t delay_ms);
/** Reports `drained` when nothing is left to mark. */
void poll_check_drained(PollSource *poll);
/** Something hints that another table has the name: err (what was refused) or NULL. */
void poll_notice_table(PollSource *poll, const Error *err);
/** A statement of the reader failed. True when it was refused, and will be tried again by the
 * timer: nothing is to be given up. */
bool poll_is_refused(PollSource *poll, const Error *err);
/** It went through. */
void poll_accepted(PollSource *poll);

/* poll_left.c */
void left_add(LeftTables *left, uint32_t oid, size_t parked);
void left_remove(LeftTables *left, uint32_t oid);
/** A topic is there: all of them are read again. */
void left_go_back(LeftTables *left);
bool left_is_wanted(const LeftTables *left);
/** Those that were to be read again are gone: somebody finished them. */
void left_drop_wanted(LeftTables *left);
size_t left_parked(const LeftTables *left);
/** ", 1, 2": those that are not to be read now. */
void left_add_oids(const LeftTables *left, Text *sql);
void left_release(LeftTables *left);

/* poll_fence.c */
void fence_reset(PollSource *poll);
/** The last answer is of no use. */
void fence_forget_latest(PollSource *poll);
bool fence_is_due(const PollSource *poll, int64_t now_us);
void fence_add_query(PollSource *poll, int64_t now_us, Text *sql);
/** After a fetch that asked for the writers. */
void fence_advance(PollSource *poll);

/* poll_guard.c */
/** WAL positions, and which table has the name: asked in the transaction of the COPY, whose lock
 * keeps the table of that name. */
void guard_add_query(const PollSource *poll, Text *sql);
void guard_read(PollSource *poll, const PGresult *result);
/** Asks whether what the fetch saw is on disk, until it is: NEWS_DURABLE. */
void guard_ask(PollSource *poll);

/* poll_read.c */
void fetch_reset(PollSource *poll);
void fetch_release(PollSource *poll);
KnownRow fetch_row_of(const Event *event);
/** The batch came back: what is settled waits for its mark, the rest is not known any more. */
void fetch_take_back(PollSource *poll, const Batch *batch);
/** The callbacks of a statement that brings rows. */
void fetch_on_row(void *arg, const char *bytes, size_t length);
void fetch_on_result(void *arg, const PGresult *result);
/** Takes the header off the first row of a COPY. False: there is no row in these bytes. */
bool fetch_strip_header(Fetch *fetch, const char **bytes, size_t *length);
/** Nothing was seen: what is looked for is the whole table. */
extern const Gaps GAPS_NONE;
enum { FETCH_FIRST_LIMIT = 256 }; /* rows; grows while rows prove small */

/* poll_wide.c */
void wide_send(PollSource *poll, bool with_fence, int64_t now_us);
/** Asks for the rows that are wanted, and ends the transaction of the fetch. */
void wide_ask_rows(PollSource *poll);

/* poll_failure.c */
/** True when the fetch was sent: of a row that was found. */
bool fetch_send_lean(PollSource *poll);
/** A statement of a fetch failed: is it waited for, or the end of the connections? */
void fetch_on_failure(PollSource *poll, const Error *err);

/* poll_rotation.c: the table was renamed and made anew under its name */
void rotation_init(PollSource *poll);
/** The session is gone. */
void rotation_reset(PollSource *poll);
void rotation_release(PollSource *poll);
/** The lock is ours: looks for a table of before that is not finished: NEWS_TABLES_KNOWN. */
void rotation_start(PollSource *poll);
/** True when the reader, which must be free, was sent a question instead of a fetch. */
bool rotation_next(PollSource *poll);

/** SQL: true for rows "p" of outbox.publisher that tell of a table that had the configured name,
 * whatever pipeline wrote them. */
void rotation_add_ours(const PollSource *poll, Text *sql);
/** SQL: the OID of the table that has the name now, as "named", whose row in outbox.publisher is
 * made if it is another one than that which is read, as "noted": the beginning of a WITH. */
void rotation_add_named(const PollSource *poll, Text *sql);
/** What is between old_oid and the table next_oid, in the catalog? Then done(). */
void rotation_ask_succession(PollSource *poll, uint32_t old_oid, uint32_t next_oid,
                             void (*done)(PollSource *poll));

/* poll_rotation_end.c: the old table is finished, or left, or gone back to */
/** An old table that was left with rows that wait is read again, before the present one ... */
void rotation_go_back(PollSource *poll);
/** ... now that everything acknowledged is marked. */
void rotation_return(PollSource *poll);
/** After a complete fetch of which nothing is out: goes on with the new table when the old one is
 * finished. */
void rotation_check_finished(PollSource *poll);

/* poll_session.c: what a reader of a table is to its claim */
extern const ClaimReader SESSION_READER;
/** Somebody else publishes. */
void session_lock_taken(void *arg, const ClaimLock *lock);
/** The locks are ours, and which table is to be read is known: judges the history, claims. */
void session_judge(PollSource *poll);

/* poll_fetch.c */
/** Reads when there is something to read and room for it; else arms the timer. */
void fetch_next(PollSource *poll);
/** Somebody saw this row unpublished and the source does not know it: the next fetch looks at every
 * number, so that it finds the row and keeps the order of its key. */
void poll_fetch_widen(PollSource *poll, int64_t seq);
/** The rows of a fetch are read and durable. */
void fetch_complete(PollSource *poll);

/* What the files of the WAL source share; nobody else includes this. */
#pragma once

#include <assert.h>
#include <stddef.h>

#include "base/log_limit.h"
#include "cdc/assemble.h"
#include "cdc/old_tables.h"
#include "cdc/slot.h"
#include "cdc/wal.h"
#include "rows/parked.h"
#include "rows/unreadable.h"

typedef struct WalSource WalSource;

typedef enum WalState {
    WAL_AWAY,     /* the lock, or the slot, is not ours: what comes next is the claim's business */
    WAL_LOCKED,   /* lock is ours, resume() may come */
    WAL_CHECKING, /* slot, publication, position */
    WAL_FILLING,  /* rows from before the slot are published from the table */
    WAL_STARTING, /* START_REPLICATION is sent */
    WAL_ACTIVE,   /* the stream comes in */
} WalState;

/* The slot is being created, which waits for transactions of others. */
typedef struct SlotCreation {
    int64_t sent_us; /* monotonic; 0: it is not */
    bool said;       /* that it takes long */
} SlotCreation;

/* Rows from before the slot. */
typedef struct Fill {
    char snapshot[64]; /* exported by the creation of the slot; "": of now */
    bool running;      /* a fetch is under way */
    bool proof;        /* nothing is published: rows are counted that the log does not bring */
    size_t missed;
    int64_t first_missed;
    bool taken; /* the snapshot is */
    bool flushing;
    bool durable;   /* what the snapshot shows is flushed, and `end` is in the position */
    bool complete;  /* the last row was read */
    bool recording; /* ... the position is to say that all of them are published */
    bool recorded;  /* ... it does */
    bool again;     /* rows that waited for their topic: the position stays where it is */
    bool header_read;
    size_t limit;
    size_t rows; /* of this fetch */
    Unreadable unreadable;
    bool chosen;  /* a row of this table could not be read: rows are chosen before values */
    int64_t from; /* before this fetch: last_seq, and what the proof found */
    size_t from_missed;
    size_t at;      /* of the old tables; their count: the configured one */
    bool noting;    /* that a table is done */
    bool announced; /* the pipeline knows that it may begin */
    int64_t last_seq;
    int64_t end; /* what has a higher seq comes with the stream; SLOT_NO_END: not known yet */
    uint64_t published;
    Batch *batch;
    Error error;
} Fill;

/* Reading the stream. */
typedef struct Stream {
    struct event *readable;
    struct event *tick; /* of the timer descriptor: coalesced reads */
    int tick_fd;
    bool coalescing;
    bool paused;          /* no room: the socket is left alone */
    int64_t tick_us;      /* between two reads while coalescing */
    unsigned quiet_ticks; /* that brought next to nothing */
    unsigned burst;       /* reads since burst_since_us */
    int64_t burst_since_us;
    uint64_t received;      /* WAL end that the server told */
    int64_t batch_since_us; /* the batch being filled has events since then; 0: it has none */
    int64_t read_us;        /* monotonic: last bytes */
    int64_t status_us;      /* monotonic: last status update sent */
    int64_t storm_since_us; /* the server asks again and again: it is stopping; 0: no */
} Stream;

/* Before a filling that overlaps with the log: the rows that the log brings. */
typedef struct Scout {
    bool wanted;
    bool running;
    bool complete;
    bool header_read;
    char until[24]; /* end of the log when the snapshot was taken */
    Relations relations;
    PgOutputReader reader;
    MarkerPosition from; /* what lies before it does not come */
    uint64_t commit_lsn;
    uint64_t ordinal;
    Batch *batch;
    KnownSeqs coming;
    Error error;
} Scout;

/* A write to the position row. */
typedef struct Save {
    void (*done)(void *arg, const Error *err);
    char *sql;
    MarkerPosition position;
    bool whole;   /* all of the row */
    bool waiting; /* ... and rows in the table wait for their topic */
    bool guarded; /* the row must be as it was */
    STAILQ_ENTRY(Save) next;
} Save;

/* The position row, and what is to be written there. */
typedef struct PositionRow {
    char ctid[24];             /* where it is now; "": the write that is under way has not told */
    STAILQ_HEAD(, Save) saves; /* the first is under way, or waits for its turn */
} PositionRow;

/* What waits for the control connection. */
typedef enum WalJob {
    JOB_FACTS,    /* slot, publication, position: what the start depends on */
    JOB_POSITION, /* the next write to the position row */
    JOB_LOG,      /* a message of the stream that waits for an answer */
    JOB_WAITING,  /* are the rows seen whose topic is missing? */
    JOB_ROTATION, /* turns to the next table, or sees whether the old one is finished */
    JOB_VERIFY,   /* a last look, before a stop */
    JOBS,
} WalJob;

/* What one file tells wal.c, which decides what comes next. */
typedef enum WalNews {
    NEWS_SETTLED,  /* something that a stop may wait for is over */
    NEWS_ANSWERED, /* what was asked about the message that is held is known */
    NEWS_NOTED,    /* outbox.publisher has told, and knows of us */
    NEWS_TURNED,   /* marks go to another table */
    NEWS_SCOUTED,  /* what the log will bring is known */
    NEWS_COMPARED, /* ... and what of the table it will not bring */
    NEWS_FILLED,   /* the rows from before the slot are published, and that is recorded */
} WalNews;

/* A message of the stream that waits for an answer of the control connection. */
typedef struct Held {
    char *bytes; /* NULL: none */
    size_t length;
    uint32_t relation; /* to be asked about; 0: none */
    bool by_name;      /* it is ours by its name alone */
    bool fits;         /* it has the columns of an event */
    bool again;        /* it was told before: something changed in the catalog */
    bool sent;
    bool answered;
    char name[136];
} Held;

/* Events that wait for their topic: wal_waiting.c. */
typedef struct Waiting {
    Parked parked; /* their rows, which the position has passed */
    bool known;    /* ... are all there are */
    bool recorded; /* outbox.position.waiting is true */
    Batch *oldest; /* acknowledged, and kept back until their parked rows are seen */
    Batch *newest;
    size_t events; /* in those */
    bool asking;   /* whether they are seen */
    Batch *asked;  /* up to this one of them */
    char *snapshot;
    Parked found;           /* rows of theirs that are there, and unpublished */
    bool replaced;          /* another table has the name by now */
    Parked rowless;         /* events that have no such row: they may not be parked */
    uint64_t rowless_until; /* the last of them committed there */
    bool stands;            /* nothing is read before all come again */
    bool reread;            /* reads again, as soon as nothing is out */
    bool rereading;         /* ... and does, until the stream is back */
    struct event *timer;
} Waiting;

/* An idle outbox follows the WAL of others. */
typedef struct Idle {
    char xmax[24]; /* next transaction id as of the last look, plus our own write */
    bool wanted;   /* others wrote: confirm as soon as the stream is beyond `until` */
    uint64_t until;
    uint64_t asked;  /* a keep-alive named this place before the log's end was asked for */
    uint64_t proven; /* ... and the log was that long */
} Idle;

/* The table was renamed and made anew: wal_rotation.c. */
typedef struct Rotation {
    OldTables tables; /* that may not be finished, oldest first */
    size_t done;      /* so many of them are */
    size_t at;        /* marks go to this one; tables.count: to the configured one */
    uint32_t target;  /* its OID, also while there is no connection: what is not marked is its */
    uint32_t filled;  /* table that WalSource.filled is about */
    size_t wanted;    /* marks are to go to this one ... */
    bool switching;   /* ... once everything before is marked */
    size_t reading;   /* whose tree, or lock, is asked for */
    bool replaced;    /* the log told of another table that has the name now */
    bool continuous;  /* the log has every row of the old one and the new one */
    uint64_t barrier; /* what the old ones had in the log before the swap ends before it */
    bool counting;
    int64_t unpublished; /* in the old table; -1: not told */
    int64_t retry_us;
    SaidTables said;
    ClaimLock *lock; /* of the old table `reading` */
    char *publisher; /* outbox.publisher as SQL; NULL: there is none, or it is not ours to write */
    OldTables found; /* of which its rows tell, oldest first */
    Error error;
} Rotation;

/* Up to where the preconditions are known to have held. */
typedef struct Verify {
    uint64_t wal_end; /* of the last good look: no stored position passes it */
    char identity[PRECONDITION_IDENTITY_MAX]; /* of the publication, then */
    bool unproven; /* it is another one now, and it is not known whether events were missed */
    bool idle;     /* what is acknowledged last is the log of others: not worth two writes */
    MarkerPosition pushed; /* last position that was given to the marker */
    bool write;            /* the identity is to be stored */
    bool ask;              /* a last look, before a stop */
    bool asking;
    bool asked;
} Verify;

struct WalSource {
    Source source; /* first */
    SourceOptions options;
    OutboxTable *table;
    WalState state;
    bool draining;
    Claim *claim;           /* its connection: lock, position, marks, dead letters */
    Marker *marker;         /* the claim's */
    HistoryMemory *history; /* likewise */
    PgConn *walsender;
    PgConn *filler;
    LogLimit stream_lines;
    Error error; /* of the last question of the lease */
    char *position_table;
    char *position_key; /* condition that finds our row in it */
    SlotFacts facts;
    History found; /* by the start */
    bool found_told;
    bool facts_told;
    bool distrust; /* what is remembered rests on a place that the server refused */
    Verify verify;
    Error unreadable;   /* the log from our place on; run --new-slot makes a gap of it */
    bool gap_accepted;  /* run --new-slot did its work */
    bool new_slot_said; /* ... or has none to do */
    bool closing_gap;   /* ... or is about to do it */
    bool slot_taken;    /* another relay reads it, by the last question of the lease */
    SlotCreation creation;
    uint64_t start_lsn;
    uint64_t undecodable; /* the stream that began here failed for want of the publication */
    uint64_t log_end;     /* insert position of the server's log by the last answer; 0: not known */
    Held held;
    Assembler assembler;
    KnownSeqs filled;  /* published from the table, perhaps not marked yet */
    KnownEvents again; /* settled in batches that came back */
    MarkerPosition acked;
    bool hole; /* a batch came back unsettled: those behind it are not acknowledged */
    bool live; /* acked is of this process: better than what the database says */
    size_t outstanding;
    size_t outstanding_events;
    ClaimJob jobs[JOBS];
    void (*tell)(WalSource *wal, WalNews news);
    PositionRow row;
    Fill fill;
    Scout scout;
    Stream stream;
    Idle idle;
    Waiting waiting;
    Rotation rotation;
};

static_assert(offsetof(WalSource, source) == 0, "a Source of WAL_OPS is cast to it");

/* The files call each other in this order, upwards only: each stands on those before it. */

/* wal_state.c */
/** The right to publish was ours for sure, at the last look. */
bool wal_lease_holds(const WalSource *wal);
void wal_lose_lease(WalSource *wal);
/** Asks for it when its turn comes. */
void wal_want(WalSource *wal, WalJob job);
/** To whoever decides what comes next: wal.c. */
void wal_tell(WalSource *wal, WalNews news);
void wal_deliver(WalSource *wal, Batch *batch);
/** Of SourceOps. */
size_t wal_unmarked(const Source *source);
bool wal_room(WalSource *wal, size_t *ret_events, size_t *ret_bytes);
/** Nothing is read that is not acknowledged and committed. */
bool wal_is_idle(const WalSource *wal);
/** Appends the statements of a look at the preconditions. */
void wal_add_look(const WalSource *wal, Text *sql);
/** True when decoding failed for want of the publication: *err says whether it is a gap. */
bool wal_cannot_decode(WalSource *wal, Error *err);
/** The log cannot be read from our place on: the source is lost; with --new-slot the next start
 * makes the slot again. */
void wal_lose_log(WalSource *wal, const Error *err);

/* wal_tables.c */
/** Old table `at`, or the configured one: its OID; its present name as SQL, NULL when it is gone.
 */
uint32_t tables_oid(const WalSource *wal, size_t at);
const char *tables_name(const WalSource *wal, size_t at);
/** The oldest table that is not finished: what the position row names. */
uint32_t tables_oldest(const WalSource *wal);
/** It is an old table that may not be finished. */
bool tables_have(const WalSource *wal, uint32_t oid);
/** A row of outbox.publisher tells of this table. */
void tables_find(Rotation *rotation, uint32_t oid, const char *name);
/** Marks go to table `at` from now on. */
void tables_turn(WalSource *wal, size_t at);
/** The marker begins: which table do its marks go to? */
uint32_t tables_aim(WalSource *wal);
/** True when the message is a row of another table than the one that marks go to: it is held until
 * what was read before is marked. */
bool tables_hold(WalSource *wal, const char *bytes, size_t length, Slice data);
/** A relation that had the configured name: which table is it now? */
void tables_add_question(const WalSource *wal, Text *sql);
void tables_read_answer(WalSource *wal, const PGresult *row);

/* wal_position.c */
/** Commits the position row, and whether rows from before the slot are still to come, when its turn
 * comes. */
void position_save(WalSource *wal, const MarkerPosition *position, bool backfill,
                   void (*done)(void *arg, const Error *err));
/** JOB_POSITION */
void position_run(void *arg);
/** A write waits, or is under way. */
bool position_is_saving(const WalSource *wal);
/** Raises the count of writes as the new owner, then done(): marks may follow. */
void position_claim(WalSource *wal, void (*done)(void *arg, const Error *err));
void position_drop_waiting(WalSource *wal);
/** Sets one column of our row. */
void position_note(WalSource *wal, const char *column, const char *value,
                   void (*done)(void *arg, const Error *err));
/** The marker may write: the row is ours. */
void position_start_marker(WalSource *wal, const MarkerPosition *position);

/* wal_verify.c */
/** What was found at the start, where the position row told of then. */
void verify_begin(WalSource *wal);
/** The publication is not the one that the position was reached with, or "" when it is. */
const char *verify_changed(const WalSource *wal);
/** Everything up to `acked` is acknowledged: what of that may be stored goes to the marker. */
MarkerPosition verify_cap(const WalSource *wal, const MarkerPosition *acked);
void verify_push(WalSource *wal, bool at_once);
/** A good look, taken at wal_end. */
void verify_take(WalSource *wal, uint64_t wal_end, const char *identity);
/** Takes that look. False: the publication is another one, and the stream was left. */
bool verify_same_publication(WalSource *wal);
/** Nothing may be read before a filling has compared the table with the log. */
bool verify_must_prove(const WalSource *wal);
/** What the publication is now is what it was when the position was reached. */
void verify_adopt(WalSource *wal);
/** True: a last look is under way, and the stop waits for it. */
bool verify_last(WalSource *wal);
/** Does what is due. */
void verify_go_on(WalSource *wal);
/** JOB_VERIFY */
void verify_run(void *arg);

/* wal_waiting_rows.c */
/** Parked rows of the batch are remembered. */
void waiting_note(WalSource *wal, const Batch *batch);
/** The row waits for its topic, or is kept back with one that does. */
bool waiting_knows(const WalSource *wal, int64_t seq, Slice event_id);
/** Nothing is known of what waits. */
void waiting_forget(WalSource *wal);
/** More is acknowledged. */
void waiting_acked(WalSource *wal);
/** Which events have no row is not known any more. */
void waiting_forget_rowless(WalSource *wal);
/** Which rows wait is known by this process. */
bool waiting_is_known(const WalSource *wal);
/** Of SourceOps. */
bool waiting_may_park(const Source *source, const Event *event);
size_t waiting_parked(const Source *source);

/* wal_ack.c */
/** The batch came back: what is settled counts, or is known when the stream brings it again. */
void wal_pass(WalSource *wal, Batch *batch);
/** The stream begins again: what came back of it is known. */
void wal_take_up(WalSource *wal);

/* wal_waiting.c */
void waiting_init(WalSource *wal);
void waiting_release(WalSource *wal);
/** What waits can be seen to. */
bool waiting_is_connected(const WalSource *wal);
/** Takes a batch of the stream that came back until its parked rows are seen; false: not needed. */
bool waiting_keeps_back(WalSource *wal, Batch *batch);
/** The connection is gone: the stream will bring what was kept back. */
void waiting_give_back(WalSource *wal);
/** Does what is due. */
void waiting_go_on(WalSource *wal);
/** JOB_WAITING */
void waiting_run(void *arg);
/** The stream was left: all of it comes again, once nothing is out. */
void waiting_begin_reread(WalSource *wal);
/** True when our old walsender still has the slot: looks again soon. */
bool waiting_for_slot(WalSource *wal);
/** Of SourceOps. */
bool waiting_look_at_rows(Source *source, const EventRow *rows, size_t count);

/* wal_view.c: of SourceOps */
SourceSight view_sight(const Source *source, int64_t seq, Slice event_id, uint64_t insert_lsn,
                       int64_t looked_us);
double view_backlog(const Source *source);
void view_status(const Source *source, json_t *pipeline);
void view_slot(const Source *source, json_t *slot);

/* wal_standby.c */
void wal_stand_by(WalSource *wal, const char *holder);

/* wal_ask.c */
/** A place in the log that cannot be believed without asking the server, or after it answered. */
bool ask_is_far(const WalSource *wal, uint64_t place);
/** Keeps the message, pauses the stream and asks; relation: about this, or NULL. */
void ask_hold(WalSource *wal, const char *bytes, size_t length, const PgOutputRelation *relation);
/** JOB_LOG */
void ask_run(void *arg);
void ask_release(WalSource *wal);

/* wal_stream.c */
Status stream_init(WalSource *wal, Error *err);
void stream_begin(WalSource *wal);
void stream_stop(WalSource *wal);
void stream_resume(WalSource *wal);
/** The message that was held is taken now, and the stream goes on. */
void stream_go_on(WalSource *wal);
/** Tells the server what is confirmed; reply: and wants an answer. */
void stream_send_status(WalSource *wal, bool reply);
void stream_watch(WalSource *wal);
void stream_advance_idle(WalSource *wal);
void stream_release(WalSource *wal);

/* wal_publisher.c */
/** Notes in outbox.publisher that this table is read, and looks for those of before: NEWS_NOTED.
 * False: there is nothing to be asked. */
bool wal_publisher_begin(WalSource *wal);
/** An old table is finished. False: nothing was sent, and done is not called. */
bool wal_publisher_forget(WalSource *wal, uint32_t table_oid,
                          void (*done)(void *arg, const Error *err));

/* wal_rotation.c */
/** Marks are to go to table `at`, once what was read before is marked: NEWS_TURNED. */
void wal_rotation_switch(WalSource *wal, size_t at);
/** Does what is due. */
void wal_rotation_go_on(WalSource *wal);
/** JOB_ROTATION */
void wal_rotation_run(void *arg);

/* wal_rotation_begin.c */
void wal_rotation_init(WalSource *wal);
void wal_rotation_release(WalSource *wal);
/** The facts are there. When the position was reached with another table than the one that has the
 * name now: finds the tables between, takes their locks. Then opens the walsender. */
void wal_rotation_begin(WalSource *wal);
/** What outbox.publisher tells is known: goes on with that. */
void wal_rotation_look_between(WalSource *wal);

/* wal_scout.c */
/** Reads what the tree is in the snapshot of the filling, and where the log ended. */
void scout_read_tree(WalSource *wal, const PGresult *row);
/** Reads ahead in the slot: NEWS_SCOUTED. */
void scout_start(WalSource *wal);
/** The log brings this row. */
bool scout_expects(const WalSource *wal, int64_t seq);
void scout_release(WalSource *wal);

/* wal_fill.c */
void fill_start(WalSource *wal);
/** Compares the table with the log: NEWS_COMPARED. */
void fill_prove(WalSource *wal);
/** As fill_start, after an interruption: only what is left. */
void fill_go_on(WalSource *wal);
void fill_filler_opened(void *arg, const Error *err);
void fill_next(WalSource *wal);
void fill_release(WalSource *wal);
/** Nothing of it counts any more: its batch and its error are let go. */
void fill_forget(Fill *fill);

/* wal_session.c: what a reader of the log is to its claim */
void wal_session_looked(void *arg, const PreconditionLook *look);
bool wal_session_tolerates(const void *arg, const Error *fault);
void wal_session_lock_held(void *arg);
void wal_session_lock_taken(void *arg, const ClaimLock *lock);
void wal_session_add_ping(void *arg, Text *sql);
void wal_session_ping_result(void *arg, const PGresult *result);
/** JOB_FACTS */
void wal_session_run(void *arg);

/* wal_slot.c */
void wal_slot_walsender_opened(void *arg, const Error *err);
/** What to do with the slot, now that the facts are known. */
void wal_slot_decide(WalSource *wal);
/** Now and then: a slot that is not made in a moment waits for somebody, which is said. */
void wal_slot_watch(WalSource *wal);
void wal_slot_stream(WalSource *wal);
/** A filling has compared the table with the log: reads on, or finds a gap. */
void wal_slot_compared(WalSource *wal);

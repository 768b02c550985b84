/* claim: the right to publish an outbox table, and the connection that proves it.
 *
 * One for each source, whatever it reads (the README of this folder lists what its readers do
 * differently, on purpose). It connects, makes its session's settings, looks at what must hold
 * (rows/precondition.h), and tries the publisher's lock on a timer: a waiting lock call would hold
 * a snapshot and bloat the outbox. The lock is a lease: each answer of the server proves that the
 * session, and so the lock, existed when the question was asked; the owner relies on it for
 * lease_ms from then. The server's side frees it later than that. It owns the marker, tells the
 * pipeline `standby`, `lost`, `doubt` and `drained`, and hands the rest to its reader.
 *
 * Loop thread. A reader's functions are called from the loop, and from claim_lose() and claim_end()
 * only to close. */
#pragma once

#include <event2/event.h>
#include <sys/queue.h>

#include "base/worker.h"
#include "config/config.h"
#include "flow/source.h"
#include "flow/stats.h"
#include "pg/conn.h"
#include "rows/history.h"
#include "rows/marker.h"
#include "rows/precondition.h"
#include "rows/table.h"

typedef struct Claim Claim;

/* Of every source. Everything in it must outlive the source. */
typedef struct SourceOptions {
    struct event_base *base;
    Worker *worker;
    const Config *config;
    const PipelineConfig *pipeline;
    Stats *stats;
    Metrics *metrics; /* for series that only a source has; NULL: none */
} SourceOptions;

typedef struct ClaimLock ClaimLock;

/* What a reader is to its claim. */
typedef struct ClaimReader {
    bool marks_apart;     /* the marker has a connection of its own, without the lock */
    bool replicates;      /* there is a replication connection beside it, which no pooler passes */
    bool looks_itself;    /* once the lock is ours, also after a time of standing by */
    bool waits_for_looks; /* one that is refused after the beginning is waited for without end */
    /** A look was good: its names may be taken. */
    void (*looked)(void *arg, const PreconditionLook *look);
    /** This fault of a look is the reader's to judge. NULL: none is. */
    bool (*tolerates)(const void *arg, const Error *fault);
    /** The lock is ours. */
    void (*held)(void *arg);
    /** Somebody else has it: claim_stand_by() follows, or is called. */
    void (*taken)(void *arg, const ClaimLock *lock);
    /** Each quarter of a lease since the lock is ours. */
    void (*pulse)(void *arg);
    /** The question of the lease: one result with a row, of what may change behind our back. */
    void (*add_ping)(void *arg, Text *sql);
    void (*ping_result)(void *arg, const PGresult *result);
    void (*pinged)(void *arg);
    /** Rows are handed on by the right of this claim ... */
    bool (*publishes)(const void *arg);
    /** ... which is surely ours. NULL: claim_lease_holds() says so. */
    bool (*lease_holds)(const void *arg);
    /** A text that differs once the source has got on (rows/repeats.h); the caller frees it. */
    char *(*place)(void *arg, const Error *err);
    /** The claim is gone: closes and forgets what hangs on it. lost: start() may follow. */
    void (*close)(void *arg, bool lost);
    /** Marker: its own connection is ready. */
    void (*marker_opened)(void *arg);
    void (*marked)(void *arg);
    void (*idle)(void *arg);
    void (*replaced)(void *arg); /* NULL: the source is lost then */
} ClaimReader;

typedef struct ClaimOptions {
    const SourceOptions *source;
    OutboxTable *table;
    Source *events; /* its `events` are told, its proof and lease_over are set */
    const ClaimReader *reader;
    void *arg;
    bool shared; /* others may hold the lock, too */
} ClaimOptions;

Claim *claim_new(const ClaimOptions *options);
void claim_free(Claim **claim);

/** Of SourceOps.start: connects after delay_ms. */
void claim_start(Claim *claim, int64_t delay_ms);
/** Connects now, if it only waits for that. */
void claim_wake(Claim *claim);
/** Closes everything and reports `lost` from the loop. */
void claim_lose(Claim *claim, const Error *err);
/** Loses it, because another table has the name. */
void claim_lose_table(Claim *claim);
/** Closes everything and reports `drained` from the loop. */
void claim_end(Claim *claim);
/** Neither lost nor ended. */
bool claim_is_live(const Claim *claim);
/** Somebody else publishes: tells the pipeline, and tries the lock again on a timer. */
void claim_stand_by(Claim *claim, const char *holder);
/** Somebody else publishes, by an answer that is not to be followed by another: nothing of ours can
 * be marked now. */
bool claim_stands_by(const Claim *claim);
/** It published, or stood by: what breaks now is waited for. */
void claim_begin(Claim *claim);
bool claim_has_begun(const Claim *claim);

/* The connection. */

PgConn *claim_conn(const Claim *claim);
/** A question that waits for its turn; in its owner, which outlives the claim's connection. */
typedef struct ClaimJob {
    /** Its turn: the connection is free. Asks with claim_ask(), or nothing if nothing is to be
     * asked any more. */
    void (*run)(void *arg);
    void *arg;
    bool waits; /* the claim's, like the next */
    TAILQ_ENTRY(ClaimJob) entry;
} ClaimJob;
/** First come, first served; at once if nobody asks. One that waits already keeps its place; all of
 * them are forgotten when the claim is lost. */
void claim_want(Claim *claim, ClaimJob *job);
/** A question; its answer renews the lease from now. The connection must be free: for a job whose
 * turn it is, or from an answer, which may ask on. */
void claim_ask(Claim *claim, const PgQuery *query);
/** Open, and no question is under way. */
bool claim_is_free(const Claim *claim);
/** When the last question was asked, monotonic. */
int64_t claim_asked_us(const Claim *claim);
/** Wants the question of the lease to be asked before all others, if the lock is ours. */
void claim_ping(Claim *claim);
/** The next pulse comes now. */
void claim_pulse_now(Claim *claim);
/** By the answers on its connection, the lock is ours. */
bool claim_lease_holds(const Claim *claim);
/** Another connection of the same source; `arg` and `opened` are its owner's. */
PgConn *claim_new_conn(const Claim *claim, const PgConnOptions *how);

/* The lock. */

/** Of another table, beside that of the claim; the two functions are called as those of a reader
 * with this arg. */
ClaimLock *claim_lock_new(Claim *claim, void *arg, void (*locked)(void *arg),
                          void (*taken)(void *arg, const ClaimLock *lock));
void claim_lock_free(ClaimLock **lock);
/** Tries once; one of the two functions follows, or the claim is lost. The connection must be free.
 */
void claim_lock_try(ClaimLock *lock, uint32_t table_oid);
/** Who has it, by the last try that failed. */
const char *claim_lock_holder(const ClaimLock *lock);
/** The server's process of that; 0: unknown. */
int claim_lock_holder_pid(const ClaimLock *lock);
bool claim_is_shared(const Claim *claim);

/* Facts of the table. */

/** The server's process behind the connection, as it told at the last look. */
int claim_backend_pid(const Claim *claim);
/** OID of the table whose lock is ours, or is tried. */
uint32_t claim_table(const Claim *claim);
/** Rows are read from a table that had the name before; its lock is ours, too. */
void claim_set_table(Claim *claim, uint32_t table_oid);
/** The last look at the preconditions. */
PreconditionLook *claim_look(Claim *claim);
/** The table of dead letters that it found, as SQL; "": none. */
const char *claim_dead_letter(const Claim *claim);
/** Appends the statements of a look, for a question of the reader ... */
void claim_add_look(const Claim *claim, Text *sql);
/** ... forgets the one of before, and what was wrong with the answers to the last question ... */
void claim_begin_look(Claim *claim);
/** ... and reads one result of its answer. */
void claim_read_look(Claim *claim, const PGresult *result);
/** ... in the middle of reading: nothing is said, no columns are taken. */
void claim_read_last_look(Claim *claim, const PGresult *result);
/** The look found another table under the name: that is what is wrong, if nothing else is. */
void claim_check_table(Claim *claim);
/** True when the question failed (err), or what it found does not hold: the claim is lost. */
bool claim_look_failed(Claim *claim, const Error *err);

/* The marker. */

Marker *claim_marker(const Claim *claim);
HistoryMemory *claim_history(Claim *claim);
/** Connects it, if it has a connection of its own; marker_opened() follows. */
void claim_open_marker(Claim *claim);
/** marker_start() with the table of dead letters that the last look found. */
void claim_start_marker(Claim *claim, MarkerSession session);

/* source: where events come from. One for each pipeline; all calls on the loop thread.
 *
 * Life: start() connects and tries to become the one publisher. With the lock in its hands the
 * source reports `locked` and waits for resume(), which the pipeline calls once every batch of
 * before is returned; then it reports `active` and hands batches to the pipeline while `room`
 * allows. Without the lock it reports `standby` and tries again. Acknowledged batches come back
 * through ack(). On any trouble the source closes its connections, reports `lost` once, and does
 * nothing until start(); what it knows about acknowledged but unmarked rows stays in its memory, so
 * that a broken connection alone makes no duplicates. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "flow/batch.h"
#include "flow/letters.h"

typedef struct Source Source;

/* Called by the source, on the loop thread, never from inside one of the calls of SourceOps. */
typedef struct SourceEvents {
    void *arg;
    /** The lock is ours, and kept: resume() goes on from here. */
    void (*locked)(void *arg);
    /** The outbox is ours: batches follow. */
    void (*active)(void *arg);
    /** Somebody else publishes; holder names them. We try again on a timer. */
    void (*standby)(void *arg, const char *holder);
    /** A batch of at least one event; ownership goes to the pipeline. */
    void (*batch)(void *arg, Batch *batch);
    /** How many more events and bytes may be read now; false: nothing. unmarked: as in SourceOps;
     * what is acknowledged takes room until it is marked. */
    bool (*room)(void *arg, size_t unmarked, size_t *ret_events, size_t *ret_bytes);
    /** After look_at_rows(): what the unpublished row looks like, for comparison alone. An UPDATE
     * changes it; SOURCE_ROW_GONE: the server says that there is none. */
    void (*row_looks)(void *arg, EventRow row, uint64_t look);
    /** Rows were marked (or deleted) and that is committed; or a read found nothing to do. */
    void (*progress)(void *arg);
    /** Some of what was parked cannot come from its row: may_park() says no to it from now on.
     * reread() is due; nothing is read before. */
    void (*wants_reread)(void *arg);
    /** Something hints that a precondition changed (rows/precondition.h): look now. */
    void (*doubt)(void *arg);
    /** The server refused a statement (SQLSTATE class 42, or 55000) on a connection that is fine.
     * The source keeps lock and memory and tries again each second; NULL: it went through.
     * MARK_REJECTED: for what a row is; the others were marked, and it may last. */
    void (*refused)(void *arg, const Error *err);
    /** Connections are closed, nothing happens until start(). FATAL: a human must act. */
    void (*lost)(void *arg, const Error *err);
    /** All that it was to read is published: the pipeline ends, as when it is asked to stop. */
    void (*finished)(void *arg);
    /** Everything acknowledged is marked and the connections are closed, after drain(). */
    void (*drained)(void *arg);
} SourceEvents;

enum { SOURCE_ROW_GONE = 1, SOURCE_LOOKS_MAX = 64 };

/* What a source knows of a row that a look at the table showed unpublished. */
typedef enum SourceSight {
    SIGHT_KNOWN,     /* read, and not settled: in flight, on its way to be set aside, put off */
    SIGHT_PUBLISHED, /* settled, and not marked yet */
    SIGHT_BEHIND,    /* not caught up with that look: the row may still come */
    SIGHT_UNKNOWN,   /* caught up with it, and nothing is known of the row */
} SourceSight;

/* One look at the table, and what became of asking about its rows. */
typedef struct SourceLook {
    int64_t sent_us; /* monotonic */
    uint64_t
        insert_lsn;  /* the server's, of the look's own statement: what it shows had committed */
    bool complete;   /* it listed every unpublished row */
    size_t rows;     /* that it listed */
    size_t unjudged; /* of those: no earlier look listed them, so nobody was asked */
    size_t behind;   /* of those: SIGHT_BEHIND */
    size_t unknown;  /* of those: SIGHT_UNKNOWN */
    int64_t first_unknown; /* seq, when unknown > 0 */
} SourceLook;

typedef struct SourceOps {
    /** Connects (after delay_ms) and tries to get the lock. Batches of before may still be out. */
    void (*start)(Source *source, int64_t delay_ms);
    /** After `locked`, when no batch is out any more: reads on from what is acknowledged. */
    void (*resume)(Source *source);
    /** Takes the batch over: its settled events are marked, the others are forgotten and will be
     * read again. Frees the batch. Allowed until resume(): what is settled is remembered. */
    void (*ack)(Source *source, Batch *batch);
    /** False when the right to publish is gone or may be gone: the pipeline sends nothing more. */
    bool (*may_publish)(Source *source);
    /** There may be room again: read on. A source that waits to connect again does so now. */
    void (*wake)(Source *source);
    /** All preconditions held at a look that began after the server's log stood at wal_end;
     * identity: of publication and table (PreconditionLook). NULL: it does not matter. */
    void (*verified)(Source *source, uint64_t wal_end, const char *identity);
    /** Reads nothing more, marks what is acknowledged, gives up the publisher's lock, closes,
     * reports `drained`. */
    void (*drain)(Source *source);
    /** Acknowledged but not yet marked: with what is in flight, the bound of duplicates. */
    size_t (*unmarked)(const Source *source);
    /** What is known of a row that the pipeline does not hold. The look that showed it first was
     * sent at looked_us (monotonic), when the server's log ended at insert_lsn. */
    SourceSight (*sight)(const Source *source, int64_t seq, Slice event_id, uint64_t insert_lsn,
                         int64_t looked_us);
    /** Reads the row, in its order, if it is unpublished and not known. NULL: the source reads
     * nothing by number. */
    void (*look_again)(Source *source, int64_t seq);
    /** Looks at these rows (at most SOURCE_LOOKS_MAX) when there is time, and reports `row_looks`
     * of each. False: the table cannot tell of them now (it may not be looked at, or is not the
     * only place that they come from). NULL: never. */
    bool (*look_at_rows)(Source *source, const EventRow *rows, size_t count);
    /** A look was taken while this source publishes, and its rows were asked about. May be NULL. */
    void (*looked)(Source *source, const SourceLook *look);
    /** Before a scrape: sets its own metrics, and how many rows are unpublished, as far as known
     * (a capped count); NAN: not known. */
    void (*collect)(const Source *source, double *ret_backlog);
    /** May this event wait in its row, unsettled for good (EVENT_PARKED)? Then ack() hands it over
     * in a batch, and the source neither marks nor reads it until reread(). NULL: none may. */
    bool (*may_park)(const Source *source, const Event *event);
    /** So many rows are parked. 0 also after a start that reads all of them again. */
    size_t (*parked)(const Source *source);
    /** Reads from the beginning, what was parked too, as soon as every batch has come back (which
     * follows at once) and everything acknowledged is marked. No batch comes before. */
    void (*reread)(Source *source);
    /** False: nothing more is read before what is out has come back, whatever room there is. NULL:
     * that does not happen. */
    bool (*reads_on)(const Source *source);
    /** Sets the source's members in the pipeline's status object. */
    void (*status)(const Source *source, json_t *pipeline);
    /** Sets what it knows of its replication slot, the name first. NULL: it has none. */
    void (*slot)(const Source *source, json_t *slot);
    void (*free)(Source *source);
} SourceOps;

typedef enum SourceProof {
    PROOF_NONE, /* nothing: nobody else published while the lease held, afterwards somebody may have
                 */
    PROOF_ALONE,  /* nobody else published */
    PROOF_OTHERS, /* somebody did, or it is another history */
} SourceProof;

struct Source {
    const SourceOps *ops;
    SourceEvents events;
    Letters *letters; /* the table beside its rows; its own */
    /* When `locked` is reported: what the history proves of the time since the lock was ours. */
    SourceProof proof;
    /* Set by the pipeline: what it holds back depends on the proof. A source that learns the
     * history only after resume() asks for it before `locked` then. */
    bool wants_proof;
    bool lease_over; /* when `lost` was reported: another relay may publish by now */
};

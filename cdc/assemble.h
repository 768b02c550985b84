/* assemble: messages of the stream -> batches of events.
 *
 * The server sends a transaction when it has committed, without what its aborted subtransactions
 * did, in the order of commits. Small transactions share a batch; a big one is spread over many, so
 * memory stays bounded. A batch carries the position that holds when it is acknowledged: the end of
 * the last transaction that is complete in it, and, inside a big one, how many of its events. */
#pragma once

#include "cdc/known.h"
#include "cdc/pgoutput.h"
#include "config/config.h"
#include "flow/batch.h"

typedef struct Assembler Assembler;

/* What a capture makes of the messages of the log. */
typedef struct LogReader {
    /** Takes any message but those of streamed and prepared transactions: a BEGIN once it is known
     * to be one, a COMMIT before the transaction counts as complete. */
    Status (*take)(Assembler *assembler, const PgOutput *message, Error *err);
    /** The relation cannot be judged from memory: the server is asked before it is taken. */
    bool (*must_ask)(const Assembler *assembler, const PgOutputRelation *relation);
    /** The server answered about a message that is taken next. NULL: that changes nothing. */
    Status (*answered)(Assembler *assembler, Slice data, Error *err);
    /** A new stream: relations are told anew. */
    void (*restart)(Assembler *assembler);
} LogReader;

struct Assembler {
    const PipelineConfig *pipeline;
    const LogReader *reads;
    struct OutboxReader *outbox;  /* of OUTBOX_READER; borrowed */
    struct ChangeReader *changes; /* of CHANGE_READER; borrowed */
    PgOutputReader reader;
    Batch *batch;         /* being filled; NULL: none */
    uint64_t message_lsn; /* where the message that is being read stands in the log */
    char *message; /* the buffer of libpq that is being read; a batch that keeps it sets it NULL */
    bool in_transaction;
    uint64_t commit_lsn;
    uint32_t xid;
    uint64_t ordinal;      /* of the last event of the transaction */
    uint64_t complete_lsn; /* end of the last complete transaction */
    uint64_t last_commit;  /* of captured tables: end of the transaction read last; 0: none */
    uint64_t told_lsn;     /* by keep-alives: what commits before it was sent */
    uint64_t done_lsn;     /* up to this transaction, and in it ... */
    uint64_t done_ordinal; /* ... up to this event, everything was acknowledged before */
    KnownEvents *known;    /* borrowed: were acknowledged before */
};

/** A new stream begins at position. */
void assembler_restart(Assembler *assembler, uint64_t position, int protocol);
/** Lets go of the batch. */
void assembler_release(Assembler *assembler);

/** A keep-alive said that everything that commits before lsn was sent. */
void assembler_told(Assembler *assembler, uint64_t lsn);

/** Takes one pgoutput message. RETRY: the stream is broken. FATAL: a human must act. */
Status assembler_take(Assembler *assembler, Slice data, Error *err);

/** The batch with its position, or NULL when it has no event; it goes to the caller. */
Batch *assembler_finish(Assembler *assembler);

/* For readers. */

/** What stands at that place of the transaction is done already. */
bool assembler_is_done(const Assembler *assembler, uint64_t ordinal);
/** A place of the transaction is taken, in ascending order; false: what stands there is done
 * already and nobody needs to see it again. */
bool assembler_next(Assembler *assembler, uint64_t ordinal);
/** The event stands at that place; it may be known to be published. */
void assembler_number(Assembler *assembler, Event *event);
/** The batch that is being filled. */
Batch *assembler_batch(Assembler *assembler);
/** RETRY: that message cannot be where it is. */
Status assembler_outside(const char *kind, Error *err);

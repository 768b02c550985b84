/* read_transaction: the transaction whose changes the log tells: where it stands, how many changes
 * and records it has had, and the context that its writer gave it.
 *
 * Changes are counted before anything is left out, records as they are made. */
#pragma once

#include "cdc/pgoutput.h"
#include "change/change_context.h"
#include "change/change_source.h"
#include "change/change_transaction.h"

enum { READ_RECENT = 1024 };

typedef struct ReadTransaction {
    ChangePlace *place; /* of the message that is read */
    uint64_t begin_lsn;
    bool begun;      /* its begin is told, where begins are told */
    uint64_t number; /* of its last change */
    ChangeTransaction counts;
    ChangeContext context;
    bool has_context;
    char *origin;                 /* NULL: none was told */
    uint32_t recent[READ_RECENT]; /* transactions that were read last, in a circle */
    size_t read;                  /* transactions in all */
} ReadTransaction;

ReadTransaction *read_transaction_new(void);
void read_transaction_free(ReadTransaction **transaction);

/** A new stream begins behind this transaction's end; 0: none. */
void read_transaction_restart(ReadTransaction *transaction, uint64_t last_commit);
/** A transaction begins. told: so are its begin, its end, and the order of its records. */
void read_transaction_begin(ReadTransaction *transaction, const PgOutputBegin *begin, uint64_t lsn,
                            bool told);
/** Behind the begin, before any change: it came from another server. */
void read_transaction_take_origin(ReadTransaction *transaction, const PgOutputOrigin *origin);
/** The place of its begin. */
ChangePlace read_transaction_begin_place(const ReadTransaction *transaction);
/** Takes the content of a message with CHANGE_CONTEXT_PREFIX; one that cannot be read is passed
 * over. */
void read_transaction_take_context(ReadTransaction *transaction, Slice content);
/** The place of the next record of a table (schema.table); its headers live in the arena. */
const ChangePlace *read_transaction_next(ReadTransaction *transaction, const char *table,
                                         Arena *arena);

#include "cdc/read_transaction.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/timestamp.h"

void read_transaction_restart(ReadTransaction *transaction, uint64_t last_commit)
{
    *transaction->place = (ChangePlace){.last_commit = last_commit};
}

void read_transaction_begin(ReadTransaction *transaction, const PgOutputBegin *begin, uint64_t lsn,
                            bool told)
{
    transaction->place->committed_at_us = begin->committed_at + TIMESTAMP_POSTGRES_EPOCH_US;
    transaction->place->xid = begin->xid;
    transaction->place->lsn = lsn;
    transaction->place->origin = SLICE_NULL;
    transaction->place->in_transaction = told;
    transaction->recent[transaction->read++ % READ_RECENT] = begin->xid;
    transaction->begin_lsn = lsn;
    transaction->begun = false;
    transaction->number = 0;
    transaction->has_context = false;
    change_transaction_clear(&transaction->counts);
}

void read_transaction_take_origin(ReadTransaction *transaction, const PgOutputOrigin *origin)
{
    free(transaction->origin);
    transaction->origin = x_strndup(origin->name.data, origin->name.length);
    transaction->place->origin = slice_of(transaction->origin);
    transaction->place->origin_lsn = origin->lsn;
}

ChangePlace read_transaction_begin_place(const ReadTransaction *transaction)
{
    ChangePlace place = *transaction->place;
    place.lsn = transaction->begin_lsn;
    return place;
}

void read_transaction_take_context(ReadTransaction *transaction, Slice content)
{
    if (change_context_read(content, &transaction->context)) {
        transaction->has_context = true;
    }
}

const ChangePlace *read_transaction_next(ReadTransaction *transaction, const char *table,
                                         Arena *arena)
{
    ChangePlace *place = transaction->place;
    change_transaction_next(&transaction->counts, table, &place->total_order, &place->table_order);
    place->now_ns = clock_wall_us() * 1000;
    place->context_count = 0;
    if (transaction->has_context) {
        place->context =
            change_context_headers(&transaction->context, arena, &place->context_count);
    }
    return place;
}

ReadTransaction *read_transaction_new(void)
{
    ReadTransaction *transaction = x_calloc(1, sizeof(*transaction));
    transaction->place = x_calloc(1, sizeof(*transaction->place));
    return transaction;
}

void read_transaction_free(ReadTransaction **transaction)
{
    if (*transaction == NULL) {
        return;
    }
    change_transaction_clear(&(*transaction)->counts);
    free((*transaction)->origin);
    free((*transaction)->place);
    free(*transaction);
    *transaction = NULL;
}

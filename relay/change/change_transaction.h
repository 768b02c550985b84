/* change_transaction: how many records a transaction has had, in all and of each table, for the
 * block in each of them and for the record of its end. Loop thread; one for each stream. */
#pragma once

#include <stdint.h>

#include "base/text.h"
#include "base/vec.h"

typedef struct ChangeCount {
    char *table;
    uint64_t records;
    uint32_t hash;
} ChangeCount;

typedef struct ChangeTransaction {
    uint64_t records;
    size_t messages; /* each a key of Debezium's map, whose size makes its order */
    VEC(ChangeCount) tables;
} ChangeTransaction;

/** Begins anew; memory is let go. */
void change_transaction_clear(ChangeTransaction *transaction);

/** The places, from 1, of the next record of a table (schema.table). */
void change_transaction_next(const ChangeTransaction *transaction, const char *table,
                             uint64_t *ret_total_order, uint64_t *ret_table_order);

/** So many records of it have been made; tombstones are none. */
void change_transaction_count(ChangeTransaction *transaction, const char *table, uint64_t records);
/** A logical message: of no table, and not among those that change_transaction_write() lists. */
void change_transaction_count_message(ChangeTransaction *transaction);

/** Appends event_count's number and data_collections, in the order of Java's HashMap. */
void change_transaction_write(const ChangeTransaction *transaction, Text *json);

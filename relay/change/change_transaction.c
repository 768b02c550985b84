#include "change/change_transaction.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "change/change_java.h"
#include "change/change_json.h"

void change_transaction_clear(ChangeTransaction *transaction)
{
    for (size_t i = 0; i < transaction->tables.count; i++) {
        free(transaction->tables.items[i].table);
    }
    vec_free(&transaction->tables);
    transaction->records = transaction->messages = 0;
}

static ChangeCount *count_of(const ChangeTransaction *transaction, const char *table)
{
    for (size_t i = 0; i < transaction->tables.count; i++) {
        if (strcmp(transaction->tables.items[i].table, table) == 0) {
            return &transaction->tables.items[i];
        }
    }
    return NULL;
}

void change_transaction_next(const ChangeTransaction *transaction, const char *table,
                             uint64_t *ret_total_order, uint64_t *ret_table_order)
{
    const ChangeCount *count = count_of(transaction, table);
    *ret_total_order = transaction->records + 1;
    *ret_table_order = count != NULL ? count->records + 1 : 1;
}

void change_transaction_count(ChangeTransaction *transaction, const char *table, uint64_t records)
{
    ChangeCount *count = count_of(transaction, table);
    if (count == NULL) {
        count = vec_add(&transaction->tables);
        *count = (ChangeCount){.table = x_strdup(table), .hash = change_java_hash(slice_of(table))};
    }
    transaction->records += records;
    count->records += records;
}

void change_transaction_count_message(ChangeTransaction *transaction)
{
    transaction->records++;
    transaction->messages++;
}

void change_transaction_write(const ChangeTransaction *transaction, Text *json)
{
    uint32_t mask = change_java_mask(transaction->tables.count + transaction->messages);
    change_json_number(json, (int64_t)transaction->records);
    text_add(json, ",\"data_collections\":[");
    bool first = true;
    for (uint32_t bucket = 0; bucket <= mask; bucket++) {
        for (size_t i = 0; i < transaction->tables.count; i++) {
            const ChangeCount *count = &transaction->tables.items[i];
            if ((count->hash & mask) != bucket) {
                continue;
            }
            text_add(json, first ? "{\"data_collection\":" : ",{\"data_collection\":");
            (void)change_json_string(json, slice_of(count->table));
            text_add(json, ",\"event_count\":");
            change_json_number(json, (int64_t)count->records);
            text_add_char(json, '}');
            first = false;
        }
    }
    text_add_char(json, ']');
}

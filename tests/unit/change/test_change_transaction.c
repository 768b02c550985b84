/* The counts of a transaction, as the record of its end has them. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "change/change_transaction.h"

/* As many as Java's map takes before it grows. */
static const char *const TABLES[] = {"customer", "item",    "orders",  "stock",  "price", "invoice",
                                     "payment",  "address", "account", "ledger", "event", "region"};

static ChangeTransaction transaction;

static void begin(void)
{
    for (size_t i = 0; i < sizeof(TABLES) / sizeof(*TABLES); i++) {
        AUTO_TEXT table = x_format("public.%s", TABLES[i]);
        change_transaction_count(&transaction, table, 1);
    }
}

static void end(void)
{
    change_transaction_clear(&transaction);
}

TestSuite(change_transaction, .init = begin, .fini = end);

static void expect_begin(const char *expected)
{
    AUTO_BUFFER json = TEXT_EMPTY;
    change_transaction_write(&transaction, &json);
    cr_expect_eq(strncmp(text_string(&json), expected, strlen(expected)), 0, "%s",
                 text_string(&json));
}

/* Seen of a real Debezium. */
Test(change_transaction, a_message_is_counted_and_makes_the_map_of_tables_grow)
{
    expect_begin("12,\"data_collections\":[{\"data_collection\":\"public.item\",");
    change_transaction_count_message(&transaction);
    expect_begin("13,\"data_collections\":[{\"data_collection\":\"public.invoice\",");
}

Test(change_transaction, the_next_one_begins_anew)
{
    change_transaction_count_message(&transaction);
    change_transaction_clear(&transaction);
    begin();
    expect_begin("12,\"data_collections\":[{\"data_collection\":\"public.item\",");
}

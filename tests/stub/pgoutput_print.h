/* pgoutput_print: a message of pgoutput as one line of text, every byte of it looked at. */
#pragma once

#include "base/text.h"
#include "cdc/pgoutput.h"

enum { PRINT_VALUES_MAX = 512 };

/* What differs between one run of a server and the next. */
typedef enum PrintCategory { PRINT_LSN, PRINT_TIME, PRINT_XID, PRINT_OID } PrintCategory;

/* Numbers them instead, each category from 1, in the order in which they come. Zeroed at first. */
typedef struct PrintNames {
    struct {
        uint64_t values[PRINT_VALUES_MAX];
        size_t count;
    } category[PRINT_OID + 1];
} PrintNames;

/** Appends to text; with names, numbers where the values differ from run to run. What is 0 or false
 * is not printed. Aborts when a tuple is not as whole as the reader said. */
void pgoutput_print(const PgOutput *message, PrintNames *names, Text *text);

/* One fetch: what it looks for, and, once the rows are there, how far it came. A record of facts
 * that poll_fetch.c writes, and that others draw conclusions from. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rows/table.h"

typedef struct Fetch {
    bool sweep;     /* looks at the whole table */
    bool wide;      /* poll_wide.c */
    bool small;     /* without a look at sizes; nothing at all if they were needed */
    TableLean lean; /* one row that cannot be read, without its bodies */
    size_t limit;
    int64_t top; /* of gaps when it was sent */
    int64_t sent_us;
    /* What came of it. */
    int64_t took_us; /* until the rows were there */
    bool cut;        /* there may be more behind last_seq */
    int64_t last_seq;
    size_t events;
    size_t bytes;
} Fetch;

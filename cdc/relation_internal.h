/* What relation.c and relation_row.c share; nobody else includes this. */
#pragma once

#include "cdc/relation.h"

/* pgoutput sends what a type's output function prints. Polling reads column::text, which is the
 * same but for the few types that have a cast function of their own (pg_cast.dat). */
typedef enum Conversion { AS_SENT, BOOL_TEXT, BPCHAR_TEXT, INET_TEXT, BYTEA_BYTES } Conversion;

/* What a column is read for; several uses may name one column, as with polling. */
typedef struct ColumnUse {
    size_t column;
    int target;  /* column of the outbox's schema: EventField, or FIELD_COUNT + number of a header
                    column */
    bool shared; /* the value's bytes are used by another target, too */
    Conversion conversion;
} ColumnUse;

struct Relation {
    uint32_t id;
    const Schema *schema;
    size_t column_count;
    int64_t event_bytes_max;
    size_t published; /* column that tells it is; column_count: none */
    size_t use_count;
    ColumnUse uses[]; /* by column */
};

/* relation_rig: what a stream told of its tables, and the rows that are read by it. One rig for a
 * test process. */
#pragma once

#include <criterion/criterion.h>

#include "cdc/relation.h"
#include "stub/given.h"
#include "stub/pgoutput_build.h"

/* pg_type.dat */
enum {
    BOOL = 16,
    BYTEA = 17,
    INT8 = 20,
    INT4 = 23,
    TEXT = 25,
    CIDR = 650,
    INET = 869,
    BPCHAR = 1042,
    TIMESTAMPTZ = 1184,
    JSONB = 3802,
    OUTBOX = 16400, /* the table */
};
enum { ENVELOPE_COLUMNS = 6 };

typedef struct RelationRig {
    PipelineConfig pipeline;
    OutboxTable table;
    Tree tree;
    Relations relations;
    Batch *batch;
    Text bytes; /* of the last message */
    Error err;
} RelationRig;

extern RelationRig told;
extern const BuildColumn ENVELOPE[ENVELOPE_COLUMNS];

/** Tells of a table. */
Status told_put(uint32_t id, const char *schema, const char *name, const BuildColumn *columns,
                size_t count);
/** The envelope and one more column. */
void told_put_with(const char *column, uint32_t type);
void told_put_type(uint32_t id, const char *schema, const char *name);
/** Reads from memory that is gone afterwards. */
Status told_read_row(const Slice *values, size_t count, Event **ret_event);
/** The event of the envelope and one more value. */
Event *told_read_with(Slice value);
void told_assert_slice(Slice value, Slice expected, const char *what);

#define ENVELOPE_VALUES                                                                            \
    SLICE_LITERAL("7"), SLICE_LITERAL("id"), SLICE_LITERAL("placed"), SLICE_LITERAL("order"),      \
        SLICE_LITERAL("42"), SLICE_LITERAL("{}")

/* schema: what the columns of a row are, and which of them the fields of an event are read from.
 *
 * An event is an envelope (flow/event.h) and a row: one Slice for each column of its schema. Names
 * of users (templates, routes) and of the outbox (fields) are resolved against a schema once, when
 * a pipeline is made; with each event goes an index. The outbox has one schema, in which each field
 * is the column of its own number and header_columns stand behind them; whoever reads another table
 * says which of its columns are fields, if any.
 *
 * What is number or time in the envelope stands there alone: its column of the row is null. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "config/config.h"

/* Where the value of a column stands. */
typedef enum SchemaPlace { PLACE_ROW, PLACE_SEQ, PLACE_OCCURRED_AT } SchemaPlace;

typedef struct SchemaColumn {
    const char *name; /* in the table; "": the table has no such column, and nothing names it */
    ColumnClass class;
    SchemaPlace place;
} SchemaColumn;

enum { SCHEMA_NONE = UINT16_MAX }; /* no column */

typedef struct Schema {
    const char *table;           /* for people */
    size_t count;                /* of columns */
    uint16_t field[FIELD_COUNT]; /* the column that a field is read from; SCHEMA_NONE */
    SchemaColumn columns[];
} Schema;

/** A schema of so many columns, without names, of which none is a field. */
Schema *schema_new(const char *table, size_t count);

/** That of the pipeline's outbox. Names are borrowed from the configuration. */
Schema *schema_of_outbox(const PipelineConfig *pipeline);
void schema_free(Schema **schema);

/** The first column of that name, or SCHEMA_NONE; "" names none. */
size_t schema_find(const Schema *schema, Slice name);

/** The last column of that name, or SCHEMA_NONE: where header_columns stand, since one of them may
 * be a field, too. */
size_t schema_find_last(const Schema *schema, Slice name);

/* A value that the server did not send, since it did not change and is stored apart (TOAST): not
 * NULL, and not known. Outbox rows are inserted, and an insert sends every value. */
extern const char SCHEMA_UNSENT[];
#define SLICE_UNSENT ((Slice){.data = SCHEMA_UNSENT, .length = 0})

static inline bool slice_is_unsent(Slice value)
{
    return value.data == SCHEMA_UNSENT;
}

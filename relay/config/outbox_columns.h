/* outbox_columns: what is known of the columns of an outbox table: the table outbox_columns.inc, as
 * C. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum EventField {
#define COLUMN(field, ...) FIELD_##field,
#include "config/outbox_columns.inc"
    COLUMN_COUNT,
    FIELD_COUNT = FIELD_PUBLISHED_AT, /* those before it are parts of an event */
} EventField;

/* rows/row.c reads numbers and times first and what is between them as text; 0 says "no field"
 * where one is noted as odd; sets of columns are 32 bits. */
static_assert(FIELD_SEQ == 0, "seq is the first column");
static_assert(FIELD_OCCURRED_AT == FIELD_COUNT - 1, "occurred_at is the last column of an event");
static_assert((int)COLUMN_COUNT == (int)FIELD_COUNT + 1, "only published_at is no part of it");
static_assert((int)COLUMN_COUNT <= 32, "a set of columns is a uint32_t");

/* How a column is read. */
typedef enum ColumnClass {
    COLUMN_TEXT,     /* as text, whatever its type is */
    COLUMN_NUMBER,   /* as text; a number, or the text of one */
    COLUMN_DOCUMENT, /* as text, which may be stored in a shorter form (jsonb) */
    COLUMN_OBJECT,   /* likewise; json or jsonb */
    COLUMN_BYTES,    /* as bytes: bytea */
    COLUMN_INTEGER,  /* as 64 bits: bigint, integer, smallint */
    COLUMN_TIME,     /* as microseconds: with time zone or without */
} ColumnClass;

typedef struct ColumnHeader {
    int rank;         /* of a record's headers: ascending */
    const char *name; /* NULL: the column makes no header */
} ColumnHeader;

typedef struct OutboxColumn {
    const char *name;
    const char *path; /* of its option: "columns.seq" */
    ColumnClass class;
    const char *made_as; /* NULL: `outboxd migrate` makes no such column */
    bool in_message;
    ColumnHeader cloudevents;
    ColumnHeader plain;
    const char *because;   /* required; NULL: optional */
    const char *elsewhere; /* names, separated by blanks */
} OutboxColumn;

extern const OutboxColumn OUTBOX_COLUMNS[COLUMN_COUNT];

/** How a column of the outbox's rows is read: an EventField, or, behind them, a header column. */
static inline ColumnClass column_class(size_t column)
{
    return column < FIELD_COUNT ? OUTBOX_COLUMNS[column].class : COLUMN_TEXT;
}

static inline bool column_is_bytes(size_t column)
{
    return column_class(column) == COLUMN_BYTES;
}

/** Whether the value may be stored in another form than its text. */
static inline bool column_has_form(size_t column)
{
    ColumnClass class = column_class(column);
    return class == COLUMN_DOCUMENT || class == COLUMN_OBJECT;
}

/** Whether the value may be large: what a row that cannot be read whole is read without. */
static inline bool column_is_body(size_t column)
{
    return column_has_form(column) || column_is_bytes(column);
}

/** Whether records show the column as a header, or as several. */
static inline bool column_makes_headers(EventField field)
{
    const OutboxColumn *column = &OUTBOX_COLUMNS[field];
    return column->cloudevents.name != NULL || column->class == COLUMN_OBJECT;
}

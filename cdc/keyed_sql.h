/* keyed_sql: the statements that find rows of tables by their keys, and what the first of them
 * answers: what the tables are now. */
#pragma once

#include <libpq-fe.h>

#include "base/text.h"
#include "base/vec.h"
#include "change/change_table.h"

/* Columns are places in the table. */
typedef struct KeyedTable {
    const ChangeTable *table;
    const char *filter;      /* rows that it does not mean are not there; NULL: all rows */
    VEC(uint16_t) key;       /* finds a row; not empty */
    VEC(uint16_t) columns;   /* that are read; not empty */
    VEC(const Slice *) rows; /* each has the values of the key, at their places, which are there */
} KeyedTable;

typedef struct KeyedQuestion {
    VEC(KeyedTable) tables;
    VEC(uint32_t) transactions; /* that must be seen */
} KeyedQuestion;

void keyed_question_clear(KeyedQuestion *question);

typedef struct KeyedColumn {
    char *sql;  /* its name; NULL: it is not there any more, or of another type */
    char *type; /* what a text becomes, to be compared with it */
    char *same; /* the operator that compares them */
} KeyedColumn;

/* What a table of the question is now. */
typedef struct KeyedFound {
    char *name;           /* as SQL; NULL: it is gone */
    bool divided;         /* its rows are in its partitions */
    KeyedColumn *columns; /* of each in the table */
    size_t count;
} KeyedFound;

void keyed_found_clear(KeyedFound *found);

/** Appends two statements: which transactions are seen (column KEYED_SNAPSHOT of one row), and what
 * the tables are now. */
void keyed_add_description(const KeyedQuestion *question, Text *sql);
#define KEYED_SNAPSHOT "keyed_snapshot"
/** Reads what a table of the question is now; what was known before is replaced. False: it is no
 * answer to that. */
bool keyed_read_description(const PGresult *result, const KeyedTable *table, KeyedFound *found);
/** Its key is there, and a column of those that are wanted. */
bool keyed_is_readable(const KeyedTable *table, const KeyedFound *found);

/** Appends a COPY of the rows, in the text format: the place of each among the rows of the
 * question, and behind it the columns. No row when the table has another name by then. */
void keyed_add_read(const KeyedTable *table, const KeyedFound *found, Text *sql);

/* A list of which the server says how long it is, and the beginning: the answer is as long with
 * thousands of tables as with one. */
#pragma once

#include "base/text.h"
#include "rows/precondition_internal.h"

enum { SOME_MAX = 5 };

typedef struct Some {
    size_t count; /* of all */
    size_t shown;
    char *names[SOME_MAX]; /* inside of text */
    char *text;
} Some;

#define AUTO_SOME __attribute__((cleanup(some_clear))) Some

/** False when the column tells that none of its tables is named by a mapping: whoever may create a
 * table may then have made it so. */
bool some_are_named(const Facts *facts, const char *column);

/** Reads a column of the answer: the count ("3", or "3/1" with that of those that are named), then
 * up to SOME_MAX names, a record separator (036) between them. One that is not there is empty. */
Some some_read(const Facts *facts, const char *column);
void some_clear(Some *some);

/** Appends ", ... " to SQL that was cut short, which makes it no valid SQL, or " and 7 more" to a
 * text; nothing when all are shown. */
void some_add_rest(const Some *some, bool as_sql, Text *text);
/** Appends the names for people. */
void some_add(const Some *some, Text *text);
/** Appends them for SQL, each behind `before`. */
void some_add_sql(const Some *some, const char *before, Text *sql);

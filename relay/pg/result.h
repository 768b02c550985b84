/* result: the only way to the values of an answer. A server, or what stands in between, may answer
 * with no row, with fewer columns or with NULL where a value belongs: what is read is never a null
 * pointer then, and what was missing is noted. Whoever sent the question asks for that note when
 * its answer has been read: pg/conn.c for all of the relay, app/main.c for the sub-commands.
 *
 * libpq's PQgetvalue, PQgetisnull and PQgetlength appear nowhere else (`tests/run lint`). Rows of
 * COPY do not come this way. Any thread; each has its own note. Texts belong to the result. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/error.h"

/** The value's text; "" for NULL. A row or column that is not there is noted, and reads as "". */
const char *pg_value(const PGresult *result, int row, int column);

/** The same of a value that is never NULL: NULL is noted, too. */
const char *pg_needed(const PGresult *result, int row, int column);

/** NULL, or not there, which is noted. */
bool pg_is_null(const PGresult *result, int row, int column);

/** By the column's name: "" when it is NULL or not there, and nothing is noted: for questions that
 * are asked of some servers alone. */
const char *pg_field(const PGresult *result, int row, const char *name);
/** The same, but NULL instead of "". */
const char *pg_field_or_null(const PGresult *result, int row, const char *name);
/** By name; never NULL, and always there: else it is noted, and reads as "". */
const char *pg_needed_field(const PGresult *result, int row, const char *name);

/** Forgets the note. */
void pg_result_begin(void);

/** FAILED with RETRY / PG_PROTOCOL when something was missing since the last call, or since
 * pg_result_begin(): the first of it. Forgets the note. question: what was asked, or NULL. */
Status pg_result_end(const char *question, Error *err);

/* sqlstate: what each error of PostgreSQL means for us. */
#pragma once

#include <libpq-fe.h>

#include "base/error.h"

/** Fills *err from a failed result: class by SQLSTATE, PostgreSQL's message, a hint. Returns
 * FAILED. */
Status sqlstate_error(const PGresult *result, Error *err);

/** Fills *err: class, code and remedy by SQLSTATE. Returns FAILED. */
Status sqlstate_fill(const char *state, const char *message, Error *err);

/** Whether a SQLSTATE is that one, or begins so: its class is the first two characters. */
bool sqlstate_matches(const char *state, const char *wanted);

/** True when the SQLSTATE begins so; never for what the server did not say. */
bool sqlstate_is(const Error *err, const char *prefix);

/** True when the server refused the statement, on a connection that is fine, because of what an
 * administrator can change: rights, tables, columns, publications (SQLSTATE class 42, or 55000). */
bool sqlstate_is_refusal(const Error *err);

/** True when it was met in a function of the database: a trigger's, say, of somebody else. */
bool sqlstate_is_of_function(const Error *err);

/** True when the server failed for what data is: an internal error, data that is damaged, out of
 * range or larger than it can take (SQLSTATE classes XX, 22 and 54). */
bool sqlstate_is_of_data(const Error *err);

/** How often that has to be met of one row until it is believed: what the server calls an internal
 * error may be of a moment. */
unsigned sqlstate_tries_of_data(const Error *err);

/** Fills *err from a connection that could not be made or broke. Returns FAILED. */
Status sqlstate_connection_error(const PGconn *connection, Error *err);

/** The same from what libpq says about it; role: who wanted to connect. */
Status sqlstate_connection_said(const char *role, const char *message, Error *err);

/** True when a connection was refused for its user or password, and not for what no other password
 * would change. */
bool sqlstate_is_of_login(const Error *err);

/* wal_log: how far the server's own log goes, as far as it told us on the claim's connection, and
 * whether others write to it. What the stream tells of the log is compared with that, and an outbox
 * that is idle follows the log of others. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct ServerLog ServerLog;

ServerLog *server_log_new(void);
void server_log_free(ServerLog **log);

/** Insert position by the last answer; 0: not known. */
uint64_t server_log_end(const ServerLog *log);
void server_log_take_end(ServerLog *log, uint64_t end);
/** From an answer; what is no place changes nothing. */
void server_log_read_end(ServerLog *log, const char *text);

/** A place in the log that cannot be believed without asking the server, or after it answered. */
bool server_log_is_far(const ServerLog *log, uint64_t place, bool answered);
/** Fills *err: a message of the stream tells of a place beyond the end. */
void server_log_refuse(const ServerLog *log, uint64_t place, Error *err);

/** A new stream: nothing that it told is proven. */
void server_log_begin(ServerLog *log);
/** The end of the log is asked for; a keep-alive told of this place before. 0: none did. */
void server_log_ask(ServerLog *log, uint64_t told);
/** FAILED: the end that came is before that place. */
Status server_log_check(const ServerLog *log, Error *err);
/** The place is proven, and a row of (next transaction id, end) tells whether others wrote beyond
 * our position. */
void server_log_prove(ServerLog *log, const PGresult *row, uint64_t position);
/** What was told by keep-alives, and that the log is that long. */
uint64_t server_log_proven(const ServerLog *log);

/** Others wrote: a position is to be confirmed as soon as the stream is beyond it. */
bool server_log_wants_confirming(const ServerLog *log);
/** How far the stream must be for that, or, if nobody wrote, for a position of its own. */
uint64_t server_log_until(const ServerLog *log, uint64_t position);
void server_log_confirmed(ServerLog *log);

/* libpq: PostgreSQL's client library, played by the test. libpq.c defines the functions that
 * relay/pg/conn.c and the rooms above it call; the linker prefers them to the library's.
 *
 * The test is the server: for each query its function appends results to a reply, which then
 * arrives over a socket that the loop watches, piece by piece if asked. Any call that can fail can
 * be made to: the N-th one (stub_fail_at), or by chance (stub_fail_often). One stub for a process.
 */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct StubReply StubReply;

typedef struct StubQuery {
    int connection;  /* 1: the first that was made */
    const char *sql; /* NULL for a prepared statement */
    const char *statement;
    int param_count;
    const char *const *values;
    const int *lengths;
    const int *formats;
} StubQuery;

typedef void (*StubServer)(void *arg, const StubQuery *query, StubReply *reply);

/** Forgets everything and sets the server; an unset one answers every query with nothing. */
void stub_reset(StubServer server, void *arg);

/* For the server. Of two statements that are sent together each has a reply, but the second has
 * none when the first one's is an error. */

/** A result of one row; names and values end with NULL pairs: "pid", "7", ..., NULL. A value that
 * is STUB_NULL is SQL NULL. */
PGresult *stub_result(const char *none, ...) __attribute__((sentinel));
void stub_reply_row(StubReply *reply, ...) __attribute__((sentinel));
/** One more row, of the same columns, for the result that was appended last. */
void stub_reply_more(StubReply *reply, ...) __attribute__((sentinel));
/** A result without rows: PGRES_TUPLES_OK. */
void stub_reply_no_row(StubReply *reply);
/** PGRES_COMMAND_OK; rows is what PQcmdTuples says. */
void stub_reply_command(StubReply *reply, int rows);
/** COPY OUT begins; rows follow; the end comes by itself before the next result. */
void stub_reply_copy(StubReply *reply);
/** A row is at least one byte long: libpq hands no others on. */
void stub_reply_copy_row(StubReply *reply, const char *bytes, size_t length);
/** An error of the server; nothing may follow. state NULL: made by libpq itself. */
void stub_reply_error(StubReply *reply, const char *state, const char *message);
/** The connection breaks here. state: of the server's last words, or NULL. */
void stub_reply_break(StubReply *reply, const char *state);
/** Nothing more comes until stub_continue. */
void stub_reply_hang(StubReply *reply);

extern const char *const STUB_NULL;

/* CopyBoth and CopyIn, for those who link libpq_stream.c. */

/** COPY IN begins. What is appended after this comes once the client has ended it, or, when it ends
 * it with a reason, an error in its place. */
void stub_reply_copy_in(StubReply *reply);

/** START_REPLICATION is accepted. */
void stub_reply_copy_both(StubReply *reply);
/** A CopyData message of the server on an open stream. */
void stub_stream_send(int connection, const char *bytes, size_t length);
/** The server ends the stream with an error. */
void stub_stream_end(int connection, const char *state, const char *message);
/** Called with each CopyData message that the client sends; arg is the server's. */
typedef void (*StubReceiver)(void *arg, int connection, const char *bytes, size_t length);
void stub_stream_receive(StubReceiver receive);

/* For the test. */

/** Lets hanging replies go on. */
void stub_continue(void);
/** So many pieces arrive at a time; 0 (the default): all. */
void stub_set_pieces(size_t pieces);
/** After two statements of which one failed the end of both is lost, as by libpq before 15.6. */
void stub_lose_sync(bool lose);
/** The first so many calls of PQflush leave something to be sent. */
void stub_set_slow_flushes(size_t count);
/** PQconnectStartParams makes a connection that is bad from the start, or that is refused in
 * PQconnectPoll, with this text; NULL: it succeeds. */
void stub_refuse_start(const char *message);
void stub_refuse_poll(const char *message);
/** PG_OPEN_SQL fails with this SQLSTATE; NULL: it succeeds. The stub answers it, not the server,
 * and takes no other query before it. */
void stub_refuse_open(const char *sqlstate);
/** A pooler answers PG_OPEN_SQL, which has a number of its own. */
void stub_set_pooled(bool pooled);
/** The mark of the last session behind it. */
const char *stub_session_mark(void);
/** PQconnectPoll waits for a server that says nothing. */
void stub_stay_connecting(bool stay);
/** A NOTIFY arrives on this connection. */
void stub_notify(int connection, const char *channel);
/** What PQparameterStatus says of server_encoding: NULL, and after stub_reset, "UTF8". */
void stub_set_encoding(const char *encoding);
/** What PQserverVersion says: 150000 after stub_reset. */
void stub_set_version(int version);
/** An idle connection is broken by the server. */
void stub_break_idle(int connection);

/** The n-th call from now on that can fail fails (1: the first; 0: none). hard: it breaks the
 * connection, where that makes a difference. */
void stub_fail_at(size_t n, bool hard);
/** Each call fails with this chance in 1000; a failure is hard or not by chance. */
void stub_fail_often(unsigned permille, uint64_t seed);
/** How many calls failed so since stub_reset. */
size_t stub_failures(void);

/** What is wrong with an answer with rows. */
typedef enum StubLie {
    LIE_NO_ROW,     /* all its columns, and no row */
    LIE_ONE_COLUMN, /* the first alone */
    LIE_NULLS,      /* in the place of each value */
    LIE_COMMAND,    /* PGRES_COMMAND_OK */
    LIE_EMPTY,      /* PGRES_EMPTY_QUERY */
    LIE_COPY_IN,
    LIE_COPY_OUT,
    LIE_COPY_BOTH,
    STUB_LIES
} StubLie;
/** The n-th answer with rows from now on (1: the first; 0: none) is such a one; times: so many from
 * there on. about: only those of statements that contain this text; NULL: all. */
void stub_lie_at(size_t n, size_t times, StubLie lie, const char *about);
/** How many answers were so since stub_reset. */
size_t stub_lies(void);

/** Value of a keyword at the last PQconnectStartParams; NULL: not given. */
const char *stub_connect_value(const char *keyword);
/** Connections made since stub_reset; those not finished; results not cleared; cancel requests. */
int stub_connections(void);
int stub_open_connections(void);
int stub_open_results(void);
int stub_cancels(void);

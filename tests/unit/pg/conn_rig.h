/* conn_rig: a connection over a libpq that the test plays (tests/stub/libpq.h): what the server
 * does is written in the SQL, a letter each (conn_rig.c). One for each test process. */
#pragma once

#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "pg/conn.h"
#include "stub/clock.h"
#include "stub/libpq.h"

enum { WAIT_US = 10000000 };

typedef struct ConnRig {
    struct event_base *base;
    Worker *worker;
    struct event *worker_io;
    PgConnOptions options;
    PgConn *conn;
    size_t opened; /* calls with err == NULL */
    size_t refused;
    size_t done;
    Error error; /* of the last refusal or end of a query */
    Text heard;  /* what the query's callbacks got */
    const char *next_sql;
    bool close_in_result;
    bool close_in_row;
    bool hold_in_row;
    bool cancel_in_row;
    size_t slices; /* that are fed */
    size_t fed;    /* so many have been, of the running query */
    const char *feed_fails;
} ConnRig;

extern ConnRig at;

/* Callbacks and the server, which note in `at` what they are told. */
void rig_on_row(void *arg, const char *bytes, size_t length);
void rig_on_result(void *arg, const PGresult *result);
void rig_on_done(void *arg, const Error *err);
Slice rig_on_feed(void *arg, const char **ret_why);
void rig_serve(void *arg, const StubQuery *query, StubReply *reply);

/** Turns the loop until a counter is so high. */
void rig_wait_for(const size_t *count, size_t least);
/** Turns it some times. */
void rig_turn(void);
/** Until the worker has nothing to do. */
void rig_wait_worker(void);
/** Makes the connection and begins to open it. */
void rig_make(void);
/** ... until it is open. */
void rig_connected(void);
/** Sends a query. */
void rig_ask(const char *sql);
/** What the callbacks got since the last time. */
void rig_assert_heard(const char *expected);
/** As rig_wait_for, and time passes whenever nothing else happens; the worker must have nothing to
 * do. */
void rig_pass_for(const size_t *count, size_t least);

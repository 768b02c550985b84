/* login: how conn.c begins a connection: the password first, where a program prints it
 * (token/token.h), then the names of the DSN, which the worker resolves, since that may block. Loop
 * thread. */
#pragma once

#include <libpq-fe.h>

#include "base/error.h"
#include "pg/conn.h"

typedef struct PgLogin PgLogin;

typedef struct PgLoginEvents {
    void *arg;
    /** The password is there: what takes time from here on is the server's. */
    void (*dialing)(void *arg);
    /** As PQconnectStartParams left it, good or bad; the receiver's. */
    void (*dialed)(void *arg, PGconn *pg);
    /** There is no password. */
    void (*failed)(void *arg, const Error *err);
} PgLoginEvents;

/** Begins; dialed() or failed() follows, not from inside. */
PgLogin *pg_login_begin(const PgConnOptions *options, const PgLoginEvents *events);
/** Of no use any more: nothing follows. NULL is allowed. */
void pg_login_drop(PgLogin **login);

/** The server has let the session in. */
void pg_login_accepted(const PgLogin *login);
/** It has not; where it refuses a password that a program has printed, *err becomes RETRY. */
void pg_login_refused(const PgLogin *login, Error *err);

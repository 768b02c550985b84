/* cancel: a request to the server to cancel what a connection runs. It travels on a connection of
 * its own, off the loop, and hits whatever runs when it arrives. */
#pragma once

#include <libpq-fe.h>

#include "base/worker.h"

typedef struct PgCancel PgCancel;

/** done(arg) on the loop, once it has been dealt with; it is gone then. */
PgCancel *pg_cancel_send(PGconn *pg, Worker *worker, void (*done)(void *arg), void *arg);
/** Nobody is told. NULL is allowed. */
void pg_cancel_drop(PgCancel **cancel);

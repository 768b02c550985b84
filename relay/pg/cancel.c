#include "pg/cancel.h"

#include <stdlib.h>

#include "base/memory.h"

struct PgCancel {
    PGcancel *request;
    void (*done)(void *arg); /* NULL: nobody is told; loop thread only */
    void *arg;
};

static void cancel_run(void *arg)
{
    PgCancel *cancel = arg;
    char error[256];
    (void)PQcancel(cancel->request, error, sizeof(error)); /* too late is fine */
    PQfreeCancel(cancel->request);
}

static void cancel_done(void *arg)
{
    PgCancel *cancel = arg;
    void (*done)(void *arg) = cancel->done;
    void *owner = cancel->arg;
    free(cancel);
    if (done != NULL) {
        done(owner);
    }
}

PgCancel *pg_cancel_send(PGconn *pg, Worker *worker, void (*done)(void *arg), void *arg)
{
    PgCancel *cancel = x_malloc(sizeof(*cancel));
    *cancel = (PgCancel){.request = PQgetCancel(pg), .done = done, .arg = arg};
    worker_submit(worker, cancel_run, cancel_done, cancel);
    return cancel;
}

void pg_cancel_drop(PgCancel **cancel)
{
    if (*cancel != NULL) {
        (*cancel)->done = NULL;
        *cancel = NULL;
    }
}

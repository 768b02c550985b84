/* worker: one helper thread for library calls that block (producer destroy, metadata queries,
 * cancel requests, name look-ups). Jobs run one after the other and touch no state of the loop
 * thread.
 *
 * The loop watches worker_fd() and calls worker_dispatch(), which runs the `done` functions of the
 * finished jobs on the loop thread. */
#pragma once

#include <stdbool.h>

typedef struct Worker Worker;

Worker *worker_new(void);

/** Waits for the running job, drops the queued ones without running them (their done functions are
 * not called), ends the thread. */
void worker_free(Worker **worker);

/** Queues run(arg) for the helper thread; afterwards done(arg) (NULL: none) on the loop thread. */
void worker_submit(Worker *worker, void (*run)(void *arg), void (*done)(void *arg), void *arg);

/** True while a job waits, runs, or its done function has not been called. */
bool worker_is_busy(Worker *worker);

/** Becomes readable when jobs have finished. */
int worker_fd(const Worker *worker);

/** Loop thread: runs the done functions of finished jobs. */
void worker_dispatch(Worker *worker);

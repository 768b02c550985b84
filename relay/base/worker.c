#include "base/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fatal.h"
#include "base/memory.h"
#include "base/thread.h"

typedef struct Job {
    void (*run)(void *arg);
    void (*done)(void *arg);
    void *arg;
    struct Job *next;
} Job;

typedef struct JobQueue {
    Job *first;
    Job *last;
} JobQueue;

struct Worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    JobQueue waiting;
    JobQueue finished;
    bool stop;
    size_t open; /* jobs submitted and not dispatched */
    int fd;
};

static void queue_put(JobQueue *queue, Job *job)
{
    job->next = NULL;
    if (queue->last != NULL) {
        queue->last->next = job;
    } else {
        queue->first = job;
    }
    queue->last = job;
}

static Job *queue_take(JobQueue *queue)
{
    Job *job = queue->first;
    if (job != NULL) {
        queue->first = job->next;
        if (queue->first == NULL) {
            queue->last = NULL;
        }
    }
    return job;
}

static void *worker_main(void *arg)
{
    Worker *worker = arg;
    pthread_mutex_lock(&worker->lock);
    while (!worker->stop) {
        Job *job = queue_take(&worker->waiting);
        if (job == NULL) {
            pthread_cond_wait(&worker->wake, &worker->lock);
            continue;
        }
        pthread_mutex_unlock(&worker->lock);
        job->run(job->arg);
        pthread_mutex_lock(&worker->lock);
        queue_put(&worker->finished, job);
        uint64_t one = 1;
        (void)!write(worker->fd, &one, sizeof(one));
    }
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

Worker *worker_new(void)
{
    Worker *worker = x_calloc(1, sizeof(*worker));
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->wake, NULL);
    worker->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (worker->fd < 0) {
        fatal_refused("a file descriptor", errno);
    }
    thread_start(&worker->thread, worker_main, worker);
    return worker;
}

void worker_free(Worker **worker)
{
    Worker *w = *worker;
    if (w == NULL) {
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    for (Job *job;
         (job = queue_take(&w->waiting)) != NULL || (job = queue_take(&w->finished)) != NULL;) {
        free(job);
    }
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    close(w->fd);
    free(w);
    *worker = NULL;
}

void worker_submit(Worker *worker, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
    Job *job = x_malloc(sizeof(*job));
    *job = (Job){.run = run, .done = done, .arg = arg};
    pthread_mutex_lock(&worker->lock);
    queue_put(&worker->waiting, job);
    worker->open++;
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->lock);
}

bool worker_is_busy(Worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    bool busy = worker->open > 0;
    pthread_mutex_unlock(&worker->lock);
    return busy;
}

int worker_fd(const Worker *worker)
{
    return worker->fd;
}

void worker_dispatch(Worker *worker)
{
    uint64_t count = 0;
    (void)!read(worker->fd, &count, sizeof(count));
    for (;;) {
        pthread_mutex_lock(&worker->lock);
        Job *job = queue_take(&worker->finished);
        worker->open -= job != NULL;
        pthread_mutex_unlock(&worker->lock);
        if (job == NULL) {
            return;
        }
        if (job->done != NULL) {
            job->done(job->arg);
        }
        free(job);
    }
}

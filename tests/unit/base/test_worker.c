#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>

#include "base/worker.h"

typedef struct Job {
    Worker *worker;
    pthread_t ran_on;
    int ran;  /* position among all jobs, from 1 */
    int done; /* position among all done calls, from 1 */
    int *ran_count;
    int *done_count;
} Job;

static void job_run(void *arg)
{
    Job *job = arg;
    job->ran_on = pthread_self();
    job->ran = ++*job->ran_count;
}

static void job_done(void *arg)
{
    Job *job = arg;
    job->done = ++*job->done_count;
}

static void worker_wait(Worker *worker, const int *count, int wanted)
{
    while (*count < wanted) {
        struct pollfd fd = {.fd = worker_fd(worker), .events = POLLIN};
        cr_assert_eq(poll(&fd, 1, 10000), 1, "no job finished within 10 s");
        worker_dispatch(worker);
    }
}

Test(worker, jobs_run_in_order_elsewhere_and_are_done_here)
{
    enum { JOBS = 100 };
    Job jobs[JOBS];
    int ran_count = 0;
    int done_count = 0;
    Worker *worker = worker_new();
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (Job){.worker = worker, .ran_count = &ran_count, .done_count = &done_count};
        worker_submit(worker, job_run, job_done, &jobs[i]);
    }
    worker_wait(worker, &done_count, JOBS);
    for (int i = 0; i < JOBS; i++) {
        cr_assert_eq(jobs[i].ran, i + 1);
        cr_assert_eq(jobs[i].done, i + 1);
        cr_assert_not(pthread_equal(jobs[i].ran_on, pthread_self()));
    }
    worker_free(&worker);
    cr_assert_null(worker);
}

static void job_done_submits(void *arg)
{
    Job *job = arg;
    job_done(job);
    if (*job->done_count < 3) {
        worker_submit(job->worker, job_run, job_done_submits, job);
    }
}

Test(worker, a_done_function_may_submit_the_next_job)
{
    int ran_count = 0;
    int done_count = 0;
    Worker *worker = worker_new();
    Job job = {.worker = worker, .ran_count = &ran_count, .done_count = &done_count};
    worker_submit(worker, job_run, job_done_submits, &job);
    worker_wait(worker, &done_count, 3);
    cr_assert_eq(ran_count, 3);
    worker_free(&worker);
}

Test(worker, freeing_calls_no_done_function_of_jobs_that_were_not_dispatched)
{
    int ran_count = 0;
    int done_count = 0;
    Worker *worker = worker_new();
    Job job = {.worker = worker, .ran_count = &ran_count, .done_count = &done_count};
    for (int i = 0; i < 50; i++) {
        worker_submit(worker, job_run, job_done, &job);
    }
    worker_free(&worker);
    cr_assert_eq(done_count, 0);
}

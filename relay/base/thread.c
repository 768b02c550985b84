#include "base/thread.h"

#include <signal.h>

#include "base/fatal.h"

void thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(ret_thread, NULL, run, arg);
    if (failed != 0) {
        fatal_refused("a thread", failed);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

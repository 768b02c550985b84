#include "base/thread.h"

#include <signal.h>
#include <stdlib.h>

void thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(ret_thread, NULL, run, arg) != 0) {
        abort();
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

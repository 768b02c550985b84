/* thread: threads beside the loop thread. Signals are for the loop thread, so they take none. */
#pragma once

#include <pthread.h>

/** Starts run(arg) in a thread that the caller joins; ends the process when there can be none. */
void thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg);

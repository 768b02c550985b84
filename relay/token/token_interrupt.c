#include "token/token_interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

static const int SIGNALS[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { SIGNAL_COUNT = sizeof(SIGNALS) / sizeof(SIGNALS[0]) };

static struct sigaction before[SIGNAL_COUNT];
static bool taken[SIGNAL_COUNT];
static volatile sig_atomic_t fd = -1;
static volatile sig_atomic_t came; /* 0: none */

static void on_signal(int number)
{
    const uint64_t one = 1;
    int kept = errno;
    came = number;
    (void)!write(fd, &one, sizeof(one));
    errno = kept;
}

void token_interrupt_begin(int cancel_fd)
{
    fd = cancel_fd;
    came = 0;
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        taken[i] = sigaction(SIGNALS[i], NULL, &before[i]) == 0 &&
                   (before[i].sa_flags & SA_SIGINFO) == 0 && before[i].sa_handler == SIG_DFL &&
                   sigaction(SIGNALS[i], &action, NULL) == 0;
    }
}

void token_interrupt_end(void)
{
    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        if (taken[i]) {
            (void)sigaction(SIGNALS[i], &before[i], NULL);
        }
    }
    if (came != 0) {
        (void)raise(came);
    }
}

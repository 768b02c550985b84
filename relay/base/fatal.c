/* The last lines are written like all others, from memory that was kept back; should that not do,
 * or should another thread be at it already, a fixed text takes their place. */
#include "base/fatal.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/put.h"

enum {
    RESERVE_BYTES = 64 * 1024,
    PLAIN_PATIENCE_MS = 100,
};

static char *reserve;
static atomic_flag ending = ATOMIC_FLAG_INIT;

/* Not by log_output: this may have interrupted the thread that has its lock. */
static _Noreturn void fatal_plain(const char *text)
{
    struct pollfd output = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&output, 1, PLAIN_PATIENCE_MS) == 1) {
        (void)put_now(STDERR_FILENO, text, strlen(text));
    }
    _exit(EXIT_INTERNAL);
}

static _Noreturn void fatal_stop(ErrorCode code)
{
    log_write(
        LOG_INFO, NULL, CODE_STOPPED,
        LOG_FIELDS(log_number("exit_code", EXIT_INTERNAL), log_text("why", error_code_name(code))),
        "stopped");
    _exit(EXIT_INTERNAL);
}

/* Of base/memory.c; when it returns, a fixed text does. */
static void on_out_of_memory(void)
{
    if (atomic_flag_test_and_set(&ending)) {
        return;
    }
    free(reserve);
    log_write(LOG_ERROR, NULL, CODE_OUT_OF_MEMORY, LOG_NO_FIELDS,
              "the system gives no more memory; ending at once");
    fatal_stop(CODE_OUT_OF_MEMORY);
}

void fatal_refused(const char *what, int error)
{
    char room[128];
    log_write(LOG_ERROR, NULL, CODE_RESOURCE_REFUSED, LOG_NO_FIELDS,
              "the system refuses %s: %s; ending at once", what,
              strerror_r(error, room, sizeof(room)));
    fatal_stop(CODE_RESOURCE_REFUSED);
}

/* From abort(), or from outside: the watchdog of systemd sends this signal, too. */
static void on_abort(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code != SI_TKILL) {
        (void)signal(number, SIG_DFL);
        (void)raise(number); /* when this returns */
        return;
    }
    fatal_plain("outboxd: a library ended the process. The most likely cause is that the system "
                "gave it no more memory; the line above may say more. No event is lost.\n");
}

void fatal_prepare(void)
{
    reserve = x_malloc(RESERVE_BYTES);
    memset(reserve, 1, RESERVE_BYTES); /* it is ours, not only promised */
    memory_on_end(on_out_of_memory);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which end by abort(), too   \
                                                                     */
    struct sigaction action = {.sa_sigaction = on_abort, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGABRT, &action, NULL);
#else
    (void)on_abort;
#endif
}

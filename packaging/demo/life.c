/* life.c - see life.h. */
#include "life.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

void life_tie_to_parent(void)
{
    pid_t parent = getppid();

    /* The signal is not sent for a parent that ended before this call, hence the second look. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) {
        life_fail(70, "prctl: cannot follow the parent process");
    }
    if (getppid() != parent) {
        _exit(0);
    }
}

int life_parse_int(const char *option, const char *text, int min, int max)
{
    char *end = NULL;

    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max) {
        life_fail(1, "%s takes a number between %d and %d, not '%s'", option, min, max, text);
    }
    return (int)value;
}

noreturn void life_fail(int code, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, format);
    vfprintf(stderr, format, args); // NOLINT(clang-analyzer-valist.*)
    va_end(args);
    fputc('\n', stderr);
    exit(code);
}

static int64_t clock_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t life_now_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t life_monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

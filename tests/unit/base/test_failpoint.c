#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/failpoint.h"

#ifdef OUTBOXD_FAILPOINTS

/* Criterion runs each test in a process of its own, so the list is read once for each. */

Test(failpoint, without_the_variable_nothing_fails)
{
    unsetenv("OUTBOXD_FAILPOINTS");
    cr_assert_not(FAILPOINT("fetched"));
}

Test(failpoint, an_error_comes_at_the_given_passage_and_only_once)
{
    setenv("OUTBOXD_FAILPOINTS", "fetched:3:error,locked:1:error", 1);
    cr_assert_not(FAILPOINT("fetched"));
    cr_assert_not(FAILPOINT("fetched"));
    cr_assert(FAILPOINT("fetched"));
    cr_assert_not(FAILPOINT("fetched"));
    cr_assert_not(FAILPOINT("marked"));
    cr_assert(FAILPOINT("locked"));
}

static int status_of_child(const char *list, const char *passed)
{
    pid_t child = fork();
    if (child == 0) {
        setenv("OUTBOXD_FAILPOINTS", list, 1);
        (void)FAILPOINT(passed);
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

Test(failpoint, kill_ends_the_process_by_sigkill)
{
    int status = status_of_child("enqueued:1:kill", "enqueued");
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(WTERMSIG(status), SIGKILL);
}

Test(failpoint, exit_ends_the_process_with_the_internal_error_code)
{
    int status = status_of_child("enqueued:1:exit", "enqueued");
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), EXIT_INTERNAL);
}

Test(failpoint, a_list_that_cannot_be_read_is_a_configuration_error)
{
    int status = status_of_child("enqueued", "enqueued");
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), EXIT_CONFIG);
}

Test(failpoint, sleep_takes_at_least_its_time_and_does_not_fail)
{
    setenv("OUTBOXD_FAILPOINTS", "marked:1:sleep:30", 1);
    struct timespec before;
    struct timespec after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    cr_assert_not(FAILPOINT("marked"));
    clock_gettime(CLOCK_MONOTONIC, &after);
    long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    cr_assert_geq(ms, 29);
}

#else

Test(failpoint, compiled_out_nothing_ever_fails)
{
    setenv("OUTBOXD_FAILPOINTS", "fetched:1:kill", 1);
    cr_assert_not(FAILPOINT("fetched"));
}

#endif

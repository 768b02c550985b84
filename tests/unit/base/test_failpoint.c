#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/failpoint.h"

#ifdef OUTBOXD_FAILPOINTS

/* Criterion runs each test in a process of its own, so the list is read once for each. */

static Error err;

Test(failpoint, without_the_variable_nothing_fails)
{
    unsetenv("OUTBOXD_FAILPOINTS");
    failpoint_check();
    cr_assert_not(FAILPOINT_FAILS("fetched", &err));
    FAILPOINT("producing");
}

Test(failpoint, an_error_comes_at_the_given_passage_and_only_once)
{
    setenv("OUTBOXD_FAILPOINTS", "fetched:3:error,locked:1:error", 1);
    cr_assert_not(FAILPOINT_FAILS("fetched", &err));
    cr_assert_not(FAILPOINT_FAILS("fetched", &err));
    cr_assert(FAILPOINT_FAILS("fetched", &err));
    cr_assert_eq(err.class, ERROR_RETRY);
    cr_assert_eq(err.code, CODE_FAILPOINT);
    cr_assert_str_eq(error_message(&err), "fail point 'fetched'");
    cr_assert_not(FAILPOINT_FAILS("fetched", &err));
    cr_assert_not(FAILPOINT_FAILS("marked", &err));
    cr_assert(FAILPOINT_FAILS("locked", &err));
}

/* The wait status of a child that checks the list and passes `passed` (NULL: nothing); what it says
 * is left in said[]. */
static char said[2000];

static int status_of_child(const char *list, const char *passed)
{
    int output[2];
    cr_assert_eq(pipe(output), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(output[1], STDERR_FILENO);
        setenv("OUTBOXD_FAILPOINTS", list, 1);
        failpoint_check();
        if (passed != NULL) {
            FAILPOINT(passed);
        }
        _exit(0);
    }
    close(output[1]);
    size_t length = 0;
    for (ssize_t n = 1; n > 0; length += n > 0 ? (size_t)n : 0) {
        n = read(output[0], said + length, sizeof(said) - 1 - length);
    }
    said[length] = '\0';
    close(output[0]);
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

Test(failpoint, kill_ends_the_process_by_sigkill)
{
    int status = status_of_child("settled:1:kill", "settled");
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(WTERMSIG(status), SIGKILL);
}

Test(failpoint, exit_ends_the_process_with_the_internal_error_code)
{
    int status = status_of_child("settled:1:exit", "settled");
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), EXIT_INTERNAL);
}

Test(failpoint, what_would_have_no_effect_is_refused_at_the_start)
{
    static const struct {
        const char *list;
        const char *why;
    } REFUSED[] = {
        {"enqueued", "name:count:action is wanted"},
        {"enqueued:x:kill", "name:count:action is wanted"},
        {"enqueued:1:kill now", "name:count:action is wanted"},
        {"enqueued:0:kill", "the count is 1 for the first passage"},
        {"enqueued:-1:kill", "the count is 1 for the first passage"},
        {"enqued:1:kill", "'enqued:1:kill': no such fail point"},
        {"enqueued:1:kil", "no such action"},
        {"enqueued:1:sleep:", "sleep needs a number"},
        {"enqueued:1:sleep:soon", "sleep needs a number"},
        {"producing:1:error", "'producing:1:error': this point has no effect"},
        {"delivered:1:error", "no effect for the action error"},
        {"settled:1:error", "no effect for the action error"},
        {"connect:1:kill,settled:1:error", "'settled:1:error'"},
    };
    for (size_t i = 0; i < sizeof(REFUSED) / sizeof(REFUSED[0]); i++) {
        int status = status_of_child(REFUSED[i].list, NULL);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CONFIG, "%s", REFUSED[i].list);
        cr_assert_not_null(strstr(said, REFUSED[i].why), "%s: %s", REFUSED[i].list, said);
    }
}

Test(failpoint, a_list_that_is_too_long_is_refused)
{
    char list[1000] = "";
    for (int i = 0; i < 60; i++) {
        strcat(list, "connect:1:kill,");
    }
    cr_assert_eq(WEXITSTATUS(status_of_child(list, NULL)), EXIT_CONFIG);
    list[17 * strlen("connect:1:kill,")] = '\0';
    cr_assert_eq(WEXITSTATUS(status_of_child(list, NULL)), EXIT_CONFIG);
    cr_assert_not_null(strstr(said, "too many fail points"));
}

Test(failpoint, a_place_that_is_not_in_the_table_or_of_another_kind_aborts)
{
    cr_assert(WIFSIGNALED(status_of_child("", "nowhere")));
    cr_assert(WIFSIGNALED(status_of_child("", "fetched")), "the macro of fetched is another one");
}

Test(failpoint, each_action_is_noted_in_the_file_before_it_is_done)
{
    char path[] = "/tmp/test_failpoint.XXXXXX";
    int file = mkstemp(path);
    setenv("OUTBOXD_FAILPOINT_LOG", path, 1);
    status_of_child("settled:1:kill", "settled");
    status_of_child("settled:2:kill", "settled"); /* not hit */
    setenv("OUTBOXD_FAILPOINTS", "marked:2:error,settled:1:sleep:1", 1);
    cr_assert_not(FAILPOINT_FAILS("marked", &err));
    cr_assert(FAILPOINT_FAILS("marked", &err));
    FAILPOINT("settled");
    char noted[200] = "";
    cr_assert_gt(read(file, noted, sizeof(noted) - 1), 0);
    cr_assert_str_eq(noted, "settled:1:kill\nmarked:2:error\nsettled:1:sleep:1\n");
    close(file);
    unlink(path);
}

Test(failpoint, sleep_takes_at_least_its_time_and_does_not_fail)
{
    setenv("OUTBOXD_FAILPOINTS", "marked:1:sleep:30", 1);
    struct timespec before;
    struct timespec after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    cr_assert_not(FAILPOINT_FAILS("marked", &err));
    clock_gettime(CLOCK_MONOTONIC, &after);
    long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    cr_assert_geq(ms, 29);
}

#else

Test(failpoint, compiled_out_nothing_ever_fails)
{
    AUTO_ERROR err = {0};
    setenv("OUTBOXD_FAILPOINTS", "fetched:1:kill,settled:1:kill", 1);
    failpoint_check();
    cr_assert_not(FAILPOINT_FAILS("fetched", &err));
    FAILPOINT("settled");
}

#endif

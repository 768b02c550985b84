/* Real programs: /bin/sh stands for whatever a user has. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "config/lists.h"
#include "token/token_output.h"
#include "token/token_process.h"

enum { PATIENT_MS = 60000 };

static int killed_nobody; /* how often a number was killed that was nobody's any more */

/* In the place of libc's. */
int kill(pid_t pid, int number)
{
    int failed = (int)syscall(SYS_kill, pid, number);
    killed_nobody += failed != 0 && errno == ESRCH && number == SIGKILL && pid > 0;
    return failed;
}

typedef struct Ran {
    Text out;
    Text said;
    Error error;
    Status status;
    int64_t took_us;
} Ran;

static void run_words(Ran *ran, const char *const *words, int64_t timeout_ms, int cancel_fd)
{
    StringList list = {0};
    for (; *words != NULL; words++) {
        string_list_add(&list, *words);
    }
    TokenRun run = {.words = &list, .timeout_ms = timeout_ms, .cancel_fd = cancel_fd};
    memset(ran, 0, sizeof(*ran));
    int64_t begun_us = clock_monotonic_us();
    ran->status = token_process_run(&run, &ran->out, &ran->said, &ran->error);
    ran->took_us = clock_monotonic_us() - begun_us;
    string_list_free(&list);
}
#define RUN_SHELL(ran, script, timeout_ms)                                                         \
    run_words(ran, (const char *const[]){"/bin/sh", "-c", script, NULL}, timeout_ms, -1)

static void ran_free(Ran *ran)
{
    text_free(&ran->out);
    text_free(&ran->said);
    error_clear(&ran->error);
}

static void assert_failed(const Ran *ran, ErrorCode code, const char *message)
{
    cr_assert_eq(ran->status, FAILED);
    cr_assert_eq(ran->error.code, code, "%s", error_message(&ran->error));
    cr_assert_not_null(strstr(error_message(&ran->error), message), "%s",
                       error_message(&ran->error));
}

/* Waits for the end of a process that is nobody's child here. */
static bool is_gone(pid_t pid)
{
    for (int i = 0; i < 500; i++) {
        if (kill(pid, 0) != 0 && errno == ESRCH) {
            return true;
        }
        (void)poll(NULL, 0, 10);
    }
    return false;
}

Test(token_process, what_it_prints_comes_and_what_it_says_beside_it)
{
    Ran ran;
    RUN_SHELL(&ran, "echo s3; echo note >&2", PATIENT_MS);
    cr_assert_eq(ran.status, OK, "%s", error_message(&ran.error));
    cr_assert_str_eq(text_string(&ran.out), "s3\n");
    cr_assert_str_eq(text_string(&ran.said), "note\n");
    ran_free(&ran);
}

Test(token_process, words_arrive_as_they_are)
{
    Ran ran;
    run_words(&ran, (const char *const[]){"/bin/echo", "$HOME", "a b", "*", NULL}, PATIENT_MS, -1);
    cr_assert_str_eq(text_string(&ran.out), "$HOME a b *\n");
    ran_free(&ran);
}

Test(token_process, it_has_our_environment_without_our_secrets)
{
    Ran ran;
    setenv("OUTBOXD_DATABASE_DSN", "hush", 1);
    setenv("PGPASSWORD", "hush", 1);
    setenv("NOTIFY_SOCKET", "hush", 1);
    setenv("AWS_REGION", "kept", 1);
    setenv("PGPASSFILE", "kept", 1);
    run_words(&ran, (const char *const[]){"/usr/bin/env", NULL}, PATIENT_MS, -1);
    cr_assert_null(strstr(text_string(&ran.out), "hush"));
    cr_assert_not_null(strstr(text_string(&ran.out), "AWS_REGION=kept"));
    cr_assert_not_null(strstr(text_string(&ran.out), "PGPASSFILE=kept"));
    ran_free(&ran);
}

Test(token_process, it_has_three_descriptors_a_group_of_its_own_and_no_input)
{
    Ran ran;
    int left_open = dup(STDERR_FILENO); /* as a library does, without O_CLOEXEC */
    cr_assert_gt(left_open, STDERR_FILENO);
    RUN_SHELL(&ran,
              "cat; ls /proc/$$/fd;"
              "read -r stat < /proc/$$/stat; set -- $stat; [ \"$1\" = \"$5\" ] && echo group",
              PATIENT_MS);
    cr_assert_str_eq(text_string(&ran.out), "0\n1\n2\ngroup\n", "%s%s", text_string(&ran.out),
                     text_string(&ran.said));
    ran_free(&ran);
    close(left_open);
}

Test(token_process, how_it_ends_is_told)
{
    Ran ran;
    RUN_SHELL(&ran, "echo half; echo why >&2; exit 3", PATIENT_MS);
    assert_failed(&ran, CODE_TOKEN_COMMAND_FAILED, "ended with exit code 3");
    cr_assert_str_eq(text_string(&ran.said), "why\n");
    ran_free(&ran);
    RUN_SHELL(&ran, "kill -TERM $$", PATIENT_MS);
    assert_failed(&ran, CODE_TOKEN_COMMAND_FAILED, "was ended by signal 15, SIGTERM");
    ran_free(&ran);
}

Test(token_process, a_program_that_cannot_run_is_named_with_the_reason)
{
    Ran ran;
    run_words(&ran, (const char *const[]){"/nowhere/x", NULL}, PATIENT_MS, -1);
    assert_failed(&ran, CODE_TOKEN_COMMAND_FAILED,
                  "cannot be run: /nowhere/x: No such file or directory");
    ran_free(&ran);
    run_words(&ran, (const char *const[]){"/etc/passwd", NULL}, PATIENT_MS, -1);
    assert_failed(&ran, CODE_TOKEN_COMMAND_FAILED, "cannot be run: /etc/passwd: Permission denied");
    ran_free(&ran);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
}

Test(token_process, one_that_hangs_is_killed_with_its_children)
{
    Ran ran;
    RUN_SHELL(&ran, "sleep 600 & echo $! >&2; wait", 500);
    assert_failed(&ran, CODE_TOKEN_COMMAND_TIMEOUT, "had not ended after 500 ms");
    pid_t child = (pid_t)strtol(text_string(&ran.said), NULL, 10);
    cr_assert_gt(child, 1);
    cr_assert(is_gone(child), "process %d outlives the command", (int)child);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
    ran_free(&ran);
}

Test(token_process, one_that_closes_its_output_and_hangs_is_killed_too)
{
    Ran ran;
    RUN_SHELL(&ran, "echo s3; exec >&- 2>&-; sleep 600", 500);
    assert_failed(&ran, CODE_TOKEN_COMMAND_TIMEOUT, "had not ended after 500 ms");
    ran_free(&ran);
}

Test(token_process, a_child_that_keeps_its_output_open_keeps_nobody_waiting)
{
    Ran ran;
    RUN_SHELL(&ran, "sleep 600 & echo $! >&2; echo s3", PATIENT_MS);
    cr_assert_eq(ran.status, OK, "%s", error_message(&ran.error));
    cr_assert_str_eq(text_string(&ran.out), "s3\n");
    cr_assert_lt(ran.took_us, PATIENT_MS * INT64_C(500));
    cr_assert(is_gone((pid_t)strtol(text_string(&ran.said), NULL, 10)));
    ran_free(&ran);
}

Test(token_process, output_has_a_limit_and_messages_too)
{
    Ran ran;
    RUN_SHELL(&ran, "head -c 65536 /dev/zero | tr '\\0' x", PATIENT_MS);
    cr_assert_eq(ran.status, OK, "%s", error_message(&ran.error));
    cr_assert_eq(ran.out.length, TOKEN_OUTPUT_MAX);
    ran_free(&ran);
    RUN_SHELL(&ran, "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
              PATIENT_MS);
    assert_failed(&ran, CODE_TOKEN_OUTPUT_INVALID, "printed more than 64 KiB");
    cr_assert_leq(ran.out.length, TOKEN_OUTPUT_MAX);
    ran_free(&ran);
    RUN_SHELL(&ran, "head -c 300000 /dev/zero >&2; echo s3", PATIENT_MS);
    cr_assert_eq(ran.status, OK, "%s", error_message(&ran.error));
    cr_assert_eq(ran.said.length, TOKEN_SAID_BYTES_MAX);
    ran_free(&ran);
}

static void *cancel_soon(void *arg)
{
    uint64_t one = 1;
    (void)poll(NULL, 0, 50);
    (void)!write(*(int *)arg, &one, sizeof(one));
    return NULL;
}

Test(token_process, a_run_that_is_of_no_use_any_more_is_killed)
{
    Ran ran;
    int fd = eventfd(0, EFD_CLOEXEC);
    pthread_t thread;
    thread_start(&thread, cancel_soon, &fd);
    run_words(&ran, (const char *const[]){"/bin/sleep", "600", NULL}, PATIENT_MS, fd);
    assert_failed(&ran, CODE_TOKEN_COMMAND_FAILED, "was killed: the relay ends");
    cr_assert_lt(ran.took_us, PATIENT_MS * INT64_C(500));
    pthread_join(thread, NULL);
    ran_free(&ran);
    close(fd);
}

Test(token_process, processes_that_become_ours_are_reaped_as_by_process_1)
{
    Ran ran;
    cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    RUN_SHELL(&ran, "(sleep 600 & sleep 600 &) ; echo s3", PATIENT_MS);
    cr_assert_eq(ran.status, OK, "%s", error_message(&ran.error));
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a zombie is left");
    ran_free(&ran);
}

Test(token_process, other_children_keep_their_status)
{
    Ran ran;
    pid_t other = fork();
    if (other == 0) {
        _exit(42);
    }
    RUN_SHELL(&ran, "echo s3", PATIENT_MS);
    int status = 0;
    cr_assert_eq(waitpid(other, &status, 0), other);
    cr_assert_eq(WEXITSTATUS(status), 42);
    ran_free(&ran);
}

Test(token_process, one_that_has_gone_to_another_group_is_killed_and_reaped)
{
    if (access("/usr/bin/python3", X_OK) != 0) {
        cr_skip_test("a shell cannot change its group");
    }
    Ran ran;
    run_words(&ran,
              (const char *const[]){"/usr/bin/python3", "-c",
                                    "import os, sys, time\n"
                                    "os.setpgid(0, os.getpgid(os.getppid()))\n"
                                    "sys.stderr.write(str(os.getpid()))\n"
                                    "sys.stderr.flush()\n"
                                    "time.sleep(600)",
                                    NULL},
              3000, -1);
    assert_failed(&ran, CODE_TOKEN_COMMAND_TIMEOUT, "had not ended after 3000 ms");
    pid_t pid = (pid_t)strtol(text_string(&ran.said), NULL, 10);
    cr_assert_gt(pid, 1, "%s", text_string(&ran.said));
    cr_assert(is_gone(pid), "process %d outlives its time-out", (int)pid);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
    ran_free(&ran);
}

Test(token_process, signals_that_we_ignore_are_not_ignored_there)
{
    Ran ran;
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGUSR2, SIG_IGN);
    RUN_SHELL(&ran, "grep SigIgn /proc/$$/status", PATIENT_MS);
    cr_assert_str_eq(text_string(&ran.out), "SigIgn:\t0000000000000000\n", "%s",
                     text_string(&ran.out));
    ran_free(&ran);
}

/* The kernel may have given its number to somebody else by then. */
Test(token_process, one_that_is_reaped_already_is_not_killed)
{
    Ran ran;
    (void)signal(SIGCHLD, SIG_IGN); /* the kernel reaps it */
    RUN_SHELL(&ran, "echo s3", PATIENT_MS);
    (void)signal(SIGCHLD, SIG_DFL);
    assert_failed(&ran, CODE_TOKEN_COMMAND_FAILED, "how is not known");
    cr_assert_eq(killed_nobody, 0);
    ran_free(&ran);
}

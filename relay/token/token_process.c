/* The parent waits with poll() for both pipes and looks now and then whether the program has ended
 * (waitid with WNOWAIT): of its process only, so that no other child's status is taken, and without
 * SIGCHLD, which may be ignored or somebody else's. Until it is reaped its number stays its own, so
 * the group is killed before that: what it left behind goes with it. Those of the group that were
 * orphaned and are ours now (we are process 1 of a container) are reaped, too. */
#include "token/token_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "token/token_output.h"

extern char **environ;

enum {
    LOOK_MS = 50,    /* between two looks whether it has ended */
    SETTLE_MS = 500, /* a killed group's processes are gone by then */
    STATUS_NOT_RUN = 127,
    SEALED_FDS = 4096,
};

/* Not for its eyes: our own secrets, and sockets on which it could speak for us. */
static const char *const WITHHELD[] = {
    "OUTBOXD_", "PGPASSWORD=", "NOTIFY_SOCKET=",  "WATCHDOG_",     "LISTEN_",
    "FDSTORE=", "MAINPID=",    "JOURNAL_STREAM=", "INVOCATION_ID="};

/* The groups that run now: one for each kind of token. None of them is reaped: a number that is
 * here is nobody else's. */
enum { GROUPS_MAX = 4 };
static pid_t running[GROUPS_MAX];
static pthread_mutex_t running_lock = PTHREAD_MUTEX_INITIALIZER;

static void running_change(pid_t from, pid_t to)
{
    pthread_mutex_lock(&running_lock);
    for (int i = 0; i < GROUPS_MAX; i++) {
        if (running[i] == from) {
            running[i] = to;
            break;
        }
    }
    pthread_mutex_unlock(&running_lock);
}

void token_process_kill(void)
{
    pthread_mutex_lock(&running_lock);
    for (int i = 0; i < GROUPS_MAX; i++) {
        if (running[i] > 0) {
            (void)kill(-running[i], SIGKILL);
        }
    }
    pthread_mutex_unlock(&running_lock);
}

/* What the child is started with, made before fork(): behind it only system calls are allowed. */
typedef struct Launch {
    char **arguments;
    char **environment;
    pid_t parent;
    int out[2];
    int said[2];
    int failed[2]; /* errno of exec; closed by it */
} Launch;

typedef struct Child {
    pid_t pid;
    int out;
    int said;
    bool ended;
} Child;

static bool is_withheld(const char *variable)
{
    for (size_t i = 0; i < sizeof(WITHHELD) / sizeof(WITHHELD[0]); i++) {
        if (strncmp(variable, WITHHELD[i], strlen(WITHHELD[i])) == 0) {
            return true;
        }
    }
    return false;
}

static char **launch_environment(void)
{
    size_t count = 0;
    while (environ != NULL && environ[count] != NULL) {
        count++;
    }
    char **kept = x_calloc(count + 1, sizeof(*kept));
    for (size_t i = 0, j = 0; i < count; i++) {
        if (!is_withheld(environ[i])) {
            kept[j++] = environ[i];
        }
    }
    return kept;
}

static void close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0) {
            close(pair[i]);
            pair[i] = -1;
        }
    }
}

static void launch_free(Launch *launch)
{
    close_pair(launch->out);
    close_pair(launch->said);
    close_pair(launch->failed);
    free(launch->arguments);
    free(launch->environment);
}

static Status launch_prepare(const TokenRun *run, Launch *launch, Error *err)
{
    *launch = (Launch){.out = {-1, -1}, .said = {-1, -1}, .failed = {-1, -1}};
    launch->arguments = x_calloc(run->words->count + 1, sizeof(*launch->arguments));
    memcpy(launch->arguments, run->words->items, run->words->count * sizeof(*launch->arguments));
    launch->environment = launch_environment();
    launch->parent = getpid();
    if (pipe2(launch->out, O_CLOEXEC) != 0 || pipe2(launch->said, O_CLOEXEC) != 0 ||
        pipe2(launch->failed, O_CLOEXEC) != 0) {
        char reason[128];
        return error_set(err, CODE_TOKEN_COMMAND_FAILED, "cannot be run: pipe: %s",
                         strerror_r(errno, reason, sizeof(reason)));
    }
    return OK;
}

/* Descriptors that a library, or whoever started us, left open for programs that we start. */
static void child_seal(void)
{
    if (close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) != 0) { /* before Linux 5.11 */
        for (int fd = STDERR_FILENO + 1; fd < SEALED_FDS; fd++) {
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
}

/* In the child: system calls alone, and no return. */
static _Noreturn void child_main(const Launch *launch)
{
    sigset_t none;
    sigemptyset(&none);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* should we be killed */
    if (getppid() != launch->parent) {      /* we were, before that */
        _exit(STATUS_NOT_RUN);
    }
    for (int number = 1; number < NSIG; number++) { /* no handler of ours runs in the child */
        (void)signal(number, SIG_DFL);
    }
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(launch->out[1], STDOUT_FILENO) >= 0 &&
        dup2(launch->said[1], STDERR_FILENO) >= 0) {
        child_seal();
        execve(launch->arguments[0], launch->arguments, launch->environment);
    }
    int failed = errno;
    (void)!write(launch->failed[1], &failed, sizeof(failed));
    _exit(STATUS_NOT_RUN);
}

/* Waits until the program runs, or has said why it does not. */
static int launch_result(Launch *launch)
{
    int failed = 0;
    close(launch->failed[1]);
    launch->failed[1] = -1;
    ssize_t got;
    do {
        got = read(launch->failed[0], &failed, sizeof(failed));
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof(failed) ? failed : 0;
}

static void child_reap(Child *child);

static Status child_start(const TokenRun *run, Child *ret_child, Error *err)
{
    Launch launch;
    char reason[128];
    Status status = launch_prepare(run, &launch, err);
    if (status == OK) {
        pid_t pid = fork();
        if (pid == 0) {
            child_main(&launch);
        }
        if (pid < 0) {
            status = error_set(err, CODE_TOKEN_COMMAND_FAILED, "cannot be run: fork: %s",
                               strerror_r(errno, reason, sizeof(reason)));
        } else {
            (void)setpgid(pid, pid); /* whoever comes first */
            running_change(0, pid);
            *ret_child = (Child){.pid = pid, .out = launch.out[0], .said = launch.said[0]};
            launch.out[0] = launch.said[0] = -1;
            int failed = launch_result(&launch);
            if (failed != 0) {
                child_reap(ret_child);
                status =
                    error_set(err, CODE_TOKEN_COMMAND_FAILED, "cannot be run: %s: %s",
                              run->words->items[0], strerror_r(failed, reason, sizeof(reason)));
            }
        }
    }
    launch_free(&launch);
    return status;
}

/* Reads what is there; false at the end of it. */
static bool child_read(int *fd, Text *text, size_t limit, bool *ret_more)
{
    char bytes[4096];
    ssize_t got = read(*fd, bytes, sizeof(bytes));
    if (got <= 0) {
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
            return true;
        }
        close(*fd);
        *fd = -1;
        return false;
    }
    size_t room = limit - text->length;
    text_append(text, bytes, (size_t)got < room ? (size_t)got : room);
    *ret_more = (size_t)got > room;
    explicit_bzero(bytes, sizeof(bytes));
    return true;
}

static bool child_has_ended(Child *child)
{
    siginfo_t info = {0};
    if (!child->ended) {
        int failed = waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT);
        child->ended = failed == 0 ? info.si_pid == child->pid : errno != EINTR;
    }
    return child->ended;
}

/* Whether its number is still its own. The kernel reaps by itself where SIGCHLD is ignored. */
static bool child_is_unreaped(const Child *child)
{
    siginfo_t info = {0};
    int failed = 0;
    do {
        failed = waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    } while (failed != 0 && errno == EINTR);
    return failed == 0;
}

/* The program, which may have gone to another group, and those of its group that became ours; each
 * wait ends at once but for a process that the kernel has not let go yet. */
static void child_reap(Child *child)
{
    if (child_is_unreaped(child)) {
        (void)kill(-child->pid, SIGKILL);
        (void)kill(child->pid, SIGKILL);
    }
    running_change(child->pid, 0);
    int64_t until_us = clock_monotonic_us() + (int64_t)SETTLE_MS * 1000;
    for (bool reaped = false;;) {
        pid_t own = reaped ? -1 : waitpid(child->pid, NULL, WNOHANG);
        reaped = reaped || own == child->pid || (own < 0 && errno == ECHILD);
        pid_t got = waitpid(-child->pid, NULL, WNOHANG);
        bool group_gone = got < 0 && errno != EINTR;
        reaped = reaped || got == child->pid;
        if ((reaped && group_gone) || clock_monotonic_us() > until_us) {
            break;
        }
        if (got <= 0 && own <= 0) {
            (void)poll(NULL, 0, 1);
        }
    }
    if (child->out >= 0) {
        close(child->out);
    }
    if (child->said >= 0) {
        close(child->said);
    }
}

/* How the program ended; it has. */
static Status child_judge(const Child *child, Error *err)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
        return error_set(err, CODE_TOKEN_COMMAND_FAILED, "ended, and how is not known");
    }
    if (info.si_code != CLD_EXITED) {
        const char *name = sigabbrev_np(info.si_status);
        return error_set(err, CODE_TOKEN_COMMAND_FAILED, "was ended by signal %d%s%s",
                         info.si_status, name != NULL ? ", SIG" : "", name != NULL ? name : "");
    }
    return info.si_status == 0 ? OK
                               : error_set(err, CODE_TOKEN_COMMAND_FAILED,
                                           "ended with exit code %d", info.si_status);
}

static Status child_watch(const TokenRun *run, Child *child, Text *out, Text *said, Error *err)
{
    int64_t deadline_us = clock_monotonic_us() + run->timeout_ms * 1000;
    bool last = false; /* it has ended: what its pipes still hold is all */
    for (;;) {
        int64_t left_us = deadline_us - clock_monotonic_us();
        if (left_us <= 0) {
            return error_set(err, CODE_TOKEN_COMMAND_TIMEOUT,
                             "was killed: it had not ended after %lld ms",
                             (long long)run->timeout_ms);
        }
        last = child_has_ended(child);
        struct pollfd fds[] = {{.fd = child->out, .events = POLLIN},
                               {.fd = child->said, .events = POLLIN},
                               {.fd = run->cancel_fd, .events = POLLIN}};
        int look_ms = left_us < LOOK_MS * 1000 ? (int)(left_us / 1000) + 1 : LOOK_MS;
        int ready = poll(fds, 3, last ? 0 : look_ms);
        if (fds[2].revents != 0) {
            return error_set(err, CODE_TOKEN_COMMAND_FAILED, "was killed: the relay ends");
        }
        bool more = false;
        bool dropped = false;
        if (fds[0].revents != 0) {
            (void)child_read(&child->out, out, TOKEN_OUTPUT_MAX, &more);
        }
        if (fds[1].revents != 0) {
            (void)child_read(&child->said, said, TOKEN_SAID_BYTES_MAX, &dropped);
        }
        if (more) {
            return error_set(err, CODE_TOKEN_OUTPUT_INVALID,
                             "was killed: it printed more than %d KiB", TOKEN_OUTPUT_MAX / 1024);
        }
        if (last && ready <= 0) {
            return child_judge(child, err);
        }
        if (child->out < 0 && child->said < 0 && !last) {
            (void)poll(NULL, 0, 1); /* it is about to end */
        }
    }
}

Status token_process_run(const TokenRun *run, Text *out, Text *said, Error *err)
{
    Child child = {.out = -1, .said = -1};
    if (child_start(run, &child, err) != OK) {
        return FAILED;
    }
    Status status = child_watch(run, &child, out, said, err);
    child_reap(&child);
    return status;
}

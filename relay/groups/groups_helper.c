#include "groups/groups_helper.h"

#include <errno.h>
#include <event2/util.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "groups/groups_message.h"

/* The relay's side. */

static int helper_spawn(int fd, pid_t *ret_pid)
{
    char program[] = "outboxd";
    char command[] = "groups-helper";
    char *const arguments[] = {program, command, NULL};
    /* Ours holds secrets (OUTBOXD_*, PGPASSWORD), and librdkafka is configured by properties. */
    char *const environment[] = {NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, fd, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int failed =
        posix_spawn(ret_pid, "/proc/self/exe", &files, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return failed;
}

Status groups_helper_start(pid_t *ret_pid, int *ret_fd, Error *err)
{
    int fds[2];
    char reason[128];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return error_set(err, CODE_CONSUMER_GROUPS_HELPER, "cannot make a socket: %s",
                         strerror_r(errno, reason, sizeof(reason)));
    }
    int failed = helper_spawn(fds[1], ret_pid);
    close(fds[1]);
    if (failed != 0) {
        close(fds[0]);
        return error_set(err, CODE_CONSUMER_GROUPS_HELPER, "cannot start the helper process: %s",
                         strerror_r(failed, reason, sizeof(reason)));
    }
    (void)evutil_make_socket_nonblocking(fds[0]);
    *ret_fd = fds[0];
    return OK;
}

/* The helper's side. */

static bool helper_read(char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = read(STDIN_FILENO, bytes + done, length - done);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return false;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return true;
}

static bool helper_write(const char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t put = send(STDIN_FILENO, bytes + done, length - done, MSG_NOSIGNAL);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        done += put > 0 ? (size_t)put : 0;
    }
    return true;
}

static bool helper_receive(GroupsRequest *request)
{
    char head[GROUPS_MESSAGE_HEAD];
    if (!helper_read(head, sizeof(head))) {
        return false;
    }
    size_t length = groups_message_length(head);
    if (length > GROUPS_MESSAGE_MAX) {
        return false;
    }
    AUTO_TEXT bytes = x_malloc(length + 1);
    return helper_read(bytes, length) && groups_request_read(bytes, length, request);
}

int groups_helper_main(void)
{
    /* Signals are for the relay; when it ends, so do we. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_DUMPABLE, 0); /* secrets are in memory */
    GroupsRequest first;
    if (!helper_receive(&first)) {
        _exit(EXIT_INTERNAL); /* started by hand, or the relay ended */
    }
    log_configure(first.config->log.format, first.config->log.level);
    Round *round = round_new(first.config);
    GroupsRequest request = {0};
    Text answer = TEXT_EMPTY;
    bool more = true;
    for (const GroupsRequest *asked = &first; more; asked = &request) {
        TokenValue token;
        if (groups_request_token(asked, &token)) {
            round_login(round, &token);
        }
        round_run(round, &asked->topics, &asked->patterns);
        RoundView view;
        round_view(round, &view);
        text_clear(&answer);
        groups_answer_write(&view, &answer);
        groups_request_free(&request);
        more = helper_write(answer.data, answer.length) && helper_receive(&request);
    }
    _exit(EXIT_OK); /* closing the client may take seconds, and nothing is at stake */
}

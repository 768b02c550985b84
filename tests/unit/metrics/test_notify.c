#include <criterion/criterion.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "metrics/notify.h"

static int listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    memcpy(address.sun_path, name, length);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    } else {
        bytes++;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, bytes), 0, "bind %s", name);
    cr_assert_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
    return fd;
}

static void expect_datagram(int fd, const char *expected)
{
    char buffer[256] = "";
    ssize_t count = recv(fd, buffer, sizeof(buffer) - 1, MSG_DONTWAIT);
    cr_assert_eq(count, (ssize_t)strlen(expected));
    cr_assert_str_eq(buffer, expected);
}

Test(notify, state_arrives_at_a_path)
{
    char directory[] = "/tmp/outboxd-notify-XXXXXX";
    cr_assert_not_null(mkdtemp(directory));
    char path[sizeof(directory) + 8];
    snprintf(path, sizeof(path), "%s/socket", directory);
    int fd = listen_at(path);
    cr_assert(notify_send("READY=1\nSTATUS=publishing"));
    expect_datagram(fd, "READY=1\nSTATUS=publishing");
    unlink(path);
    cr_assert_not(notify_send("STOPPING=1"), "nobody listens any more");
    rmdir(directory);
    close(fd);
}

Test(notify, state_arrives_in_the_abstract_namespace)
{
    char name[64];
    snprintf(name, sizeof(name), "@outboxd-notify-%d", (int)getpid());
    int fd = listen_at(name);
    cr_assert(notify_send("WATCHDOG=1"));
    expect_datagram(fd, "WATCHDOG=1");
    close(fd);
}

Test(notify, a_service_manager_that_does_not_read_blocks_nothing)
{
    char name[64];
    snprintf(name, sizeof(name), "@outboxd-notify-full-%d", (int)getpid());
    int fd = listen_at(name);
    int sent = 0;
    while (sent < 100000 && notify_send("WATCHDOG=1")) {
        sent++;
    }
    cr_assert(sent > 0 && sent < 100000, "the socket never filled");
    expect_datagram(fd, "WATCHDOG=1");
    cr_assert(notify_send("WATCHDOG=1"), "there is room again");
    close(fd);
}

Test(notify, without_a_usable_socket_nothing_is_sent)
{
    unsetenv("NOTIFY_SOCKET");
    cr_assert_not(notify_send("READY=1"));
    const char *bad[] = {"", "/", "@", "relative/path", "vsock:2:1234", "/nonexistent/outboxd"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        cr_assert_not(notify_send("READY=1"), "'%s'", bad[i]);
    }
    char too_long[200];
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[0] = '/';
    too_long[sizeof(too_long) - 1] = '\0';
    setenv("NOTIFY_SOCKET", too_long, 1);
    cr_assert_not(notify_send("READY=1"));
}

static void expect_watchdog(const char *usec, const char *pid, int64_t expected)
{
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (usec != NULL) {
        setenv("WATCHDOG_USEC", usec, 1);
    }
    if (pid != NULL) {
        setenv("WATCHDOG_PID", pid, 1);
    }
    cr_assert_eq(notify_watchdog_us(), expected, "usec %s pid %s: %ld", usec ? usec : "unset",
                 pid ? pid : "unset", (long)notify_watchdog_us());
}

Test(notify, watchdog_interval_holds_for_the_process_it_names)
{
    char own[16];
    snprintf(own, sizeof(own), "%d", (int)getpid());
    expect_watchdog(NULL, NULL, 0);
    expect_watchdog("30000000", NULL, 30000000);
    expect_watchdog("30000000", own, 30000000);
    expect_watchdog("30000000", "1", 0);
    expect_watchdog("30000000", "", 0);
    expect_watchdog("0", NULL, 0);
    expect_watchdog("-1", NULL, 0);
    expect_watchdog("30s", NULL, 0);
    expect_watchdog("99999999999999999999", NULL, 0);
}

#include "metrics/notify.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { NOTIFY_WAIT_MS = 100 };

/* A path, or '@' and a name in the abstract namespace. Returns the address' length, 0 when the text
 * is neither. */
static socklen_t notify_address(const char *text, struct sockaddr_un *address)
{
    size_t length = strlen(text);
    if ((text[0] != '/' && text[0] != '@') || length < 2 || length >= sizeof(address->sun_path)) {
        return 0;
    }
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, text, length);
    if (text[0] == '@') {
        address->sun_path[0] = '\0';
    } else {
        length++; /* a path's NUL belongs to it */
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

bool notify_send(const char *state)
{
    const char *target = getenv("NOTIFY_SOCKET"); // NOLINT(concurrency-mt-unsafe): never set
    struct sockaddr_un address;
    socklen_t length = target != NULL ? notify_address(target, &address) : 0;
    if (length == 0) {
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    bool sent = false;
    bool connected = connect(fd, (const struct sockaddr *)&address, length) == 0;
    for (int attempt = 0; connected && attempt < 2 && !sent; attempt++) {
        sent = send(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
        if (!sent && errno != EAGAIN && errno != EINTR) {
            break;
        }
        if (!sent) {
            (void)poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, NOTIFY_WAIT_MS);
        }
    }
    close(fd);
    return sent;
}

static int64_t notify_number(const char *name)
{
    const char *text = getenv(name); // NOLINT(concurrency-mt-unsafe): never set
    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return -1;
    }
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' ? number : -1;
}

int64_t notify_watchdog_us(void)
{
    int64_t us = notify_number("WATCHDOG_USEC");
    if (us <= 0) {
        return 0;
    }
    // NOLINTNEXTLINE(concurrency-mt-unsafe): never set
    bool addressed = getenv("WATCHDOG_PID") == NULL || notify_number("WATCHDOG_PID") == getpid();
    return addressed ? us : 0;
}

/* One request on one connection; the server closes it at the end of the answer. */
#include "status/status_client.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "metrics/address.h"

static Status client_silent(const char *listen, const char *why, Error *err)
{
    return error_set_as(err, ERROR_RETRY, EXIT_INTERNAL, CODE_RELAY_SILENT,
                        "no relay answers at %s: %s", listen, why);
}

/* Waits for the socket; 0 when ready, ETIMEDOUT or another errno. */
static int client_wait(int fd, short events, int64_t deadline_us)
{
    for (;;) {
        int64_t left_us = deadline_us - clock_monotonic_us();
        if (left_us <= 0) {
            return ETIMEDOUT;
        }
        struct pollfd wanted = {.fd = fd, .events = events};
        int ready = poll(&wanted, 1, (int)(left_us / 1000) + 1);
        if (ready > 0) {
            return 0;
        }
        if (ready < 0 && errno != EINTR) {
            return errno;
        }
    }
}

/* A connected socket, or -errno. */
static int client_connect(const struct addrinfo *to, int64_t deadline_us)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int failure = 0;
    if (connect(fd, to->ai_addr, to->ai_addrlen) != 0) {
        failure = errno == EINPROGRESS ? client_wait(fd, POLLOUT, deadline_us) : errno;
        socklen_t length = sizeof(failure);
        if (failure == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length) != 0) {
            failure = errno;
        }
    }
    if (failure != 0) {
        close(fd);
        return -failure;
    }
    return fd;
}

static Status client_open(const char *listen, int64_t deadline_us, int *ret_fd, Error *err)
{
    Address address;
    if (address_parse(listen, &address, err) != OK) {
        return FAILED;
    }
    if (address.port == 0) {
        return client_silent(listen,
                             "port 0 stands for any free port, so the command cannot know it", err);
    }
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", address.port);
    const char *host = address.host;
    if (strcmp(host, "0.0.0.0") == 0) {
        host = "127.0.0.1";
    } else if (strcmp(host, "::") == 0) {
        host = "::1";
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(*host != '\0' ? host : NULL, port, &hints, &found);
    if (failed != 0) {
        return client_silent(listen, gai_strerror(failed), err);
    }
    int fd = -ENOENT;
    for (const struct addrinfo *to = found; to != NULL && fd < 0; to = to->ai_next) {
        fd = client_connect(to, deadline_us);
    }
    freeaddrinfo(found);
    if (fd < 0) {
        char reason[128];
        return client_silent(listen, strerror_r(-fd, reason, sizeof(reason)), err);
    }
    *ret_fd = fd;
    return OK;
}

/* Sends the request and reads to the end of the connection; 0 or an errno. */
static int client_talk(int fd, const Text *request, int64_t deadline_us, Text *answer)
{
    size_t sent = 0;
    for (;;) {
        bool sending = sent < request->length;
        int failure = client_wait(fd, sending ? POLLOUT : POLLIN, deadline_us);
        if (failure != 0) {
            return failure;
        }
        char buffer[16384];
        ssize_t count = sending
                            ? send(fd, request->data + sent, request->length - sent, MSG_NOSIGNAL)
                            : recv(fd, buffer, sizeof(buffer), 0);
        if (count < 0 && errno != EAGAIN && errno != EINTR) {
            return errno;
        }
        if (count < 0) {
            continue;
        }
        if (sending) {
            sent += (size_t)count;
        } else if (count == 0) {
            return 0;
        } else if (answer->length + (size_t)count > STATUS_CLIENT_BYTES_MAX) {
            return EMSGSIZE;
        } else {
            text_append(answer, buffer, (size_t)count);
        }
    }
}

Status status_client_body(const char *listen, const Text *answer, Text *body, Error *err)
{
    static const char PROTOCOL[] = "HTTP/1.";
    const char *text = text_string(answer);
    const char *end = strstr(text, "\r\n\r\n");
    if (strncmp(text, PROTOCOL, sizeof(PROTOCOL) - 1) != 0 || end == NULL ||
        strlen(text) < sizeof("HTTP/1.1 200") - 1) {
        error_set(err, CODE_RELAY_ANSWER,
                  "the program at %s is not outboxd: it does not speak HTTP", listen);
        return error_advise(err);
    }
    if (strncmp(text + sizeof(PROTOCOL), " 200 ", 5) != 0) {
        error_set(err, CODE_RELAY_ANSWER, "the program at %s has no status: HTTP code %.3s", listen,
                  text + sizeof(PROTOCOL) + 1);
        return error_advise(err);
    }
    text_append(body, end + 4, answer->length - (size_t)(end + 4 - text));
    return OK;
}

Status status_client_object(const char *listen, const Text *body, json_t **ret_object, Error *err)
{
    json_error_t where;
    const char *text = text_string(body);
    /* jansson passes over a NUL behind a number, where C's strings end. */
    json_t *object = strlen(text) == body->length
                         ? json_loadb(text, body->length, JSON_REJECT_DUPLICATES, &where)
                         : NULL;
    if (!json_is_object(object) || !json_is_array(json_object_get(object, "pipelines"))) {
        json_decref(object);
        error_set(err, CODE_RELAY_ANSWER,
                  "the program at %s is not outboxd: it sent no status object", listen);
        return error_advise(err);
    }
    *ret_object = object;
    return OK;
}

Status status_client_get(const char *listen, const char *path, Text *body, Error *err)
{
    int64_t deadline_us = clock_monotonic_us() + STATUS_CLIENT_TIMEOUT_MS * INT64_C(1000);
    int fd = -1;
    if (client_open(listen, deadline_us, &fd, err) != OK) {
        return FAILED;
    }
    AUTO_BUFFER request = TEXT_EMPTY;
    AUTO_BUFFER answer = TEXT_EMPTY;
    text_printf(&request,
                "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: outboxd/" OUTBOXD_VERSION
                "\r\nConnection: close\r\n\r\n",
                path);
    int failure = client_talk(fd, &request, deadline_us, &answer);
    close(fd);
    if (failure != 0) {
        char reason[128];
        return client_silent(listen,
                             failure == ETIMEDOUT
                                 ? "connected, but there was no complete answer within 5 s"
                                 : strerror_r(failure, reason, sizeof(reason)),
                             err);
    }
    return status_client_body(listen, &answer, body, err);
}

#include "metrics/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 1024 };

static Status address_bad(const char *text, const char *why, Error *err)
{
    error_set(err, CODE_MONITOR_LISTEN, "monitor.listen '%s': %s", text, why);
    return error_hint(err, "Write host:port, such as \"127.0.0.1:9480\" or \"[::1]:9480\".");
}

Status address_parse(const char *text, Address *ret_address, Error *err)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL) {
        return address_bad(text, "no port", err);
    }
    const char *host = text;
    size_t length = (size_t)(colon - text);
    if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
        if (memchr(host, ':', length) == NULL) {
            return address_bad(text, "brackets are for IPv6 addresses", err);
        }
    } else if (memchr(host, ':', length) != NULL) {
        return address_bad(text, "an IPv6 address stands in brackets", err);
    }
    if (length == 1 && host[0] == '*') {
        length = 0;
    }
    Address address = {0};
    if (length >= sizeof(address.host)) {
        return address_bad(text, "the host name is too long", err);
    }
    memcpy(address.host, host, length);

    char *end = NULL;
    errno = 0;
    long port = strtol(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || errno != 0 || port > UINT16_MAX) {
        return address_bad(text, "the port is a number from 0 to 65535", err);
    }
    address.port = (uint16_t)port;
    *ret_address = address;
    return OK;
}

static void address_format(const struct sockaddr *from, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, from, sizeof(six));
        inet_ntop(AF_INET6, &six.sin6_addr, host, sizeof(host));
        (void)snprintf(text, size, "[%s]:%u", host, ntohs(six.sin6_port));
    } else {
        struct sockaddr_in four;
        memcpy(&four, from, sizeof(four));
        inet_ntop(AF_INET, &four.sin_addr, host, sizeof(host));
        (void)snprintf(text, size, "%s:%u", host, ntohs(four.sin_port));
    }
}

void address_of_socket(int socket, char *text, size_t size)
{
    struct sockaddr_storage bound = {0};
    socklen_t length = sizeof(bound);
    getsockname(socket, (struct sockaddr *)&bound, &length);
    address_format((const struct sockaddr *)&bound, text, size);
}

bool address_is_loopback(int socket)
{
    struct sockaddr_storage bound = {0};
    socklen_t length = sizeof(bound);
    getsockname(socket, (struct sockaddr *)&bound, &length);
    if (bound.ss_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, &bound, sizeof(six));
        bool mapped = IN6_IS_ADDR_V4MAPPED(&six.sin6_addr) && six.sin6_addr.s6_addr[12] == 127;
        return mapped || IN6_IS_ADDR_LOOPBACK(&six.sin6_addr);
    }
    struct sockaddr_in four;
    memcpy(&four, &bound, sizeof(four));
    return bound.ss_family == AF_INET && ntohl(four.sin_addr.s_addr) >> 24 == 127;
}

/* The listening socket, or -errno. */
static int address_open(const struct addrinfo *info, bool several)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int yes = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (info->ai_family == AF_INET6 && several) {
        /* "::" alone serves IPv4 too, where the system says so; beside "0.0.0.0" it must not. */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes));
    }
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        int failure = errno;
        close(fd);
        return -failure;
    }
    return fd;
}

static Status address_refused(const struct addrinfo *info, int failure, Error *err)
{
    char text[INET6_ADDRSTRLEN + 16];
    address_format(info->ai_addr, text, sizeof(text));
    char reason[128];
    error_set(err, failure == EADDRINUSE ? CODE_MONITOR_ADDRESS_IN_USE : CODE_MONITOR_LISTEN,
              "monitor.listen: cannot listen on %s: %s", text,
              strerror_r(failure, reason, sizeof(reason)));
    switch (failure) {
    case EADDRINUSE:
        return error_hint(err, "Find the process that uses the port with: ss -ltnp (it may be "
                               "another outboxd). Stop it, or set monitor.listen to a free port.");
    case EACCES:
        return error_hint(
            err,
            "Ports below 1024 need CAP_NET_BIND_SERVICE. Set monitor.listen to a higher port.");
    default:
        return error_hint(err, "Set monitor.listen to an address of this machine, such as "
                               "\"127.0.0.1:9480\".");
    }
}

Status address_listen(const Address *address, int *ret_sockets, int *ret_count, Error *err)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", address->port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(address->host[0] != '\0' ? address->host : NULL, port, &hints, &found);
    if (failed != 0) {
        error_set(err, CODE_MONITOR_LISTEN,
                  "monitor.listen: cannot find the address of host '%s': %s", address->host,
                  gai_strerror(failed));
        return error_hint(err, "Use an IP address of this machine, such as \"127.0.0.1:9480\".");
    }
    Status status = OK;
    int count = 0;
    const struct addrinfo *missing = NULL;
    int missing_errno = 0;
    for (const struct addrinfo *info = found; info != NULL && count < ADDRESS_SOCKETS_MAX;
         info = info->ai_next) {
        int fd = address_open(info, found->ai_next != NULL);
        if (fd >= 0) {
            ret_sockets[count++] = fd;
            if (address->port == 0) {
                break; /* a second socket would get another port */
            }
        } else if (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT) {
            missing = info;
            missing_errno = -fd;
        } else {
            status = address_refused(info, -fd, err);
            break;
        }
    }
    if (status == OK && missing != NULL && count == 0) {
        status = address_refused(missing, missing_errno, err);
    }
    for (int i = 0; status != OK && i < count; i++) {
        close(ret_sockets[i]);
    }
    freeaddrinfo(found);
    if (status == OK) {
        *ret_count = count;
    }
    return status;
}

/* address: "host:port" as monitor.listen has it, for the side that listens and the side that asks.
 * Accepted: "127.0.0.1:9480", "[::1]:9480", "localhost:9480", and "*:9480" or ":9480" for every
 * address of this machine. Port 0 is any free one. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { ADDRESS_SOCKETS_MAX = 4 };

typedef struct Address {
    char host[256]; /* without brackets; "" = every address of this machine */
    uint16_t port;
} Address;

/** Reads the text into *ret_address; the error is FATAL / EXIT_CONFIG, code MONITOR_LISTEN. */
Status address_parse(const char *text, Address *ret_address, Error *err);

/** Listening sockets (non-blocking, close-on-exec) for every address the host stands for, at most
 * ADDRESS_SOCKETS_MAX, in ret_sockets; the caller closes them. Addresses this machine does not have
 * are passed over as long as one remains; one that is in use is an error. With port 0 only the
 * first is opened. */
Status address_listen(const Address *address, int *ret_sockets, int *ret_count, Error *err);

/** The bound address of a listening socket as text, "127.0.0.1:9480" or "[::1]:9480". */
void address_of_socket(int socket, char *text, size_t size);

/** Whether a listening socket can be reached from this machine only: 127.0.0.0/8 and ::1. */
bool address_is_loopback(int socket);

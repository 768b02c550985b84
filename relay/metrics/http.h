/* http: a small HTTP/1.1 server for a handful of pages, on the thread of its event base.
 *
 * It answers one GET or HEAD a connection and then closes it, so a client cannot hold anything for
 * longer than the deadline. libevent's evhttp is not used: its time-out starts anew with every
 * byte, and it neither limits the number of connections nor tells when one ends, so that a few slow
 * clients could lock out the health probe.
 *
 * Limits, all of them against clients that are slow, hostile or many: see the constants. When the
 * connections are used up, the oldest is closed in favour of the newest: a probe that sends its
 * request at once is always served. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "metrics/http_request.h"

enum {
    HTTP_CONNECTIONS_MAX = 64,
    HTTP_HEADER_BYTES_MAX = 8192, /* request line and header fields */
    HTTP_DEADLINE_MS = 5000,      /* from the connection's start to the last byte of the answer */
    HTTP_ACCEPTS_PER_PASS = 32,   /* then the loop does other work for HTTP_ACCEPT_PAUSE_MS */
    HTTP_ACCEPT_PAUSE_MS = 5,
    HTTP_ACCEPT_RETRY_MS = 1000,   /* after an accept(2) that failed */
    HTTP_LINGER_BYTES_MAX = 65536, /* read and dropped after the answer, so that it arrives whole */
};

typedef struct HttpServer HttpServer;

typedef struct HttpAnswer {
    int code;                 /* 200, ... */
    const char *content_type; /* static text */
    Text body;                /* the handler fills it, the server frees it; not sent for HEAD */
} HttpAnswer;

/* What happened to connections, for metrics. */
typedef struct HttpCounts {
    unsigned open;      /* now */
    uint64_t timed_out; /* closed at the deadline */
    uint64_t evicted;   /* closed in favour of a newer one */
    uint64_t refused;   /* accept(2) failed, such as for want of descriptors */
} HttpCounts;

/** Called for every well-formed GET and HEAD; answer->code is preset to 200. True: it is answered.
 * False: http_server_answer follows, with this ticket. */
typedef bool (*HttpHandler)(void *arg, const HttpRequest *request, uint64_t ticket,
                            HttpAnswer *answer);

/** Serves the listening sockets, which become the server's; handler(arg, ...) makes the answers. */
HttpServer *http_server_new(struct event_base *base, const int *sockets, int socket_count,
                            HttpHandler handler, void *arg);
/** Closes everything at once. */
void http_server_free(HttpServer **server);

/** Whether the connection with this ticket is there still, and waits for its answer. */
bool http_server_waits(const HttpServer *server, uint64_t ticket);
/** Answers it; nothing happens when it is gone. */
void http_server_answer(HttpServer *server, uint64_t ticket, const HttpAnswer *answer);

const HttpCounts *http_server_counts(const HttpServer *server);

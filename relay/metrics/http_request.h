/* http_request: the head of an HTTP/1.x request, from untrusted bytes (RFC 9112). Knows only what a
 * server of fixed pages needs: method, target, and that nothing follows. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

typedef struct HttpRequest {
    Slice path;      /* "/metrics"; as sent, not percent-decoded */
    Slice query;     /* behind the '?'; may be empty */
    bool head;       /* HEAD: the answer goes without its body */
    Slice host;      /* of the Host field; null without one */
    Slice authority; /* of the absolute form of a target; null without one */
} HttpRequest;

/** Bytes up to and including the empty line that ends the head, 0 when it is not there yet; `from`
 * is where an earlier call stopped looking (0 at first). Lines end with CRLF or LF. */
size_t http_request_end(const char *bytes, size_t length, size_t from);

/** Reads a whole head. Returns 200 and fills *ret_request (slices into bytes), or the status code
 * of the refusal: 400 malformed, or several Host fields, 405 neither GET nor HEAD, 413 a body was
 * announced, 505 not HTTP/1. */
int http_request_parse(const char *bytes, size_t length, HttpRequest *ret_request);

/** Whether a listener on a loopback address may answer. A page of a browser can be made to ask us
 * under a name of its own that resolves to 127.0.0.1 (DNS rebinding): then the request says that
 * name. So only localhost, 127.0.0.1, [::1] and `own` (what the socket is bound to, without port)
 * pass, each with any port or none. A request without Host is from no browser, and passes. */
bool http_request_is_local(const HttpRequest *request, const char *own);

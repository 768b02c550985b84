/* http_request: the head of an HTTP/1.x request, from untrusted bytes (RFC 9112). Knows only what a
 * server of fixed pages needs: method, target, and that nothing follows. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

typedef struct HttpRequest {
    Slice path;  /* "/metrics"; as sent, not percent-decoded */
    Slice query; /* behind the '?'; may be empty */
    bool head;   /* HEAD: the answer goes without its body */
} HttpRequest;

/** Bytes up to and including the empty line that ends the head, 0 when it is not there yet; `from`
 * is where an earlier call stopped looking (0 at first). Lines end with CRLF or LF. */
size_t http_request_end(const char *bytes, size_t length, size_t from);

/** Reads a whole head. Returns 200 and fills *ret_request (slices into bytes), or the status code
 * of the refusal: 400 malformed, 405 neither GET nor HEAD, 413 a body was announced, 505 not
 * HTTP/1. */
int http_request_parse(const char *bytes, size_t length, HttpRequest *ret_request);

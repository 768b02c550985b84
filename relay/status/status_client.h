/* status_client: asks a running relay for its status over HTTP. Blocks, for at most
 * STATUS_CLIENT_TIMEOUT_MS in all. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "base/text.h"

enum { STATUS_CLIENT_TIMEOUT_MS = 5000, STATUS_CLIENT_BYTES_MAX = 8 * 1024 * 1024 };

/** GET `path` from monitor.listen ("0.0.0.0", "[::]" and "*" are asked on the loopback address);
 * appends the body of a 200 answer to *body. Errors: RELAY_SILENT (nobody answers), RELAY_ANSWER
 * (somebody answers, but not as outboxd does), MONITOR_LISTEN. */
Status status_client_get(const char *listen, const char *path, Text *body, Error *err);

/** Appends the body of a whole HTTP answer, of whoever has that port, when its code is 200;
 * RELAY_ANSWER when it is none, or has another. */
Status status_client_body(const char *listen, const Text *answer, Text *body, Error *err);

/** The status object that a body holds; the caller's. RELAY_ANSWER when it holds none. */
Status status_client_object(const char *listen, const Text *body, json_t **ret_object, Error *err);

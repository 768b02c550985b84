/* monitor: the HTTP endpoint (libevent evhttp, GET and HEAD only, on the loop thread).
 *
 * /metrics Prometheus text; /livez 200 while the loop turns; /readyz 200 or 503 with the reason;
 * /status one JSON object, the same that `outboxd status --json` prints. Slow or hostile clients
 * are bounded: header and body size, time-out, connection count. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"
#include "metrics/metrics.h"

typedef struct Monitor Monitor;

typedef struct MonitorSources {
    void *arg;
    /** Appends the reason when not ready (one line a pipeline); returns readiness. */
    bool (*ready)(void *arg, Text *reason);
    /** Appends the status object. */
    void (*status)(void *arg, Text *json);
} MonitorSources;

/** Listens on "host:port" ("[::1]:9480" for IPv6; port 0: any free one, logged). The error is
 * FATAL / EXIT_CONFIG when the address cannot be had. */
Status monitor_start(struct event_base *base, const char *listen, Metrics *metrics,
                     const MonitorSources *sources, Monitor **ret_monitor, Error *err);
void monitor_stop(Monitor **monitor);
